//! What is served beside objects: scales, columns of tables, fields to select by.

use std::collections::HashSet;

use serde_json::Value;

use super::super::{Faults, items, list, text};
use crate::custom::schema::JsonType;
use crate::custom::{Path, Schema};
use crate::status::FieldError;

const NO_PATH: &str = "must be a simple json path starting with .";

pub(super) fn scale(path: &str, scale: &Value, faults: &mut Faults) {
    if !scale.is_object() {
        return;
    }
    for (field, roots) in [
        ("specReplicasPath", &["spec"][..]),
        ("statusReplicasPath", &["status"][..]),
        ("labelSelectorPath", &["spec", "status"][..]),
    ] {
        let place = format!("{path}.scale.{field}");
        let said = text(scale, field);
        if said.is_empty() {
            if field != "labelSelectorPath" {
                faults.push(FieldError::required(place, ""));
            }
            continue;
        }
        let parsed = Path::parse(said).filter(|parsed| said.starts_with('.') && parsed.is_plain());
        let Some(parsed) = parsed else {
            faults.push(FieldError::invalid(place, said, NO_PATH));
            continue;
        };
        let mut names = parsed.names();
        let is_below = names.next().is_some_and(|first| roots.contains(&first)) && names.next().is_some();
        if !is_below {
            let message = format!("should be a json path under .{}", roots.join(" or ."));
            faults.push(FieldError::invalid(place, said, message));
        }
    }
}

pub(super) fn columns(path: &str, version: &Value, faults: &mut Faults) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["int32", "int64", "float", "double", "byte", "date", "date-time", "password"];
    for (path, column) in items(path, version, "additionalPrinterColumns") {
        if text(column, "name").is_empty() {
            faults.push(FieldError::required(format!("{path}.name"), ""));
        }
        match text(column, "type") {
            "" => faults.push(FieldError::required(
                format!("{path}.type"),
                format!("must be one of {}", TYPES.join(",")),
            )),
            kind if TYPES.contains(&kind) => {}
            other => {
                let message = format!("must be one of {}", TYPES.join(","));
                faults.push(FieldError::invalid(format!("{path}.type"), other, message));
            }
        }
        let format = text(column, "format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            let message = format!("must be one of {}", FORMATS.join(","));
            faults.push(FieldError::invalid(format!("{path}.format"), format, message));
        }
        let place = format!("{path}.JSONPath");
        match text(column, "jsonPath") {
            "" => faults.push(FieldError::required(place, "")),
            said if said.starts_with('.') && Path::parse(said).is_some() => {}
            said => faults.push(FieldError::invalid(place, said, NO_PATH)),
        }
    }
}

/// So many fields can be selected by.
const MAX_SELECTABLE: usize = 8;

pub(super) fn selectable(path: &str, version: &Value, faults: &mut Faults) {
    let found = list(version, "selectableFields").len();
    if found > MAX_SELECTABLE {
        faults.push(FieldError::too_many(format!("{path}.selectableFields"), found, MAX_SELECTABLE));
    }
    if found == 0 {
        return;
    }
    let schema = Schema::parse(&version["schema"]["openAPIV3Schema"]);
    let mut seen = HashSet::new();
    for (path, field) in items(path, version, "selectableFields") {
        let place = format!("{path}.jsonPath");
        let said = text(field, "jsonPath");
        let parsed = Path::parse(said).filter(|parsed| said.starts_with('.') && parsed.is_plain());
        match parsed {
            _ if said.is_empty() => faults.push(FieldError::required(place, "")),
            None => faults.push(FieldError::invalid(place, said, NO_PATH)),
            Some(_) if !seen.insert(said) => faults.push(FieldError::duplicate(place, said)),
            Some(parsed) if !is_plain_value(&schema, &parsed) => {
                let message =
                    "must point to a field of type string, boolean or integer that the schema names";
                faults.push(FieldError::invalid(place, said, message));
            }
            Some(_) => {}
        }
    }
}

fn is_plain_value(schema: &Schema, path: &Path) -> bool {
    let mut schema = schema;
    for (depth, name) in path.names().enumerate() {
        if depth == 0 && name == "metadata" {
            return false;
        }
        match schema.property(name) {
            Some(property) => schema = property,
            None => return false,
        }
    }
    matches!(schema.kind, Some(JsonType::String | JsonType::Boolean | JsonType::Integer))
}
