//! The container engine: images, snapshots, network, runtimes, CRI. Never knows Kubernetes objects.

pub mod cri;
pub mod image;
pub mod network;
pub mod shim;
pub mod snapshot;

mod cgroup;
mod config;
mod disk;
mod process;
mod sys;

pub use config::Config;
