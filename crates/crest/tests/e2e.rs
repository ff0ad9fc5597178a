//! End to end: the real binary, real kubectl, real containers. Needs root, kubectl, nftables and busybox-static;
//! says so and passes where they are missing.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "helpers of tests, which clippy knows only inside the test functions themselves"
)]

#[path = "e2e/autoscaling.rs"]
mod autoscaling;
#[path = "e2e/cluster.rs"]
mod cluster;
#[path = "e2e/guest.rs"]
mod guest;
#[path = "e2e/helm.rs"]
mod helm;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/inputs.rs"]
mod inputs;
#[path = "e2e/jobs.rs"]
mod jobs;
#[path = "e2e/join.rs"]
mod join;
#[path = "e2e/kubectl.rs"]
mod kubectl;
#[path = "e2e/lifecycle.rs"]
mod lifecycle;
#[path = "e2e/objects.rs"]
mod objects;
#[path = "e2e/refusals.rs"]
mod refusals;
#[path = "../../agent/tests/worker/s3.rs"]
mod s3;
#[path = "e2e/survival.rs"]
mod survival;
#[path = "e2e/tides.rs"]
mod tides;
#[path = "e2e/walk.rs"]
mod walk;
