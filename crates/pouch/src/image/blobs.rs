//! Blobs by digest: nothing gets its name before every byte has been hashed.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::digest::{Digest, Hashing};
use super::layout::{Layout, Scratch};
use super::progress::{Progress, Stage};

/// Manifests and configurations are read into memory.
pub(crate) const MAX_DOCUMENT: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("blob {expected} has the digest {found}: its content was changed or damaged")]
    WrongDigest { expected: Digest, found: Digest },
    #[error("blob {digest} has {found} bytes where its manifest says {expected}")]
    WrongSize { digest: Digest, expected: u64, found: u64 },
    #[error("blob {digest} of {size} bytes is too large for a manifest or a configuration")]
    TooLarge { digest: Digest, size: u64 },
    #[error("cannot read blob {digest}")]
    Read { digest: Digest, source: io::Error },
    #[error("cannot store blob {digest}")]
    Write { digest: Digest, source: io::Error },
}

/// What a blob must turn out to be. The size where it is known.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) digest: Digest,
    pub(crate) size: Option<u64>,
}

impl Expected {
    fn check(&self, found: &Digest, size: u64) -> Result<(), BlobError> {
        if let Some(expected) = self.size.filter(|expected| *expected != size) {
            return Err(BlobError::WrongSize { digest: self.digest.clone(), expected, found: size });
        }
        if *found != self.digest {
            return Err(BlobError::WrongDigest { expected: self.digest.clone(), found: found.clone() });
        }
        Ok(())
    }
}

impl Layout {
    /// Copies `reader` into the store as `expected`, or leaves nothing.
    pub(crate) fn put_blob(
        &self,
        expected: &Expected,
        reader: impl Read,
        progress: &dyn Progress,
    ) -> Result<(), BlobError> {
        let digest = &expected.digest;
        if self.blob(digest).exists() {
            return Ok(());
        }
        let item = digest.to_string();
        progress.begin(Stage::Fetch, &item, expected.size);
        // One byte more than expected is enough to know that it is too long.
        let bounded = reader.take(expected.size.map_or(u64::MAX, |size| size.saturating_add(1)));
        let mut reader = Hashing::new(bounded);
        let scratch = Scratch(self.scratch());
        let write = |source| BlobError::Write { digest: digest.clone(), source };
        let mut file = File::create(&scratch.0).map_err(write)?;
        let report = |bytes| progress.advance(Stage::Fetch, &item, bytes);
        copy(&mut reader, &mut file, &report).map_err(write)?;
        let (found, size) = reader.finish();
        expected.check(&found, size)?;
        self.keep_blob(digest, &file, &scratch.0)?;
        progress.finish(Stage::Fetch, &item);
        Ok(())
    }

    /// As `put_blob` for a finished file, such as a download that was resumed: it is hashed from its beginning.
    pub(crate) fn adopt_blob(&self, expected: &Expected, path: &Path) -> Result<(), BlobError> {
        let digest = &expected.digest;
        let read = |source| BlobError::Read { digest: digest.clone(), source };
        let file = File::open(path).map_err(read)?;
        let mut reader = Hashing::new(BufReader::with_capacity(128 * 1024, &file));
        io::copy(&mut reader, &mut io::sink()).map_err(read)?;
        let (found, size) = reader.finish();
        expected.check(&found, size)?;
        self.keep_blob(digest, &file, path)
    }

    fn keep_blob(&self, digest: &Digest, file: &File, path: &Path) -> Result<(), BlobError> {
        let write = |source| BlobError::Write { digest: digest.clone(), source };
        file.sync_all().map_err(write)?;
        fs::rename(path, self.blob(digest)).map_err(write)
    }

    /// Stores a document that was made or checked in memory.
    pub(crate) fn put_document(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(bytes);
        let expected = Expected { digest: digest.clone(), size: None };
        self.put_blob(&expected, bytes, &())?;
        Ok(digest)
    }

    /// Reads a manifest or a configuration. It was verified on its way in; the disk is trusted from then on.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let read = |source| BlobError::Read { digest: digest.clone(), source };
        let file = File::open(self.blob(digest)).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        if size > MAX_DOCUMENT {
            return Err(BlobError::TooLarge { digest: digest.clone(), size });
        }
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(read)?;
        Ok(bytes)
    }
}

/// Copies in pieces large enough that reports cost nothing.
pub(crate) fn copy(
    reader: &mut impl Read,
    writer: &mut impl io::Write,
    report: &dyn Fn(u64),
) -> io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut n_copied = 0;
    loop {
        let n_read = match reader.read(&mut buffer) {
            Ok(0) => return Ok(n_copied),
            Ok(n_read) => n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        writer.write_all(&buffer[..n_read])?;
        n_copied += n_read as u64;
        report(n_read as u64);
    }
}
