//! Reads tar streams that may be hostile: every length is bounded before anything is allocated.
//!
//! ustar, GNU long names, and POSIX extended headers, as layers and archives are written in practice.

use std::borrow::Cow;
use std::io::{self, Read};

use tar::{EntryType, Header};

const HEADER_LENGTH: usize = 512;
const BLOCK: u64 = HEADER_LENGTH as u64;
/// Long names and extended headers; attributes are bounded by the kernel at 64 KiB each.
const MAX_EXTENSION: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("cannot read the tar stream at byte {offset}")]
    Read { offset: u64, source: io::Error },
    #[error("the tar stream ends in the middle of an entry at byte {offset}")]
    Truncated { offset: u64 },
    #[error("the tar header at byte {offset} has a wrong checksum")]
    Checksum { offset: u64 },
    #[error("the tar header at byte {offset} has a bad {field}")]
    Field { offset: u64, field: &'static str },
    #[error("the tar extension at byte {offset} is {size} bytes long, over the limit of {MAX_EXTENSION}")]
    Extension { offset: u64, size: u64 },
    #[error("tar entry `{path}` is of a kind that is not supported: {kind}")]
    Unsupported { path: String, kind: &'static str },
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    Character,
    Block,
}

/// One entry, with extended headers applied.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) link: Vec<u8>,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the body begins in the stream.
    pub(crate) offset: u64,
}

impl Member {
    /// The path for messages.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// The entries of a stream; reading from it reads the body of the entry returned last.
#[derive(Debug)]
pub(crate) struct Entries<R> {
    reader: R,
    position: u64,
    body_left: u64,
    padding: u64,
}

impl<R: Read> Entries<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, position: 0, body_left: 0, padding: 0 }
    }

    /// The next entry; whatever was left of the last one's body is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_body()?;
            let offset = self.position;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|_| TarError::Field { offset, field: "size" })?;
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(trimmed(self.extension(size)?)),
                EntryType::GNULongLink => extensions.link = Some(trimmed(self.extension(size)?)),
                EntryType::XHeader => extensions.read(&self.extension(size)?, offset)?,
                // Global headers carry comments in practice (git archive); none of their keys is for us.
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                _ => return self.member(&header, size, extensions).map(Some),
            }
        }
    }

    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    /// A checked header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let offset = self.position;
        let mut block = [0; HEADER_LENGTH];
        let n_read = self.fill(&mut block)?;
        // Some writers leave out the two blocks of zeros at the end.
        if n_read == 0 || block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if n_read < block.len() {
            return Err(TarError::Truncated { offset });
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(i, byte)| if (148..156).contains(&i) { 32 } else { u32::from(*byte) })
            .sum();
        if header.cksum().ok() != Some(sum) {
            return Err(TarError::Checksum { offset });
        }
        Ok(Some(header))
    }

    /// Reads until `buffer` is full or the stream ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut n_read = 0;
        while n_read < buffer.len() {
            match self.reader.read(&mut buffer[n_read..]) {
                Ok(0) => break,
                Ok(n) => n_read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { offset: self.position, source }),
            }
        }
        self.position += n_read as u64;
        Ok(n_read)
    }

    fn begin_body(&mut self, size: u64) {
        self.body_left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let offset = self.position;
        if size > MAX_EXTENSION {
            return Err(TarError::Extension { offset, size });
        }
        self.begin_body(size);
        let mut body = Vec::new();
        self.read_to_end(&mut body).map_err(|source| TarError::Read { offset, source })?;
        if self.body_left > 0 {
            return Err(TarError::Truncated { offset });
        }
        Ok(body)
    }

    fn skip_body(&mut self) -> Result<(), TarError> {
        let offset = self.position;
        let whole = self.body_left.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.reader).take(whole), &mut io::sink())
            .map_err(|source| TarError::Read { offset, source })?;
        self.position += skipped;
        if skipped < whole && self.body_left > skipped {
            return Err(TarError::Truncated { offset });
        }
        (self.body_left, self.padding) = (0, 0);
        Ok(())
    }

    fn member(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Member, TarError> {
        let offset = self.position;
        let bad = |field| TarError::Field { offset, field };
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = kind(header, &path)?;
        if extensions.sparse {
            return Err(unsupported(&path, "sparse file"));
        }
        // Only regular files have a body; a size on anything else is a way to hide content.
        let size = if kind == Kind::Regular { extensions.size.unwrap_or(size) } else { 0 };
        let link = extensions
            .link
            .unwrap_or_else(|| header.link_name_bytes().map(Cow::into_owned).unwrap_or_default());
        let number = |value: io::Result<Option<u32>>, field| {
            value.map(Option::unwrap_or_default).map_err(|_| bad(field))
        };
        let device = match kind {
            Kind::Character | Kind::Block => (
                number(header.device_major(), "device number")?,
                number(header.device_minor(), "device number")?,
            ),
            Kind::Regular | Kind::Directory | Kind::Symlink | Kind::HardLink | Kind::Fifo => (0, 0),
        };
        let seconds = header.mtime().unwrap_or(0);
        let member = Member {
            path,
            kind,
            size,
            mode: header.mode().map_err(|_| bad("mode"))? & 0o7777,
            uid: extensions
                .uid
                .map_or_else(|| owner(&header.as_old().uid, header.uid()), Ok)
                .map_err(|_| bad("uid"))?,
            gid: extensions
                .gid
                .map_or_else(|| owner(&header.as_old().gid, header.gid()), Ok)
                .map_err(|_| bad("gid"))?,
            mtime: extensions.mtime.unwrap_or((i64::try_from(seconds).unwrap_or(0), 0)),
            link,
            device,
            xattrs: extensions.xattrs,
            offset,
        };
        self.begin_body(size);
        Ok(member)
    }
}

impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.body_left).unwrap_or(usize::MAX));
        // Some decoders take an empty buffer for a fault.
        if want == 0 {
            return Ok(0);
        }
        let n_read = self.reader.read(&mut buffer[..want])?;
        self.position += n_read as u64;
        self.body_left -= n_read as u64;
        Ok(n_read)
    }
}

/// Some writers leave the owner blank and mean root.
fn owner(field: &[u8], read: io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { read }
}

fn kind(header: &Header, path: &[u8]) -> Result<Kind, TarError> {
    Ok(match header.entry_type() {
        // Before POSIX a directory was a file whose name ends in a slash.
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::Regular,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::HardLink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => Kind::Character,
        EntryType::Block => Kind::Block,
        EntryType::GNUSparse => return Err(unsupported(path, "sparse file")),
        _ => return Err(unsupported(path, "unknown type flag")),
    })
}

fn unsupported(path: &[u8], kind: &'static str) -> TarError {
    TarError::Unsupported { path: String::from_utf8_lossy(path).into_owned(), kind }
}

/// GNU long names end in a zero byte.
fn trimmed(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}

/// What extended headers say about the entry that follows them.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: bool,
}

impl Extensions {
    /// Reads `LENGTH KEY=VALUE\n` records; values may hold any byte, so only the length tells where they end.
    fn read(&mut self, mut records: &[u8], offset: u64) -> Result<(), TarError> {
        let bad = TarError::Field { offset, field: "extended header" };
        while !records.is_empty() {
            let Some((record, rest)) = split_record(records) else { return Err(bad) };
            let Some(equals) = record.iter().position(|byte| *byte == b'=') else { return Err(bad) };
            if self.set(&record[..equals], &record[equals + 1..]).is_none() {
                return Err(bad);
            }
            records = rest;
        }
        Ok(())
    }

    /// `None` if the value does not parse. Unknown keys are for others.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Some(())
    }
}

/// The first record without its length and newline, and the rest.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = records.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&records[..space])?).ok()?;
    let record = records.get(space + 1..length)?;
    Some((record.strip_suffix(b"\n")?, &records[length..]))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `1350244992.023960108`, maybe negative.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some((seconds.parse().ok()?, nanoseconds))
}

#[cfg(test)]
mod tests;
