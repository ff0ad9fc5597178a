//! Root filesystems of containers: an overlay of an image's layers and a writable directory.

use std::path::{Path, PathBuf};

use crate::image::Image;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {}

/// A mounted root filesystem.
#[derive(Debug, Clone)]
pub struct Rootfs {
    pub path: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Snapshots {}

impl Snapshots {
    /// `root` is the same directory as the image store's: snapshots live below `root/snapshots`.
    pub fn open(_root: &Path) -> Result<Self, SnapshotError> {
        todo!()
    }
    /// Creates and mounts; blocking, a few milliseconds. Asked again for the same container it mounts what is there.
    pub fn prepare(&self, _image: &Image, _container_id: &str) -> Result<Rootfs, SnapshotError> {
        todo!()
    }
    /// Mounts an existing snapshot again, as after a reboot. `None`: there is none.
    pub fn mount(&self, _container_id: &str) -> Result<Option<Rootfs>, SnapshotError> {
        todo!()
    }
    /// Unmounts and deletes; no error if there is none.
    pub fn remove(&self, _container_id: &str) -> Result<(), SnapshotError> {
        todo!()
    }
    /// Unmounts everything of ours; the writable directories stay.
    pub fn cleanup(&self) -> Result<(), SnapshotError> {
        todo!()
    }
}
