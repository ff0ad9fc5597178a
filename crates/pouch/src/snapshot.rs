//! Root filesystems of containers: an overlay of an image's layers and a writable directory.
//!
//! ```text
//! root/snapshots/ID/layers.json    chain ids of the layers, top first: what keeps them from being collected
//! root/snapshots/ID/l/0, l/1 ...   links to the layers, top first
//! root/snapshots/ID/upper, work    what the container writes
//! root/snapshots/ID/merged         where it is mounted
//! ```
//!
//! The kernel reads an overlay's options from one page. With links of a few letters, named relative to `l`, there is
//! room for all 500 layers that overlayfs takes, on every kernel, however long the root's own path is.

mod mounts;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::image::Image;
use crate::image::digest::{Digest, DigestError};
use crate::image::layout::{Layout, write_atomically};

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot open the snapshots at `{path}`", path = path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("`{container_id}` cannot name a snapshot: letters, digits, `-`, `_` and `.` only")]
    Name { container_id: String },
    #[error("image {image} has a bad layer id")]
    Layer { image: String, source: DigestError },
    #[error("layer {chain} of image {image} is not in the store")]
    MissingLayer { image: String, chain: Digest },
    #[error("image {image} has {count} layers; overlayfs takes 500")]
    TooManyLayers { image: String, count: usize },
    #[error("cannot lock the image store")]
    Lock { source: io::Error },
    #[error("cannot create the snapshot of container {container_id}")]
    Create { container_id: String, source: io::Error },
    #[error("cannot mount the snapshot of container {container_id} at `{path}`", path = path.display())]
    Mount { container_id: String, path: PathBuf, source: io::Error },
    #[error("cannot unmount `{path}`", path = path.display())]
    Unmount { path: PathBuf, source: io::Error },
    #[error("cannot delete the snapshot of container {container_id}")]
    Delete { container_id: String, source: io::Error },
    #[error("cannot read the list of mounts")]
    Mounts { source: io::Error },
}

/// A mounted root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    pub path: PathBuf,
}

/// The snapshots below one root.
#[derive(Debug, Clone)]
pub struct Snapshots {
    layout: Layout,
}

impl Snapshots {
    /// `root` is the same directory as the image store's: snapshots live below `root/snapshots`.
    pub fn open(root: &Path) -> Result<Self, SnapshotError> {
        let open = |source| SnapshotError::Open { path: root.to_owned(), source };
        let layout = Layout::new(&std::path::absolute(root).map_err(open)?);
        layout.create().and_then(|()| fs::create_dir_all(layout.snapshots())).map_err(open)?;
        Ok(Self { layout })
    }

    /// Creates and mounts; blocking, a few milliseconds. Asked again for the same container it mounts what is there,
    /// with all that the container has written.
    pub fn prepare(&self, image: &Image, container_id: &str) -> Result<Rootfs, SnapshotError> {
        let directory = self.directory(container_id)?;
        if !directory.join("layers.json").exists() {
            self.create(image, container_id, &directory)?;
        }
        self.mount_at(container_id, &directory)
    }

    /// Mounts an existing snapshot again, as after a reboot. `None`: there is none.
    pub fn mount(&self, container_id: &str) -> Result<Option<Rootfs>, SnapshotError> {
        let directory = self.directory(container_id)?;
        if !directory.join("layers.json").exists() {
            return Ok(None);
        }
        self.mount_at(container_id, &directory).map(Some)
    }

    /// The containers that have a snapshot.
    pub fn list(&self) -> Result<Vec<String>, SnapshotError> {
        let path = self.layout.snapshots();
        let failed = |source| SnapshotError::Open { path: path.clone(), source };
        let mut ids = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            ids.extend(entry.map_err(failed)?.file_name().into_string());
        }
        ids.sort();
        Ok(ids)
    }

    /// Unmounts and deletes; no error if there is none. Layers that nothing else uses go at the next collection.
    pub fn remove(&self, container_id: &str) -> Result<(), SnapshotError> {
        let directory = self.directory(container_id)?;
        unmount(&directory.join("merged"))?;
        let delete = |source| SnapshotError::Delete { container_id: container_id.to_owned(), source };
        // Renamed first, so that a crash halfway leaves no snapshot with half of its files.
        let doomed = self.layout.scratch();
        match fs::rename(&directory, &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved.and_then(|()| fs::remove_dir_all(&doomed)).map_err(delete),
        }
    }

    /// Unmounts everything of ours; the writable directories stay.
    pub fn cleanup(&self) -> Result<(), SnapshotError> {
        let below =
            mounts::below(&self.layout.snapshots()).map_err(|source| SnapshotError::Mounts { source })?;
        // The last mounted first: one may lie on another.
        for path in below.iter().rev() {
            unmount(path)?;
        }
        Ok(())
    }

    fn directory(&self, container_id: &str) -> Result<PathBuf, SnapshotError> {
        let is_name = !container_id.is_empty()
            && container_id.len() <= 200
            && !container_id.starts_with('.')
            && container_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_name {
            Ok(self.layout.snapshots().join(container_id))
        } else {
            Err(SnapshotError::Name { container_id: container_id.to_owned() })
        }
    }

    fn create(&self, image: &Image, container_id: &str, directory: &Path) -> Result<(), SnapshotError> {
        // From here to the end of `layers.json` nobody may collect the layers.
        let _lock = self.layout.adding().map_err(|source| SnapshotError::Lock { source })?;
        let chains = self.chains(image)?;
        let failed = |source| SnapshotError::Create { container_id: container_id.to_owned(), source };
        let paths: Vec<PathBuf> = chains.iter().map(|chain| self.layout.layer(chain)).collect();
        build_directory(directory, &paths).map_err(failed)?;
        let document = serde_json::to_vec(&chains).map_err(|error| failed(error.into()))?;
        write_atomically(&directory.join("layers.json"), &document).map_err(failed)
    }

    /// Layers top first, down to the first one that hides all below it.
    fn chains(&self, image: &Image) -> Result<Vec<Digest>, SnapshotError> {
        const MOST_LAYERS: usize = 500;
        let mut chains = Vec::new();
        for chain in image.layers.iter().rev() {
            let chain = Digest::parse(chain)
                .map_err(|source| SnapshotError::Layer { image: image.id.clone(), source })?;
            let path = self.layout.layer(&chain);
            if !path.is_dir() {
                return Err(SnapshotError::MissingLayer { image: image.id.clone(), chain });
            }
            chains.push(chain);
            // overlayfs always merges roots, so a root that was marked opaque ends the list instead.
            if is_opaque(&path) {
                break;
            }
        }
        if chains.len() > MOST_LAYERS {
            return Err(SnapshotError::TooManyLayers { image: image.id.clone(), count: chains.len() });
        }
        Ok(chains)
    }

    fn mount_at(&self, container_id: &str, directory: &Path) -> Result<Rootfs, SnapshotError> {
        let path = directory.join("merged");
        let failed = |source| SnapshotError::Mount {
            container_id: container_id.to_owned(),
            path: path.clone(),
            source,
        };
        if !mounts::is_mounted(&path).map_err(failed)? {
            let n_layers = fs::read_dir(directory.join("l")).map_err(failed)?.count();
            mounts::mount_overlay(directory, n_layers).map_err(failed)?;
        }
        Ok(Rootfs { path })
    }
}

fn build_directory(directory: &Path, layers: &[PathBuf]) -> io::Result<()> {
    // A creation that was broken off is begun again.
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    for name in ["l", "upper", "work", "merged"] {
        fs::create_dir_all(directory.join(name))?;
    }
    for (i, layer) in layers.iter().enumerate() {
        std::os::unix::fs::symlink(layer, directory.join("l").join(i.to_string()))?;
    }
    // An image without layers still needs a lower directory.
    if layers.is_empty() {
        fs::create_dir(directory.join("l/0"))?;
    }
    match layers.first() {
        Some(top) => copy_root_look(top, &directory.join("upper")),
        None => Ok(()),
    }
}

/// The merged root looks like the upper directory, so that one must look like the image's root.
fn copy_root_look(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let metadata = fs::metadata(from)?;
    chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(to, metadata.permissions())
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::getxattr(directory, "trusted.overlay.opaque", &mut value[..]).is_ok() && value == *b"y"
}

/// No error if nothing is mounted there.
fn unmount(path: &Path) -> Result<(), SnapshotError> {
    loop {
        let flags = UnmountFlags::NOFOLLOW;
        let result = match rustix::mount::unmount(path, flags) {
            // Someone still has a file open: it goes out of sight now, and away with the last user.
            Err(Errno::BUSY) => rustix::mount::unmount(path, flags | UnmountFlags::DETACH),
            other => other,
        };
        match result {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(SnapshotError::Unmount { path: path.to_owned(), source: errno.into() }),
        }
    }
}

/// The layers that some snapshot stands on.
pub(crate) fn layers_in_use(layout: &Layout) -> io::Result<Vec<Digest>> {
    let mut chains = Vec::new();
    let entries = match fs::read_dir(layout.snapshots()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(chains),
        entries => entries?,
    };
    for entry in entries {
        match fs::read(entry?.path().join("layers.json")) {
            Ok(bytes) => chains.extend(serde_json::from_slice::<Vec<Digest>>(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(chains)
}

#[cfg(test)]
mod tests;
