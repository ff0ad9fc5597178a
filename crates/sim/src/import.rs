//! Importers: one module per source. Each reads its files whole and either understands every row or says which one it
//! does not understand, and how to mend it.

pub mod batch;
pub mod dump;
pub mod openb;
pub mod table;
pub mod tianchi;

use std::path::PathBuf;

/// Why a file was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot read `{}`", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("cannot unpack `{}` with the program `xz`: install xz-utils, or unpack it by hand", path.display())]
    Unpack { path: PathBuf, source: std::io::Error },
    #[error("`{}` is not a table of comma-separated values", path.display())]
    Malformed { path: PathBuf, source: csv::Error },
    #[error(
        "`{}` has no column `{column}`: its first line must name the columns {}", path.display(), expected.join(", ")
    )]
    MissingColumn { path: PathBuf, column: &'static str, expected: Vec<&'static str> },
    #[error(
        "{}:{line}: column `{column}` holds `{value}`: {expected} is expected there; mend the line or leave it out",
        path.display()
    )]
    BadValue { path: PathBuf, line: u64, column: String, value: String, expected: &'static str },
    #[error("{}:{line}: `{name}` is there twice: names must differ; rename one of the two lines", path.display())]
    Repeated { path: PathBuf, line: u64, name: String },
    #[error("{}:{line}: job `{job}`: {why}", path.display())]
    Job { path: PathBuf, line: u64, job: String, why: String },
    #[error("`{}` holds no rows: is it the right file?", path.display())]
    Empty { path: PathBuf },
}
