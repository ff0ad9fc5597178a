//! Unpacked layers: each is unpacked aside, checked against its diff id, and renamed into place whole.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::compression::decompressed;
use super::digest::{Digest, Hashing};
use super::layout::{Layout, Scratch};
use super::progress::{Progress, Stage};
use super::unpack::{Limits, UnpackError, unpack};

/// A layer that may be this small is never called a bomb.
const ALWAYS_ALLOWED: u64 = 1 << 30;
/// No honest layer shrinks further than this; gzip cannot go beyond about 1030, zstd far beyond.
const MAX_RATIO: u64 = 400;
const MAX_ENTRIES: u64 = 2_000_000;

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("cannot open layer {blob}")]
    Open { blob: Digest, source: io::Error },
    #[error("cannot unpack layer {blob}")]
    Unpack {
        blob: Digest,
        #[source]
        source: Box<UnpackError>,
    },
    #[error("cannot read layer {blob} to its end")]
    Tail { blob: Digest, source: io::Error },
    #[error("layer {blob} unpacks to the content {found} where the image's configuration says {expected}")]
    WrongContent { blob: Digest, expected: Digest, found: Digest },
    #[error("cannot put the unpacked layer {blob} into place at `{path}`", path = path.display())]
    Place { blob: Digest, path: PathBuf, source: io::Error },
}

/// One layer: where it comes from, what it must unpack to, and what it is then called.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) blob: Digest,
    pub(crate) diff: Digest,
    pub(crate) chain: Digest,
}

impl Layout {
    /// Unpacks every layer that is missing, several at once.
    pub(crate) fn unpack_layers(&self, layers: &[Layer], progress: &dyn Progress) -> Result<(), LayerError> {
        let missing: VecDeque<&Layer> =
            layers.iter().filter(|layer| !self.layer(&layer.chain).exists()).collect();
        let n_workers = std::thread::available_parallelism().map_or(1, NonZero::get).min(missing.len());
        let queue = Mutex::new(missing);
        let failure = Mutex::new(None);
        // A function of its own, so that the lock is not held while the layer is unpacked.
        let next = || queue.lock().pop_front();
        let work = || {
            while let Some(layer) = next() {
                if let Err(error) = self.unpack_layer(layer, progress) {
                    queue.lock().clear();
                    failure.lock().get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..n_workers {
                scope.spawn(work);
            }
        });
        failure.into_inner().map_or(Ok(()), Err)
    }

    fn unpack_layer(&self, layer: &Layer, progress: &dyn Progress) -> Result<(), LayerError> {
        let blob = &layer.blob;
        let open = |source| LayerError::Open { blob: blob.clone(), source };
        let file = File::open(self.blob(blob)).map_err(open)?;
        let packed_size = file.metadata().map_err(open)?.len();
        let limits = self.limits(packed_size).map_err(open)?;
        let item = blob.to_string();
        progress.begin(Stage::Unpack, &item, Some(packed_size));

        let reported =
            Reported { inner: file, report: |bytes| progress.advance(Stage::Unpack, &item, bytes) };
        let plain = decompressed(BufReader::with_capacity(128 * 1024, reported)).map_err(open)?;
        // Beyond the entries there may be padding, which is bounded as well.
        let plain = Hashing::new(plain.take(limits.bytes.saturating_add(limits.entries * 1024)));

        let scratch = Scratch(self.scratch());
        let content = scratch.0.join("fs");
        let place = |source| LayerError::Place { blob: blob.clone(), path: scratch.0.clone(), source };
        make_layer_root(&content).map_err(place)?;
        let (_, mut plain) = unpack(plain, &content, limits)
            .map_err(|source| LayerError::Unpack { blob: blob.clone(), source: Box::new(source) })?;
        io::copy(&mut plain, &mut io::sink())
            .map_err(|source| LayerError::Tail { blob: blob.clone(), source })?;
        let (found, _) = plain.finish();
        if found != layer.diff {
            return Err(LayerError::WrongContent { blob: blob.clone(), expected: layer.diff.clone(), found });
        }
        self.keep_layer(layer, &scratch.0)?;
        progress.finish(Stage::Unpack, &item);
        Ok(())
    }

    fn keep_layer(&self, layer: &Layer, unpacked: &Path) -> Result<(), LayerError> {
        let path = self.layers().join(layer.chain.hex());
        match fs::rename(unpacked, &path) {
            // Another process was faster; what it made is the same.
            Err(_) if self.layer(&layer.chain).exists() => Ok(()),
            done => done.map_err(|source| LayerError::Place { blob: layer.blob.clone(), path, source }),
        }
    }

    fn limits(&self, packed_size: u64) -> io::Result<Limits> {
        let disk = rustix::fs::statvfs(self.staging())?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let by_ratio = packed_size.saturating_mul(MAX_RATIO).max(ALWAYS_ALLOWED);
        // Room is left so that a hostile image cannot fill the disk under everything else.
        Ok(Limits { bytes: by_ratio.min(free / 10 * 9), entries: MAX_ENTRIES })
    }
}

fn make_layer_root(content: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(content)?;
    fs::set_permissions(content, fs::Permissions::from_mode(0o755))
}

/// Tells how much has been read.
struct Reported<R, F> {
    inner: R,
    report: F,
}

impl<R: Read, F: Fn(u64)> Read for Reported<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        (self.report)(n_read as u64);
        Ok(n_read)
    }
}
