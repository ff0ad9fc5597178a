//! Files that change all at once: readers see the old set or the new, never a mixture.
//!
//! ```text
//!   key ─► ..data/key        ..data ─► ..1700000000123456789        the swap is one rename of `..data`
//! ```

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::Files;

const DATA: &str = "..data";

/// Makes `dir` hold exactly `files`. Nothing is touched if it does already.
pub(super) fn write(dir: &Path, files: &Files) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let data = dir.join(DATA);
    let old = std::fs::read_link(&data).ok();
    if old.is_some() && holds(&data, files) {
        return Ok(());
    }
    let version = format!("..{}", kit::clock::since_epoch().as_nanos());
    for (name, file) in files {
        let path = dir.join(&version).join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, &file.content)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(file.mode))?;
    }
    std::fs::create_dir_all(dir.join(&version))?;
    let staged = dir.join("..data_tmp");
    remove_if_there(&staged)?;
    symlink(&version, &staged)?;
    std::fs::rename(&staged, &data)?;
    link_names(dir, files)?;
    match old {
        Some(old) => std::fs::remove_dir_all(dir.join(old)),
        None => Ok(()),
    }
}

fn holds(data: &Path, files: &Files) -> bool {
    let same =
        files.iter().all(|(name, file)| std::fs::read(data.join(name)).is_ok_and(|old| old == file.content));
    same && tops(files).len() == std::fs::read_dir(data).map_or(0, Iterator::count)
}

/// The first parts of all names: these are visible in the volume itself.
fn tops(files: &Files) -> BTreeSet<&str> {
    files.keys().map(|name| name.split('/').next().unwrap_or(name)).collect()
}

fn link_names(dir: &Path, files: &Files) -> io::Result<()> {
    let tops = tops(files);
    for name in &tops {
        let link = dir.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in std::fs::read_dir(dir)?.filter_map(Result::ok) {
        let name = entry.file_name();
        let gone = name.to_str().is_some_and(|name| !name.starts_with("..") && !tops.contains(name));
        if gone {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
