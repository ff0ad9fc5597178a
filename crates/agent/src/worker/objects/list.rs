//! The objects that a pattern names, in the order of their names, each with a word for the state that it is in.

use std::cell::Cell;
use std::pin::pin;

use futures::{Stream, StreamExt, TryStreamExt};
use fuxi::inputs::{InvalidEntries, MAX_LIST};
use fuxi::protocol::Store;
use glob::{MatchOptions, Pattern};
use model::dagjob::MAX_ENTRIES;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::block_on;
use super::store::{Opened, StoreError, version};

/// What the object is called that lists the parts of an output, after the instance's index.
pub(super) const PARTS: &str = ".crest-parts";
/// So many of these are read at once.
const TOGETHER: usize = 16;
/// As a shell has it, and as for files.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What is wanted of what is there.
struct Wanted {
    /// All that is below the folder, or the folder's own name, if there is none.
    pattern: Option<Pattern>,
    /// The folders at the pattern's beginning that are no pattern: below it is looked.
    folder: String,
}

impl Wanted {
    fn parse(key: &str) -> Option<Self> {
        let text = key.trim_end_matches('/');
        let folder = fixed_part(text).to_owned();
        let pattern = Pattern::new(text).ok()?;
        Some(Self { pattern: Some(pattern).filter(|_| folder != text), folder })
    }

    fn is_wanted(&self, name: &str) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.matches_with(name, OPTIONS),
            None => name
                .strip_prefix(&self.folder)
                .is_some_and(|rest| self.folder.is_empty() || rest.is_empty() || rest.starts_with('/')),
        }
    }

    /// Whether the object is wanted, or may name others that are. Hidden ones below the folder are of nobody's concern.
    fn concerns(&self, meta: &ObjectMeta) -> bool {
        let name = meta.location.as_ref();
        let below = format!("/{}", name[self.folder.len()..].trim_start_matches('/'));
        !below.contains("/.") && (is_parts(meta) || self.is_wanted(name))
    }
}

/// What was found, and nothing of what is not wanted: there may be many times more of that.
#[derive(Default)]
struct Found {
    lines: Vec<(String, String)>,
    /// Of all names, with the end of each line.
    size: usize,
    /// The objects that list the parts of an output.
    parts: Vec<Key>,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.parts.is_empty()
    }

    fn add(&mut self, name: String, line: String) -> Result<(), InvalidEntries> {
        self.size += line.len() + 1;
        self.lines.push((name, line));
        if self.size > MAX_LIST {
            return Err(InvalidEntries::TooLarge);
        }
        if self.lines.len() > MAX_ENTRIES as usize { Err(InvalidEntries::TooMany) } else { Ok(()) }
    }

    /// Looks through `listed` as it comes; false if that is nothing at all.
    async fn look_through(
        &mut self,
        (opened, wanted): (&Opened, &Wanted),
        listed: impl Stream<Item = Result<ObjectMeta, StoreError>>,
    ) -> Result<bool, StoreError> {
        let is_any = Cell::new(false);
        let listed = listed.inspect_ok(|_| is_any.set(true));
        let objects = listed
            .try_filter(|meta| std::future::ready(wanted.concerns(meta)))
            .map_ok(|meta| unless_a_folder(opened, meta))
            .try_buffer_unordered(TOGETHER)
            .try_filter_map(async |meta| Ok(meta));
        let mut objects = pin!(objects);
        while let Some(meta) = objects.try_next().await? {
            if is_parts(&meta) {
                self.parts.push(meta.location);
            } else {
                let line = format!("{} {}", version(&meta), meta.location);
                self.add(meta.location.into(), line).map_err(|source| opened.unusable(source))?;
            }
        }
        Ok(is_any.get())
    }
}

fn is_parts(meta: &ObjectMeta) -> bool {
    meta.location.as_ref().ends_with(PARTS)
}

/// A line for each object: what state it is in, and its name.
pub(in crate::worker) fn lines(store: &Store) -> Result<Vec<String>, StoreError> {
    block_on(take(store))
}

async fn take(store: &Store) -> Result<Vec<String>, StoreError> {
    let opened = Opened::open(store)?;
    let wanted = Wanted::parse(opened.key());
    let wanted = wanted.ok_or_else(|| StoreError::Url { url: store.objects.url.clone() })?;
    let (folder, at) = (wanted.folder.as_str(), (&opened, &wanted));
    let name = opened.name(folder)?;
    let listed = opened.client.list(Some(&name).filter(|_| !folder.is_empty()));
    let mut found = Found::default();
    let is_any = found.look_through(at, listed.map_err(|error| opened.error("list", folder, &error))).await?;
    if !is_any && wanted.pattern.is_none() && !folder.is_empty() {
        let object = opened.head(folder).await?;
        found.look_through(at, futures::stream::iter(object.map(Ok))).await?;
    }
    // The folder itself may be, or lie in, an output.
    for (at, _) in format!("{folder}/").match_indices('/').filter(|(at, _)| *at > 0) {
        match opened.head(&format!("{}{PARTS}", &folder[..at])).await {
            // Keys that may read a folder only may not ask for what lies beside it.
            Err(StoreError::Denied { .. }) => {}
            parts => found.parts.extend(parts?.map(|meta| meta.location)),
        }
    }
    if found.is_empty() && wanted.pattern.is_none() {
        return Err(StoreError::Missing { url: opened.url(folder) });
    }
    let parts = std::mem::take(&mut found.parts);
    let read =
        futures::stream::iter(&parts).map(|object| parts_of(&opened, object)).buffer_unordered(TOGETHER);
    let mut read = pin!(read);
    while let Some(parts) = read.try_next().await? {
        for (name, line) in parts.into_iter().filter(|(name, _)| wanted.is_wanted(name)) {
            found.add(name, line).map_err(|source| opened.unusable(source))?;
        }
    }
    found.lines.sort_unstable();
    Ok(found.lines.into_iter().map(|(_, line)| line).collect())
}

/// Tools make empty objects whose names end in a slash, so that there is a folder to show; the slash is cut off here, and
/// without it there is no such object.
async fn unless_a_folder(opened: &Opened, meta: ObjectMeta) -> Result<Option<ObjectMeta>, StoreError> {
    let is_object = meta.size > 0 || opened.head(meta.location.as_ref()).await?.is_some();
    Ok(is_object.then_some(meta))
}

/// The objects of an output that is a folder, each by the name that it would have if it stood under the instance's index.
async fn parts_of(opened: &Opened, object: &Key) -> Result<Vec<(String, String)>, StoreError> {
    let key = object.as_ref();
    let failed = |error| opened.error("read", key, &error);
    let bytes = opened.client.get(object).await.map_err(failed)?.bytes().await.map_err(failed)?;
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
