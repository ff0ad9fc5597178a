//! The list of images: one small file, replaced whole under a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::layout::{Layout, Lock, write_atomically};

#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("cannot read the list of images `{path}`", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the list of images `{path}` is damaged", path = path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("cannot write the list of images `{path}`", path = path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What is known of one image beside its blobs. Its id is the digest of its configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The same image may have come in several wrappings.
    pub(crate) manifests: BTreeSet<Digest>,
    pub(crate) references: BTreeSet<String>,
    pub(crate) repo_digests: BTreeSet<String>,
    pub(crate) size: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    pub(crate) images: BTreeMap<Digest, Record>,
}

impl Index {
    pub(crate) fn read(layout: &Layout) -> Result<Self, IndexError> {
        let path = layout.images().join("index.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| IndexError::Parse { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(IndexError::Read { path, source }),
        }
    }

    /// Changes the list; what `change` returns is passed on once the list is on disk.
    pub(crate) fn update<T>(layout: &Layout, change: impl FnOnce(&mut Self) -> T) -> Result<T, IndexError> {
        let path = layout.images().join("index.json");
        let write = |source| IndexError::Write { path: path.clone(), source };
        let _lock =
            Lock::take(&layout.images().join("index.lock"), FlockOperation::LockExclusive).map_err(write)?;
        let mut index = Self::read(layout)?;
        let result = change(&mut index);
        let bytes = serde_json::to_vec_pretty(&index)
            .map_err(|source| IndexError::Parse { path: path.clone(), source })?;
        write_atomically(&path, &bytes).map_err(write)?;
        Ok(result)
    }

    /// Adds an image, or adds names to it. A tag names one image: it leaves the one that it named before.
    pub(crate) fn add(&mut self, id: Digest, record: Record) {
        for other in self.images.values_mut() {
            other.references.retain(|reference| !record.references.contains(reference));
        }
        let known = self.images.entry(id).or_default();
        known.manifests.extend(record.manifests);
        known.references.extend(record.references);
        known.repo_digests.extend(record.repo_digests);
        known.size = record.size;
    }
}
