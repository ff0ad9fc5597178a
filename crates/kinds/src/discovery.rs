//! Discovery: which groups, versions and resources are served.

mod document;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::kind::{self, Kind, Scope, Subresource, join_group_version};

pub use document::Document;

/// `GET /`: all paths that are no objects.
pub fn paths() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
        let fixed =
            ["/.well-known/openid-configuration", "/api", "/apis", "/apis/", "/healthz", "/healthz/ping"];
        let more = ["/livez", "/livez/ping", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/openid/v1/jwks"];
        let last = ["/readyz", "/readyz/ping", "/version"];
        let mut paths: Vec<String> =
            fixed.iter().chain(&more).chain(&last).map(|path| (*path).to_owned()).collect();
        paths.extend(named_groups().map(|group| format!("/apis/{group}")));
        paths.extend(kind::all().iter().map(Kind::path_prefix));
        paths.sort();
        paths.dedup();
        Document::of(&json!({"paths": paths}))
    });
    &DOCUMENT
}

/// `GET /api`; `address` is where clients reach this server, `host:port`.
pub fn api_versions(address: &str) -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

/// `GET /apis`.
pub fn group_list() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
        let groups: Vec<Value> = named_groups().map(group_entry).collect();
        Document::of(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
    });
    &DOCUMENT
}

/// `GET /apis/<group>`.
pub fn group(name: &str) -> Option<&'static Document> {
    static DOCUMENTS: LazyLock<Vec<(&'static str, Document)>> = LazyLock::new(|| {
        let document = |group: &'static str| {
            let mut fields = Map::new();
            fields.insert("kind".into(), "APIGroup".into());
            fields.insert("apiVersion".into(), "v1".into());
            if let Value::Object(mut entry) = group_entry(group) {
                fields.append(&mut entry);
            }
            (group, Document::of(&Value::Object(fields)))
        };
        named_groups().map(document).collect()
    });
    DOCUMENTS.iter().find(|(group, _)| *group == name).map(|(_, document)| document)
}

/// `GET /api/v1`, `GET /apis/<group>/<version>`.
pub fn resource_list(group: &str, version: &str) -> Option<&'static Document> {
    static DOCUMENTS: LazyLock<Vec<((&'static str, &'static str), Document)>> = LazyLock::new(|| {
        let all = group_versions();
        all.into_iter().map(|(group, version)| ((group, version), resources(group, version))).collect()
    });
    DOCUMENTS.iter().find(|(key, _)| *key == (group, version)).map(|(_, document)| document)
}

/// `GET /api` of clients that ask for aggregated discovery.
pub fn aggregated_core() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| aggregated(&[""]));
    &DOCUMENT
}

/// `GET /apis` of clients that ask for aggregated discovery.
pub fn aggregated_groups() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| aggregated(&named_groups().collect::<Vec<_>>()));
    &DOCUMENT
}

/// Every group with its versions, in the order of the table.
pub(crate) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    for kind in kind::all() {
        if !found.contains(&(kind.group, kind.version)) {
            found.push((kind.group, kind.version));
        }
    }
    found
}

fn named_groups() -> impl Iterator<Item = &'static str> {
    let mut groups: Vec<&str> = group_versions().into_iter().map(|(group, _)| group).collect();
    // The versions of a group stand together.
    groups.dedup();
    groups.into_iter().filter(|group| !group.is_empty())
}

fn versions_of(group: &str) -> Vec<&'static str> {
    group_versions().into_iter().filter(|(name, _)| *name == group).map(|(_, version)| version).collect()
}

fn group_entry(group: &'static str) -> Value {
    let versions: Vec<Value> = versions_of(group)
        .into_iter()
        .map(|version| json!({"groupVersion": join_group_version(group, version), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn kinds_of(group: &str, version: &str) -> Vec<&'static Kind> {
    let mut kinds: Vec<&Kind> =
        kind::all().iter().filter(|kind| kind.group == group && kind.version == version).collect();
    kinds.sort_by_key(|kind| kind.plural);
    kinds
}

fn resources(group: &'static str, version: &'static str) -> Document {
    let mut list = Vec::new();
    for kind in kinds_of(group, version) {
        list.push(resource(kind));
        list.extend(kind.subresources.iter().map(|subresource| legacy_subresource(kind, subresource)));
    }
    let group_version = join_group_version(group, version);
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

fn aggregated(groups: &[&'static str]) -> Document {
    let items: Vec<Value> = groups.iter().map(|group| aggregated_group(group)).collect();
    Document::of(&json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    }))
}

fn aggregated_group(group: &'static str) -> Value {
    let versions: Vec<Value> = versions_of(group)
        .into_iter()
        .map(|version| {
            let resources: Vec<Value> =
                kinds_of(group, version).into_iter().map(aggregated_resource).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
}

fn aggregated_resource(kind: &'static Kind) -> Value {
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
