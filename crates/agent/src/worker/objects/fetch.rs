//! Objects become files, if they are still what was listed.

use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use fuxi::protocol::Store;
use object_store::ObjectStoreExt;
use tokio::io::AsyncWriteExt;

use super::store::{Opened, StoreError, is_version};
use super::{Wanted, local};

/// So many at once.
const TOGETHER: usize = 4;

pub(super) async fn all(store: &Store, wanted: Vec<Wanted>) -> Result<(), StoreError> {
    let opened = Opened::open(store)?;
    let fetches = wanted.iter().map(|wanted| one(&opened, wanted));
    futures::stream::iter(fetches).buffer_unordered(TOGETHER).try_collect::<Vec<()>>().await?;
    Ok(())
}

async fn one(opened: &Opened, wanted: &Wanted) -> Result<(), StoreError> {
    let Wanted { key, version, to } = wanted;
    let failed = |error: object_store::Error| match opened.error("read", key, &error) {
        StoreError::Missing { url } => StoreError::Gone { url },
        other => other,
    };
    let found = opened.client.get(&opened.name(key)?).await.map_err(failed)?;
    if !is_version(&found.meta, version) {
        return Err(StoreError::Changed { url: opened.url(key) });
    }
    let folder = to.parent().unwrap_or(Path::new("/"));
    tokio::fs::create_dir_all(folder).await.map_err(local(folder))?;
    let mut file = tokio::fs::File::create(to).await.map_err(local(to))?;
    let mut chunks = found.into_stream();
    while let Some(chunk) = chunks.next().await {
        file.write_all(&chunk.map_err(failed)?).await.map_err(local(to))?;
    }
    file.flush().await.map_err(local(to))
}
