//! Server-side apply: what an applier states becomes so, if nobody else minds.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::entries::{self, Entries, Entry, Manager, Operation};
use super::field_type::Type;
use super::set::FieldSet;
use super::{Writer, check, compare, difference, fields, merge, prune, reset, set_managed_fields};
use crate::status::Failure;
use crate::{Kind, decode};

/// An applied configuration, which was checked to be one of its kind.
#[derive(Clone, Debug)]
pub struct Applied {
    object: Value,
}

/// The manager of what was there before the first apply to an object that nobody tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The applier that takes over from kubectl's older way of applying.
const KUBECTL: &str = "kubectl";
/// Where kubectl's older way keeps what it last applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Applied {
    /// Checks the type of a configuration and that it states no owners.
    pub fn check(kind: &Kind, object: Value) -> Result<Self, Failure> {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (api_version, name) = (text("apiVersion"), text("kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        if api_version != kind.api_version() || name != kind.kind {
            let message = format!("invalid object type: {group}/{version}, Kind={name}");
            return Err(Failure::bad_request(message));
        }
        if !object["metadata"]["managedFields"].is_null() {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        check::check(Type::of(kind), &object).map_err(|misfit| {
            let metadata = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let message = format!(
                "failed to create typed patch object ({}/{}; {group}/{version}, Kind={name}): {misfit}",
                metadata("namespace"),
                metadata("name")
            );
            // Told as a fault of the server, without a reason, since the first version that could apply.
            Failure::new(500, "", message)
        })?;
        Ok(Self { object })
    }

    /// The configuration as the client sent it.
    pub fn object(&self) -> &Value {
        &self.object
    }
}

/// What `applied` makes of `current`, an empty object for one that is new. The result has its managers, but neither
/// defaults nor what else the server fills in. `force` takes fields from their owners; without it that is a conflict.
pub fn apply(
    kind: &Kind,
    writer: &Writer<'_>,
    current: &Value,
    applied: &Applied,
    force: bool,
) -> Result<Value, Failure> {
    let entries = tracked(kind, writer, current);
    let manager = writer.manager(kind, Operation::Apply);
    let round = Round { kind, writer, manager, current, applied: &applied.object };
    let merged = match round.apply(entries.clone(), force) {
        Ok(merged) => merged,
        Err(conflicts) if round.may_take(&conflicts) => {
            round.apply(entries, true).map_err(|conflicts| refused(&conflicts))?
        }
        Err(conflicts) => return Err(refused(&conflicts)),
    };
    let mut new = round.finish(merged)?;
    if writer.manager == KUBECTL {
        note_last_applied(&mut new, &applied.object);
    }
    Ok(new)
}

/// The managers of an object; one that has none gets a manager of all that is there.
fn tracked(kind: &Kind, writer: &Writer<'_>, current: &Value) -> Entries {
    let mut entries = Entries::parse(&current["metadata"]["managedFields"]).unwrap_or_default();
    if entries.is_empty() {
        let nothing = Value::Object(Map::new());
        let mut fields = difference(kind, writer.subresource, &nothing, current).changed;
        entries::strip(&mut fields);
        let before = Writer { manager: BEFORE_FIRST_APPLY, ..*writer };
        let manager = before.manager(kind, Operation::Update);
        entries.push(Entry { manager, time: Some(writer.now.to_owned()), fields });
    }
    entries
}

/// One apply.
struct Round<'a> {
    kind: &'a Kind,
    writer: &'a Writer<'a>,
    manager: Manager,
    current: &'a Value,
    applied: &'a Value,
}

/// The fields that somebody else owns and that would change.
type Conflicts = Vec<Entry>;

/// What an apply makes of an object, before it is known whether that is anything new.
struct Merged {
    object: Value,
    /// All but the applier's.
    entries: Entries,
    stated: FieldSet,
    /// When the applier last changed something.
    time: Option<String>,
}

impl Round<'_> {
    fn apply(&self, mut entries: Entries, force: bool) -> Result<Merged, Conflicts> {
        let kind = Type::of(self.kind);
        let before = entries.take(&self.manager);
        let mut stated = fields::stated(kind, self.applied);
        reset(self.kind, self.writer.subresource, &mut stated);
        let merged = merge::objects(kind, self.current, self.applied);
        let object = match &before {
            Some(before) => {
                let mut last = before.fields.clone();
                reset(self.kind, self.writer.subresource, &mut last);
                prune::prune(kind, merged, &prune::Owned { last, stated: &stated, others: &entries })
            }
            None => merged,
        };
        let difference = difference(self.kind, self.writer.subresource, self.current, &object);
        if !force {
            let conflicts: Conflicts = entries
                .iter()
                .map(|entry| Entry {
                    fields: entry.fields.intersection(&difference.changed),
                    ..entry.clone()
                })
                .filter(|entry| !entry.fields.is_empty())
                .collect();
            if !conflicts.is_empty() {
                return Err(conflicts);
            }
        }
        entries.lose(&difference);
        entries::strip(&mut stated);
        Ok(Merged { object, entries, stated, time: before.and_then(|before| before.time) })
    }

    /// The next state with its managers. An apply that changes nothing leaves no time, so that it can be repeated
    /// without a trace.
    fn finish(&self, merged: Merged) -> Result<Value, Failure> {
        let Merged { object, mut entries, stated, time } = merged;
        let mut new = decode::object(self.kind, object)?.object;
        let time = if new == *self.current { time } else { Some(self.writer.now.to_owned()) };
        entries.push(Entry { manager: self.manager.clone(), time, fields: stated });
        set_managed_fields(&mut new, entries);
        Ok(new)
    }

    /// Whether all conflicts are about what kubectl itself applied in its older way: then it only changes its ways.
    fn may_take(&self, conflicts: &Conflicts) -> bool {
        if self.writer.manager != KUBECTL {
            return false;
        }
        let Some(last_applied) = last_applied(self.current) else { return false };
        let kind = Type::of(self.kind);
        let changed_since = compare::objects(kind, &last_applied, self.current);
        let kept = fields::stated(kind, &last_applied)
            .difference(&changed_since.changed)
            .difference(&changed_since.removed);
        conflicts.iter().all(|entry| entry.fields.difference(&kept).is_empty())
    }
}

fn annotations(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.pointer_mut("/metadata/annotations")?.as_object_mut()
}

fn last_applied(object: &Value) -> Option<Value> {
    serde_json::from_str(object["metadata"]["annotations"][LAST_APPLIED].as_str()?).ok()
}

/// Keeps the annotation of kubectl's older way up to date, where there is one: the next apply may be of the older way.
fn note_last_applied(new: &mut Value, applied: &Value) {
    let Some(annotations) = annotations(new) else { return };
    if let Some(noted) = annotations.get_mut(LAST_APPLIED) {
        let mut applied = applied.clone();
        if let Some(annotations) = self::annotations(&mut applied) {
            annotations.remove(LAST_APPLIED);
        }
        *noted = format!("{applied}\n").into();
    }
}

/// 409: the conflicts, one cause each.
fn refused(conflicts: &Conflicts) -> Failure {
    let mut conflicts: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|entry| (entry.manager.shown(), entry.fields.paths())).collect();
    conflicts.sort();
    let n_conflicts: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let mut message = match conflicts.as_slice() {
        [(manager, paths)] if paths.len() == 1 => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths[0])
        }
        _ => format!("Apply failed with {n_conflicts} conflicts: "),
    };
    if n_conflicts != 1 {
        let mut lines = Vec::new();
        for (manager, paths) in &conflicts {
            lines.push(format!("conflicts with {manager}:"));
            lines.extend(paths.iter().map(|path| format!("- {path}")));
        }
        // Writing to a text cannot fail.
        write!(message, "{}", lines.join("\n")).ok();
    }
    let mut failure = Failure::new(409, "Conflict", message);
    for (manager, paths) in &conflicts {
        for path in paths {
            failure = failure.with_cause("FieldManagerConflict", &format!("conflict with {manager}"), path);
        }
    }
    failure
}
