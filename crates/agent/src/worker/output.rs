//! What an instance writes to `CREST_OUTPUT`: aside first, and moved to its place as a whole when the instance has ended well.
//!
//! ```text
//!   OUT/.crest-INDEX.ATTEMPT.xxxxxxxx/output ──ended well──► OUT/INDEX     one rename: there, or not; never half
//!                                            └─else────────► removed
//! ```
//! Each attempt has a folder of its own, so that none takes another's away. A second attempt of an instance replaces the
//! output of the first as a whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use fuxi::protocol::{Attempt, Exit, Program};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// The output of one attempt.
#[derive(Debug)]
pub(super) struct Output {
    /// The attempt's own.
    folder: PathBuf,
    aside: PathBuf,
    place: PathBuf,
}

/// Why an output is not in its place.
#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error("it ended with exit code 0, but wrote nothing to CREST_OUTPUT")]
    Nothing,
    #[error("cannot write its output to the disk")]
    Sync { source: io::Error },
    #[error("cannot move its output to `{place}`")]
    Move { place: PathBuf, source: io::Error },
}

impl Output {
    /// A place for what `attempt` writes, if its task collects that.
    pub(super) fn prepare(program: &Program, attempt: Attempt) -> io::Result<Option<Self>> {
        let Some(folder) = program.output.as_ref().map(Path::new) else { return Ok(None) };
        let place = folder.join(attempt.index.to_string());
        let unique = format!(".crest-{}.{}.{:08x}", attempt.index, attempt.number, rand::random::<u32>());
        let folder = folder.join(unique);
        fs::create_dir_all(&folder)?;
        Ok(Some(Self { aside: folder.join("output"), folder, place }))
    }

    /// Where the instance writes; nothing is there yet.
    pub(super) fn aside(&self) -> &Path {
        &self.aside
    }

    /// How an attempt ended that ended with `exit`, now that its output is in its place or gone.
    pub(super) fn finish(self, exit: Exit) -> Exit {
        let outcome = if exit.is_success() { self.commit() } else { Ok(()) };
        // What is left is of no use; nobody reads it if it stays.
        let _gone = fs::remove_dir_all(&self.folder);
        match outcome {
            Ok(()) => exit,
            Err(error) => Exit::Failed { message: kit::Chain(&error).to_string() },
        }
    }

    fn commit(&self) -> Result<(), CommitError> {
        if fs::symlink_metadata(&self.aside).is_err() {
            return Err(CommitError::Nothing);
        }
        sync(&self.aside).map_err(|source| CommitError::Sync { source })?;
        let moved = fs::rename(&self.aside, &self.place).or_else(|_| {
            // A folder takes no other's place: they change places, and the older one goes.
            renameat_with(CWD, &self.aside, CWD, &self.place, RenameFlags::EXCHANGE).map_err(io::Error::from)
        });
        moved.map_err(|source| CommitError::Move { place: self.place.clone(), source })?;
        // The result counts as soon as it is told: a machine without power must not take the name back.
        self.place.parent().map_or(Ok(()), sync_folder).map_err(|source| CommitError::Sync { source })
    }
}

/// Writes a file, or all files below a folder, to the disk: a name in its place must not stand for data that are lost.
fn sync(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            sync(&entry?.path())?;
        }
    }
    if kind.is_dir() || kind.is_file() { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Writes the names in a folder to the disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
