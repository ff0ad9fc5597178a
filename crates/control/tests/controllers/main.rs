//! The controllers against the real API server, in one process. A task of the test plays the kubelet.

mod batch;
mod harness;
mod housekeeping;
mod rollout;
mod scheduling;
