//! Discovery: which groups, versions and resources are served.

mod document;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::kind::{self, Kind, Scope, Subresource, join_group_version};

pub use document::Document;

/// `GET /api`; `address` is where clients reach this server, `host:port`.
pub fn api_versions(address: &str) -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

/// What is served, as documents: those of all kinds of the table and of some that users defined. Each document is made
/// when it is first asked for.
#[derive(Debug)]
pub struct Discovery {
    kinds: Vec<Kind>,
    group_list: OnceLock<Arc<Document>>,
    aggregated: OnceLock<Arc<Document>>,
    paths: OnceLock<Arc<Document>>,
    /// Of groups, and of their versions; what was asked for.
    small: Mutex<HashMap<(String, String), Arc<Document>>>,
}

impl Discovery {
    /// `custom` in any order.
    pub fn of(custom: &[Kind]) -> Self {
        let mut custom = custom.to_vec();
        custom.sort_by(|left, right| {
            let order = |kind: &Kind| (kind.group, Reverse(priority(kind.version)), kind.plural);
            order(left).cmp(&order(right))
        });
        let kinds = kind::all().iter().cloned().chain(custom).collect();
        Self {
            kinds,
            group_list: OnceLock::new(),
            aggregated: OnceLock::new(),
            paths: OnceLock::new(),
            small: Mutex::default(),
        }
    }

    /// `GET /apis`.
    pub fn group_list(&self) -> Arc<Document> {
        let document = self.group_list.get_or_init(|| {
            let groups: Vec<Value> =
                self.named_groups().into_iter().map(|group| self.group_entry(group)).collect();
            Document::of(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})).into()
        });
        Arc::clone(document)
    }

    /// `GET /apis/<group>`.
    pub fn group(&self, name: &str) -> Option<Arc<Document>> {
        self.remembered(name, "", || {
            let group = self.named_groups().into_iter().find(|group| *group == name)?;
            let mut fields = Map::new();
            fields.insert("kind".into(), "APIGroup".into());
            fields.insert("apiVersion".into(), "v1".into());
            if let Value::Object(mut entry) = self.group_entry(group) {
                fields.append(&mut entry);
            }
            Some(Document::of(&Value::Object(fields)))
        })
    }

    /// `GET /api/v1`, `GET /apis/<group>/<version>`.
    pub fn resource_list(&self, group: &str, version: &str) -> Option<Arc<Document>> {
        self.remembered(group, version, || {
            let kinds = self.kinds_of(group, version);
            (!kinds.is_empty()).then(|| resources(&kinds))
        })
    }

    /// `GET /api` of clients that ask for aggregated discovery.
    pub fn aggregated_core(&self) -> Arc<Document> {
        static DOCUMENT: OnceLock<Arc<Document>> = OnceLock::new();
        Arc::clone(DOCUMENT.get_or_init(|| self.aggregated(&[""]).into()))
    }

    /// `GET /apis` of clients that ask for aggregated discovery.
    pub fn aggregated_groups(&self) -> Arc<Document> {
        Arc::clone(self.aggregated.get_or_init(|| self.aggregated(&self.named_groups()).into()))
    }

    /// `GET /`: all paths that are no objects.
    pub fn paths(&self) -> Arc<Document> {
        Arc::clone(self.paths.get_or_init(|| {
            let fixed =
                ["/.well-known/openid-configuration", "/api", "/apis", "/apis/", "/healthz", "/healthz/ping"];
            let more =
                ["/livez", "/livez/ping", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/openid/v1/jwks"];
            let last = ["/readyz", "/readyz/ping", "/version"];
            let mut paths: Vec<String> =
                fixed.iter().chain(&more).chain(&last).map(|path| (*path).to_owned()).collect();
            paths.extend(self.named_groups().into_iter().map(|group| format!("/apis/{group}")));
            paths.extend(self.kinds.iter().map(|kind| kind.path_prefix()));
            paths.sort();
            paths.dedup();
            Document::of(&json!({"paths": paths})).into()
        }))
    }

    fn remembered(
        &self,
        group: &str,
        version: &str,
        make: impl FnOnce() -> Option<Document>,
    ) -> Option<Arc<Document>> {
        // What is not served is not remembered: anybody may ask for anything.
        if !self.kinds.iter().any(|kind| kind.group == group) {
            return None;
        }
        let mut small = self.small.lock();
        let key = (group.to_owned(), version.to_owned());
        if let Some(document) = small.get(&key) {
            return Some(Arc::clone(document));
        }
        let document = Arc::new(make()?);
        small.insert(key, Arc::clone(&document));
        Some(document)
    }

    fn group_versions(&self) -> Vec<(&'static str, &'static str)> {
        group_versions(&self.kinds)
    }

    fn named_groups(&self) -> Vec<&'static str> {
        let mut groups: Vec<&str> = Vec::new();
        for (group, _) in self.group_versions() {
            // The versions of a group stand together, but for those that users add to a group of the table.
            if !group.is_empty() && groups.last() != Some(&group) && !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    fn versions_of(&self, group: &str) -> Vec<&'static str> {
        let all = self.group_versions().into_iter();
        all.filter(|(name, _)| *name == group).map(|(_, version)| version).collect()
    }

    fn group_entry(&self, group: &'static str) -> Value {
        let versions: Vec<Value> = self
            .versions_of(group)
            .into_iter()
            .map(|version| json!({"groupVersion": join_group_version(group, version), "version": version}))
            .collect();
        json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
    }

    fn kinds_of(&self, group: &str, version: &str) -> Vec<&Kind> {
        let mut kinds: Vec<&Kind> =
            self.kinds.iter().filter(|kind| kind.group == group && kind.version == version).collect();
        kinds.sort_by_key(|kind| kind.plural);
        kinds
    }

    fn aggregated(&self, groups: &[&'static str]) -> Document {
        let items: Vec<Value> = groups.iter().map(|group| self.aggregated_group(group)).collect();
        Document::of(&json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
        }))
    }

    fn aggregated_group(&self, group: &'static str) -> Value {
        let versions: Vec<Value> = self
            .versions_of(group)
            .into_iter()
            .map(|version| {
                let resources: Vec<Value> =
                    self.kinds_of(group, version).into_iter().map(aggregated_resource).collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
    }
}

/// Every group with its versions, in the order of `kinds`.
pub(crate) fn group_versions(kinds: &[Kind]) -> Vec<(&'static str, &'static str)> {
    let mut seen = HashSet::new();
    let all = kinds.iter().map(|kind| (kind.group, kind.version));
    all.filter(|group_version| seen.insert(*group_version)).collect()
}

/// How versions are ordered: `v2` before `v1` before `v1beta2` before `v1alpha1`, and anything else last.
pub(crate) fn priority(version: &str) -> (u8, u64, u64, Reverse<&str>) {
    let split = |text: &str| -> Option<(u64, String)> {
        let digits = text.chars().take_while(char::is_ascii_digit).count();
        Some((text[..digits].parse().ok()?, text[digits..].to_owned()))
    };
    let parsed = version.strip_prefix('v').and_then(split).and_then(|(major, rest)| {
        let stage = |name: &str| Some(split(rest.strip_prefix(name)?)?.0);
        match rest.as_str() {
            "" => Some((3, major, 0)),
            _ => {
                stage("beta").map(|minor| (2, major, minor)).or(stage("alpha").map(|minor| (1, major, minor)))
            }
        }
    });
    let (stage, major, minor) = parsed.unwrap_or((0, 0, 0));
    let by_name = if stage == 0 { version } else { "" };
    (stage, major, minor, Reverse(by_name))
}

fn resources(kinds: &[&Kind]) -> Document {
    let mut list = Vec::new();
    for kind in kinds {
        list.push(resource(kind));
        list.extend(kind.subresources.iter().map(|subresource| legacy_subresource(kind, subresource)));
    }
    let group_version = kinds.first().map(|kind| kind.api_version());
    Document::of(&json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list,
    }))
}

fn resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.is_namespaced(),
        "kind": kind.kind, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    entry
}

fn legacy_subresource(kind: &Kind, subresource: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", kind.plural, subresource.name), "singularName": "",
        "namespaced": kind.is_namespaced(),
    });
    if (subresource.group, subresource.version) != (kind.group, kind.version) {
        entry["group"] = subresource.group.into();
        entry["version"] = subresource.version.into();
    }
    entry["kind"] = subresource.kind.into();
    entry["verbs"] = json!(subresource.verbs);
    entry
}

fn aggregated_resource(kind: &Kind) -> Value {
    let scope = match kind.scope {
        Scope::Cluster => "Cluster",
        Scope::Namespaced => "Namespaced",
    };
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": response_kind(kind, (kind.group, kind.version), kind.kind),
        "scope": scope,
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        entry["subresources"] =
            kind.subresources.iter().map(|subresource| aggregated_subresource(kind, subresource)).collect();
    }
    entry
}

fn aggregated_subresource(owner: &Kind, subresource: &Subresource) -> Value {
    let Subresource { name, group, version, kind, verbs } = subresource;
    json!({
        "subresource": name,
        "responseKind": response_kind(owner, (group, version), kind),
        "verbs": verbs,
    })
}

/// The group version is only named where it is not that of the resource.
fn response_kind(owner: &Kind, (group, version): (&str, &str), kind: &str) -> Value {
    let (group, version) =
        if (group, version) == (owner.group, owner.version) { ("", "") } else { (group, version) };
    json!({"group": group, "version": version, "kind": kind})
}

#[cfg(test)]
mod tests;
