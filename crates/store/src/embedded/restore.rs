//! A store made from a backup: written beside its place, and put there in one step when it is whole.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::file::{self, Problem};
use crate::backup::{BackupError, Head, Reader};

/// How much is made durable at a time.
const BATCH_BYTES: usize = 8 << 20;

/// Why a backup was not restored. What stood at the store's place stands there still.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("cannot use the backup")]
    Backup { source: BackupError },
    #[error("cannot write the store `{path}`")]
    Write { path: PathBuf, source: Problem },
    #[error("there is a store `{path}` already; move it away first")]
    Exists { path: PathBuf },
}

/// Makes a store at `path`, where there must be none, from `backup`; tells each number of objects that are written.
pub fn restore(path: &Path, backup: impl Read, progress: impl FnMut(u64)) -> Result<Head, RestoreError> {
    if path.exists() {
        return Err(RestoreError::Exists { path: path.to_owned() });
    }
    let draft = path.with_extension(format!("restore-{}", std::process::id()));
    let outcome = write(&draft, backup, progress).and_then(|head| {
        let failed =
            |source: std::io::Error| RestoreError::Write { path: path.to_owned(), source: source.into() };
        // A link, not a rename: a store that came there meanwhile stays.
        fs::hard_link(&draft, path).map_err(failed)?;
        sync_folder(path).map_err(failed)?;
        Ok(head)
    });
    // Whatever happened, the draft has no use any more.
    _ = fs::remove_file(&draft);
    outcome
}

fn write(draft: &Path, backup: impl Read, mut progress: impl FnMut(u64)) -> Result<Head, RestoreError> {
    let unreadable = |source| RestoreError::Backup { source };
    let failed = |source: Problem| RestoreError::Write { path: draft.to_owned(), source };
    let mut reader = Reader::open(backup).map_err(unreadable)?;
    let head = reader.head();
    let file = file::begin(draft, super::Options::default().cache_bytes).map_err(failed)?;
    let (mut batch, mut bytes, mut done) = (Vec::new(), 0, 0);
    loop {
        let entry = reader.next_entry().map_err(unreadable)?;
        let is_last = entry.is_none();
        bytes += entry.as_ref().map_or(0, |entry| entry.value.len() + entry.key.len());
        batch.extend(entry);
        if is_last || bytes >= BATCH_BYTES {
            file.seed(&batch, head.revision).map_err(|error| failed(error.into()))?;
            done += batch.len() as u64;
            progress(done);
            batch.clear();
            bytes = 0;
        }
        if is_last {
            return Ok(head);
        }
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
