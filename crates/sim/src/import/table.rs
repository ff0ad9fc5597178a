//! Tables of comma-separated values, with errors that name file, line and column.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use flate2::read::MultiGzDecoder;

use super::ImportError;

/// A file of rows.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    columns: Vec<String>,
    rows: Vec<csv::StringRecord>,
}

/// One row of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    table: &'a Table,
    record: &'a csv::StringRecord,
}

/// The names of the columns, made of the cells of the first line, and whether that line is a header.
pub type Columns = for<'a> fn(&[&'a str]) -> (Vec<&'a str>, bool);

impl Table {
    /// A table whose first line names the columns; those of `required` must be among them, in any order.
    pub fn with_header(path: &Path, required: &[&'static str]) -> Result<Self, ImportError> {
        Self::parse_with_header(path, open(path)?, required)
    }

    /// A table without a line of names: `columns` says what they are.
    pub fn without_header(path: &Path, columns: &[&'static str]) -> Result<Self, ImportError> {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { path: path.to_owned(), columns, rows: Vec::new() }.filled(reader(open(path)?, false))
    }

    /// Hands every row of a file to `each`, which need not keep it: files may be larger than memory. The columns in
    /// `required` must be there.
    pub fn scan(
        path: &Path,
        columns: Columns,
        required: &[&'static str],
        mut each: impl FnMut(Row<'_>) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let malformed = |source| ImportError::Malformed { path: path.to_owned(), source };
        let mut table = Self { path: path.to_owned(), columns: Vec::new(), rows: Vec::new() };
        let (mut reader, mut record) = (reader(open(path)?, false), csv::StringRecord::new());
        let mut is_empty = true;
        while reader.read_record(&mut record).map_err(malformed)? {
            if table.columns.is_empty() {
                let first: Vec<&str> =
                    record.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
                let (names, is_header) = columns(&first);
                table.columns = names.into_iter().map(str::to_owned).collect();
                require(path, &table.columns, required)?;
                if is_header {
                    continue;
                }
            }
            is_empty = false;
            each(Row { table: &table, record: &record })?;
        }
        if is_empty { Err(ImportError::Empty { path: path.to_owned() }) } else { Ok(()) }
    }

    fn parse_with_header(
        path: &Path,
        bytes: impl Read,
        required: &[&'static str],
    ) -> Result<Self, ImportError> {
        let mut reader = reader(bytes, true);
        let header = reader.headers();
        let header =
            header.map_err(|source| ImportError::Malformed { path: path.to_owned(), source })?.clone();
        // Spreadsheets put a mark before the first name.
        let columns: Vec<String> =
            header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
        require(path, &columns, required)?;
        Self { path: path.to_owned(), columns, rows: Vec::new() }.filled(reader)
    }

    fn filled(mut self, mut reader: csv::Reader<impl Read>) -> Result<Self, ImportError> {
        for record in reader.records() {
            let record =
                record.map_err(|source| ImportError::Malformed { path: self.path.clone(), source })?;
            self.rows.push(record);
        }
        match self.rows.is_empty() {
            true => Err(ImportError::Empty { path: self.path }),
            false => Ok(self),
        }
    }

    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|record| Row { table: self, record })
    }
}

fn require(path: &Path, columns: &[String], required: &[&'static str]) -> Result<(), ImportError> {
    match required.iter().find(|&&column| !columns.iter().any(|each| each == column)) {
        None => Ok(()),
        Some(column) => {
            let (path, expected) = (path.to_owned(), required.to_vec());
            Err(ImportError::MissingColumn { path, column, expected })
        }
    }
}

fn open(path: &Path) -> Result<Box<dyn Read>, ImportError> {
    let file = File::open(path).map_err(|source| ImportError::Open { path: path.to_owned(), source })?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => unpacked(path, file),
        Some("gz") => Ok(Box::new(MultiGzDecoder::new(BufReader::new(file)))),
        _ => Ok(Box::new(file)),
    }
}

/// What `xz` makes of a packed file.
fn unpacked(path: &Path, file: File) -> Result<Box<dyn Read>, ImportError> {
    let output = Command::new("xz").args(["--decompress", "--stdout"]).stdin(file).output();
    match output {
        Ok(output) if output.status.success() => Ok(Box::new(Cursor::new(output.stdout))),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(ImportError::Unpack { path: path.to_owned(), source: std::io::Error::other(why) })
        }
        Err(source) => Err(ImportError::Unpack { path: path.to_owned(), source }),
    }
}

fn reader<R: Read>(bytes: R, has_headers: bool) -> csv::Reader<R> {
    csv::ReaderBuilder::new().has_headers(has_headers).trim(csv::Trim::All).from_reader(bytes)
}

impl<'a> Row<'a> {
    /// The text in a column; empty where the table has no such column.
    pub fn text(&self, column: &str) -> &'a str {
        let position = self.table.columns.iter().position(|each| each == column);
        position.and_then(|position| self.record.get(position)).unwrap_or_default()
    }

    /// The value in a column; `expected` says in an error what belongs there.
    pub fn value<T: FromStr>(&self, column: &str, expected: &'static str) -> Result<T, ImportError> {
        self.text(column).parse().map_err(|_| self.fault(column, expected))
    }

    /// As [`Row::value`] where a value is not always there.
    pub fn value_or<T: FromStr>(
        &self,
        column: &str,
        absent: T,
        expected: &'static str,
    ) -> Result<T, ImportError> {
        if self.text(column).is_empty() { Ok(absent) } else { self.value(column, expected) }
    }

    /// The error that this row's value in `column` is not what is `expected`.
    pub fn fault(&self, column: &str, expected: &'static str) -> ImportError {
        let (path, column, value) =
            (self.table.path.clone(), column.to_owned(), self.text(column).to_owned());
        ImportError::BadValue { path, line: self.line(), column, value, expected }
    }

    /// The error that `name` stood in an earlier row already.
    pub fn repeated(&self, name: &str) -> ImportError {
        ImportError::Repeated { path: self.table.path.clone(), line: self.line(), name: name.to_owned() }
    }

    /// Where the row begins, the first line of the file being 1.
    pub fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }
}
