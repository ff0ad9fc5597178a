//! The last steps of every way in: check the configuration against the manifest, unpack, list.

use std::fs::File;
use std::io;

use super::blobs::BlobError;
use super::digest::Digest;
use super::index::{Index, IndexError, Record};
use super::layers::LayerError;
use super::layout::Layout;
use super::manifest::{self, Document, ManifestError};
use super::progress::Progress;

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("cannot write the unpacked layers to disk")]
    Sync { source: io::Error },
}

/// What an image is to be called.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) references: Vec<String>,
    pub(crate) repo_digests: Vec<String>,
}

/// Makes an image of blobs that are all in the store already. Returns its id.
pub(crate) fn install(
    layout: &Layout,
    manifest_digest: &Digest,
    names: Names,
    progress: &dyn Progress,
) -> Result<Digest, InstallError> {
    let manifest_bytes = layout.document(manifest_digest)?;
    let Document::Manifest(image_manifest) = manifest::parse(manifest_digest, &manifest_bytes)? else {
        return Err(ManifestError::Nesting { digest: manifest_digest.clone() }.into());
    };
    let id = manifest::expected(image_manifest.config())?.digest;
    let config = manifest::configuration(&id, &layout.document(&id)?)?;
    let layers = manifest::layers(&image_manifest, &config)?;
    layout.unpack_layers(&layers, progress)?;
    // The list names only what would survive a power loss; one sync is cheaper than one for every file.
    let layers_directory = File::open(layout.layers()).map_err(|source| InstallError::Sync { source })?;
    rustix::fs::syncfs(&layers_directory).map_err(|errno| InstallError::Sync { source: errno.into() })?;

    let blobs = image_manifest.layers().iter().chain([image_manifest.config()]);
    let size = blobs.map(|blob| blob.size()).sum::<u64>() + manifest_bytes.len() as u64;
    let record = Record {
        manifests: [manifest_digest.clone()].into(),
        references: names.references.into_iter().collect(),
        repo_digests: names.repo_digests.into_iter().collect(),
        size,
    };
    Index::update(layout, |index| index.add(id.clone(), record))?;
    Ok(id)
}
