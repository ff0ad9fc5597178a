//! Mounting overlays by short relative names, and finding what is mounted.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::mount::MountFlags;

/// Mounts the snapshot in `directory` at its `merged`.
pub(super) fn mount_overlay(directory: &Path, n_layers: usize) -> io::Result<()> {
    let lower: Vec<String> = (0..n_layers.max(1)).map(|i| i.to_string()).collect();
    let options = format!("lowerdir={},upperdir=../upper,workdir=../work", lower.join(":"));
    let directory = directory.join("l");
    // The working directory belongs to the process; only a thread that leaves it may change its own.
    let mount = move || -> io::Result<()> {
        nix::sched::unshare(CloneFlags::CLONE_FS)?;
        rustix::process::chdir(&directory)?;
        let options = std::ffi::CString::new(options)?;
        rustix::mount::mount(
            "overlay",
            "../merged",
            "overlay",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )?;
        Ok(())
    };
    let thread = std::thread::Builder::new().name("mount-overlay".to_owned()).spawn(mount)?;
    thread.join().map_err(|_| io::Error::other("the mounting thread panicked"))?
}

/// Mount points below `directory` in the order in which they were mounted.
pub(super) fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = mount_points()?;
    paths.retain(|path| path.starts_with(directory) && path != directory);
    Ok(paths)
}

pub(super) fn is_mounted(path: &Path) -> io::Result<bool> {
    let flags = rustix::fs::StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(rustix::fs::CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW, flags)?;
    let is_known = stat.stx_attributes_mask.contains(rustix::fs::StatxAttributes::MOUNT_ROOT);
    if is_known {
        return Ok(stat.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT));
    }
    Ok(mount_points()?.iter().any(|mounted| mounted == path))
}

fn mount_points() -> io::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/thread-self/mountinfo")?;
    let lines = table.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescaped).collect())
}

/// The kernel writes blanks in names as `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut name = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        let code = (*byte == b'\\').then(|| tail.get(..3)).flatten().and_then(octal);
        match code {
            Some(code) => {
                name.push(code);
                rest = &tail[3..];
            }
            None => name.push(*byte),
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(name))
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::unescaped;

    #[test]
    fn blanks_in_mount_points_are_restored() {
        assert_eq!(unescaped(br"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescaped(br"/plain\"), Path::new(r"/plain\"));
    }
}
