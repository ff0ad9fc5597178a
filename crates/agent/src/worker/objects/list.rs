//! The objects that a pattern names, in the order of their names, each with a word for the state that it is in.

use futures::{StreamExt, TryStreamExt};
use fuxi::protocol::Store;
use glob::{MatchOptions, Pattern};
use object_store::{ObjectMeta, ObjectStoreExt};

use super::block_on;
use super::store::{Opened, StoreError, version};

/// What the object is called that lists the parts of an output, after the instance's index.
pub(super) const PARTS: &str = ".crest-parts";
/// So many of these are read at once.
const TOGETHER: usize = 16;
/// As a shell has it, and as for files.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A line for each object: what state it is in, and its name.
pub(in crate::worker) fn lines(store: &Store) -> Result<Vec<String>, StoreError> {
    block_on(take(store))
}

async fn take(store: &Store) -> Result<Vec<String>, StoreError> {
    let opened = Opened::open(store)?;
    let pattern = opened.key().trim_end_matches('/').to_owned();
    let folder = fixed_part(&pattern);
    let matches = match Pattern::new(&pattern) {
        // A folder is all that is in it.
        Ok(_) if folder == pattern => None,
        Ok(matches) => Some(matches),
        Err(_) => return Err(StoreError::Url { url: store.objects.url.clone() }),
    };
    let failed = |error| opened.error("list", folder, &error);
    let name = opened.name(folder)?;
    let mut found: Vec<ObjectMeta> =
        opened.client.list(Some(&name).filter(|_| !folder.is_empty())).try_collect().await.map_err(failed)?;
    if found.is_empty() && matches.is_none() && !folder.is_empty() {
        found.extend(opened.head(folder).await?);
    }
    // Hidden ones below the folder are of nobody's concern.
    let below =
        |meta: &ObjectMeta| format!("/{}", meta.location.as_ref()[folder.len()..].trim_start_matches('/'));
    found.retain(|meta| !below(meta).contains("/."));
    let found =
        futures::stream::iter(found).map(|meta| unless_a_folder(&opened, meta)).buffer_unordered(TOGETHER);
    let mut found: Vec<ObjectMeta> = found.try_filter_map(async |meta| Ok(meta)).try_collect().await?;
    // The folder itself may be, or lie in, an output.
    for (at, _) in format!("{folder}/").match_indices('/').filter(|(at, _)| *at > 0) {
        match opened.head(&format!("{}{PARTS}", &folder[..at])).await {
            // Keys that may read a folder only may not ask for what lies beside it.
            Err(StoreError::Denied { .. }) => {}
            parts => found.extend(parts?),
        }
    }
    if found.is_empty() && matches.is_none() {
        return Err(StoreError::Missing { url: opened.url(folder) });
    }
    let (parts, plain): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|meta| meta.location.as_ref().ends_with(PARTS));
    let is_wanted = |name: &str| match &matches {
        Some(pattern) => pattern.matches_with(name, OPTIONS),
        None => name
            .strip_prefix(folder)
            .is_some_and(|rest| folder.is_empty() || rest.is_empty() || rest.starts_with('/')),
    };
    let mut lines: Vec<(String, String)> = Vec::new();
    for meta in plain.iter().filter(|meta| is_wanted(meta.location.as_ref())) {
        lines.push((meta.location.to_string(), format!("{} {}", version(meta), meta.location)));
    }
    let read = futures::stream::iter(&parts).map(|meta| parts_of(&opened, meta)).buffer_unordered(TOGETHER);
    for (name, line) in read.try_collect::<Vec<_>>().await?.into_iter().flatten() {
        if is_wanted(&name) {
            lines.push((name, line));
        }
    }
    lines.sort_unstable();
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Tools make empty objects whose names end in a slash, so that there is a folder to show; the slash is cut off here, and
/// without it there is no such object.
async fn unless_a_folder(opened: &Opened, meta: ObjectMeta) -> Result<Option<ObjectMeta>, StoreError> {
    let is_object = meta.size > 0 || opened.head(meta.location.as_ref()).await?.is_some();
    Ok(is_object.then_some(meta))
}

/// The objects of an output that is a folder, each by the name that it would have if it stood under the instance's index.
async fn parts_of(opened: &Opened, meta: &ObjectMeta) -> Result<Vec<(String, String)>, StoreError> {
    let key = meta.location.as_ref();
    let failed = |error| opened.error("read", key, &error);
    let bytes = opened.client.get(&meta.location).await.map_err(failed)?.bytes().await.map_err(failed)?;
    let garbled = || StoreError::Parts { url: opened.url(key) };
    let text = std::str::from_utf8(&bytes).map_err(|_| garbled())?;
    let place = key.trim_end_matches(PARTS);
    let folder = place.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    text.lines()
        .map(|line| {
            let (_, key) = line.split_once(' ').ok_or_else(garbled)?;
            let own = key.strip_prefix(&folder).and_then(|rest| rest.split_once('/')).ok_or_else(garbled)?;
            Ok((format!("{place}/{}", own.1), line.to_owned()))
        })
        .collect()
}

/// The folders at the beginning of a pattern that are no pattern; all of it if nothing is.
fn fixed_part(pattern: &str) -> &str {
    match pattern.find(['*', '?', '[']) {
        Some(at) => pattern[..at].rfind('/').map_or("", |slash| &pattern[..slash]),
        None => pattern,
    }
}
