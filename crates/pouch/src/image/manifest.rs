//! Reads manifests, indexes and configurations, and picks the image for this machine out of several.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};

use super::blobs::Expected;
use super::digest::{Digest, DigestError};
use super::layers::Layer;

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("manifest {digest} cannot be read as a manifest or an index")]
    Parse { digest: Digest, source: serde_json::Error },
    #[error("manifest {digest} is of the kind `{found}`, which is no container image")]
    Kind { digest: Digest, found: String },
    #[error("configuration {digest} cannot be read")]
    Config { digest: Digest, source: serde_json::Error },
    #[error("configuration {digest} describes {diffs} layers where the manifest lists {layers}")]
    LayerCount { digest: Digest, diffs: usize, layers: usize },
    #[error("a manifest refers to content in a way that is not supported")]
    Digest {
        #[from]
        source: DigestError,
    },
    #[error("there is no image for {wanted} in it; it holds {found}")]
    Platform { wanted: String, found: String },
    #[error("manifest {digest} nests indexes too deep")]
    Nesting { digest: Digest },
}

/// Either of what a name can lead to.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Box<ImageIndex>),
    Manifest(Box<ImageManifest>),
}

/// Reads a document by what it holds: its media type is optional, and some writers get it wrong.
pub(crate) fn parse(digest: &Digest, bytes: &[u8]) -> Result<Document, ManifestError> {
    let parse = |source| ManifestError::Parse { digest: digest.clone(), source };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(parse)?;
    if value.get("manifests").is_some() {
        return serde_json::from_value(value).map(Box::new).map(Document::Index).map_err(parse);
    }
    let manifest: ImageManifest = serde_json::from_value(value).map_err(parse)?;
    let kind = manifest.config().media_type().to_string();
    let is_image = [
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        "application/octet-stream",
    ]
    .contains(&kind.as_str());
    if is_image {
        Ok(Document::Manifest(Box::new(manifest)))
    } else {
        Err(ManifestError::Kind { digest: digest.clone(), found: kind })
    }
}

/// This machine, in the words of image indexes.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The entry of an index for this machine; an only entry that names no platform is taken as it is.
pub(crate) fn choose(index: &ImageIndex) -> Result<&Descriptor, ManifestError> {
    let fits = |descriptor: &&Descriptor| {
        descriptor.platform().as_ref().is_some_and(|platform| {
            platform.os().to_string() == "linux" && platform.architecture().to_string() == architecture()
        })
    };
    if let Some(found) = index.manifests().iter().find(fits) {
        return Ok(found);
    }
    if let [only] = index.manifests().as_slice()
        && only.platform().is_none()
    {
        return Ok(only);
    }
    let shown: Vec<String> = index.manifests().iter().map(shown_platform).collect();
    let found = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
    Err(ManifestError::Platform { wanted: format!("linux/{}", architecture()), found })
}

fn shown_platform(descriptor: &Descriptor) -> String {
    match descriptor.platform() {
        Some(platform) => format!("{}/{}", platform.os(), platform.architecture()),
        None => "an image without a platform".to_owned(),
    }
}

pub(crate) fn expected(descriptor: &Descriptor) -> Result<Expected, ManifestError> {
    let digest = Digest::parse(descriptor.digest().as_ref())?;
    Ok(Expected { digest, size: Some(descriptor.size()) })
}

pub(crate) fn configuration(digest: &Digest, bytes: &[u8]) -> Result<ImageConfiguration, ManifestError> {
    serde_json::from_slice(bytes).map_err(|source| ManifestError::Config { digest: digest.clone(), source })
}

/// Chain ids of an image's layers, bottom first.
pub(crate) fn chains(config: &ImageConfiguration) -> Result<Vec<(Digest, Digest)>, ManifestError> {
    let mut chains: Vec<(Digest, Digest)> = Vec::new();
    for diff in config.rootfs().diff_ids() {
        let diff = Digest::parse(diff)?;
        let chain = Digest::chain(chains.last().map(|(_, below)| below), &diff);
        chains.push((diff, chain));
    }
    Ok(chains)
}

/// Brings the blobs of a manifest and the content that the configuration promises together.
pub(crate) fn layers(
    manifest: &ImageManifest,
    config: &ImageConfiguration,
) -> Result<Vec<Layer>, ManifestError> {
    let chains = chains(config)?;
    if chains.len() != manifest.layers().len() {
        let digest = Digest::parse(manifest.config().digest().as_ref())?;
        return Err(ManifestError::LayerCount {
            digest,
            diffs: chains.len(),
            layers: manifest.layers().len(),
        });
    }
    let pairs = manifest.layers().iter().zip(chains);
    pairs.map(|(blob, (diff, chain))| Ok(Layer { blob: expected(blob)?.digest, diff, chain })).collect()
}
