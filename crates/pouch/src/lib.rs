//! The container engine: images, snapshots, network, runtimes, CRI. Never knows Kubernetes objects.
