//! The definitions of documents: the schemas with the extensions that clients read.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::schema::merge::{ATOMIC, MERGED};
use crate::schema::source::reference;
use crate::{Kind, Subresource};

/// The two generations of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    pub(super) fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
const BINDING: &str = "io.k8s.api.core.v1.Binding";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const RESOURCE_LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";
const EVICTION: &str = "io.k8s.api.policy.v1.Eviction";
const TOKEN_REQUEST: &str = "io.k8s.api.authentication.v1.TokenRequest";
const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
pub(super) const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";

/// The definitions as published: in the dialect's form, with merge keys, kinds and lists.
pub(super) fn published(mut definitions: Map<String, Value>, dialect: Dialect) -> Map<String, Value> {
    for row in MERGED {
        if let Some(field) =
            definitions.get_mut(row.definition).and_then(|schema| schema["properties"].get_mut(row.field))
            && let Some(field) = field.as_object_mut()
        {
            field.extend(row.extensions());
        }
    }
    for name in ATOMIC {
        if let Some(Value::Object(schema)) = definitions.get_mut(*name) {
            schema.insert("x-kubernetes-map-type".into(), json!("atomic"));
        }
    }
    for kind in crate::all() {
        if let Some(Value::Object(schema)) = definitions.get_mut(kind.schema) {
            schema.insert("x-kubernetes-group-version-kind".into(), json!([kind_entry(kind, kind.kind)]));
        }
        definitions.insert(list_name(kind), list(kind));
    }
    if let Some(Value::Object(schema)) = definitions.get_mut(DELETE_OPTIONS) {
        let entries: Vec<Value> = crate::all().iter().map(|kind| kind_entry(kind, "DeleteOptions")).collect();
        schema.insert("x-kubernetes-group-version-kind".into(), entries.into());
    }
    definitions.insert(WATCH_EVENT.to_owned(), watch_event());
    for (_, schema) in &mut definitions {
        in_dialect(schema, dialect);
    }
    definitions.sort_keys();
    definitions
}

/// The name of a kind's list.
pub(super) fn list_name(kind: &Kind) -> String {
    format!("{}List", kind.schema)
}

/// What the documents of these kinds must define.
pub(super) fn roots(kinds: &[&Kind]) -> Vec<String> {
    let mut roots = vec![RESOURCE_LIST.to_owned()];
    for kind in kinds {
        roots.push(kind.schema.to_owned());
        for (verb, definition) in
            [("delete", DELETE_OPTIONS), ("delete", STATUS), ("patch", PATCH), ("watch", WATCH_EVENT)]
        {
            roots.extend(kind.verbs.contains(&verb).then(|| definition.to_owned()));
        }
        roots.extend(kind.verbs.contains(&"list").then(|| list_name(kind)));
        roots.extend(kind.subresources.iter().filter_map(of_subresource).map(str::to_owned));
    }
    roots
}

/// What the document of any user-defined kind defines beside it.
pub(super) fn common_roots() -> Vec<String> {
    let names = [DELETE_OPTIONS, PATCH, STATUS, LIST_META, OBJECT_META, SCALE, RESOURCE_LIST, WATCH_EVENT];
    names.map(str::to_owned).into()
}

/// The definition of a subresource's bodies, where they are not those of its owner.
pub(super) fn of_subresource(subresource: &Subresource) -> Option<&'static str> {
    match subresource.kind {
        "Binding" => Some(BINDING),
        "Eviction" => Some(EVICTION),
        "Scale" => Some(SCALE),
        "TokenRequest" => Some(TOKEN_REQUEST),
        _ => None,
    }
}

/// What a watch sends, one after the other.
fn watch_event() -> Value {
    json!({
        "description": "Event represents a single event to a watched resource.",
        "type": "object",
        "properties": {
            "object": {
                "allOf": [{"$ref": format!("#/components/schemas/{RAW_EXTENSION}")}],
                "description": "The object as it stands after the event, or a Status if the type is ERROR.",
            },
            "type": {"description": "ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.", "type": "string"},
        },
        "required": ["type", "object"],
    })
}

/// The definitions that `roots` need.
pub(super) fn reachable(roots: &[String], all: &Map<String, Value>) -> Map<String, Value> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut pending: Vec<String> = roots.to_vec();
    while let Some(name) = pending.pop() {
        if let Some(schema) = all.get(&name)
            && names.insert(name)
        {
            references(schema, &mut pending);
        }
    }
    names.into_iter().filter_map(|name| all.get(&name).map(|schema| (name.clone(), schema.clone()))).collect()
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(name) =
                fields.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next())
            {
                found.push(name.to_owned());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

pub(super) fn kind_entry(kind: &Kind, name: &str) -> Value {
    json!({"group": kind.group, "kind": name, "version": kind.version})
}

pub(super) fn list(kind: &Kind) -> Value {
    let of = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    json!({
        "description": format!("{} is a list of {}.", kind.list_kind(), kind.plural),
        "type": "object",
        "properties": {
            "apiVersion": {"description": "The version of this representation of the list.", "type": "string"},
            "items": {"description": format!("The {}.", kind.plural), "type": "array", "items": of(kind.schema)},
            "kind": {"description": "The kind of the list.", "type": "string"},
            "metadata": {"allOf": [of(LIST_META)], "description": "The list's metadata."},
        },
        "required": ["items"],
        "x-kubernetes-group-version-kind": [kind_entry(kind, &kind.list_kind())],
    })
}

/// Rewrites a schema in place: references, int-or-string and quantities differ between the dialects.
pub(super) fn in_dialect(schema: &mut Value, dialect: Dialect) {
    match schema {
        Value::Object(fields) => {
            if fields.remove("x-kubernetes-int-or-string").is_some() {
                fields.insert("format".into(), "int-or-string".into());
                match dialect {
                    Dialect::V2 => fields.insert("type".into(), "string".into()),
                    Dialect::V3 => {
                        fields.insert("oneOf".into(), json!([{"type": "integer"}, {"type": "string"}]))
                    }
                };
            }
            if dialect == Dialect::V2 {
                let target = reference(fields).map(|name| dialect.reference(name));
                if let Some(Value::Object(target)) = target {
                    fields.remove("allOf");
                    fields.extend(target);
                    return;
                }
            }
            fields.values_mut().for_each(|value| in_dialect(value, dialect));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| in_dialect(item, dialect)),
        _ => {}
    }
}
