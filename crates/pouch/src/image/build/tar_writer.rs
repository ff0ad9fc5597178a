//! Writes a directory tree as a tar stream: sorted, without times, with owners, modes, links and attributes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("cannot read `{path}`", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot pack `{path}`", path = path.display())]
    Append { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a directory", path = path.display())]
    NotADirectory { path: PathBuf },
}

pub(super) struct TarWriter<W: Write> {
    builder: Builder<W>,
    /// Files with several names, by device and inode: where the first name went.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(output: W) -> Self {
        Self { builder: Builder::new(output), linked: HashMap::new() }
    }

    pub(super) fn finish(self) -> io::Result<W> {
        self.builder.into_inner()
    }

    /// A file of the archive's own.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.stream(path, content.len() as u64, content)
    }

    pub(super) fn stream(&mut self, path: &str, size: u64, content: impl Read) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        self.builder.append_data(&mut header, path, content)
    }

    /// Everything below `root`; `root` itself becomes the root of the layer.
    pub(super) fn tree(&mut self, root: &Path) -> Result<(), WriteError> {
        let metadata =
            fs::metadata(root).map_err(|source| WriteError::Read { path: root.to_owned(), source })?;
        if !metadata.is_dir() {
            return Err(WriteError::NotADirectory { path: root.to_owned() });
        }
        self.entry(root, Path::new("./"), &metadata)?;
        self.children(root, Path::new(""))
    }

    fn children(&mut self, directory: &Path, inside: &Path) -> Result<(), WriteError> {
        let read = |source| WriteError::Read { path: directory.to_owned(), source };
        let mut names = fs::read_dir(directory)
            .and_then(|entries| {
                entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()
            })
            .map_err(read)?;
        names.sort();
        for name in names {
            let (path, inside) = (directory.join(&name), inside.join(&name));
            let metadata = fs::symlink_metadata(&path)
                .map_err(|source| WriteError::Read { path: path.clone(), source })?;
            // Sockets belong to running processes.
            if metadata.file_type().is_socket() {
                continue;
            }
            self.entry(&path, &inside, &metadata)?;
            if metadata.is_dir() {
                self.children(&path, &inside)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, inside: &Path, metadata: &Metadata) -> Result<(), WriteError> {
        self.append(path, inside, metadata)
            .map_err(|source| WriteError::Append { path: path.to_owned(), source })
    }

    fn append(&mut self, path: &Path, inside: &Path, metadata: &Metadata) -> io::Result<()> {
        let mut header = header(metadata);
        if !metadata.is_dir() && metadata.nlink() > 1 {
            if let Some(first) = self.linked.get(&(metadata.dev(), metadata.ino())) {
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                return self.builder.append_link(&mut header, inside, first);
            }
            self.linked.insert((metadata.dev(), metadata.ino()), inside.to_owned());
        }
        let attributes = attributes(path)?;
        let pairs = attributes.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(pairs)?;
        if metadata.is_symlink() {
            return self.builder.append_link(&mut header, inside, fs::read_link(path)?);
        }
        if metadata.is_file() {
            // A file that grows meanwhile must not run into the next header.
            let content = File::open(path)?.take(metadata.len());
            return self.builder.append_data(&mut header, inside, content);
        }
        self.builder.append_data(&mut header, inside, io::empty())
    }
}

/// Owner, mode and kind; no time, no names of users, which differ from machine to machine.
fn header(metadata: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    let kind = metadata.file_type();
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(u64::from(metadata.uid()));
    header.set_gid(u64::from(metadata.gid()));
    header.set_mtime(0);
    header.set_size(if kind.is_file() { metadata.len() } else { 0 });
    header.set_entry_type(if kind.is_dir() {
        EntryType::Directory
    } else if kind.is_symlink() {
        EntryType::Symlink
    } else if kind.is_fifo() {
        EntryType::Fifo
    } else if kind.is_char_device() {
        EntryType::Char
    } else if kind.is_block_device() {
        EntryType::Block
    } else {
        EntryType::Regular
    });
    if kind.is_char_device() || kind.is_block_device() {
        let device = metadata.rdev();
        // GNU headers always have room for device numbers.
        drop(header.set_device_major(rustix::fs::major(device)));
        drop(header.set_device_minor(rustix::fs::minor(device)));
    }
    header
}

/// Extended attributes in the names that tar gives them.
fn attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut attributes = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(shown) = std::str::from_utf8(name) else { continue };
        // The overlay's own books, and labels that only this host's policy knows.
        if shown.starts_with("trusted.overlay.") || shown == "security.selinux" {
            continue;
        }
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(length);
        attributes.push((format!("SCHILY.xattr.{shown}"), value));
    }
    attributes.sort();
    Ok(attributes)
}
