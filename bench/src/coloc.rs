//! Services and batch that share this machine, as real processes.
//!
//! ```text
//!   image: nginx, Redis, this program ──► a Pod that serves ◄── open-loop load
//!   batch: as plain processes, or as a DagJob ──► this program again, as one of five hogs
//! ```

pub mod crowd;
pub mod hogs;
pub mod image;
pub mod serve;
pub mod service;
