//! Copies programs of this host with the libraries that they load into a root filesystem.
//!
//! The dynamic loader itself is asked which libraries it would load (`ld.so --list`); the program does not run.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, thiserror::Error)]
pub enum ClosureError {
    #[error("cannot read the program `{path}`", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a 64-bit ELF program", path = path.display())]
    NotElf { path: PathBuf },
    #[error("cannot ask `{loader}` for the libraries of `{path}`", loader = loader.display(), path = path.display())]
    Loader { loader: PathBuf, path: PathBuf, source: io::Error },
    #[error("`{path}` needs libraries that this host does not have: {missing}", path = path.display())]
    Missing { path: PathBuf, missing: String },
    #[error("cannot copy `{from}` to `{to}`", from = from.display(), to = to.display())]
    Copy { from: PathBuf, to: PathBuf, source: io::Error },
}

/// Copies each of `programs`, under its own path, and everything that it needs. Returns what was copied.
pub fn copy(programs: &[&Path], rootfs: &Path) -> Result<BTreeSet<PathBuf>, ClosureError> {
    let mut files = BTreeSet::new();
    for program in programs {
        files.extend(libraries(program)?);
        files.insert((*program).to_owned());
    }
    for file in &files {
        copy_one(file, rootfs)?;
    }
    Ok(files)
}

fn copy_one(from: &Path, rootfs: &Path) -> Result<(), ClosureError> {
    let to = rootfs.join(from.strip_prefix("/").unwrap_or(from));
    let failed = |source| ClosureError::Copy { from: from.to_owned(), to: to.clone(), source };
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::copy(from, &to).map(drop).map_err(failed)
}

/// The loader and the libraries of `program`, as paths of this host. Empty for a static program.
pub fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>, ClosureError> {
    let Some(loader) = interpreter(program)? else { return Ok(BTreeSet::new()) };
    let failed = |source| ClosureError::Loader { loader: loader.clone(), path: program.to_owned(), source };
    let output = Command::new(&loader).arg("--list").arg(program).output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let missing = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ClosureError::Missing { path: program.to_owned(), missing });
    }
    let missing: Vec<&str> =
        text.lines().filter(|line| line.ends_with("=> not found")).map(str::trim).collect();
    if !missing.is_empty() {
        return Err(ClosureError::Missing { path: program.to_owned(), missing: missing.join(", ") });
    }
    let mut files: BTreeSet<PathBuf> = text.lines().filter_map(library).collect();
    files.insert(loader);
    Ok(files)
}

/// `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f...)`; the loader's own line has no arrow.
fn library(line: &str) -> Option<PathBuf> {
    let path = line.split_once("=> ").map_or(line, |(_, path)| path);
    let path = path.rsplit_once(" (").map_or(path, |(path, _)| path).trim();
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// What the kernel starts for this program first: its dynamic loader, if it has one.
fn interpreter(program: &Path) -> Result<Option<PathBuf>, ClosureError> {
    let read = |source| ClosureError::Read { path: program.to_owned(), source };
    let not_elf = || ClosureError::NotElf { path: program.to_owned() };
    let file = File::open(program).map_err(read)?;
    let mut start = [0; 64];
    (&file).read_exact(&mut start).map_err(|_| not_elf())?;
    let is_64_bit_little_endian = start.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]);
    if !is_64_bit_little_endian {
        return Err(not_elf());
    }
    let headers_at = u64_at(&start, 32);
    let (entry_size, n_entries) = (u16_at(&start, 54), u16_at(&start, 56));
    for i in 0..u64::from(n_entries) {
        let mut header = [0; 56];
        let at = headers_at.saturating_add(i * u64::from(entry_size));
        file.read_exact_at(&mut header, at).map_err(|_| not_elf())?;
        const PT_INTERP: [u8; 4] = [3, 0, 0, 0];
        if header[..4] == PT_INTERP {
            let length = usize::try_from(u64_at(&header, 32).min(4096)).unwrap_or(4096);
            let mut path = vec![0; length];
            file.read_exact_at(&mut path, u64_at(&header, 8)).map_err(|_| not_elf())?;
            path.retain(|byte| *byte != 0);
            return Ok(Some(PathBuf::from(String::from_utf8(path).map_err(|_| not_elf())?)));
        }
    }
    Ok(None)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{copy, libraries, library};

    #[test]
    fn loader_output_is_read() {
        let line = "\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f)";
        assert_eq!(library(line).unwrap(), Path::new("/lib/x86_64-linux-gnu/libz.so.1"));
        let own = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)";
        assert_eq!(library(own).unwrap(), Path::new("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007ffd)"), None);
    }

    #[test]
    fn a_program_runs_with_nothing_but_its_closure() {
        let rootfs = tempfile::tempdir().unwrap();
        let copied = copy(&[Path::new("/bin/sh")], rootfs.path()).unwrap();
        assert!(copied.len() > 2, "{copied:?}");
        let output = std::process::Command::new("chroot")
            .arg(rootfs.path())
            .args(["/bin/sh", "-c", "echo inside"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "inside\n");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(libraries(Path::new("/etc/passwd")).is_err());
        assert!(libraries(Path::new("/nowhere")).is_err());
    }
}
