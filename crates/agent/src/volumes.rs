//! The volumes of a Pod, made real below `<root>/volumes/<uid>/<name>` before its containers start.

mod atomic;
mod files;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume};
use model::{Bytes, Quantity};

use crate::env::{EnvError, Scope};
use crate::sources;

pub use files::{File, Files};

/// Why a volume cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("cannot make `{path}` of volume `{volume}`")]
    Io { volume: String, path: PathBuf, source: io::Error },
    #[error("volume `{volume}`: hostPath type check failed: {path} is not a {wanted}")]
    WrongType { volume: String, path: PathBuf, wanted: &'static str },
    #[error("volume `{volume}` refers to what does not exist")]
    Source { volume: String, source: EnvError },
    #[error("volume `{volume}` has a path that leaves it: `{path}`")]
    Escape { volume: String, path: String },
    #[error("volume `{volume}` waits for claim `{claim}` to be bound")]
    Unbound { volume: String, claim: String },
    #[error("volume `{0}` is of a kind that this agent does not know")]
    Unknown(String),
}

/// Where each volume of a Pod lies on the host, by name.
pub type Places = BTreeMap<String, PathBuf>;

/// Makes all volumes of the scope's Pod below `dir`; volumes that are there already are brought up to date.
pub fn prepare(dir: &Path, scope: &Scope<'_>) -> Result<Places, VolumeError> {
    let volumes = scope.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.map(|volume| Ok((volume.name.clone(), place(dir, volume, scope)?))).collect()
}

fn place(dir: &Path, volume: &Volume, scope: &Scope<'_>) -> Result<PathBuf, VolumeError> {
    if let Some(source) = &volume.host_path {
        return host_path(&volume.name, source);
    }
    if let Some(claim) = sources::claim_name(scope.pod, volume) {
        return claimed(&volume.name, claim, scope);
    }
    let path = dir.join(&volume.name);
    let failed = failure(&volume.name, &path);
    if let Some(source) = &volume.empty_dir {
        empty_dir(&path, source, group(scope.pod)).map_err(failed)?;
        return Ok(path);
    }
    let Some(files) = files::of(volume, scope)? else {
        return Err(VolumeError::Unknown(volume.name.clone()));
    };
    atomic::write(&path, &files).map_err(failed)?;
    Ok(path)
}

/// The directory of a volume that is bound to a claim.
fn claimed(volume: &str, claim: String, scope: &Scope<'_>) -> Result<PathBuf, VolumeError> {
    let Some(bound) = scope.sources.volumes.get(&claim) else {
        return Err(VolumeError::Unbound { volume: volume.to_owned(), claim });
    };
    let spec = bound.spec.clone().unwrap_or_default();
    match (spec.host_path, spec.local) {
        (Some(source), _) => host_path(volume, &source),
        (None, Some(local)) => {
            // Somebody prepared it; what is not there is not made, so that a disk that is not mounted is noticed.
            let source = HostPathVolumeSource { path: local.path, type_: Some("Directory".to_owned()) };
            host_path(volume, &source)
        }
        (None, None) => Err(VolumeError::Unknown(volume.to_owned())),
    }
}

fn failure(volume: &str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError + use<> {
    let (volume, path) = (volume.to_owned(), path.to_owned());
    move |source| VolumeError::Io { volume, path, source }
}

fn group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(context.fs_group?).ok()
}

fn empty_dir(path: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path)?;
    if source.medium.as_deref() == Some("Memory") {
        let limit = source.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
        mount_tmpfs(path, limit.map(Bytes::from).filter(|limit| limit.0 > 0))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o2777))?;
    }
    Ok(())
}

fn mount_tmpfs(path: &Path, limit: Option<Bytes>) -> io::Result<()> {
    let options = limit.map(|limit| format!("size={}", limit.0));
    let flags = nix::mount::MsFlags::MS_NOSUID | nix::mount::MsFlags::MS_NODEV;
    nix::mount::mount(Some("tmpfs"), path, Some("tmpfs"), flags, options.as_deref()).map_err(io::Error::from)
}

fn host_path(volume: &str, source: &HostPathVolumeSource) -> Result<PathBuf, VolumeError> {
    let path = PathBuf::from(&source.path);
    let failed = failure(volume, &path);
    let metadata = std::fs::metadata(&path).ok();
    let wanted = source.type_.as_deref().unwrap_or_default();
    let kind = metadata.as_ref().map(std::fs::Metadata::file_type);
    let (fits, what) = match wanted {
        "" => (true, "path"),
        "DirectoryOrCreate" | "Directory" => (kind.is_some_and(|kind| kind.is_dir()), "directory"),
        "FileOrCreate" | "File" => (kind.is_some_and(|kind| kind.is_file()), "file"),
        "Socket" => (kind.is_some_and(|kind| kind.is_socket()), "socket file"),
        "CharDevice" => (kind.is_some_and(|kind| kind.is_char_device()), "character device"),
        "BlockDevice" => (kind.is_some_and(|kind| kind.is_block_device()), "block device"),
        _ => (false, "known type"),
    };
    match (wanted, kind) {
        _ if fits && (kind.is_some() || !wanted.is_empty()) => {}
        // Docker's habit, which manifests rely on: what is not there becomes a directory.
        ("" | "DirectoryOrCreate", None) => std::fs::create_dir_all(&path).map_err(failed)?,
        ("FileOrCreate", None) => std::fs::write(&path, "").map_err(failed)?,
        _ => return Err(VolumeError::WrongType { volume: volume.to_owned(), path, wanted: what }),
    }
    Ok(path)
}

/// The part of a volume that a `subPath` names; made if it is not there.
pub fn sub_path(volume: &str, place: &Path, sub_path: &str) -> Result<PathBuf, VolumeError> {
    let escape = || VolumeError::Escape { volume: volume.to_owned(), path: sub_path.to_owned() };
    let relative = Path::new(sub_path);
    if !relative.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
        return Err(escape());
    }
    let path = place.join(relative);
    let failed = failure(volume, &path);
    if !path.exists() {
        std::fs::create_dir_all(&path).map_err(failure(volume, &path))?;
    }
    // A container may have laid a symbolic link there that leads out of the volume.
    let real = path.canonicalize().map_err(failed)?;
    let home = place.canonicalize().map_err(failure(volume, place))?;
    if real.starts_with(&home) { Ok(real) } else { Err(escape()) }
}

/// Removes the directory of a Pod with its volumes in `volumes`. Host paths are not below it and stay.
pub fn remove(pod_dir: &Path) -> io::Result<()> {
    // A container that may mount can have left mounts of anything on any level: to remove the directory before they
    // are gone would be to empty what is mounted there.
    for place in mounted_below(pod_dir)? {
        nix::mount::umount2(&place, nix::mount::MntFlags::MNT_DETACH)?;
    }
    match std::fs::remove_dir_all(pod_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The mounts in `dir`, last mounted first.
fn mounted_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = match dir.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        dir => dir?,
    };
    let mounts = std::fs::read("/proc/self/mountinfo")?;
    let place = |line: &[u8]| {
        let escaped = line.split(|byte| *byte == b' ').nth(4)?;
        let path = PathBuf::from(OsString::from_vec(unescaped(escaped)));
        (path.starts_with(&dir) && path != dir).then_some(path)
    };
    Ok(mounts.split(|byte| *byte == b'\n').rev().filter_map(place).collect())
}

/// The kernel writes blanks and backslashes as `\ooo`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let octal = text.get(at + 1..at + 4).filter(|_| byte == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        at += if code.is_some() { 4 } else { 1 };
        plain.push(code.unwrap_or(byte));
    }
    plain
}

#[cfg(test)]
mod tests;
