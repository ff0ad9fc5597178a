//! The controllers against the real API server, in one process. A task of the test plays the kubelet.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so at once"
)]

mod batch;
mod certificates;
mod custom;
mod golden;
mod harness;
mod housekeeping;
mod load;
mod quotas;
mod rebalancing;
mod rollout;
mod scheduling;
mod storage;
mod tides;
