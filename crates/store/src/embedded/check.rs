//! Checks a store's file that nobody has open: every page, every record, and that history is whole.

use std::path::{Path, PathBuf};

use super::file::{File, OpenError};
use crate::Revision;

/// What a sound store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub revision: Revision,
    /// History reaches back to here.
    pub compacted: Revision,
    pub objects: usize,
    /// The changes in the log, of which objects and history are made.
    pub changes: u64,
}

/// Why a store is not found sound.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("there is no store `{path}`")]
    Missing { path: PathBuf },
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Reads all of the store `path`. Nothing is changed in it.
pub fn check(path: &Path) -> Result<Report, CheckError> {
    if !path.exists() {
        return Err(CheckError::Missing { path: path.to_owned() });
    }
    let corrupt =
        |error: super::file::FileError| OpenError::Corrupt { path: path.to_owned(), source: error.into() };
    let file = File::open_existing(path, super::Options::default().cache_bytes)?;
    let loaded = file.load().map_err(corrupt)?;
    let changes = file.view().and_then(|view| view.verify()).map_err(corrupt)?;
    Ok(Report {
        revision: loaded.revision,
        compacted: loaded.compacted,
        objects: loaded.index.len(),
        changes,
    })
}
