//! The paths of a kind with their operations: clients look here for the parameters that the server knows.

use serde_json::{Map, Value, json};

use super::definitions::{Dialect, kind_entry, list_name};
use crate::Kind;

const WRITES: &[(&str, &str)] = &[
    ("dryRun", "All: the request is judged and answered, and nothing is kept."),
    ("fieldManager", "Who makes the change."),
    ("fieldValidation", "What becomes of unknown and duplicate fields: Ignore, Warn or Strict."),
];
const LISTS: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "Whether the watch is told how far it has come."),
    ("continue", "Where an earlier list stopped."),
    ("fieldSelector", "Which objects, by their fields."),
    ("labelSelector", "Which objects, by their labels."),
    ("limit", "How many objects at most."),
    ("resourceVersion", "How new the answer must be."),
    ("resourceVersionMatch", "How resourceVersion is meant."),
    ("timeoutSeconds", "How long a watch lasts at most."),
    ("watch", "Whether changes are to follow."),
];
const DELETES: &[(&str, &str)] = &[
    ("dryRun", "All: the request is judged and answered, and nothing is deleted."),
    ("gracePeriodSeconds", "How long the object may take to end."),
    ("propagationPolicy", "What becomes of what the object owns: Orphan, Background or Foreground."),
];

/// Paths with their items.
pub(super) fn of(kind: &Kind, dialect: Dialect) -> Vec<(String, Value)> {
    let prefix = kind.path_prefix();
    let base = match kind.is_namespaced() {
        true => format!("{prefix}/namespaces/{{namespace}}/{}", kind.plural),
        false => format!("{prefix}/{}", kind.plural),
    };
    let writer = Writer { kind, dialect };
    let mut paths = vec![
        (base.clone(), writer.item(&["get", "post", "delete"], Place::Collection)),
        (format!("{base}/{{name}}"), writer.item(&["get", "put", "patch", "delete"], Place::Object)),
    ];
    if kind.is_namespaced() {
        paths.push((format!("{prefix}/{}", kind.plural), writer.item(&["get"], Place::Everywhere)));
    }
    for subresource in kind.subresources {
        let methods: &[&str] = match subresource.verbs {
            ["get", "patch", "update"] => &["get", "put", "patch"],
            ["update"] => &["put"],
            ["create"] => &["post"],
            ["get"] => &["get"],
            _ => &["get", "post"],
        };
        let path = format!("{base}/{{name}}/{}", subresource.name);
        paths.push((path, writer.item(methods, Place::Subresource(subresource.name))));
    }
    paths
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Collection,
    /// The collection in all namespaces.
    Everywhere,
    Object,
    Subresource(&'static str),
}

struct Writer<'a> {
    kind: &'a Kind,
    dialect: Dialect,
}

impl Writer<'_> {
    fn item(&self, methods: &[&str], place: Place) -> Value {
        let mut item: Map<String, Value> =
            methods.iter().map(|method| ((*method).to_owned(), self.operation(method, place))).collect();
        let mut parameters = Vec::new();
        if matches!(place, Place::Object | Place::Subresource(_)) {
            parameters.push(self.path_parameter("name", "The name of the object."));
        }
        if self.kind.is_namespaced() && place != Place::Everywhere {
            parameters.push(self.path_parameter("namespace", "The namespace of the object."));
        }
        if !parameters.is_empty() {
            item.insert("parameters".into(), parameters.into());
        }
        Value::Object(item)
    }

    fn operation(&self, method: &str, place: Place) -> Value {
        let listed = matches!(place, Place::Collection | Place::Everywhere);
        let (action, known) = match (method, listed) {
            ("get", true) => ("list", LISTS),
            ("get", false) => ("get", &[][..]),
            ("post", _) => ("post", WRITES),
            ("put", _) => ("put", WRITES),
            ("patch", _) => ("patch", WRITES),
            ("delete", true) => ("deletecollection", LISTS),
            _ => ("delete", DELETES),
        };
        let parameters: Vec<Value> =
            known.iter().map(|(name, description)| self.query_parameter(name, description)).collect();
        let mut operation = json!({
            "operationId": self.operation_id(action, place),
            "description": format!("{action} {}", self.kind.plural),
            "parameters": parameters,
            "responses": self.responses(listed && method == "get"),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self.group_version_kind(place),
        });
        if matches!(method, "post" | "put" | "patch") {
            self.add_body(method, &mut operation);
        }
        operation
    }

    fn group_version_kind(&self, place: Place) -> Value {
        let Place::Subresource(name) = place else { return kind_entry(self.kind, self.kind.kind) };
        let subresource = self.kind.subresource(name);
        subresource.map_or(Value::Null, |subresource| {
            json!({"group": subresource.group, "kind": subresource.kind, "version": subresource.version})
        })
    }

    fn operation_id(&self, action: &str, place: Place) -> String {
        let Kind { group, version, kind, .. } = self.kind;
        let group: String =
            if group.is_empty() { "Core".to_owned() } else { group.split('.').map(capital).collect() };
        let scope = if self.kind.is_namespaced() && place != Place::Everywhere { "Namespaced" } else { "" };
        let suffix = match place {
            Place::Subresource(name) => capital(name),
            Place::Everywhere => "ForAllNamespaces".to_owned(),
            Place::Collection | Place::Object => String::new(),
        };
        format!("{action}{group}{}{scope}{kind}{suffix}", capital(version))
    }

    fn responses(&self, list: bool) -> Value {
        let name = if list { list_name(self.kind) } else { self.kind.schema.to_owned() };
        let schema = self.dialect.reference(&name);
        match self.dialect {
            Dialect::V2 => json!({"200": {"description": "OK", "schema": schema}}),
            Dialect::V3 => {
                json!({"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}})
            }
        }
    }

    fn add_body(&self, method: &str, operation: &mut Value) {
        const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
        let schema = self.dialect.reference(if method == "patch" { PATCH } else { self.kind.schema });
        let media_types: Vec<&str> = match method {
            "patch" => crate::patch::PatchType::media_types(self.kind).to_vec(),
            _ => vec!["application/json", "application/yaml"],
        };
        match self.dialect {
            Dialect::V2 => {
                let body = json!({"in": "body", "name": "body", "required": true, "schema": schema});
                if let Some(parameters) = operation["parameters"].as_array_mut() {
                    parameters.push(body);
                }
                operation["consumes"] = json!(media_types);
            }
            Dialect::V3 => {
                let content: Map<String, Value> = media_types
                    .into_iter()
                    .map(|media_type| (media_type.to_owned(), json!({"schema": schema})))
                    .collect();
                operation["requestBody"] = json!({"content": content, "required": true});
            }
        }
    }

    fn query_parameter(&self, name: &str, description: &str) -> Value {
        let kind = match name {
            "watch" | "allowWatchBookmarks" => "boolean",
            "limit" | "timeoutSeconds" | "gracePeriodSeconds" => "integer",
            _ => "string",
        };
        self.parameter(json!({"name": name, "in": "query", "description": description}), kind)
    }

    fn path_parameter(&self, name: &str, description: &str) -> Value {
        self.parameter(
            json!({"name": name, "in": "path", "description": description, "required": true}),
            "string",
        )
    }

    fn parameter(&self, mut parameter: Value, kind: &str) -> Value {
        match self.dialect {
            Dialect::V2 => parameter["type"] = kind.into(),
            Dialect::V3 => parameter["schema"] = json!({"type": kind}),
        }
        parameter
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}
