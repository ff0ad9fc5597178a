//! What an instance has written becomes objects, whole or not at all, whoever is killed when.
//!
//! ```text
//!   a file     OUT/INDEX                                  one request, or parts that are put together by one
//!   a folder   OUT/.crest-INDEX.ATTEMPT.xxxxxxxx/…        each attempt has its own
//!              OUT/INDEX.crest-parts                      and then, by one request, a list of what is in it: so it counts
//! ```
//! A second attempt replaces the output of the first as a whole. Who takes a list of the inputs in OUT finds what the parts
//! name, and nothing of attempts that did not count.

use std::fs;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use fuxi::protocol::{Attempt, Store};
use object_store::buffered::BufWriter;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::io::AsyncWriteExt;

use super::store::{Opened, StoreError, version};
use super::{list, local};

/// A file larger than this is put in parts of this size.
const PART: usize = 8 << 20;
const PARTS_TOGETHER: usize = 2;

pub(super) async fn whole(store: &Store, attempt: Attempt, from: &Path) -> Result<(), StoreError> {
    let kind = fs::symlink_metadata(from).map_err(|_| StoreError::Nothing)?.file_type();
    let opened = Opened::open(store)?;
    let folder = opened.key().trim_end_matches('/').to_owned();
    let place = join(&folder, &attempt.index.to_string());
    let parts = format!("{place}{}", list::PARTS);
    // An earlier attempt may have written the other kind.
    if kind.is_dir() {
        put_folder(&opened, (&folder, attempt), from, &parts).await?;
        remove(&opened, &place).await
    } else if kind.is_file() {
        file(&opened, from, &place).await?;
        remove(&opened, &parts).await
    } else {
        Err(StoreError::Kind { path: from.to_owned() })
    }
}

async fn put_folder(
    opened: &Opened,
    (folder, attempt): (&str, Attempt),
    from: &Path,
    parts: &str,
) -> Result<(), StoreError> {
    let Attempt { index, number } = attempt;
    let own = join(folder, &format!(".crest-{index}.{number}.{:08x}", rand::random::<u32>()));
    for path in files_below(from)? {
        // Another name for it might be that of a second file.
        let name = path.strip_prefix(from).unwrap_or(&path).to_str();
        let name = name.ok_or_else(|| StoreError::NoText { path: path.clone() })?;
        file(opened, &path, &join(&own, name)).await?;
    }
    let failed = |error| opened.error("list", &own, &error);
    let mut there: Vec<_> =
        opened.client.list(Some(&opened.name(&own)?)).try_collect().await.map_err(failed)?;
    there.sort_unstable_by(|one, other| one.location.cmp(&other.location));
    let lines = there.iter().map(|meta| format!("{} {}\n", version(meta), meta.location));
    let text: String = lines.collect();
    let done = opened.client.put(&opened.name(parts)?, PutPayload::from(text)).await;
    done.map(drop).map_err(|error| opened.error("write", parts, &error))
}

async fn file(opened: &Opened, from: &Path, key: &str) -> Result<(), StoreError> {
    let mut file = tokio::fs::File::open(from).await.map_err(local(from))?;
    let mut writer = BufWriter::with_capacity(opened.client.clone(), opened.name(key)?, PART)
        .with_max_concurrency(PARTS_TOGETHER);
    let copied = tokio::io::copy(&mut file, &mut writer).await;
    let done = match copied {
        Ok(_) => writer.shutdown().await,
        Err(error) => {
            // Parts that nobody puts together cost room until the store's owner lets them go.
            let _left = writer.abort().await;
            Err(error)
        }
    };
    done.map_err(|error| match error.downcast::<object_store::Error>() {
        Ok(error) => opened.error("write", key, &error),
        Err(error) => local(from)(error),
    })
}

/// Removes what an attempt before this one may have left under the other name.
async fn remove(opened: &Opened, key: &str) -> Result<(), StoreError> {
    // Who may not delete need not, where nothing was left.
    if opened.head(key).await?.is_none() {
        return Ok(());
    }
    match opened.client.delete(&opened.name(key)?).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(opened.error("remove", key, &error)),
    }
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(local(&folder))? {
            let path = entry.map_err(local(&folder))?.path();
            let kind = fs::symlink_metadata(&path).map_err(local(&path))?.file_type();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                files.push(path);
            } else {
                return Err(StoreError::Kind { path });
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
