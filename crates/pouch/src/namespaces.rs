//! A sandbox's namespaces, kept alive by mounts instead of by a process that does nothing else.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::spawn::in_thread;

/// What a sandbox has of its own; the rest is the host's.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub network: bool,
    pub ipc: bool,
    /// With its own network a sandbox has its own name.
    pub hostname: String,
    /// Kernel parameters of these namespaces, by their dotted names.
    pub sysctls: BTreeMap<String, String>,
}

impl Wanted {
    /// Any other parameter would be set for the whole host.
    fn owns(&self, sysctl: &str) -> bool {
        let is_plain = sysctl.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let of_ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
        is_plain
            && (self.network && sysctl.starts_with("net.")
                || self.ipc && of_ipc.iter().any(|prefix| sysctl.starts_with(prefix)))
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    #[error("cannot make namespaces in `{directory}`")]
    Make { directory: PathBuf, source: io::Error },
    #[error("cannot set the kernel parameter `{name}`")]
    Sysctl { name: String, source: io::Error },
    #[error("the kernel parameter `{0}` does not belong to a namespace of the sandbox")]
    ForeignSysctl(String),
    #[error("cannot let go of the namespaces in `{directory}`")]
    Drop { directory: PathBuf, source: io::Error },
}

/// Runtime's name of a namespace, and the kernel's.
const KINDS: [(&str, &str, CloneFlags); 3] = [
    ("network", "net", CloneFlags::CLONE_NEWNET),
    ("ipc", "ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", "uts", CloneFlags::CLONE_NEWUTS),
];

/// Makes namespaces and pins them to files in `directory`; blocking.
pub(crate) fn make(directory: &Path, wanted: &Wanted) -> Result<BTreeMap<String, PathBuf>, NamespaceError> {
    let chosen: Vec<_> = KINDS
        .into_iter()
        .filter(|(_, _, flag)| match *flag {
            CloneFlags::CLONE_NEWIPC => wanted.ipc,
            _ => wanted.network,
        })
        .collect();
    if let Some(name) = wanted.sysctls.keys().find(|name| !wanted.owns(name)) {
        return Err(NamespaceError::ForeignSysctl(name.clone()));
    }
    let failed = |source| NamespaceError::Make { directory: directory.to_owned(), source };
    let flags = chosen.iter().fold(CloneFlags::empty(), |flags, (_, _, flag)| flags | *flag);
    // The thread leaves the process's namespaces and ends: no other work ever runs in it.
    in_thread(|| {
        unshare(flags).map_err(|errno| failed(errno.into()))?;
        if wanted.network {
            nix::unistd::sethostname(&wanted.hostname).map_err(|errno| failed(errno.into()))?;
        }
        for (name, value) in &wanted.sysctls {
            let path = Path::new("/proc/sys").join(name.replace('.', "/"));
            std::fs::write(path, value)
                .map_err(|source| NamespaceError::Sysctl { name: name.clone(), source })?;
        }
        let mut pinned = BTreeMap::new();
        for (kind, file, _) in &chosen {
            let path = directory.join(file);
            pin(file, &path).map_err(failed)?;
            pinned.insert((*kind).to_owned(), path);
        }
        Ok(pinned)
    })
}

fn pin(kind: &str, path: &Path) -> io::Result<()> {
    std::fs::File::create(path)?;
    let own = format!("/proc/thread-self/ns/{kind}");
    Ok(mount(Some(own.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

/// A file system in memory for what the sandbox's containers share at `/dev/shm`.
pub(crate) fn mount_shm(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("shm"), path, Some("tmpfs"), flags, Some("mode=1777,size=65536k"))?)
}

/// Unpins and unmounts all in `directory` and removes it; none is fine.
pub(crate) fn drop_all(directory: &Path) -> Result<(), NamespaceError> {
    let failed = |source| NamespaceError::Drop { directory: directory.to_owned(), source };
    for name in ["net", "ipc", "uts", "shm"] {
        let path = directory.join(name);
        // Mounted more than once if an attempt was cut short.
        while umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
    }
    crate::disk::remove_dir(directory).map_err(failed)
}
