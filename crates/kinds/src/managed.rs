//! Who owns which fields of an object: `metadata.managedFields`, kept at every write, and server-side apply.
//!
//! ```text
//!   update:  old, new ──compare──► what changed ──► the writer's; nobody else's any more
//!   apply:   old ⊕ stated ──prune what the applier no longer states and nobody owns──► new
//!                          └─compare──► what changed ∩ what others own = conflicts
//! ```
//! Pure: the time comes from outside. Types come from the built-in schemas or from that of a custom resource; the walks
//! over values do not know which.

mod apply;
mod check;
mod compare;
mod entries;
mod field_type;
mod fields;
mod merge;
mod prune;
mod remove;
mod set;

use serde_json::{Map, Value};

pub use apply::{Applied, apply};

use crate::Kind;
use crate::status::Failure;
use compare::Comparison;
use entries::{Entries, Entry, Manager, Operation};
use field_type::Type;
use set::FieldSet;

/// Who writes, how and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The field manager; clients that do not say one are known by the start of their `User-Agent`.
    pub manager: &'a str,
    /// The part of the object that the path is about; empty for the object itself.
    pub subresource: &'a str,
    /// Now, as RFC 3339 in whole seconds.
    pub now: &'a str,
}

/// The longest name of a manager, in bytes.
pub const MAX_MANAGER_BYTES: usize = 128;
/// Whoever sends neither a field manager nor a `User-Agent`.
const UNKNOWN: &str = "unknown";

/// The manager's name of a request: what it says, or the program's name in its `User-Agent`.
pub fn manager_name(field_manager: &str, user_agent: &str) -> String {
    if !field_manager.is_empty() {
        return field_manager.to_owned();
    }
    let program = user_agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for character in program.chars().filter(|character| !character.is_control()) {
        if name.len() + character.len_utf8() > MAX_MANAGER_BYTES {
            break;
        }
        name.push(character);
    }
    if name.is_empty() { UNKNOWN.to_owned() } else { name }
}

impl Writer<'_> {
    fn manager(&self, kind: &Kind, operation: Operation) -> Manager {
        Manager {
            name: self.manager.to_owned(),
            operation,
            api_version: kind.api_version(),
            subresource: self.subresource.to_owned(),
        }
    }
}

/// Notes in `new` who owns its fields after a write that is no apply. `current` is `None` for a new object; `new` must
/// have its defaults, and what the server sets itself must not be in it yet, for that is nobody's.
///
/// A writer may state `metadata.managedFields` itself, or reset them by `[{}]`. An object that has none stays without.
pub fn update(kind: &Kind, writer: &Writer<'_>, current: Option<&Value>, new: &mut Value) {
    let stated = take_managed_fields(new);
    let entries = before_update(writer, current, &stated);
    let nothing = Value::Object(Map::new());
    let old = match current {
        // Nobody is tracked: the object was made to be so.
        Some(_) if entries.is_empty() => return,
        Some(current) => current,
        None => &nothing,
    };
    let difference = difference(kind, writer.subresource, old, new);
    let entries = if difference.is_empty() { entries } else { updated(kind, writer, entries, difference) };
    set_managed_fields(new, entries);
}

/// The entries to go on with: those that the client states, if they make sense, or those of the object.
fn before_update(writer: &Writer<'_>, current: Option<&Value>, stated: &Value) -> Entries {
    // Through a subresource only the object's part is written.
    if writer.subresource.is_empty() {
        if entries::is_reset(stated) {
            return Entries::default();
        }
        if let Some(stated) = Entries::parse(stated).filter(|stated| !stated.is_empty()) {
            return stated;
        }
    }
    let live = current.map(|current| &current["metadata"]["managedFields"]);
    live.and_then(Entries::parse).unwrap_or_default()
}

fn updated(kind: &Kind, writer: &Writer<'_>, mut entries: Entries, difference: Comparison) -> Entries {
    let manager = writer.manager(kind, Operation::Update);
    entries.lose(&difference);
    let mut fields = difference.changed;
    entries::strip(&mut fields);
    if !fields.is_empty() {
        if let Some(before) = entries.take(&manager) {
            fields.unite(before.fields);
        }
        entries.push(Entry { manager, time: Some(writer.now.to_owned()), fields });
    }
    entries.cap();
    entries
}

/// As [`update`] for the replicas of a workload, written as a Scale: its writer owns them, and has no time, because a
/// Scale does not carry any.
pub fn scale(kind: &Kind, writer: &Writer<'_>, current: &Value, new: &mut Value) {
    update(kind, writer, Some(current), new);
    let Some(entries) = new.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut) else {
        return;
    };
    let before = Entries::parse(&current["metadata"]["managedFields"]).unwrap_or_default();
    let manager = writer.manager(kind, Operation::Update);
    for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
        let is_writers = entry.get("subresource").is_some_and(|name| name == writer.subresource)
            && entry.get("manager").is_some_and(|name| name == writer.manager);
        if is_writers {
            match before.of(&manager).and_then(|entry| entry.time.clone()) {
                Some(time) => drop(entry.insert("time".into(), time.into())),
                None => drop(entry.remove("time")),
            }
        }
    }
}

/// `current` with what `stated` says laid over it, as an apply would, but owned by nobody for that.
pub fn overlay(kind: &Kind, current: &Value, mut stated: Value) -> Result<Value, Failure> {
    for field in ["apiVersion", "kind"] {
        stated[field] = current[field].clone();
    }
    check::check(Type::of(kind), &stated).map_err(|misfit| Failure::unprocessable(misfit.to_string()))?;
    Ok(merge::objects(Type::of(kind), current, &stated))
}

/// Whether two objects differ at most in the times of their managers.
pub fn differ_in_times_only(new: &Value, current: &Value) -> bool {
    type Fields = Map<String, Value>;
    fn parts(object: &Value) -> Option<(&Fields, &Fields)> {
        let object = object.as_object()?;
        Some((object, object.get("metadata")?.as_object()?))
    }
    fn same(new: &Fields, current: &Fields, but: &str) -> bool {
        let others = |fields: &Map<String, Value>| fields.keys().filter(|name| *name != but).count();
        others(new) == others(current)
            && new.iter().all(|(name, value)| name == but || current.get(name) == Some(value))
    }
    let (Some((new, new_metadata)), Some((current, current_metadata))) = (parts(new), parts(current)) else {
        return false;
    };
    if !same(new, current, "metadata") || !same(new_metadata, current_metadata, "managedFields") {
        return false;
    }
    let timeless = |metadata: &Map<String, Value>| {
        let mut entries = metadata.get("managedFields").cloned().unwrap_or_default();
        for entry in entries.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        entries
    };
    timeless(new_metadata) == timeless(current_metadata)
}

/// What a write through `subresource` changed, without what such a write cannot change.
fn difference(kind: &Kind, subresource: &str, old: &Value, new: &Value) -> Comparison {
    let mut difference = compare::objects(Type::of(kind), old, new);
    for fields in [&mut difference.changed, &mut difference.removed] {
        reset(kind, subresource, fields);
        fields.take(&["f:metadata", "f:managedFields"]);
    }
    difference
}

/// Drops the fields that the server puts back after a write through `subresource`.
fn reset(kind: &Kind, subresource: &str, fields: &mut FieldSet) {
    match subresource {
        "" => {
            if kind.subresource("status").is_some() {
                fields.take(&["f:status"]);
            }
            match kind.table_name() {
                // What was asked to be signed never changes, and the finalizers have a subresource of their own.
                "CertificateSigningRequest" if kind.is_builtin() => drop(fields.take(&["f:spec"])),
                "Namespace" => drop(fields.take(&["f:spec", "f:finalizers"])),
                _ => {}
            }
        }
        // Whoever is asked to judge says it in the object's own name.
        "approval" => fields.retain(|_| false),
        "status" => {
            let metadata = fields.take(&["f:metadata"]);
            fields.retain(|field| field == "f:status");
            if let Some(mut metadata) = metadata {
                let marks = kind.marks_of_status();
                metadata.retain(|field| field.strip_prefix("f:").is_some_and(|field| marks.contains(&field)));
                fields.insert(set::field("metadata"), metadata);
            }
        }
        _ => {}
    }
}

fn take_managed_fields(object: &mut Value) -> Value {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.and_then(|metadata| metadata.remove("managedFields")).unwrap_or_default()
}

fn set_managed_fields(object: &mut Value, entries: Entries) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), entries.into_value());
    }
}

#[cfg(test)]
mod tests;
