//! The container engine: images, snapshots, network, runtimes, CRI. Never knows Kubernetes objects.

pub mod cri;
pub mod image;
pub mod network;
pub mod shim;
pub mod snapshot;

mod cgroup;
mod config;
mod disk;
mod engine;
mod exec;
mod namespaces;
mod process;
mod service;
mod spawn;
mod spec;
mod stream;
mod sys;

pub use config::Config;
pub use engine::{BuildError, Engine, PurgeError, RunError};
pub use sys::{EndedChild, collect_child};
