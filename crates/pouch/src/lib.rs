//! The container engine: images, snapshots, network, runtimes, CRI. Never knows Kubernetes objects.
pub mod image;
pub mod network;
pub mod snapshot;
