//! Images: content-addressed blobs, unpacked layers, and the names that people give them.
//!
//! Everything lies below one directory that several processes may use at once (`layout`). Content arrives by
//! `load` or `pull`, is verified by digest, unpacked layer by layer, and listed last; so a crash at any moment
//! leaves only garbage that the next collection removes, never half an image.

pub mod archive;
pub mod blobs;
pub mod build;
pub mod closure;
mod compression;
pub mod digest;
mod garbage;
pub mod index;
pub mod install;
pub mod layers;
pub(crate) mod layout;
pub mod load;
pub mod manifest;
pub mod mirror;
pub mod progress;
pub mod pull;
pub mod reference;
pub mod tarball;
pub mod unpack;

use std::io;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;

pub use self::load::LoadError;
pub use self::mirror::{Mirror, MirrorError};
pub use self::progress::{Progress, Stage};
pub use self::pull::{Auth, PullError};
pub use self::reference::{Reference, ReferenceError};

use self::blobs::BlobError;
use self::digest::Digest;
use self::index::{Index, IndexError, Record};
use self::layout::Layout;
use self::manifest::ManifestError;

/// An image in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its configuration, `sha256:...`: the same for every tag and every registry.
    pub id: String,
    /// `docker.io/library/nginx:latest`, sorted. Empty if a later image took the name.
    pub references: Vec<String>,
    /// `docker.io/library/nginx@sha256:...`, sorted; only for images that came from a registry.
    pub repo_digests: Vec<String>,
    /// Bytes of its blobs.
    pub size: u64,
    pub config: ImageConfiguration,
    /// Chain ids of its unpacked layers, bottom first.
    pub layers: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot open the image store at `{path}`", path = path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("cannot read image {id}")]
    Blob { id: String, source: BlobError },
    #[error("cannot read image {id}")]
    Manifest { id: String, source: ManifestError },
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("`{prefix}` begins the ids of {count} images; give more of it")]
    Ambiguous { prefix: String, count: usize },
    #[error("cannot collect garbage in the image store")]
    Garbage { source: io::Error },
}

/// The images of this machine, on disk. Clones share nothing but the directory; processes share it by file locks.
#[derive(Debug, Clone)]
pub struct ImageStore {
    layout: Layout,
    mirrors: Vec<Mirror>,
}

impl ImageStore {
    /// `root` is the engine's state directory, the same as for `Snapshots`: images live below `root/images`.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let layout = Layout::new(root);
        layout.create().map_err(|source| StoreError::Open { path: root.to_owned(), source })?;
        Ok(Self { layout, mirrors: Vec::new() })
    }

    /// The same store; what it pulls, it asks these for first.
    pub fn with_mirrors(self, mirrors: Vec<Mirror>) -> Self {
        Self { mirrors, ..self }
    }

    /// Finds by name, name with digest, id, or the beginning of an id (six digits or more).
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, StoreError> {
        let index = Index::read(&self.layout)?;
        match find(&index, reference)? {
            Some((id, record)) => self.image(id, record).map(Some),
            None => Ok(None),
        }
    }

    /// Every image, by id. One that cannot be read is left out and logged.
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        let index = Index::read(&self.layout)?;
        let mut images = Vec::new();
        for (id, record) in &index.images {
            match self.image(id, record) {
                Ok(image) => images.push(image),
                Err(error) => {
                    tracing::error!(image = %id, error = %kit::Chain(&error), "Image cannot be read");
                }
            }
        }
        Ok(images)
    }

    /// Removes the image with all its names and what only it used. `None`: there was none.
    /// Layers under a container stay until the container's snapshot is gone.
    pub fn remove(&self, reference: &str) -> Result<Option<Image>, StoreError> {
        let index = Index::read(&self.layout)?;
        let Some((id, record)) = find(&index, reference)? else { return Ok(None) };
        let image = self.image(id, record)?;
        let removed = Index::update(&self.layout, |index| index.images.remove(id).is_some())?;
        self.collect_garbage()?;
        Ok(removed.then_some(image))
    }

    /// Gives an image one more name.
    pub fn tag(&self, reference: &str, name: &str) -> Result<Option<Image>, StoreError> {
        let name = Reference::parse(name)?.to_string();
        let tagged = Index::update(&self.layout, |index| -> Result<bool, StoreError> {
            let Some((id, _)) = find(index, reference)? else { return Ok(false) };
            let (id, size) = (id.clone(), index.images[id].size);
            index.add(id, Record { references: [name.clone()].into(), size, ..Record::default() });
            Ok(true)
        })??;
        if tagged { self.resolve(&name) } else { Ok(None) }
    }

    /// Removes what no image and no snapshot uses, unless something is being added; then whoever adds does it.
    pub fn collect_garbage(&self) -> Result<(), StoreError> {
        garbage::collect(&self.layout)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn image(&self, id: &Digest, record: &Record) -> Result<Image, StoreError> {
        let bytes =
            self.layout.document(id).map_err(|source| StoreError::Blob { id: id.to_string(), source })?;
        let unreadable = |source| StoreError::Manifest { id: id.to_string(), source };
        let config = manifest::configuration(id, &bytes).map_err(unreadable)?;
        let chains = manifest::chains(&config).map_err(unreadable)?;
        Ok(Image {
            id: id.to_string(),
            references: record.references.iter().cloned().collect(),
            repo_digests: record.repo_digests.iter().cloned().collect(),
            size: record.size,
            config,
            layers: chains.into_iter().map(|(_, chain)| chain.to_string()).collect(),
        })
    }
}

/// Names come first: `cafe` is a name before it is the beginning of an id.
fn find<'a>(index: &'a Index, text: &str) -> Result<Option<(&'a Digest, &'a Record)>, StoreError> {
    let parsed = Reference::parse(text);
    let by_name = match &parsed {
        Ok(Reference::Id(id)) => index.images.get_key_value(id),
        Ok(Reference::Tagged(name)) => {
            index.images.iter().find(|(_, record)| record.references.contains(name))
        }
        Ok(Reference::Digested(name)) => {
            index.images.iter().find(|(_, record)| record.repo_digests.contains(name))
        }
        Err(_) => None,
    };
    if by_name.is_some() {
        return Ok(by_name);
    }
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    let is_prefix = prefix.len() >= 6 && prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_prefix {
        return parsed.map(|_| None).map_err(Into::into);
    }
    let mut matching = index.images.iter().filter(|(id, _)| id.hex().starts_with(prefix));
    let first = matching.next();
    match matching.count() {
        0 => Ok(first),
        more => Err(StoreError::Ambiguous { prefix: text.to_owned(), count: more + 1 }),
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
