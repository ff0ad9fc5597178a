//! The server as its clients see it: kube-rs in the process, and stock `kubectl` over TLS.

mod harness;
mod kubectl;
mod lists;
mod objects;
mod watches;
