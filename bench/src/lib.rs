//! Benchmarks: each program prints a figure beside a peer or a limit that was measured in the same run.
//!
//! They start the release binary as an instance of its own and leave nothing behind.

pub mod batch;
pub mod cluster;
pub mod coloc;
pub mod kills;
pub mod lane;
pub mod machine;
pub mod objects;
pub mod server;
pub mod sets;
pub mod summary;
pub mod workload;
