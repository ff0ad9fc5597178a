//! `metadata.managedFields`: who owns which fields, as entries of an object.

use serde_json::{Map, Value};

use super::compare;
use super::set::FieldSet;

/// How a manager came to its fields. Appliers state what they want; updaters changed something once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

/// Whoever owns fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) api_version: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
}

impl Manager {
    /// Whether both are one manager: an applier stays the same when it applies in another version.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same_version = self.operation == Operation::Apply || self.api_version == other.api_version;
        let same_name = self.name == other.name && self.subresource == other.subresource;
        self.operation == other.operation && same_version && same_name
    }

    /// How messages name it.
    pub(crate) fn shown(&self) -> String {
        let mut shown = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            shown.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            shown.push_str(&format!(" using {}", self.api_version));
        }
        shown
    }
}

/// A manager with what it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) manager: Manager,
    /// When it last took something, as RFC 3339 in whole seconds.
    pub(crate) time: Option<String>,
    pub(crate) fields: FieldSet,
}

/// The most updaters that an object remembers one by one.
const MAX_UPDATERS: usize = 10;
/// Whoever owns the fields of those that are not remembered.
const ANCIENT: &str = "ancient-changes";

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries(Vec<Entry>);

impl Entries {
    /// Reads `metadata.managedFields`; `None` if it makes no sense. An object without it has no entries.
    pub(crate) fn parse(managed_fields: &Value) -> Option<Self> {
        let entries = match managed_fields {
            Value::Null => return Some(Self::default()),
            value => value.as_array()?,
        };
        let mut parsed = Self::default();
        for entry in entries {
            parsed.0.push(parse_entry(entry)?);
        }
        Some(parsed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    pub(crate) fn of(&self, manager: &Manager) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.manager.is(manager))
    }

    pub(crate) fn take(&mut self, manager: &Manager) -> Option<Entry> {
        let index = self.0.iter().position(|entry| entry.manager.is(manager))?;
        Some(self.0.remove(index))
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if !entry.fields.is_empty() {
            self.0.push(entry);
        }
    }

    /// Takes from everybody what a write changed or removed.
    pub(crate) fn lose(&mut self, difference: &compare::Comparison) {
        if difference.is_empty() {
            return;
        }
        for entry in &mut self.0 {
            entry.fields = entry.fields.difference(&difference.changed).difference(&difference.removed);
        }
        self.0.retain(|entry| !entry.fields.is_empty());
    }

    /// Merges the oldest updaters once there are too many.
    pub(crate) fn cap(&mut self) {
        let is_updater = |entry: &Entry| entry.manager.operation == Operation::Update;
        let n_updaters = self.0.iter().filter(|entry| is_updater(entry)).count();
        let mut surplus = n_updaters.saturating_sub(MAX_UPDATERS);
        if surplus == 0 {
            return;
        }
        let (mut updaters, mut kept): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.0).into_iter().partition(is_updater);
        updaters
            .sort_by(|left, right| (&left.time, &left.manager.name).cmp(&(&right.time, &right.manager.name)));
        let mut merged: Vec<Entry> = Vec::new();
        for updater in updaters {
            let version = &updater.manager.api_version;
            match merged.iter_mut().find(|first| first.manager.api_version == *version) {
                Some(first) if surplus > 0 => {
                    surplus -= 1;
                    first.manager.name = ANCIENT.to_owned();
                    first.manager.subresource = String::new();
                    first.time = updater.time;
                    first.fields.unite(updater.fields);
                }
                Some(_) => kept.push(updater),
                None => merged.push(updater),
            }
        }
        self.0 = kept;
        self.0.append(&mut merged);
    }

    /// As `metadata.managedFields`, in the order in which clients know it: appliers first, then by time and name.
    pub(crate) fn into_value(mut self) -> Value {
        fn key(entry: &Entry) -> (Operation, &Option<String>, [&str; 3]) {
            let Manager { name, operation, api_version, subresource } = &entry.manager;
            (*operation, &entry.time, [name, api_version, subresource])
        }
        self.0.sort_by(|left, right| key(left).cmp(&key(right)));
        self.0.into_iter().map(entry_value).collect()
    }
}

/// Whether `managedFields` asks to forget all managers: one entry without anything. An empty list asks for nothing: clients
/// that do not know of managers send it.
pub(crate) fn is_reset(managed_fields: &Value) -> bool {
    match managed_fields.as_array().map(Vec::as_slice) {
        Some([entry]) => entry.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

fn parse_entry(entry: &Value) -> Option<Entry> {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let operation = match entry["operation"].as_str()? {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    let manager = Manager {
        name: text("manager"),
        operation,
        api_version: text("apiVersion"),
        subresource: text("subresource"),
    };
    let fields = match &entry["fieldsV1"] {
        Value::Null => FieldSet::default(),
        fields => FieldSet::parse(fields)?,
    };
    Some(Entry { manager, time: entry["time"].as_str().map(str::to_owned), fields })
}

fn entry_value(entry: Entry) -> Value {
    let Manager { name, operation, api_version, subresource } = entry.manager;
    let operation = match operation {
        Operation::Apply => "Apply",
        Operation::Update => "Update",
    };
    let mut fields = Map::with_capacity(7);
    let mut say = |field: &str, value: Value| drop(fields.insert(field.to_owned(), value));
    say("manager", name.into());
    say("operation", operation.into());
    say("apiVersion", api_version.into());
    if let Some(time) = entry.time {
        say("time", time.into());
    }
    say("fieldsType", "FieldsV1".into());
    say("fieldsV1", entry.fields.into_value());
    if !subresource.is_empty() {
        say("subresource", subresource.into());
    }
    Value::Object(fields)
}

/// The fields of `metadata` that identify an object or that the server sets: nobody's.
pub(crate) fn strip(fields: &mut FieldSet) {
    const IDENTITY: [&str; 11] = [
        "f:name",
        "f:namespace",
        "f:creationTimestamp",
        "f:selfLink",
        "f:uid",
        "f:clusterName",
        "f:generation",
        "f:managedFields",
        "f:resourceVersion",
        "f:deletionTimestamp",
        "f:deletionGracePeriodSeconds",
    ];
    for field in ["f:apiVersion", "f:kind", "f:metadata"] {
        fields.take_member(&[field]);
    }
    for field in IDENTITY {
        fields.take_member(&["f:metadata", field]);
    }
}
