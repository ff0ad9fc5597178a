//! Where the engine keeps things and what it names them.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::image::Mirror;

/// One engine on one machine. Two engines on a machine differ in every field but `pod_cidr`'s prefix length.
#[derive(Clone, Debug)]
pub struct Config {
    /// State that outlives the process and the machine's boot: images, layers, records of containers.
    pub root: PathBuf,
    /// State that a boot ends: sockets, pinned namespaces, mounts of containers.
    pub run_dir: PathBuf,
    /// The socket on which the engine answers CRI.
    pub socket: PathBuf,
    /// The bridge of the pod network.
    pub bridge: String,
    /// The addresses of the pod network, as `10.85.0.0/16`.
    pub pod_cidr: String,
    /// The nftables table of the engine's rules.
    pub nft_table: String,
    /// Registries to ask first when an image is pulled.
    pub mirrors: Vec<Mirror>,
    /// The command that runs a shim: a program whose `main` calls [`crate::shim::main`] first of all.
    pub shim: Vec<OsString>,
    /// The parent of all cgroups that containers get when their sandbox names none.
    pub cgroup_root: String,
}

impl Config {
    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// Files of a sandbox that a boot ends.
    pub(crate) fn sandbox_run(&self, id: &str) -> PathBuf {
        self.run_dir.join("sandboxes").join(id)
    }

    /// Files of a container that a boot ends.
    pub(crate) fn container_run(&self, id: &str) -> PathBuf {
        self.run_dir.join("containers").join(id)
    }

    /// Where the linked-in runtime keeps its own state of containers.
    pub(crate) fn runtime_root(&self) -> PathBuf {
        self.run_dir.join("runtime")
    }

    /// One directory for each command that runs in a container now.
    pub(crate) fn exec_dir(&self) -> PathBuf {
        self.run_dir.join("exec")
    }
}
