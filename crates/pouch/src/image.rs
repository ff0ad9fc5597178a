//! Images: content-addressed blobs, unpacked layers, and the names that people give them.

use std::path::Path;

use oci_spec::image::ImageConfiguration;

/// An image in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its configuration, `sha256:...`: the same for every tag and every registry.
    pub id: String,
    /// `docker.io/library/nginx:latest`, sorted.
    pub references: Vec<String>,
    /// `docker.io/library/nginx@sha256:...`, sorted.
    pub repo_digests: Vec<String>,
    /// Bytes of its blobs.
    pub size: u64,
    pub config: ImageConfiguration,
    /// Chain ids of its unpacked layers, bottom first.
    pub layers: Vec<String>,
}

/// Who to be at a registry.
#[derive(Debug, Clone)]
pub enum Auth {
    Basic { username: String, password: String },
    Bearer(String),
}

/// What long work is doing, for people who wait.
pub trait Progress: Send + Sync {
    /// Work on `item` begins; `total` bytes where known.
    fn begin(&self, _stage: Stage, _item: &str, _total: Option<u64>) {}
    fn advance(&self, _stage: Stage, _item: &str, _bytes: u64) {}
    fn finish(&self, _stage: Stage, _item: &str) {}
}

impl Progress for () {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Fetch,
    Unpack,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {}
#[derive(Debug, thiserror::Error)]
pub enum PullError {}
#[derive(Debug, thiserror::Error)]
pub enum StoreError {}

/// The images of this machine, on disk. Clones share nothing but the directory; processes share it by file locks.
#[derive(Debug, Clone)]
pub struct ImageStore {}

impl ImageStore {
    /// `root` is the engine's state directory: images live below `root/images`.
    pub fn open(_root: &Path) -> Result<Self, StoreError> {
        todo!()
    }
    /// By name, tag, digest, id or unique prefix of an id.
    pub fn resolve(&self, _reference: &str) -> Result<Option<Image>, StoreError> {
        todo!()
    }
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        todo!()
    }
    /// Removes the image with all its names. `None`: there was none.
    pub fn remove(&self, _reference: &str) -> Result<Option<Image>, StoreError> {
        todo!()
    }
    /// Blocking.
    pub fn load(&self, _archive: &Path, _progress: &dyn Progress) -> Result<Vec<Image>, LoadError> {
        todo!()
    }
    pub async fn pull(
        &self,
        _reference: &str,
        _auth: Option<Auth>,
        _progress: &dyn Progress,
    ) -> Result<Image, PullError> {
        todo!()
    }
}
