//! Mark and sweep: what neither an image nor a snapshot names goes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::StoreError;
use super::digest::Digest;
use super::index::Index;
use super::layout::Layout;
use super::manifest::{self, Document};
use crate::snapshot;

/// An interrupted download may be continued; after this it is given up.
const KEEP_PARTIAL: Duration = Duration::from_secs(24 * 3600);

/// File names that stay.
#[derive(Debug, Default)]
struct Marked {
    blobs: BTreeSet<String>,
    layers: BTreeSet<String>,
}

pub(super) fn collect(layout: &Layout) -> Result<(), StoreError> {
    let failed = |source| StoreError::Garbage { source };
    let Some(_lock) = layout.collecting().map_err(failed)? else { return Ok(()) };
    let mut marked = Marked::default();
    for (id, record) in &Index::read(layout)?.images {
        mark_image(layout, id, &record.manifests, &mut marked)?;
    }
    for chain in snapshot::layers_in_use(layout).map_err(failed)? {
        marked.layers.insert(chain.hex().to_owned());
    }
    sweep(&layout.blobs(), &marked.blobs).map_err(failed)?;
    sweep(&layout.layers(), &marked.layers).map_err(failed)?;
    sweep_staging(&layout.staging()).map_err(failed)
}

fn mark_image(
    layout: &Layout,
    id: &Digest,
    manifests: &BTreeSet<Digest>,
    marked: &mut Marked,
) -> Result<(), StoreError> {
    let blob = |source| StoreError::Blob { id: id.to_string(), source };
    let unreadable = |source| StoreError::Manifest { id: id.to_string(), source };
    marked.blobs.insert(id.hex().to_owned());
    let config = manifest::configuration(id, &layout.document(id).map_err(blob)?).map_err(unreadable)?;
    for (_, chain) in manifest::chains(&config).map_err(unreadable)? {
        marked.layers.insert(chain.hex().to_owned());
    }
    for digest in manifests {
        marked.blobs.insert(digest.hex().to_owned());
        let bytes = layout.document(digest).map_err(blob)?;
        if let Document::Manifest(image_manifest) = manifest::parse(digest, &bytes).map_err(unreadable)? {
            for layer in image_manifest.layers() {
                marked.blobs.insert(manifest::expected(layer).map_err(unreadable)?.digest.hex().to_owned());
            }
        }
    }
    Ok(())
}

fn sweep(directory: &Path, marked: &BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| marked.contains(name)) {
            continue;
        }
        remove(&entry)?;
    }
    Ok(())
}

/// Nobody adds while this runs, so all that lies here was left by a crash.
fn sweep_staging(directory: &Path) -> io::Result<()> {
    let now = kit::clock::since_epoch();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_partial = entry.file_name().to_string_lossy().ends_with(".partial");
        if is_partial && age(&entry.metadata()?, now) < KEEP_PARTIAL {
            continue;
        }
        remove(&entry)?;
    }
    Ok(())
}

fn age(metadata: &fs::Metadata, now: Duration) -> Duration {
    use std::os::unix::fs::MetadataExt;
    now.saturating_sub(Duration::from_secs(u64::try_from(metadata.mtime()).unwrap_or(0)))
}

fn remove(entry: &fs::DirEntry) -> io::Result<()> {
    tracing::debug!(path = %entry.path().display(), "Garbage removed");
    if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }
}
