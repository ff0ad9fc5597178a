//! The kinds that are watched, which come and go with the definitions of users.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::catalog::{KindEntry, Meta};
use crate::informer::Informer;

/// The watch of a kind. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) kind: KindEntry,
    pub(super) informer: Arc<Informer<Meta>>,
    _end: DropGuard,
}

impl Watch {
    pub(super) fn new(kind: KindEntry, informer: Arc<Informer<Meta>>, token: CancellationToken) -> Self {
        Self { kind, informer, _end: token.drop_guard() }
    }
}

/// One watch for each kind, by its name.
#[derive(Debug, Default)]
pub(super) struct Watched(RwLock<BTreeMap<String, Watch>>);

impl Watched {
    /// Ends the watches of kinds that are not among `found` as they are, and answers them.
    pub(super) fn retain(&self, found: &[KindEntry]) -> Vec<Watch> {
        let is_found = |watch: &Watch| found.iter().any(|kind| kind.resource == watch.kind.resource);
        self.0.write().extract_if(.., |_, watch| !is_found(watch)).map(|(_, watch)| watch).collect()
    }

    pub(super) fn has(&self, kind: &KindEntry) -> bool {
        self.0.read().contains_key(&kind.name())
    }

    pub(super) fn add(&self, watch: Watch) {
        self.0.write().insert(watch.kind.name(), watch);
    }

    pub(super) fn kinds(&self) -> Vec<KindEntry> {
        self.0.read().values().map(|watch| watch.kind.clone()).collect()
    }

    pub(super) fn informers(&self) -> Vec<Arc<Informer<Meta>>> {
        self.0.read().values().map(|watch| Arc::clone(&watch.informer)).collect()
    }

    /// The kind that a reference names, in whichever version it is watched.
    pub(super) fn find(&self, api_version: &str, name: &str) -> Option<KindEntry> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let watches = self.0.read();
        let mut kinds = watches.values().map(|watch| &watch.kind);
        kinds.find(|kind| kind.resource.group == group && kind.resource.kind == name).cloned()
    }
}
