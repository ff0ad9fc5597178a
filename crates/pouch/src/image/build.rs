//! Packs a directory into an image: one layer, the same bytes for the same content.

mod tar_writer;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, DescriptorBuilder, ImageConfiguration, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, RootFsBuilder,
};

use self::tar_writer::{TarWriter, WriteError};
use super::digest::{Digest, Hashing};
use super::layout::Scratch;
use super::load::LoadError;
use super::manifest::architecture;
use super::progress::Progress;
use super::reference::{Reference, ReferenceError};
use super::{Image, ImageStore};

/// How containers of the new image run, and what it is called.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    /// `nginx:local`
    pub tag: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    /// `1000:1000`, or names from the image's own `/etc/passwd`.
    pub user: Option<String>,
    /// `80/tcp`
    pub exposed_ports: Vec<String>,
    /// `SIGQUIT`
    pub stop_signal: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("`{tag}` is no tag: an image is built under a name, not under a digest")]
    NotATag { tag: String },
    #[error("cannot pack `{path}`", path = path.display())]
    Pack {
        path: PathBuf,
        #[source]
        source: WriteError,
    },
    #[error("cannot write the image to `{path}`", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot compose the image's documents")]
    Compose { source: OciSpecError },
    #[error("cannot add the built image to the store")]
    Load(#[from] LoadError),
    #[error("the built image was removed at once")]
    Removed,
}

impl ImageStore {
    /// Packs `rootfs` and adds the image to the store. Blocking.
    pub fn build(
        &self,
        rootfs: &Path,
        recipe: &Recipe,
        progress: &dyn Progress,
    ) -> Result<Image, BuildError> {
        let scratch = Scratch(self.layout().scratch());
        pack(rootfs, recipe, &scratch.0)?;
        let images = self.load(&scratch.0, progress)?;
        images.into_iter().next().ok_or(BuildError::Removed)
    }
}

/// Packs `rootfs` into an OCI image layout in a tar file at `archive`.
pub fn pack(rootfs: &Path, recipe: &Recipe, archive: &Path) -> Result<(), BuildError> {
    let name = match Reference::parse(&recipe.tag)? {
        Reference::Tagged(name) => name,
        Reference::Digested(_) | Reference::Id(_) => {
            return Err(BuildError::NotATag { tag: recipe.tag.clone() });
        }
    };
    let write = |source| BuildError::Write { path: archive.to_owned(), source };
    let scratch = Scratch(sibling(archive, "layer"));
    let diff = pack_layer(rootfs, &scratch.0)?;
    let (layer, layer_size) = digest_of(&scratch.0).map_err(write)?;
    let compose = |source| BuildError::Compose { source };
    let documents = documents(recipe, &diff, &(layer.clone(), layer_size), &name).map_err(compose)?;

    let staged = Scratch(sibling(archive, "new"));
    let mut tar = TarWriter::new(BufWriter::new(File::create(&staged.0).map_err(write)?));
    for (path, content) in &documents {
        tar.file(path, content).map_err(write)?;
    }
    let layer_file = File::open(&scratch.0).map_err(write)?;
    tar.stream(&format!("blobs/sha256/{}", layer.hex()), layer_size, layer_file).map_err(write)?;
    tar.finish().and_then(|mut output| output.flush()).map_err(write)?;
    std::fs::rename(&staged.0, archive).map_err(write)
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:08x}.{suffix}", rand::random::<u32>()));
    PathBuf::from(name)
}

/// Writes the compressed layer to `output`; returns the digest of its plain content.
fn pack_layer(rootfs: &Path, output: &Path) -> Result<Digest, BuildError> {
    let write = |source| BuildError::Write { path: output.to_owned(), source };
    let file = File::create(output).map_err(write)?;
    let encoder = zstd::stream::write::Encoder::new(file, 3).map_err(write)?;
    let mut tar = TarWriter::new(HashingWriter::new(encoder));
    tar.tree(rootfs).map_err(|source| BuildError::Pack { path: rootfs.to_owned(), source })?;
    let hashing = tar.finish().map_err(write)?;
    let (encoder, diff) = hashing.finish();
    encoder.finish().map_err(write)?;
    Ok(diff)
}

fn digest_of(path: &Path) -> io::Result<(Digest, u64)> {
    let mut reader = Hashing::new(BufReader::with_capacity(128 * 1024, File::open(path)?));
    io::copy(&mut reader, &mut io::sink())?;
    Ok(reader.finish())
}

/// Every document of the layout with its path. They carry no time: the same content is the same image.
fn documents(
    recipe: &Recipe,
    diff: &Digest,
    layer: &(Digest, u64),
    name: &str,
) -> Result<Vec<(String, Vec<u8>)>, OciSpecError> {
    let config = ordered(&configuration(recipe, diff)?)?;
    let layer = descriptor(MediaType::ImageLayerZstd, &layer.0, layer.1)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, &Digest::of(&config), config.len() as u64)?)
        .layers(vec![layer])
        .build()?;
    let manifest = ordered(&manifest)?;
    let mut entry = descriptor(MediaType::ImageManifest, &Digest::of(&manifest), manifest.len() as u64)?;
    // Both names: the first is what skopeo and podman read, the second is containerd's and unambiguous.
    let tag = name.rsplit(':').next().unwrap_or("latest");
    let annotations = [
        ("org.opencontainers.image.ref.name".to_owned(), tag.to_owned()),
        ("io.containerd.image.name".to_owned(), name.to_owned()),
    ];
    entry.set_annotations(Some(annotations.into()));
    let index = ImageIndexBuilder::default().schema_version(2u32).manifests(vec![entry]).build()?;
    let blob = |content: Vec<u8>| (format!("blobs/sha256/{}", Digest::of(&content).hex()), content);
    Ok(vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), ordered(&index)?),
        blob(manifest),
        blob(config),
    ])
}

/// JSON with its keys in order: the maps behind annotations and ports have none of their own.
fn ordered(document: &impl serde::Serialize) -> Result<Vec<u8>, OciSpecError> {
    let mut document = serde_json::to_value(document)?;
    document.sort_all_objects();
    Ok(serde_json::to_vec(&document)?)
}

fn configuration(recipe: &Recipe, diff: &Digest) -> Result<ImageConfiguration, OciSpecError> {
    let mut config = ConfigBuilder::default();
    if !recipe.entrypoint.is_empty() {
        config = config.entrypoint(recipe.entrypoint.clone());
    }
    if !recipe.cmd.is_empty() {
        config = config.cmd(recipe.cmd.clone());
    }
    if !recipe.exposed_ports.is_empty() {
        config = config.exposed_ports(recipe.exposed_ports.clone());
    }
    if let Some(directory) = &recipe.working_dir {
        config = config.working_dir(directory.clone());
    }
    if let Some(user) = &recipe.user {
        config = config.user(user.clone());
    }
    if let Some(signal) = &recipe.stop_signal {
        config = config.stop_signal(signal.clone());
    }
    let mut env = recipe.env.clone();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.insert(0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    }
    let root = RootFsBuilder::default().typ("layers".to_owned()).diff_ids(vec![diff.to_string()]).build()?;
    ImageConfigurationBuilder::default()
        .architecture(Arch::from(architecture()))
        .os(Os::Linux)
        .config(config.env(env).build()?)
        .rootfs(root)
        .build()
}

fn descriptor(media_type: MediaType, digest: &Digest, size: u64) -> Result<Descriptor, OciSpecError> {
    let digest: oci_spec::image::Digest = digest.to_string().parse()?;
    DescriptorBuilder::default().media_type(media_type).digest(digest).size(size).build()
}

/// Hashes what is written through it.
#[derive(Debug)]
struct HashingWriter<W> {
    inner: W,
    hasher: sha2::Sha256,
}

impl<W: Write> HashingWriter<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: sha2::Digest::new() }
    }

    fn finish(self) -> (W, Digest) {
        (self.inner, Digest::from_hash(sha2::Digest::finalize(self.hasher).into()))
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_written = self.inner.write(bytes)?;
        sha2::Digest::update(&mut self.hasher, &bytes[..n_written]);
        Ok(n_written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
