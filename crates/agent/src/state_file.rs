//! Small files in which the agent keeps for its next start what it knows.

use std::path::Path;
use std::{fs, io};

/// `None` where nothing was kept.
pub(crate) fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the whole file in one step.
pub(crate) fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let draft = file.with_added_extension("draft");
    fs::write(&draft, text)?;
    fs::rename(&draft, file)
}
