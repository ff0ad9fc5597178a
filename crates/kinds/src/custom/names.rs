//! The names of user-defined kinds, which live as long as the program.
//!
//! Everything that names a kind (paths, messages, keys of the store, discovery) holds `&'static str`s, so that built-in
//! kinds cost nothing. A user's names are kept here, each distinct set once: a definition that comes back under the same
//! names, or changes in anything but its names, takes no more memory. Only who may write definitions can make this grow,
//! by some hundred bytes for each new set of names.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
use serde_json::Value;

use crate::kind::{Entry, Scope, Subresource};

/// All that an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Names {
    group: String,
    version: String,
    kind: String,
    list_kind: String,
    plural: String,
    singular: String,
    short_names: Vec<String>,
    categories: Vec<String>,
    scope: Scope,
    has_status: bool,
    has_scale: bool,
}

static ENTRIES: LazyLock<Mutex<HashMap<Names, Entry>>> = LazyLock::new(Mutex::default);

/// The entry of one version of a definition.
pub(super) fn entry(definition: &Value, version: &Value) -> Entry {
    let names = Names::of(definition, version);
    let mut entries = ENTRIES.lock();
    if let Some(entry) = entries.get(&names) {
        return *entry;
    }
    let entry = names.entry();
    entries.insert(names, entry);
    entry
}

impl Names {
    /// The short names and the like are those that were accepted.
    fn of(definition: &Value, version: &Value) -> Self {
        let spec = &definition["spec"];
        let accepted = &definition["status"]["acceptedNames"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect();
        Self {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            kind: text(&accepted["kind"]),
            list_kind: text(&accepted["listKind"]),
            plural: text(&accepted["plural"]),
            singular: text(&accepted["singular"]),
            short_names: texts(&accepted["shortNames"]),
            categories: texts(&accepted["categories"]),
            scope: if spec["scope"] == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
            has_status: version["subresources"]["status"].is_object(),
            has_scale: version["subresources"]["scale"].is_object(),
        }
    }

    fn entry(&self) -> Entry {
        // The order in which Kubernetes lists them.
        const VERBS: &[&str] =
            &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
        const PART_VERBS: &[&str] = &["get", "patch", "update"];
        let (group, version, kind) = (kept(&self.group), kept(&self.version), kept(&self.kind));
        let mut subresources = Vec::new();
        if self.has_status {
            subresources.push(Subresource { name: "status", group, version, kind, verbs: PART_VERBS });
        }
        if self.has_scale {
            let scale = ("autoscaling", "v1", "Scale");
            let (group, version, kind) = scale;
            subresources.push(Subresource { name: "scale", group, version, kind, verbs: PART_VERBS });
        }
        Entry {
            group,
            version,
            kind,
            list_kind: kept(&self.list_kind),
            plural: kept(&self.plural),
            singular: kept(&self.singular),
            short_names: all_kept(&self.short_names),
            categories: all_kept(&self.categories),
            scope: self.scope,
            subresources: Vec::leak(subresources),
            verbs: VERBS,
            schema: kept(&schema_name(&self.group, &self.version, &self.kind)),
            storage_group: group,
        }
    }
}

fn kept(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

fn all_kept(texts: &[String]) -> &'static [&'static str] {
    Vec::leak(texts.iter().map(|text| kept(text)).collect())
}

/// `com.example.stable.v1.CronTab`: the group's parts turned around, as Java packages are named.
fn schema_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').rev().collect();
    parts.push(version);
    parts.push(kind);
    parts.join(".")
}
