//! Which kinds are served now: those of the table and those that users defined, with the documents that tell of them.
//!
//! ```text
//!   definitions in the store ──lister──► Served (a snapshot, swapped whole) ──► paths, discovery, OpenAPI
//! ```
//! The lister follows the store, so that what another server wrote arrives here as well; and it waits for the writes of
//! this server, so that whoever was answered that a definition stands can use its kind with the next request.

use std::collections::HashMap;
use std::sync::Arc;

use kinds::discovery::Discovery;
use kinds::openapi::OpenApi;
use kinds::status::Failure;
use kinds::{Kind, custom};
use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use crate::lister::Lister;
use crate::registry::Registry;

/// The group and the plural of definitions.
pub(crate) const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

/// What is served, as of the latest definitions.
#[derive(Debug)]
pub(crate) struct Catalog {
    served: RwLock<Arc<Served>>,
    /// Held while the next snapshot is made, which only one has to do.
    making: Mutex<()>,
}

/// A snapshot of what is served.
#[derive(Debug)]
pub(crate) struct Served {
    /// Of the lister when this was made.
    generation: u64,
    /// Kinds that are served and not stored: what agents measure.
    measured: Vec<Kind>,
    definitions: Vec<Definition>,
    custom: HashMap<(&'static str, &'static str, &'static str), Kind>,
    pub(crate) discovery: Discovery,
    pub(crate) openapi: OpenApi,
}

/// A definition with the kinds that it makes.
#[derive(Debug)]
struct Definition {
    source: Arc<Value>,
    kinds: Arc<[Kind]>,
}

impl Default for Served {
    fn default() -> Self {
        Self::of(0, Vec::new(), Vec::new(), &OpenApi::default())
    }
}

impl Served {
    fn of(generation: u64, measured: Vec<Kind>, definitions: Vec<Definition>, before: &OpenApi) -> Self {
        let kinds: Vec<Kind> =
            definitions.iter().flat_map(|definition| definition.kinds.iter().cloned()).collect();
        let key = |kind: &Kind| (kind.group, kind.version, kind.plural);
        let openapi = OpenApi::of(&kinds, before);
        let beside: Vec<Kind> = measured.iter().cloned().chain(kinds).collect();
        Self {
            generation,
            measured,
            discovery: Discovery::of(&beside),
            openapi,
            custom: beside.into_iter().map(|kind| (key(&kind), kind)).collect(),
            definitions,
        }
    }

    /// The kind behind a path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Kind> {
        let of_table = kinds::find(group, version, plural).cloned();
        of_table.or_else(|| self.custom.get(&(group, version, plural)).cloned())
    }

    /// The kind that a reference names.
    pub(crate) fn find_named(&self, api_version: &str, name: &str) -> Option<Kind> {
        let of_table = kinds::kind::find_api_version(api_version, name).cloned();
        let mut of_users = self.defined();
        of_table
            .or_else(|| of_users.find(|kind| kind.kind == name && kind.api_version() == api_version).cloned())
    }

    /// The kinds that users defined.
    pub(crate) fn defined(&self) -> impl Iterator<Item = &Kind> {
        self.definitions.iter().flat_map(|definition| definition.kinds.iter())
    }

    /// All served versions of a kind that a user defined; none of others.
    pub(crate) fn versions(&self, kind: &Kind) -> Arc<[Kind]> {
        let is_of = |definition: &&Definition| {
            kind.custom().is_some() && definition.kinds.iter().any(|known| known.shares_storage_with(kind))
        };
        self.definitions
            .iter()
            .find(is_of)
            .map(|definition| Arc::clone(&definition.kinds))
            .unwrap_or_default()
    }

    /// The next snapshot. What a definition means is worked out once for each of its states.
    fn next(&self, generation: u64, sources: Vec<Arc<Value>>) -> Self {
        let known: HashMap<*const Value, &Definition> =
            self.definitions.iter().map(|known| (Arc::as_ptr(&known.source), known)).collect();
        let definitions = sources
            .into_iter()
            .map(|source| {
                let known = known.get(&Arc::as_ptr(&source)).map(|known| Arc::clone(&known.kinds));
                Definition { kinds: known.unwrap_or_else(|| custom::kinds(&source).into()), source }
            })
            .collect();
        Self::of(generation, self.measured.clone(), definitions, &self.openapi)
    }
}

impl Catalog {
    /// With agents there are figures to serve.
    pub(crate) fn new(has_agents: bool) -> Self {
        let measured = if has_agents { kinds::kind::measured().to_vec() } else { Vec::new() };
        let served = Served::of(0, measured, Vec::new(), &OpenApi::default());
        Self { served: RwLock::new(Arc::new(served)), making: Mutex::default() }
    }

    /// What is served now.
    pub(crate) async fn served(&self, registry: &Registry) -> Result<Arc<Served>, Failure> {
        let (group, plural) = DEFINITIONS;
        let Some(lister) = registry.lister(group, plural).await? else { return Ok(Arc::default()) };
        let served = Arc::clone(&self.served.read());
        if served.generation == lister.generation() {
            return Ok(served);
        }
        Ok(self.renewed(&lister))
    }

    fn renewed(&self, lister: &Lister) -> Arc<Served> {
        let _only_one = self.making.lock();
        let before = Arc::clone(&self.served.read());
        // Read first: what changes meanwhile makes the snapshot old at once, not wrong.
        let generation = lister.generation();
        if before.generation == generation {
            return before;
        }
        let next = Arc::new(before.next(generation, lister.all()));
        *self.served.write() = Arc::clone(&next);
        next
    }
}
