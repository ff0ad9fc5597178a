//! What is mounted in a container: the kernel's file systems, the sandbox's files, volumes.

use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat};
use serde_json::{Value, json};

use super::Inputs;
use super::user::open_inside;
use crate::cri::{ContainerConfig, LinuxContainerSecurityContext, Mount, MountPropagation};

#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("cannot find or make the volume's source `{path}`")]
    Source { path: PathBuf, source: io::Error },
    #[error("`{0}` is no absolute path in the container")]
    Target(String),
    #[error("an image as a volume, at `{0}`, is not supported")]
    Image(String),
    #[error("`{0}` can be read-only throughout only if it is read-only and private")]
    RecursiveReadOnly(String),
}

pub(super) fn build(
    inputs: &Inputs<'_>,
    security: &LinuxContainerSecurityContext,
) -> Result<Vec<Value>, MountError> {
    let mut mounts = kernel_mounts(security.privileged);
    mounts.push(bind(
        inputs.sandbox.shm,
        "/dev/shm",
        &["rbind", "rprivate", "rw", "nosuid", "noexec", "nodev"],
    ));
    let mode = if security.readonly_rootfs { "ro" } else { "rw" };
    for name in ["hosts", "hostname", "resolv.conf"] {
        let target = format!("/etc/{name}");
        if !inputs.config.mounts.iter().any(|mount| mount.container_path == target) {
            mounts.push(bind(&inputs.sandbox.files.join(name), &target, &["rbind", "rprivate", mode]));
        }
    }
    // A volume inside another comes after it.
    let mut volumes: Vec<&Mount> = inputs.config.mounts.iter().collect();
    volumes.sort_by_key(|mount| Path::new(&mount.container_path).components().count());
    for volume in volumes {
        let mount = bind_volume(volume)?;
        mounts.retain(|earlier| earlier["destination"] != mount["destination"]);
        mounts.push(mount);
    }
    Ok(mounts)
}

fn kernel_mounts(privileged: bool) -> Vec<Value> {
    let mode = if privileged { "rw" } else { "ro" };
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", mode]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", mode]),
    ]
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": "bind", "source": source, "options": options})
}

fn bind_volume(mount: &Mount) -> Result<Value, MountError> {
    let target = &mount.container_path;
    if mount.image.as_ref().is_some_and(|image| !image.image.is_empty()) {
        return Err(MountError::Image(target.clone()));
    }
    if !target.starts_with('/') || Path::new(target).components().any(|part| part == Component::ParentDir) {
        return Err(MountError::Target(target.clone()));
    }
    let private = mount.propagation() == MountPropagation::PropagationPrivate;
    if mount.recursive_read_only && !(mount.readonly && private) {
        return Err(MountError::RecursiveReadOnly(target.clone()));
    }
    let source = source(Path::new(&mount.host_path))
        .map_err(|source| MountError::Source { path: mount.host_path.clone().into(), source })?;
    let propagation = match mount.propagation() {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    };
    let mode = match (mount.readonly, mount.recursive_read_only) {
        (true, true) => "rro",
        (true, false) => "ro",
        (false, _) => "rw",
    };
    Ok(bind(&source, target, &["rbind", propagation, mode]))
}

/// Links are followed now, on the host; what is missing becomes a directory.
fn source(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path)?;
            path.canonicalize()
        }
        other => other,
    }
}

/// Mounts can pass in or out only where the root lets them.
pub(super) fn root_propagation(config: &ContainerConfig) -> &'static str {
    let any = |wanted| config.mounts.iter().any(|mount| mount.propagation() == wanted);
    if any(MountPropagation::PropagationBidirectional) {
        "shared"
    } else if any(MountPropagation::PropagationHostToContainer) {
        "slave"
    } else {
        "private"
    }
}

/// Makes `path` with all its parents as a process whose root is `rootfs` would see them. What is there stays.
pub(crate) fn make_directory_inside(rootfs: &Path, path: &Path) -> io::Result<()> {
    let mut parent = PathBuf::from("/");
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        let directory = open_inside(rootfs, &parent, OFlags::PATH | OFlags::DIRECTORY)?;
        match mkdirat(directory.as_fd(), name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        parent.push(name);
    }
    Ok(())
}
