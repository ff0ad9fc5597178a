//! A backup: all objects of a store at one revision, in a form that is no engine's own.
//!
//! ```text
//!   "crest-backup" │ format u32 │ revision u64 │ objects u64
//!   objects × ( key length u32 │ value length u32 │ created u64 │ modified u64 │ key │ value )
//!   SHA-256 of all before                                             (little endian)
//! ```
//! Revisions are kept, so what clients know of objects stays true after a restore. History is not in it: a watch from
//! before the backup's revision is told to start again.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::{Entry, Page, Revision};

const MAGIC: &[u8; 12] = b"crest-backup";
const FORMAT: u32 = 1;
/// Roughly how much is handed out at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// No key or value is longer; more than this is damage, not data.
const MAX_BYTES: u32 = 1 << 30;

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot read the backup")]
    Read { source: io::Error },
    #[error("this is no backup of Crest")]
    Foreign,
    #[error(
        "the backup has format {found}, but this version knows formats up to {FORMAT}; use a newer version"
    )]
    Newer { found: u32 },
    #[error("the backup is damaged or cut off")]
    Damaged,
}

/// What a backup says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub revision: Revision,
    pub objects: u64,
}

/// The bytes of a backup of `page`, a chunk at a time; `page` is a store's [`snapshot`](crate::Store::snapshot).
pub fn chunks(page: Page) -> impl Iterator<Item = Bytes> + Send {
    let mut digest = Some(Sha256::new());
    let mut entries = page.entries.into_iter();
    let mut head = Some(Head { revision: page.revision, objects: entries.len() as u64 });
    std::iter::from_fn(move || {
        let hash = digest.as_mut()?;
        let mut chunk = BytesMut::new();
        if let Some(head) = head.take() {
            chunk.put_slice(MAGIC);
            chunk.put_u32_le(FORMAT);
            chunk.put_u64_le(head.revision.0);
            chunk.put_u64_le(head.objects);
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(entry) = entries.next() else {
                hash.update(&chunk);
                let sum = digest.take()?.finalize();
                chunk.put_slice(&sum);
                return Some(chunk.freeze());
            };
            write_entry(&entry, &mut chunk);
        }
        hash.update(&chunk);
        Some(chunk.freeze())
    })
}

fn write_entry(entry: &Entry, out: &mut BytesMut) {
    out.put_u32_le(u32::try_from(entry.key.len()).unwrap_or(u32::MAX));
    out.put_u32_le(u32::try_from(entry.value.len()).unwrap_or(u32::MAX));
    out.put_u64_le(entry.created.0);
    out.put_u64_le(entry.modified.0);
    out.put_slice(entry.key.as_bytes());
    out.put_slice(&entry.value);
}

/// Reads a backup object by object; that it is whole is known only after the last.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    digest: Sha256,
    head: Head,
    left: u64,
}

impl<R: Read> Reader<R> {
    pub fn open(mut source: R) -> Result<Self, BackupError> {
        let mut digest = Sha256::new();
        let mut magic = [0; 12];
        match source.read_exact(&mut magic) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(BackupError::Read { source: error });
            }
            outcome if outcome.is_err() || magic != *MAGIC => return Err(BackupError::Foreign),
            _whole => digest.update(magic),
        }
        let found = u32::from_le_bytes(array(&mut source, &mut digest)?);
        if found > FORMAT {
            return Err(BackupError::Newer { found });
        }
        let revision = Revision(u64::from_le_bytes(array(&mut source, &mut digest)?));
        let objects = u64::from_le_bytes(array(&mut source, &mut digest)?);
        Ok(Self { source, digest, head: Head { revision, objects }, left: objects })
    }

    pub fn head(&self) -> Head {
        self.head
    }

    /// The next object; `None` after the last, when the backup was found whole.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, BackupError> {
        let Some(left) = self.left.checked_sub(1) else {
            let sum = self.digest.clone().finalize();
            let said: [u8; 32] = array(&mut self.source, &mut self.digest)?;
            return if said == *sum { Ok(None) } else { Err(BackupError::Damaged) };
        };
        self.left = left;
        let key_length = u32::from_le_bytes(self.array()?);
        let value_length = u32::from_le_bytes(self.array()?);
        let created = Revision(u64::from_le_bytes(self.array()?));
        let modified = Revision(u64::from_le_bytes(self.array()?));
        let key = String::from_utf8(self.bytes(key_length)?).map_err(|_| BackupError::Damaged)?;
        let value = Bytes::from(self.bytes(value_length)?);
        if created > modified || modified > self.head.revision {
            return Err(BackupError::Damaged);
        }
        Ok(Some(Entry { key: Arc::from(key), value, created, modified }))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        array(&mut self.source, &mut self.digest)
    }

    /// Grows with what is really there: a damaged length costs no memory.
    fn bytes(&mut self, length: u32) -> Result<Vec<u8>, BackupError> {
        if length > MAX_BYTES {
            return Err(BackupError::Damaged);
        }
        let mut bytes = Vec::new();
        let mut part = self.source.by_ref().take(u64::from(length));
        part.read_to_end(&mut bytes).map_err(|source| BackupError::Read { source })?;
        if bytes.len() != length as usize {
            return Err(BackupError::Damaged);
        }
        self.digest.update(&bytes);
        Ok(bytes)
    }
}

fn array<const N: usize>(source: &mut impl Read, digest: &mut Sha256) -> Result<[u8; N], BackupError> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Damaged,
        _ => BackupError::Read { source: error },
    })?;
    digest.update(bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
