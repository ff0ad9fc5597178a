//! The files that a pattern names, as a shell would find them: `*` ends at a slash, hidden files are named or left out. The
//! library only matches names: its own search panics at a name that is no UTF-8.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use glob::{Pattern, PatternError};

/// Why files cannot be found.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error("`{part}` is no pattern")]
    Pattern { part: String, source: PatternError },
    #[error("cannot read the folder `{path}`")]
    Read { path: PathBuf, source: io::Error },
}

/// One part of a path.
enum Part {
    Fixed(PathBuf),
    Matching {
        pattern: Pattern,
        has_hidden: bool,
    },
    /// Any folders.
    Deep,
}

/// The files that match, in the order of their names; `None` if the part of the pattern that is no pattern is not there.
pub(super) fn matching(pattern: &str) -> Result<Option<Vec<PathBuf>>, LookError> {
    let base = fixed_part(pattern);
    if !base.exists() {
        return Ok(None);
    }
    let rest = Path::new(pattern).strip_prefix(&base).unwrap_or(Path::new(""));
    let mut parts = rest.components().map(part).collect::<Result<Vec<Part>, LookError>>()?;
    let mut found = Vec::new();
    if parts.is_empty() && !base.is_dir() {
        return Ok(Some(vec![base]));
    }
    // A folder is all that is in it.
    if parts.is_empty() {
        parts.push(Part::Deep);
    }
    if matches!(parts.last(), Some(Part::Deep)) {
        parts.push(Part::Matching { pattern: all()?, has_hidden: false });
    }
    look(&base, &parts, &mut found)?;
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

/// The folders at the beginning of a pattern that are no pattern; all of it if nothing is.
pub(super) fn fixed_part(pattern: &str) -> PathBuf {
    Path::new(pattern)
        .components()
        .take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy()))
        .collect()
}

fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

fn all() -> Result<Pattern, LookError> {
    pattern("*")
}

fn pattern(part: &str) -> Result<Pattern, LookError> {
    Pattern::new(part).map_err(|source| LookError::Pattern { part: part.to_owned(), source })
}

fn part(component: Component<'_>) -> Result<Part, LookError> {
    let text = component.as_os_str().to_string_lossy();
    Ok(match &*text {
        "**" => Part::Deep,
        text if is_pattern(text) => {
            Part::Matching { pattern: pattern(text)?, has_hidden: text.starts_with('.') }
        }
        _ => Part::Fixed(component.as_os_str().into()),
    })
}

fn look(folder: &Path, parts: &[Part], found: &mut Vec<PathBuf>) -> Result<(), LookError> {
    let Some((first, rest)) = parts.split_first() else { return Ok(()) };
    match first {
        Part::Fixed(name) => take(folder.join(name), rest, found),
        Part::Matching { pattern, has_hidden } => {
            for path in entries(folder)? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if pattern.matches(&name) && (*has_hidden || !name.starts_with('.')) {
                    take(path, rest, found)?;
                }
            }
            Ok(())
        }
        Part::Deep => {
            look(folder, rest, found)?;
            for path in entries(folder)? {
                let is_hidden =
                    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
                // Links are not followed: they may lead back.
                let is_folder = fs::symlink_metadata(&path).is_ok_and(|data| data.is_dir());
                if is_folder && !is_hidden {
                    look(&path, parts, found)?;
                }
            }
            Ok(())
        }
    }
}

/// A path that matches so far.
fn take(path: PathBuf, rest: &[Part], found: &mut Vec<PathBuf>) -> Result<(), LookError> {
    let is_folder = path.is_dir();
    if rest.is_empty() {
        if !is_folder && path.symlink_metadata().is_ok() {
            found.push(path);
        }
    } else if is_folder {
        look(&path, rest, found)?;
    }
    Ok(())
}

/// What is in a folder; nothing, if it is none, or has just gone.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, LookError> {
    let failed = |source| LookError::Read { path: folder.to_owned(), source };
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(failed(error)),
    }
}
