//! Structural schemas: a schema says of every value of what type it is, once, outside of all junctors.
//!
//! So each value has one meaning, and pruning, defaults and ownership can follow it.

use serde_json::{Map, Value};

use super::super::{Faults, text};
use super::rule::{Subject, excess};
use crate::custom::Schema;
use crate::custom::check::{self, NOWHERE};
use crate::custom::prune::prune_value;
use crate::custom::rules::cost::{MOST_OF_SCHEMA, Times};
use crate::custom::rules::type_of;
use crate::status::FieldError;

/// Deeper schemas than this nobody writes; every walk over one is as deep.
const MAX_DEPTH: usize = 100;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const JUNCTORS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// The faults of the schema of a version.
pub(super) fn check(path: &str, source: &Value, faults: &mut Faults) {
    if depth(source) > MAX_DEPTH {
        let message = format!("must not be nested deeper than {MAX_DEPTH} levels");
        faults.push(FieldError::invalid(path, Value::Null, message));
        return;
    }
    match text(source, "type") {
        "" => faults.push(FieldError::required(format!("{path}.type"), "must not be empty at the root")),
        "object" => {}
        other => {
            let message = "must be object at the root";
            faults.push(FieldError::invalid(format!("{path}.type"), other, message));
        }
    }
    if source["nullable"] == true {
        let message = "nullable cannot be true at the root";
        faults.push(FieldError::forbidden(format!("{path}.nullable"), message));
    }
    let mut walk = Walk { faults, in_junctor: false, times: Times::AtMost(1), costs: Costs::default() };
    walk.metadata(path, source);
    walk.node(path, source, true);
    let costs = walk.costs;
    costs.check(path, faults);
}

/// What the rules of a schema can cost.
#[derive(Default)]
struct Costs {
    total: u64,
    /// The dearest, the least dear first.
    dearest: Vec<(u64, String)>,
}

impl Costs {
    /// So many are named when all together are too dear.
    const N_NAMED: usize = 4;

    fn add(&mut self, cost: u64, path: String) {
        self.total = self.total.saturating_add(cost);
        let place = self.dearest.partition_point(|(known, _)| *known < cost);
        self.dearest.insert(place, (cost, path));
        if self.dearest.len() > Self::N_NAMED {
            self.dearest.remove(0);
        }
    }

    fn check(self, path: &str, faults: &mut Faults) {
        if self.total <= MOST_OF_SCHEMA {
            return;
        }
        for (_, path) in self.dearest {
            let message = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire \
                           OpenAPIv3 schema";
            faults.push(FieldError::forbidden(path, message));
        }
        let message = format!(
            "estimated rule & messageExpression cost total for entire OpenAPIv3 schema exceeds budget by factor of {} \
             (try simplifying rules, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings \
             are declared)",
            excess(self.total, MOST_OF_SCHEMA)
        );
        faults.push(FieldError::forbidden(path, message));
    }
}

fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Object(fields) => fields.values().map(depth).max(),
        Value::Array(items) => items.iter().map(depth).max(),
        _ => return 0,
    };
    below.unwrap_or(0).saturating_add(usize::from(value.is_object()))
}

struct Walk<'a> {
    faults: &'a mut Faults,
    in_junctor: bool,
    /// How often the schema at hand has a value in one object.
    times: Times,
    costs: Costs,
}

impl Walk<'_> {
    fn node(&mut self, path: &str, source: &Value, is_root: bool) {
        let Some(fields) = source.as_object() else { return };
        self.forbidden(path, fields);
        if self.in_junctor {
            self.junctor_only(path, fields);
        } else {
            self.structure(path, source, is_root);
            self.list_type(path, source);
            self.map_type(path, source);
            self.default(path, source);
        }
        self.pattern(path, source);
        self.rules(path, source, is_root);
        self.below(path, source);
    }

    /// What no schema may say.
    fn forbidden(&mut self, path: &str, fields: &Map<String, Value>) {
        for (field, why) in [
            ("$ref", "$ref is not supported"),
            ("definitions", "definitions is not supported"),
            ("dependencies", "dependencies is not supported"),
            ("patternProperties", "patternProperties is not supported"),
            ("additionalItems", "additionalItems is not supported"),
        ] {
            if fields.get(field).is_some_and(|value| !value.is_null()) {
                self.faults.push(FieldError::forbidden(format!("{path}.{field}"), why));
            }
        }
        if fields.get("uniqueItems").is_some_and(|value| *value == true) {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.faults.push(FieldError::forbidden(format!("{path}.uniqueItems"), why));
        }
        if fields.get("x-kubernetes-preserve-unknown-fields").is_some_and(|value| *value == false) {
            let place = format!("{path}.x-kubernetes-preserve-unknown-fields");
            self.faults.push(FieldError::invalid(place, false, "must be true or undefined"));
        }
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
        if !kind.is_empty() && !TYPES.contains(&kind) {
            self.faults.push(FieldError::not_supported(format!("{path}.type"), kind, &TYPES));
        }
    }

    /// Within junctors only values are judged: what a value is was said outside.
    fn junctor_only(&mut self, path: &str, fields: &Map<String, Value>) {
        for field in ["default", "nullable", "additionalProperties", "title", "description", "type"] {
            let says =
                fields.get(field).is_some_and(|value| !value.is_null() && *value != "" && *value != false);
            if says {
                let why = "must be undefined to be structural within allOf, anyOf, oneOf and not";
                self.faults.push(FieldError::forbidden(format!("{path}.{field}"), why));
            }
        }
        for (field, _) in fields.iter().filter(|(field, value)| {
            field.starts_with("x-kubernetes-") && *field != "x-kubernetes-validations" && !value.is_null()
        }) {
            let why = "must be undefined to be structural within allOf, anyOf, oneOf and not";
            self.faults.push(FieldError::forbidden(format!("{path}.{field}"), why));
        }
    }

    fn structure(&mut self, path: &str, source: &Value, is_root: bool) {
        let kind = text(source, "type");
        let is_flag = |field: &str| source[field] == true;
        let is_free =
            is_flag("x-kubernetes-int-or-string") || is_flag("x-kubernetes-preserve-unknown-fields");
        if kind.is_empty() && !is_free && !is_root {
            let message = "must not be empty for specified object fields";
            self.faults.push(FieldError::required(format!("{path}.type"), message));
        }
        if is_flag("x-kubernetes-embedded-resource") {
            self.embedded(path, source);
        }
        let additional = &source["additionalProperties"];
        let has_properties = source["properties"].as_object().is_some_and(|fields| !fields.is_empty());
        if has_properties && !additional.is_null() {
            let why = "additionalProperties and properties are mutual exclusive";
            self.faults.push(FieldError::forbidden(format!("{path}.additionalProperties"), why));
        }
        if *additional == false {
            let why = "additionalProperties cannot be set to false";
            self.faults.push(FieldError::forbidden(format!("{path}.additionalProperties"), why));
        }
        match (kind, &source["items"]) {
            ("array", Value::Null) => {
                self.faults.push(FieldError::required(format!("{path}.items"), "must be specified"));
            }
            (_, Value::Array(_)) => {
                let why = "items must be a schema object and not an array";
                self.faults.push(FieldError::forbidden(format!("{path}.items"), why));
            }
            _ => {}
        }
        if !is_flag("x-kubernetes-int-or-string") {
            for junctor in JUNCTORS {
                let branches = source[junctor].as_array().into_iter().flatten();
                branches.for_each(|branch| self.complete(path, source, branch));
            }
            self.complete(path, source, &source["not"]);
        }
    }

    /// What a junctor speaks of must be named outside of it.
    fn complete(&mut self, path: &str, source: &Value, branch: &Value) {
        for (name, inner) in branch["properties"].as_object().into_iter().flatten() {
            let place = format!("{path}.properties[{name}]");
            match source["properties"].get(name) {
                Some(outer) => self.complete(&place, outer, inner),
                None if source["x-kubernetes-preserve-unknown-fields"] == true => {}
                None => {
                    let why = "must not be undefined because it is defined in a junctor";
                    self.faults.push(FieldError::required(place, why));
                }
            }
        }
        if branch["items"].is_object() {
            let place = format!("{path}.items");
            match &source["items"] {
                outer @ Value::Object(_) => self.complete(&place, outer, &branch["items"]),
                _ => self.faults.push(FieldError::required(
                    place,
                    "must not be undefined because it is defined in a junctor",
                )),
            }
        }
    }

    fn embedded(&mut self, path: &str, source: &Value) {
        match text(source, "type") {
            "" => self.faults.push(FieldError::required(
                format!("{path}.type"),
                "must be object if x-kubernetes-embedded-resource is true",
            )),
            "object" => {}
            other => {
                let message = "must be object if x-kubernetes-embedded-resource is true";
                self.faults.push(FieldError::invalid(format!("{path}.type"), other, message));
            }
        }
        let has_properties = source["properties"].as_object().is_some_and(|fields| !fields.is_empty());
        if !has_properties && source["x-kubernetes-preserve-unknown-fields"] != true {
            let message = "must not be empty if x-kubernetes-embedded-resource is true without \
                           x-kubernetes-preserve-unknown-fields";
            self.faults.push(FieldError::required(format!("{path}.properties"), message));
        }
        self.metadata(path, source);
    }

    /// The schema may restrict names, and nothing else of what every object has.
    fn metadata(&mut self, path: &str, source: &Value) {
        let metadata = &source["properties"]["metadata"];
        if metadata.is_null() {
            return;
        }
        let known = |name: &String| matches!(name.as_str(), "name" | "generateName");
        let named = metadata["properties"].as_object().is_none_or(|fields| fields.keys().all(known));
        let said = metadata.as_object().is_none_or(|fields| {
            fields.keys().all(|field| matches!(field.as_str(), "type" | "properties" | "description"))
        });
        if !named || !said {
            let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.faults.push(FieldError::forbidden(format!("{path}.properties[metadata]"), why));
        }
    }

    fn list_type(&mut self, path: &str, source: &Value) {
        let list_type = text(source, "x-kubernetes-list-type");
        let place = format!("{path}.x-kubernetes-list-type");
        let keys = source["x-kubernetes-list-map-keys"].as_array().map_or(&[][..], Vec::as_slice);
        if list_type != "map" && !keys.is_empty() {
            let message = "must not be set unless x-kubernetes-list-type is map";
            self.faults.push(FieldError::forbidden(format!("{path}.x-kubernetes-list-map-keys"), message));
        }
        if list_type.is_empty() {
            return;
        }
        if !matches!(list_type, "atomic" | "set" | "map") {
            self.faults.push(FieldError::not_supported(place.clone(), list_type, &["atomic", "set", "map"]));
        }
        if text(source, "type") != "array" {
            let message = "must be array if x-kubernetes-list-type is specified";
            self.faults.push(match text(source, "type") {
                "" => FieldError::required(format!("{path}.type"), message),
                other => FieldError::invalid(format!("{path}.type"), other, message),
            });
        }
        match list_type {
            "set" => self.set_items(path, &source["items"]),
            "map" => self.keyed_items(path, source, keys),
            _ => {}
        }
    }

    fn set_items(&mut self, path: &str, items: &Value) {
        let place = format!("{path}.items");
        match text(items, "type") {
            "object" if items["x-kubernetes-map-type"] != "atomic" => {
                let message = "must be atomic as item of a list with x-kubernetes-list-type=set";
                let map_type = items["x-kubernetes-map-type"].clone();
                self.faults.push(FieldError::invalid(
                    format!("{place}.x-kubernetes-map-type"),
                    map_type,
                    message,
                ));
            }
            "array" if !matches!(text(items, "x-kubernetes-list-type"), "" | "atomic") => {
                let message = "must be atomic as item of a list with x-kubernetes-list-type=set";
                let list_type = items["x-kubernetes-list-type"].clone();
                self.faults.push(FieldError::invalid(
                    format!("{place}.x-kubernetes-list-type"),
                    list_type,
                    message,
                ));
            }
            _ => {}
        }
        if items["nullable"] == true {
            let why = "cannot be nullable when x-kubernetes-list-type is set";
            self.faults.push(FieldError::forbidden(format!("{place}.nullable"), why));
        }
    }

    fn keyed_items(&mut self, path: &str, source: &Value, keys: &[Value]) {
        let items = &source["items"];
        if keys.is_empty() {
            let message = "must not be empty if x-kubernetes-list-type is map";
            self.faults.push(FieldError::required(format!("{path}.x-kubernetes-list-map-keys"), message));
            return;
        }
        if !items.is_object() {
            return;
        }
        if text(items, "type") != "object" {
            let message = "must be object if parent array's x-kubernetes-list-type is map";
            self.faults.push(FieldError::invalid(
                format!("{path}.items.type"),
                items["type"].clone(),
                message,
            ));
        }
        let mut seen = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let place = format!("{path}.x-kubernetes-list-map-keys[{index}]");
            let name = key.as_str().unwrap_or_default();
            if seen.contains(&name) {
                self.faults.push(FieldError::duplicate(place.clone(), name));
            }
            seen.push(name);
            self.key(path, &place, items, name);
        }
    }

    fn key(&mut self, path: &str, place: &str, items: &Value, name: &str) {
        let property = &items["properties"][name];
        if !property.is_object() {
            self.faults.push(FieldError::invalid(place, name, "must refer to a property of the items"));
            return;
        }
        if matches!(text(property, "type"), "object" | "array") {
            let message = "entries must refer to scalar properties of the items";
            self.faults.push(FieldError::invalid(place, name, message));
        }
        let is_required =
            items["required"].as_array().is_some_and(|required| required.iter().any(|field| field == name));
        let place = format!("{path}.items.properties[{name}]");
        if !is_required && property["default"].is_null() {
            let message = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            self.faults.push(FieldError::required(format!("{place}.default"), message));
        }
        if property["nullable"] == true {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            self.faults.push(FieldError::forbidden(format!("{place}.nullable"), why));
        }
    }

    fn map_type(&mut self, path: &str, source: &Value) {
        let map_type = text(source, "x-kubernetes-map-type");
        if map_type.is_empty() {
            return;
        }
        if !matches!(map_type, "atomic" | "granular") {
            let place = format!("{path}.x-kubernetes-map-type");
            self.faults.push(FieldError::not_supported(place, map_type, &["atomic", "granular"]));
        }
        if text(source, "type") != "object" {
            let message = "must be object if x-kubernetes-map-type is specified";
            self.faults.push(FieldError::invalid(format!("{path}.type"), source["type"].clone(), message));
        }
    }

    /// A default is a value like those that users write: it must be valid and have no unknown fields.
    fn default(&mut self, path: &str, source: &Value) {
        let default = &source["default"];
        if default.is_null() {
            return;
        }
        let place = format!("{path}.default");
        let schema = Schema::parse(source);
        let mut pruned = default.clone();
        if !prune_value(&schema, &mut pruned).is_empty() {
            let message = "must not have unknown fields";
            self.faults.push(FieldError::invalid(place.clone(), default.clone(), message));
        }
        for mut fault in check::check(&schema, &pruned, None) {
            fault.field = match fault.field.as_str() {
                "" => place.clone(),
                NOWHERE => NOWHERE.to_owned(),
                inner if inner.starts_with('[') => format!("{place}{inner}"),
                inner => format!("{place}.{inner}"),
            };
            self.faults.push(fault);
        }
    }

    fn pattern(&mut self, path: &str, source: &Value) {
        let pattern = text(source, "pattern");
        if let Err(error) = check::compile(pattern) {
            let message = format!("must be a valid regular expression, but isn't: {error}");
            self.faults.push(FieldError::invalid(format!("{path}.pattern"), pattern, message));
        }
    }

    fn rules(&mut self, path: &str, source: &Value, is_root: bool) {
        let rules = source["x-kubernetes-validations"].as_array().map_or(&[][..], Vec::as_slice);
        if rules.is_empty() {
            return;
        }
        let path = format!("{path}.x-kubernetes-validations");
        if self.in_junctor {
            let why = "must be empty to be structural within allOf, anyOf, oneOf and not";
            return self.faults.push(FieldError::forbidden(path, why));
        }
        let schema = Schema::parse(source);
        let subject = Subject { schema: &schema, kind: &type_of(&schema, is_root), times: self.times };
        for (index, rule) in rules.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let cost = super::rule::check(&path, &subject, rule, self.faults);
            self.costs.add(cost, format!("{path}.rule"));
        }
    }

    fn below(&mut self, path: &str, source: &Value) {
        for (name, schema) in source["properties"].as_object().into_iter().flatten() {
            self.node(&format!("{path}.properties[{name}]"), schema, false);
        }
        for (field, limit) in [("additionalProperties", "maxProperties"), ("items", "maxItems")] {
            let limit = source[limit].as_u64().and_then(|limit| usize::try_from(limit).ok());
            let each = self.times.each(limit);
            let outer = std::mem::replace(&mut self.times, each);
            self.node(&format!("{path}.{field}"), &source[field], false);
            self.times = outer;
        }
        let outer = std::mem::replace(&mut self.in_junctor, true);
        // The one form that may name types within a junctor.
        let is_known = source["x-kubernetes-int-or-string"] == true;
        for junctor in JUNCTORS.into_iter().filter(|_| !is_known) {
            for (index, schema) in source[junctor].as_array().into_iter().flatten().enumerate() {
                self.node(&format!("{path}.{junctor}[{index}]"), schema, false);
            }
        }
        self.node(&format!("{path}.not"), &source["not"], false);
        self.in_junctor = outer;
    }
}

/// The formats that a schema names and nobody knows.
pub(crate) fn unknown_formats(source: &Value, found: &mut Vec<String>) {
    match source {
        Value::Object(fields) => {
            let format = fields.get("format").and_then(Value::as_str).unwrap_or_default();
            let is_known =
                format.is_empty() || KNOWN.contains(&format) || crate::custom::is_known_format(format);
            if fields.get("type").is_some_and(Value::is_string)
                && !is_known
                && !found.iter().any(|known| known == format)
            {
                found.push(format.to_owned());
            }
            fields.values().for_each(|value| unknown_formats(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| unknown_formats(item, found)),
        _ => {}
    }
}

/// Formats that demand nothing here, and that everybody knows.
const KNOWN: [&str; 6] = ["float", "double", "password", "binary", "int-or-string", "quantity"];
