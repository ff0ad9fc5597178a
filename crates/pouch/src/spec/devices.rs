//! Device nodes of a container, and which of them its cgroup lets it use.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cri;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("cannot look at `{path}`")]
    Stat { path: PathBuf, source: io::Error },
    #[error("`{path}` is no device")]
    NotADevice { path: PathBuf },
}

/// Nodes and rules as the runtime specification has them.
#[derive(Debug, Default)]
pub(super) struct Devices {
    pub nodes: Vec<Value>,
    pub rules: Vec<Value>,
}

/// Kept out of a privileged container's copy of the host's devices: every container has its own of these.
const OWN: [&str; 12] =
    ["pts", "shm", "mqueue", "fd", "console", "ptmx", "null", "zero", "full", "random", "urandom", "tty"];

pub(super) fn choose(wanted: &[cri::Device], privileged: bool) -> Result<Devices, DeviceError> {
    let mut devices = Devices::default();
    devices.rules.push(json!({"allow": privileged, "access": "rwm"}));
    if privileged {
        collect(Path::new("/dev"), &mut devices.nodes);
    }
    for device in wanted {
        let (kind, node) = describe(Path::new(&device.host_path), Path::new(&device.container_path))?;
        devices.rules.push(json!({
            "allow": true, "type": kind, "major": node["major"], "minor": node["minor"], "access": device.permissions,
        }));
        devices.nodes.push(node);
    }
    Ok(devices)
}

/// A device that vanishes meanwhile is not missed.
fn collect(directory: &Path, nodes: &mut Vec<Value>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        // A link leads to a device that is met elsewhere, or to this process's own streams.
        if kind.is_symlink() || OWN.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if kind.is_dir() {
            collect(&path, nodes);
        } else if let Ok((_, node)) = describe(&path, &path) {
            nodes.push(node);
        }
    }
}

fn describe(host: &Path, inside: &Path) -> Result<(&'static str, Value), DeviceError> {
    let metadata =
        fs::metadata(host).map_err(|source| DeviceError::Stat { path: host.to_owned(), source })?;
    let file_type = metadata.file_type();
    let kind = match (file_type.is_block_device(), file_type.is_char_device()) {
        (true, _) => "b",
        (_, true) => "c",
        _ => return Err(DeviceError::NotADevice { path: host.to_owned() }),
    };
    let device = metadata.rdev();
    let node = json!({
        "path": inside, "type": kind, "major": rustix::fs::major(device), "minor": rustix::fs::minor(device),
        "fileMode": metadata.permissions().mode() & 0o7777, "uid": metadata.uid(), "gid": metadata.gid(),
    });
    Ok((kind, node))
}
