//! Small records on disk: whole and durable, or not there.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("cannot write `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` does not hold what it should")]
    Content { path: PathBuf, source: serde_json::Error },
}

/// Replaces the file at `path` by `value` as JSON; a crash leaves the old one or the new one.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<(), DiskError> {
    let attempt = || -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_data()?;
        std::fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_data()
    };
    attempt().map_err(|source| DiskError::Write { path: path.to_owned(), source })
}

/// As [`write`], but only the end of this process is survived, not the machine's.
pub(crate) fn write_fast(path: &Path, value: &impl Serialize) -> Result<(), DiskError> {
    let attempt = || -> io::Result<()> {
        let beside = path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(value)?)?;
        std::fs::rename(&beside, path)
    };
    attempt().map_err(|source| DiskError::Write { path: path.to_owned(), source })
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, DiskError> {
    let bytes = std::fs::read(path).map_err(|source| DiskError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| DiskError::Content { path: path.to_owned(), source })
}

/// `None` if there is no such file.
pub(crate) fn read_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DiskError> {
    match read(path) {
        Ok(value) => Ok(Some(value)),
        Err(DiskError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a directory and all in it; none is fine.
pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Nanoseconds since 1970, as the interface tells time.
pub(crate) fn nanoseconds(time: jiff::Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}
