//! Files for their owner's eyes only, replaced in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes `contents` the file `path`, with mode 0600. A crash leaves the old file or the new one, both whole.
pub fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let draft = path.with_added_extension(format!("draft-{}", std::process::id()));
    let outcome = write_new(&draft, contents).and_then(|()| fs::rename(&draft, path));
    if let Err(error) = outcome {
        // The first error tells what is wrong; that the draft may be left says nothing more.
        _ = fs::remove_file(&draft);
        return Err(error);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    // A draft left by a process of the same number that crashed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}
