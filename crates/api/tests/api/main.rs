//! The server as its clients see it: kube-rs in the process, and stock `kubectl` over TLS.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "what is unexpected here fails the test")]

mod audit;
mod batches;
mod classes;
mod connections;
mod controller;
mod conversion;
mod custom;
mod custom_admission;
mod etcd;
mod flow;
mod golden;
mod harness;
mod hooks;
mod hostile;
mod hostile_definitions;
mod kubectl;
mod lists;
mod objects;
mod policies;
mod program;
mod telling;
mod watches;
