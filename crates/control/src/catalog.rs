//! Which kinds the server has: for controllers that deal with all of them alike.

use kube::core::PartialObjectMeta;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::discovery::{ApiCapabilities, Discovery, Scope, verbs};
use kube::{Api, Client};

/// A kind that can be listed, watched and deleted.
#[derive(Clone, Debug)]
pub struct KindEntry {
    pub resource: ApiResource,
    pub is_namespaced: bool,
    pub can_delete_collection: bool,
}

/// The server does not say which kinds it has.
#[derive(Debug, thiserror::Error)]
#[error("cannot discover the server's kinds")]
pub struct CatalogError {
    #[source]
    source: Box<kube::Error>,
}

/// The metadata of an object of any kind.
pub type Meta = PartialObjectMeta<DynamicObject>;

impl KindEntry {
    /// The objects of the kind in `namespace`; everywhere or of the cluster for `None`.
    pub fn api(&self, client: &Client, namespace: Option<&str>) -> Api<Meta> {
        match namespace.filter(|_| self.is_namespaced) {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        }
    }

    /// As people name it: `deployments.apps`, `pods`.
    pub fn name(&self) -> String {
        if self.resource.group.is_empty() {
            self.resource.plural.clone()
        } else {
            format!("{}.{}", self.resource.plural, self.resource.group)
        }
    }
}

/// All kinds of the server whose objects come and go, in the version that it recommends.
pub async fn kinds(client: &Client) -> Result<Vec<KindEntry>, CatalogError> {
    let discovery = Discovery::new(client.clone())
        .run()
        .await
        .map_err(|source| CatalogError { source: Box::new(source) })?;
    let all = discovery.groups().flat_map(|group| group.recommended_resources());
    let mut entries: Vec<KindEntry> = all.filter_map(|(resource, able)| entry(resource, &able)).collect();
    entries.sort_by_key(KindEntry::name);
    Ok(entries)
}

/// The kind of this group and plural, in the version that the server recommends; `None` if there is none.
pub async fn find(client: &Client, group: &str, plural: &str) -> Result<Option<KindEntry>, kube::Error> {
    let discovery = Discovery::new(client.clone()).filter(&[group]).run().await?;
    let mut all = discovery.groups().flat_map(|group| group.recommended_resources());
    Ok(all.find_map(|(resource, able)| entry(resource, &able).filter(|kind| kind.resource.plural == plural)))
}

/// As requests name the kind that a reference names, in the very version that it names. What is not served is named by
/// the rule that most plurals follow.
pub async fn named(client: &Client, api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let named = GroupVersionKind::gvk(group, version, kind);
    if let Some(known) = kinds::kind::find_api_version(api_version, kind) {
        return ApiResource::from_gvk_with_plural(&named, known.plural);
    }
    let found = kube::discovery::pinned_kind(client, &named).await;
    found.map_or_else(|_| ApiResource::from_gvk(&named), |(resource, _)| resource)
}

fn entry(resource: ApiResource, able: &ApiCapabilities) -> Option<KindEntry> {
    // Events have two names and are stored once.
    let is_alias = resource.group == "events.k8s.io";
    let is_managed =
        [verbs::LIST, verbs::WATCH, verbs::DELETE].iter().all(|verb| able.supports_operation(verb));
    let is_namespaced = able.scope == Scope::Namespaced;
    let can_delete_collection = able.supports_operation(verbs::DELETE_COLLECTION);
    (is_managed && !is_alias).then_some(KindEntry { resource, is_namespaced, can_delete_collection })
}
