//! Images from a file: an OCI image layout (directory or tar) or a docker archive, plain, gzip or zstd.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, DescriptorBuilder, ImageIndex, ImageManifestBuilder, MediaType};
use serde::Deserialize;

use super::archive::{Archive, ArchiveError};
use super::blobs::{BlobError, Expected};
use super::digest::{Digest, Hashing};
use super::install::{InstallError, Names, install};
use super::layout::{Layout, Scratch};
use super::manifest::{self, Document, ManifestError};
use super::progress::Progress;
use super::reference::{Reference, ReferenceError};
use super::{Image, ImageStore, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("`{path}` is neither an OCI image layout nor a docker archive", path = path.display())]
    Unknown { path: PathBuf },
    #[error("`{path}` holds no image", path = path.display())]
    NoImage { path: PathBuf },
    #[error("`{name}` in the archive cannot be read")]
    Parse { name: &'static str, source: serde_json::Error },
    #[error("an image in the archive has a bad name")]
    Name(#[from] ReferenceError),
    #[error("cannot take image content from the archive")]
    Blob(#[from] BlobError),
    #[error("cannot use an image in the archive")]
    Manifest(#[from] ManifestError),
    #[error("`{name}` in the archive has the digest {found}, not the one in its name")]
    ConfigName { name: String, found: Digest },
    #[error("cannot build a manifest for an image of the docker archive")]
    Compose { source: oci_spec::OciSpecError },
    #[error("cannot install an image of the archive")]
    Install(#[from] InstallError),
    #[error("cannot lock the image store")]
    Lock { source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImageStore {
    /// Adds every image of `archive` that this machine can run. Blocking.
    pub fn load(&self, archive: &Path, progress: &dyn Progress) -> Result<Vec<Image>, LoadError> {
        let result = self.load_all(archive, progress);
        // Whatever a failure left has no name and goes; its own error matters more than one of the collector.
        if let Err(error) = self.collect_garbage() {
            tracing::warn!(error = %kit::Chain(&error), "Garbage stays in the image store");
        }
        result
    }

    fn load_all(&self, path: &Path, progress: &dyn Progress) -> Result<Vec<Image>, LoadError> {
        let layout = self.layout();
        let _lock = layout.adding().map_err(|source| LoadError::Lock { source })?;
        let archive = Archive::open(path, &layout.scratch())?;
        let loader = Loader { layout, archive, path, progress };
        let ids = if loader.archive.contains("index.json") {
            loader.oci()?
        } else if loader.archive.contains("manifest.json") {
            loader.docker()?
        } else {
            return Err(LoadError::Unknown { path: path.to_owned() });
        };
        let mut images = Vec::new();
        for id in ids {
            images.extend(self.resolve(&id.to_string())?);
        }
        Ok(images)
    }
}

/// One archive on its way into the store.
struct Loader<'a> {
    layout: &'a Layout,
    archive: Archive,
    path: &'a Path,
    progress: &'a dyn Progress,
}

impl Loader<'_> {
    fn oci(&self) -> Result<Vec<Digest>, LoadError> {
        let index: ImageIndex = self.parse("index.json")?;
        // One name may stand on several entries, one for each platform.
        let mut by_name: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
        for descriptor in index.manifests() {
            by_name.entry(self.name(descriptor)?).or_default().push(descriptor.clone());
        }
        let mut found: BTreeMap<Digest, Names> = BTreeMap::new();
        for (name, descriptors) in by_name {
            for digest in self.manifests(name.is_some(), &descriptors)? {
                found.entry(digest).or_default().references.extend(name.clone());
            }
        }
        if found.is_empty() {
            return Err(LoadError::NoImage { path: self.path.to_owned() });
        }
        let install = |(digest, names)| Ok(install(self.layout, &digest, names, self.progress)?);
        found.into_iter().map(install).collect()
    }

    /// Manifests under one name: one that fits this machine. Without a name each entry is an image of its own.
    fn manifests(&self, is_named: bool, descriptors: &[Descriptor]) -> Result<Vec<Digest>, LoadError> {
        if is_named && descriptors.len() > 1 {
            let mut choice = ImageIndex::default();
            choice.set_manifests(descriptors.to_vec());
            return Ok(vec![self.fetch(manifest::choose(&choice)?, 0)?]);
        }
        descriptors.iter().map(|descriptor| self.fetch(descriptor, 0)).collect()
    }

    /// Brings a manifest and all that it names into the store; an index leads to the entry for this machine.
    fn fetch(&self, descriptor: &Descriptor, depth: usize) -> Result<Digest, LoadError> {
        let expected = manifest::expected(descriptor)?;
        self.blob(&expected)?;
        let digest = expected.digest;
        match manifest::parse(&digest, &self.layout.document(&digest)?)? {
            Document::Index(_) if depth > 3 => Err(ManifestError::Nesting { digest }.into()),
            Document::Index(index) => self.fetch(manifest::choose(&index)?, depth + 1),
            Document::Manifest(image_manifest) => {
                for part in image_manifest.layers().iter().chain([image_manifest.config()]) {
                    self.blob(&manifest::expected(part)?)?;
                }
                Ok(digest)
            }
        }
    }

    fn blob(&self, expected: &Expected) -> Result<(), LoadError> {
        let (reader, _) = self.archive.stream(&format!("blobs/sha256/{}", expected.digest.hex()))?;
        Ok(self.layout.put_blob(expected, reader, self.progress)?)
    }

    /// What the archive calls an image. A bare tag, as many tools write it, is a tag of the archive's own name.
    fn name(&self, descriptor: &Descriptor) -> Result<Option<String>, LoadError> {
        let Some(annotations) = descriptor.annotations() else { return Ok(None) };
        let full = annotations.get("io.containerd.image.name");
        let Some(name) = full.or_else(|| annotations.get("org.opencontainers.image.ref.name")) else {
            return Ok(None);
        };
        let is_tag = full.is_none() && !name.contains(['/', ':']);
        let stem = self.path.file_name().and_then(|file| file.to_str()).unwrap_or("image");
        let stem = stem.split('.').next().unwrap_or(stem).to_lowercase();
        let name = if is_tag { format!("{stem}:{name}") } else { name.clone() };
        Ok(Some(Reference::parse(&name)?.to_string()))
    }

    fn docker(&self) -> Result<Vec<Digest>, LoadError> {
        let entries: Vec<DockerEntry> = self.parse("manifest.json")?;
        if entries.is_empty() {
            return Err(LoadError::NoImage { path: self.path.to_owned() });
        }
        entries.iter().map(|entry| self.docker_image(entry)).collect()
    }

    fn docker_image(&self, entry: &DockerEntry) -> Result<Digest, LoadError> {
        let config = self.archive.document(&entry.config)?;
        let found = Digest::of(&config);
        check_config_name(&entry.config, &found)?;
        self.layout.put_document(&config)?;
        let mut layers = Vec::new();
        for name in &entry.layers {
            layers.push(self.docker_layer(name)?);
        }
        let config = descriptor(MediaType::ImageConfig, &found, config.len() as u64)?;
        let image_manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(layers)
            .build()
            .and_then(|built| built.to_string())
            .map_err(|source| LoadError::Compose { source })?;
        let digest = self.layout.put_document(image_manifest.as_bytes())?;
        let references = entry
            .repo_tags
            .iter()
            .flatten()
            .map(|tag| Ok(Reference::parse(tag)?.to_string()))
            .collect::<Result<Vec<_>, LoadError>>()?;
        Ok(install(self.layout, &digest, Names { references, ..Names::default() }, self.progress)?)
    }

    /// Layers of docker archives are not named by their digest; what they unpack to is checked later.
    fn docker_layer(&self, name: &str) -> Result<Descriptor, LoadError> {
        let (reader, size) = self.archive.stream(name)?;
        let read = |source| ArchiveError::Read { name: name.to_owned(), source };
        let scratch = Scratch(self.layout.scratch());
        let mut file = std::fs::File::create(&scratch.0).map_err(read)?;
        let mut reader = Hashing::new(reader);
        io::copy(&mut reader, &mut file).map_err(read)?;
        let (digest, _) = reader.finish();
        self.layout.adopt_blob(&Expected { digest: digest.clone(), size: Some(size) }, &scratch.0)?;
        descriptor(MediaType::ImageLayer, &digest, size)
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, name: &'static str) -> Result<T, LoadError> {
        let bytes = self.archive.document(name)?;
        serde_json::from_slice(&bytes).map_err(|source| LoadError::Parse { name, source })
    }
}

/// An image in a docker archive's `manifest.json`.
#[derive(Debug, Deserialize)]
struct DockerEntry {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags")]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// `HEX.json` and `blobs/sha256/HEX` promise a digest.
fn check_config_name(name: &str, found: &Digest) -> Result<(), LoadError> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let stem = file.strip_suffix(".json").unwrap_or(file);
    match Digest::parse(&format!("sha256:{stem}")) {
        Ok(promised) if promised != *found => {
            Err(LoadError::ConfigName { name: name.to_owned(), found: found.clone() })
        }
        _ => Ok(()),
    }
}

fn descriptor(media_type: MediaType, digest: &Digest, size: u64) -> Result<Descriptor, LoadError> {
    let digest: oci_spec::image::Digest =
        digest.to_string().parse().map_err(|source| LoadError::Compose { source })?;
    DescriptorBuilder::default()
        .media_type(media_type)
        .digest(digest)
        .size(size)
        .build()
        .map_err(|source| LoadError::Compose { source })
}
