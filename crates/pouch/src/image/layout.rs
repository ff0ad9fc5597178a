//! Where things lie below the engine's root, and the lock that keeps the collector away from work in progress.
//!
//! ```text
//! root/images/blobs/sha256/HEX     manifests, configurations, layers as they came
//! root/images/layers/HEX/fs        one unpacked layer, by chain id
//! root/images/index.json           which images there are and what they are called
//! root/images/staging/             unfinished work, renamed into place when whole
//! root/images/lock                 shared: adding; exclusive: collecting garbage
//! root/snapshots/ID/               see `snapshot`
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::digest::Digest;

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn create(&self) -> io::Result<()> {
        for directory in [self.blobs(), self.layers(), self.staging()] {
            fs::create_dir_all(directory)?;
        }
        Ok(())
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.images().join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.images().join("layers")
    }

    /// The unpacked content of one layer.
    pub(crate) fn layer(&self, chain: &Digest) -> PathBuf {
        self.layers().join(chain.hex()).join("fs")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.images().join("staging")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Held while something is added, so that nothing half-referenced is collected.
    pub(crate) fn adding(&self) -> io::Result<Lock> {
        Lock::take(&self.images().join("lock"), FlockOperation::LockShared)
    }

    /// Held while garbage is collected; `None` while anyone adds.
    pub(crate) fn collecting(&self) -> io::Result<Option<Lock>> {
        match Lock::take(&self.images().join("lock"), FlockOperation::NonBlockingLockExclusive) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            other => other.map(Some),
        }
    }

    /// A fresh name for unfinished work.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.staging().join(format!("{:016x}", rand::random::<u64>()))
    }
}

/// A lock on a file that processes share; released on drop, also by a crash.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(path: &Path, operation: FlockOperation) -> io::Result<Self> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        loop {
            match rustix::fs::flock(&file, operation) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.map(|()| Self { _file: file }).map_err(Into::into),
            }
        }
    }
}

/// Removed on drop, be it a file, a directory or gone.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let removed = match fs::symlink_metadata(&self.0) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&self.0),
            Ok(_) => fs::remove_file(&self.0),
            Err(_) => Ok(()),
        };
        if let Err(error) = removed {
            tracing::warn!(path = %self.0.display(), %error, "Unfinished work stays on disk");
        }
    }
}

/// Replaces `path` by `content` so that a crash leaves the old or the new one, whole.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let staged = PathBuf::from(name);
    let mut file = File::create(&staged)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    sync_parent(path)
}

/// Makes a rename in `path`'s directory survive a power loss.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
