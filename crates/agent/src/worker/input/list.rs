//! Taking the list of a task's input files or objects: a process of its own, so that a slow or broken volume costs the worker nothing.
//!
//! ```text
//!   worker ──spawn──► `worker list` ──looks, sorts, compresses──► a file in memory ──► the attempt's result
//! ```

mod files;

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fuxi::inputs::{Entries, InvalidEntries};
use fuxi::protocol::{Exit, MAX_LIST, Program, Store};
use model::dagjob::Input;
use serde::{Deserialize, Serialize};

use crate::worker::objects::{self, StoreError};

use files::LookError;

/// The word that makes a worker's program take a list.
pub(in crate::worker) const VERB: &str = "list";
/// Names of files are much alike; more would take seconds for a million.
const LEVEL: i32 = 6;

/// What is to be listed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Request {
    input: Input,
    /// Of objects, where they are.
    store: Option<Box<Store>>,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error("cannot understand what to list")]
    Request { source: serde_json::Error },
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no `{path}` in this container: does the task mount the volume there, by volumeMounts?")]
    Missing { path: PathBuf },
    #[error(
        "`{path}` has a name that cannot be told as a line of text: rename it, or let the pattern not match it"
    )]
    Name { path: PathBuf },
    #[error("the list of `{pattern}` cannot be used")]
    Entries { pattern: String, source: InvalidEntries },
    #[error(
        "the list of `{pattern}` has {size} bytes when compressed, and at most {MAX_LIST} can be kept: let the pattern \
         match fewer files"
    )]
    TooLarge { pattern: String, size: usize },
    #[error("cannot pass the list on")]
    Write { source: io::Error },
}

/// The program that takes a list, in place of a task's command, and the file that it writes to.
pub(in crate::worker) fn program(program: &Program, input: &Input) -> io::Result<(Program, File)> {
    let request = Request { input: input.clone(), store: program.input_store.clone() };
    let request = serde_json::to_string(&request)?;
    let command = ["/proc/self/exe", "worker", VERB, &request].map(str::to_owned).to_vec();
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let file = File::from(rustix::fs::memfd_create("crest-input-list", flags)?);
    Ok((Program { command, ..program.clone() }, file))
}

pub(in crate::worker) fn stdout(file: &File) -> io::Result<Stdio> {
    Ok(file.try_clone()?.into())
}

/// How the attempt ended that was to write a list to `file`.
pub(in crate::worker) fn exit(exit: Exit, mut file: File) -> Exit {
    if !exit.is_success() {
        return exit;
    }
    let mut bytes = Vec::new();
    match file.rewind().and_then(|()| file.read_to_end(&mut bytes)) {
        Ok(_) => Exit::Listed { list: STANDARD.encode(bytes) },
        Err(error) => Exit::Failed { message: format!("cannot read the input list: {error}") },
    }
}

pub(in crate::worker) fn main(request: &str) -> ExitCode {
    let taken = serde_json::from_str(request).map_err(|source| ListError::Request { source });
    let written = taken
        .and_then(|request: Request| take(&request))
        .and_then(|list| io::stdout().write_all(&list).map_err(|source| ListError::Write { source }));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", kit::Chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The list, compressed.
fn take(request: &Request) -> Result<Vec<u8>, ListError> {
    let Request { input, store } = request;
    let pattern = match &input.objects {
        Some(objects) => objects.url.clone(),
        None => input.files.clone().unwrap_or_default(),
    };
    let names: Vec<PathBuf> = match store {
        Some(store) => objects::list::lines(store)?.into_iter().map(PathBuf::from).collect(),
        None => files::matching(&pattern)?
            .ok_or_else(|| ListError::Missing { path: files::fixed_part(&pattern) })?,
    };
    let mut text = String::new();
    for path in names {
        match path.to_str().filter(|name| !name.contains('\n')) {
            Some(name) => text.push_str(name),
            None => return Err(ListError::Name { path }),
        }
        text.push('\n');
    }
    let list = zstd::encode_all(text.as_bytes(), LEVEL).map_err(|source| ListError::Write { source })?;
    Entries::try_new(text, input)
        .map_err(|source| ListError::Entries { pattern: pattern.clone(), source })?;
    if list.len() > MAX_LIST {
        return Err(ListError::TooLarge { pattern, size: list.len() });
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    use model::dagjob::Input;

    use super::{Request, take};

    fn list(files: String) -> Result<Vec<String>, String> {
        let input = Input { files: Some(files), ..Input::default() };
        let list = take(&Request { input, store: None }).map_err(|error| kit::Chain(&error).to_string())?;
        let text = String::from_utf8(zstd::decode_all(&*list).unwrap()).unwrap();
        Ok(text.lines().map(str::to_owned).collect())
    }

    #[test]
    fn patterns_and_folders_are_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        fs::create_dir_all(folder.path().join("b/deep")).unwrap();
        for name in ["c.csv", "a.csv", "a.txt", ".hidden.csv", "b/x.csv", "b/deep/y.csv"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let check = |pattern: &str, expected: &[&str]| {
            let expected: Vec<String> = expected.iter().map(|name| format!("{root}/{name}")).collect();
            assert_eq!(list(format!("{root}{pattern}")), Ok(expected), "{pattern}");
        };
        check("/*.csv", &["a.csv", "c.csv"]);
        check("/[ac].*", &["a.csv", "a.txt", "c.csv"]);
        check("/**/*.csv", &["a.csv", "b/deep/y.csv", "b/x.csv", "c.csv"]);
        check("/", &["a.csv", "a.txt", "b/deep/y.csv", "b/x.csv", "c.csv"]);
        check("/b", &["b/deep/y.csv", "b/x.csv"]);
        check("/a.csv", &["a.csv"]);
        check("/*.parquet", &[]);
        check("/.hidden.*", &[".hidden.csv"]);
        check("/*", &["a.csv", "a.txt", "c.csv"]);
        check("/**", &["a.csv", "a.txt", "b/deep/y.csv", "b/x.csv", "c.csv"]);
        check("/b/*/y.csv", &["b/deep/y.csv"]);
        check("/c.csv/*", &[]);
        // Links are followed where a name says so, and not round and round.
        std::os::unix::fs::symlink(".", folder.path().join("b/loop")).unwrap();
        check("/b/**/*.csv", &["b/deep/y.csv", "b/x.csv"]);
        check("/b/loop/*.csv", &["b/loop/x.csv"]);
    }

    #[test]
    fn what_cannot_be_listed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        let error = list(format!("{root}/nowhere/*.csv")).unwrap_err();
        assert!(error.contains("there is no `") && error.contains("/nowhere` in this container"), "{error}");
        fs::write(folder.path().join("two\nlines"), "").unwrap();
        let error = list(format!("{root}/*")).unwrap_err();
        assert!(error.contains("cannot be told as a line of text"), "{error}");
        fs::remove_file(folder.path().join("two\nlines")).unwrap();
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        let error = list(root.to_owned()).unwrap_err();
        assert!(error.contains("/\u{fffd}` has a name that cannot be told"), "{error}");
    }
}
