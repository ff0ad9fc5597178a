//! The paths of a kind with their operations: clients look here for the parameters that the server knows.

use serde_json::{Map, Value, json};

use super::definitions::{Dialect, WATCH_EVENT, kind_entry, list_name};
use crate::Kind;
use crate::kind::Entry;

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
    let (scope, plural) = (if kind.is_namespaced() { "/namespaces/{namespace}" } else { "" }, kind.plural);
    let base = format!("{prefix}{scope}/{plural}");
    let mut writer = Writer { kind, dialect, paths: Vec::new() };
    writer.add(base.clone(), &methods(kind.verbs, COLLECTION), Place::Collection);
    writer.add(format!("{base}/{{name}}"), &methods(kind.verbs, OBJECT), Place::Object);
    if kind.is_namespaced() {
        let lists: &[&str] = if kind.verbs.contains(&"list") { &["get"] } else { &[] };
        writer.add(format!("{prefix}/{plural}"), lists, Place::Everywhere);
    }
    if kind.verbs.contains(&"watch") {
        let watched = format!("{prefix}/watch{scope}/{plural}");
        writer.add(format!("{watched}/{{name}}"), &["get"], Place::Watch(Watched::Object));
        writer.add(watched, &["get"], Place::Watch(Watched::Collection));
        if kind.is_namespaced() {
            writer.add(format!("{prefix}/watch/{plural}"), &["get"], Place::Watch(Watched::Everywhere));
        }
    }
    for subresource in kind.subresources {
        let path = format!("{base}/{{name}}/{}", subresource.name);
        let place = Place::Subresource(subresource.name);
        if subresource.name == "proxy" {
            writer.add(path.clone(), PASSED_ON, place);
            writer.add(format!("{path}/{{path}}"), PASSED_ON, place);
        } else {
            writer.add(path, &methods(subresource.verbs, SUBRESOURCE), place);
        }
    }
    writer.paths
}

/// `GET` of the document that lists the resources of a group version.
pub(super) fn of_resources(prefix: &str, dialect: Dialect) -> (String, Value) {
    const LIST: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";
    let operation = json!({
        "operationId": format!("getResources{}", prefix.split(['/', '.']).map(capital).collect::<String>()),
        "description": "The resources of the group version.",
        "responses": responses(LIST, dialect),
    });
    (format!("{prefix}/"), json!({"get": operation}))
}

const COLLECTION: &[(&str, &str)] = &[("list", "get"), ("create", "post"), ("deletecollection", "delete")];
const OBJECT: &[(&str, &str)] =
    &[("get", "get"), ("update", "put"), ("patch", "patch"), ("delete", "delete")];
const SUBRESOURCE: &[(&str, &str)] =
    &[("get", "get"), ("create", "post"), ("update", "put"), ("patch", "patch"), ("delete", "delete")];
const PASSED_ON: &[&str] = &["get", "put", "post", "delete", "options", "head", "patch"];

/// The methods by which `verbs` are asked for, in one place.
fn methods(verbs: &[&str], place: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    place.iter().filter(|(verb, _)| verbs.contains(verb)).map(|(_, method)| *method).collect()
}

fn responses(definition: &str, dialect: Dialect) -> Value {
    let schema = dialect.reference(definition);
    match dialect {
        Dialect::V2 => json!({"200": {"description": "OK", "schema": schema}}),
        Dialect::V3 => {
            json!({"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}})
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Collection,
    /// The collection in all namespaces.
    Everywhere,
    Object,
    /// The old spelling of a watch.
    Watch(Watched),
    Subresource(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Watched {
    Collection,
    Everywhere,
    Object,
}

impl Place {
    fn is_everywhere(self) -> bool {
        matches!(self, Self::Everywhere | Self::Watch(Watched::Everywhere))
    }
}

struct Writer<'a> {
    kind: &'a Kind,
    dialect: Dialect,
    paths: Vec<(String, Value)>,
}

impl Writer<'_> {
    fn add(&mut self, path: String, methods: &[&str], place: Place) {
        if methods.is_empty() {
            return;
        }
        let mut item = self.item(methods, place);
        if path.ends_with("/{path}") {
            let parameter = self.path_parameter("path", "What is passed on.");
            if let Some(parameters) = item["parameters"].as_array_mut() {
                parameters.push(parameter);
            }
        }
        self.paths.push((path, item));
    }

    fn item(&self, methods: &[&str], place: Place) -> Value {
        let mut item: Map<String, Value> =
            methods.iter().map(|method| ((*method).to_owned(), self.operation(method, place))).collect();
        let mut parameters = Vec::new();
        if matches!(place, Place::Object | Place::Subresource(_) | Place::Watch(Watched::Object)) {
            parameters.push(self.path_parameter("name", "The name of the object."));
        }
        if self.kind.is_namespaced() && !place.is_everywhere() {
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
            _ if matches!(place, Place::Watch(_)) => ("watch", LISTS),
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
            "responses": responses(&self.answer(place, listed && method == "get"), self.dialect),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self.group_version_kind(place),
        });
        if matches!(method, "post" | "put" | "patch") {
            self.add_body(method, place, &mut operation);
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
        let Entry { group, version, kind, .. } = **self.kind;
        let group: String =
            if group.is_empty() { "Core".to_owned() } else { group.split('.').map(capital).collect() };
        let scope = if self.kind.is_namespaced() && !place.is_everywhere() { "Namespaced" } else { "" };
        let suffix = match place {
            Place::Subresource(name) => capital(name),
            Place::Everywhere | Place::Watch(Watched::Everywhere) => "ForAllNamespaces".to_owned(),
            Place::Watch(Watched::Collection) => "List".to_owned(),
            Place::Collection | Place::Object | Place::Watch(Watched::Object) => String::new(),
        };
        format!("{action}{group}{}{scope}{kind}{suffix}", capital(version))
    }

    /// The definition of what is answered.
    fn answer(&self, place: Place, list: bool) -> String {
        match place {
            Place::Watch(_) => WATCH_EVENT.to_owned(),
            Place::Subresource(name) => self.body_of_subresource(name).unwrap_or(self.kind.schema).to_owned(),
            _ if list => list_name(self.kind),
            _ => self.kind.schema.to_owned(),
        }
    }

    /// The definition of a subresource's bodies, where it has one of its own.
    fn body_of_subresource(&self, name: &str) -> Option<&'static str> {
        super::definitions::of_subresource(self.kind.subresource(name)?)
    }

    fn add_body(&self, method: &str, place: Place, operation: &mut Value) {
        const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
        let body = match place {
            _ if method == "patch" => PATCH,
            Place::Subresource(name) => self.body_of_subresource(name).unwrap_or(self.kind.schema),
            _ => self.kind.schema,
        };
        let schema = self.dialect.reference(body);
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
