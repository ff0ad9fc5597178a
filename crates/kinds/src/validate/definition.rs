//! CustomResourceDefinitions: names, versions, what is served beside objects, and schemas that say what they mean.
//!
//! What all versions share is told of at the top (`spec.validation`, `spec.subresources`), as in the first form of
//! definitions, where each stood once.

mod conversion;
mod rule;
mod schema;
mod shown;

pub(crate) use schema::unknown_formats;

use std::collections::HashSet;

use serde_json::Value;

use super::{Faults, items, list, names, one_of, text};
use crate::custom::status;
use crate::status::FieldError;

pub(super) fn definition(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    name(object, faults);
    approval(object, faults);
    group(spec, faults);
    required_one_of(spec, "scope", &["Cluster", "Namespaced"], faults);
    if spec["preserveUnknownFields"] == true {
        let message = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        faults.push(FieldError::invalid("spec.preserveUnknownFields", true, message));
    }
    kind_names(&spec["names"], faults);
    versions(spec, faults);
    for place in places(spec) {
        of_version(&place, faults);
    }
    conversion::check(&spec["conversion"], faults);
    stored_versions(object, faults);
}

/// What of a definition never changes, or not once it is in use.
pub(super) fn update(new: &Value, old: &Value, faults: &mut Faults) {
    let mut fixed = vec!["/spec/group", "/spec/names/plural"];
    if status::is_established(old) {
        fixed.extend(["/spec/scope", "/spec/names/kind"]);
    }
    for pointer in fixed {
        let value = |object: &Value| object.pointer(pointer).cloned().unwrap_or_default();
        if value(new) != value(old) {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            faults.push(FieldError::invalid(path, value(new), "field is immutable"));
        }
    }
}

fn name(object: &Value, faults: &mut Faults) {
    let name = text(&object["metadata"], "name");
    let spec = &object["spec"];
    if name != format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group")) {
        faults.push(FieldError::invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group"));
    }
}

/// Groups of Kubernetes itself are used with its approval only, which an address tells of.
fn approval(object: &Value, faults: &mut Faults) {
    if !status::is_protected_group(text(&object["spec"], "group")) {
        return;
    }
    let path = format!("metadata.annotations[{}]", status::APPROVAL);
    match object["metadata"]["annotations"][status::APPROVAL].as_str().unwrap_or_default() {
        "" => {
            let message = format!("protected groups must have approval annotation \"{}\"", status::APPROVAL);
            faults.push(FieldError::required(path, message));
        }
        said if said.starts_with("unapproved") || said.contains("://") => {}
        said => faults.push(FieldError::invalid(path, said, "must be an address that tells of the approval")),
    }
}

fn group(spec: &Value, faults: &mut Faults) {
    let group = text(spec, "group");
    match names::subdomain(group).into_iter().next() {
        _ if group.is_empty() => faults.push(FieldError::required("spec.group", "")),
        Some(fault) => faults.push(FieldError::invalid("spec.group", group, fault)),
        None if !group.contains('.') => {
            faults.push(FieldError::invalid("spec.group", group, "should be a domain with at least one dot"));
        }
        None => {}
    }
}

fn required_one_of(spec: &Value, field: &str, supported: &[&str], faults: &mut Faults) {
    if text(spec, field).is_empty() {
        faults.push(FieldError::required(format!("spec.{field}"), ""));
    } else {
        one_of("spec", spec, field, supported, faults);
    }
}

fn kind_names(names: &Value, faults: &mut Faults) {
    for field in ["plural", "singular", "kind", "listKind"] {
        let path = format!("spec.names.{field}");
        let name = text(names, field);
        if name.is_empty() {
            if matches!(field, "plural" | "kind" | "listKind") {
                faults.push(FieldError::required(path, ""));
            }
            continue;
        }
        let is_kind = matches!(field, "kind" | "listKind");
        let label = if is_kind { name.to_lowercase() } else { name.to_owned() };
        let faulty = names::label_1035(&label).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), name, fault)));
    }
    for field in ["shortNames", "categories"] {
        for (path, name) in items("spec.names", names, field) {
            let name = name.as_str().unwrap_or_default();
            let faulty = names::label_1035(name).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), name, fault)));
        }
    }
    if !text(names, "kind").is_empty() && names["kind"] == names["listKind"] {
        let message = "kind and listKind may not be the same";
        faults.push(FieldError::invalid("spec.names.listKind", text(names, "listKind"), message));
    }
}

fn versions(spec: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    let mut is_unique = true;
    for (index, (path, version)) in items("spec", spec, "versions").enumerate() {
        let name = text(version, "name");
        is_unique &= seen.insert(name);
        // The first version was once the only one, with a field of its own.
        let places = [Some(format!("{path}.name")), (index == 0).then(|| "spec.version".to_owned())];
        for fault in names::label_1035(name) {
            let at = places.iter().flatten();
            faults.extend(at.map(|place| FieldError::invalid(place.clone(), name, fault.clone())));
        }
        let warning = version["deprecationWarning"].as_str();
        if let Some(warning) = warning.filter(|_| version["deprecated"] != true) {
            let message = "can only be set for deprecated versions";
            faults.push(FieldError::invalid(format!("{path}.deprecationWarning"), warning, message));
        }
    }
    if !is_unique {
        let message = "must contain unique version names";
        faults.push(FieldError::invalid("spec.versions", Value::Null, message));
    }
    let n_stored = list(spec, "versions").iter().filter(|version| version["storage"] == true).count();
    if n_stored != 1 {
        let message = "must have exactly one version marked as storage version";
        faults.push(FieldError::invalid("spec.versions", Value::Null, message));
    }
}

/// Where the parts of a version are told of, with the version.
struct Place<'a> {
    version: &'a Value,
    schema: String,
    /// The path before `subresources`, `additionalPrinterColumns` and `selectableFields`.
    beside: [String; 3],
}

/// One place for each version; one for all where they share everything.
fn places(spec: &Value) -> Vec<Place<'_>> {
    let versions = list(spec, "versions");
    let shared = |field: &str| versions.windows(2).all(|pair| pair[0][field] == pair[1][field]);
    let has_schema = |version: &Value| version["schema"]["openAPIV3Schema"].is_object();
    let schema_is_shared = shared("schema") && versions.iter().all(has_schema);
    let beside = ["subresources", "additionalPrinterColumns", "selectableFields"];
    versions
        .iter()
        .enumerate()
        .map(|(index, version)| {
            let own = format!("spec.versions[{index}]");
            let schema =
                if schema_is_shared { "spec.validation".to_owned() } else { format!("{own}.schema") };
            Place {
                version,
                schema: format!("{schema}.openAPIV3Schema"),
                beside: beside.map(|field| if shared(field) { "spec".to_owned() } else { own.clone() }),
            }
        })
        .enumerate()
        // What is shared is judged once.
        .filter(|(index, place)| *index == 0 || !is_same_as_first(place, versions))
        .map(|(_, place)| place)
        .collect()
}

fn is_same_as_first(place: &Place<'_>, versions: &[Value]) -> bool {
    let fields = ["schema", "subresources", "additionalPrinterColumns", "selectableFields"];
    versions.first().is_some_and(|first| fields.iter().all(|field| first[*field] == place.version[*field]))
}

fn of_version(place: &Place<'_>, faults: &mut Faults) {
    let source = &place.version["schema"]["openAPIV3Schema"];
    if source.is_object() {
        schema::check(&place.schema, source, faults);
    } else {
        faults.push(FieldError::required(place.schema.clone(), ""));
    }
    let [subresources, columns, fields] = &place.beside;
    shown::scale(&format!("{subresources}.subresources"), &place.version["subresources"]["scale"], faults);
    shown::columns(columns, place.version, faults);
    shown::selectable(fields, place.version, faults);
}

fn stored_versions(object: &Value, faults: &mut Faults) {
    let known: HashSet<&str> =
        list(&object["spec"], "versions").iter().map(|version| text(version, "name")).collect();
    let stored = list(&object["status"], "storedVersions");
    if stored.is_empty() {
        let message = "must have at least one stored version";
        faults.push(FieldError::invalid("status.storedVersions", Value::Null, message));
    }
    for (path, version) in items("status", &object["status"], "storedVersions") {
        let name = version.as_str().unwrap_or_default();
        if !known.contains(name) {
            let message = "missing from spec.versions; objects may still be stored in it";
            faults.push(FieldError::invalid(path, name, message));
        }
    }
}
