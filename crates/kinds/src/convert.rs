//! One stored form for objects that two groups or versions serve: `events.k8s.io` events are stored as core events, custom
//! resources in the storage version of their definition.

mod autoscaler;

use serde_json::{Value, json};

use crate::Kind;
use crate::custom::Version;
use crate::kind::join_group_version;

/// Field of the core form and of the `events.k8s.io` form.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Whether the stored form of `kind` is the one that it serves.
pub fn is_stored_as_served(kind: &Kind) -> bool {
    kind.custom().is_none() && !is_old_autoscaler(kind) && !is_converted(kind)
}

/// Turns an object of `kind` into the form in which it is stored.
pub fn to_storage(kind: &Kind, object: &mut Value) {
    if let Some(version) = kind.custom() {
        object["apiVersion"] = join_group_version(kind.group, &version.storage).into();
        return;
    }
    if is_old_autoscaler(kind) {
        autoscaler::to_v2(object);
    }
    if is_converted(kind) {
        rename(object, "v1", |(stored, served)| (served, stored));
    }
}

/// Turns a stored object into the form that `kind` serves.
pub fn from_storage(kind: &Kind, object: &mut Value) {
    if let Some(version) = kind.custom() {
        return custom_from_storage(kind, version, object);
    }
    if is_old_autoscaler(kind) {
        autoscaler::to_v1(object);
    }
    if is_converted(kind) {
        rename(object, "events.k8s.io/v1", |(stored, served)| (stored, served));
    }
}

/// What is stored may be of another version, and of a time when the schema was another: what the schema does not know
/// any more goes, and what it has learnt is filled in.
fn custom_from_storage(kind: &Kind, version: &Version, object: &mut Value) {
    object["apiVersion"] = kind.api_version().into();
    version.prune(object);
    version.fill(object);
}

fn is_old_autoscaler(kind: &Kind) -> bool {
    kind.group == "autoscaling" && kind.version == "v1"
}

fn is_converted(kind: &Kind) -> bool {
    kind.group == "events.k8s.io"
}

fn rename(
    object: &mut Value,
    api_version: &str,
    order: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    let Some(fields) = object.as_object_mut() else { return };
    fields.insert("apiVersion".into(), json!(api_version));
    for pair in EVENT_FIELDS {
        let (from, to) = order(*pair);
        if let Some(value) = fields.remove(from) {
            fields.insert(to.into(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{from_storage, to_storage};
    use crate::find;

    #[test]
    fn events_are_stored_in_the_core_form_and_come_back() {
        let kind = find("events.k8s.io", "v1", "events").unwrap();
        let served = json!({"apiVersion": "events.k8s.io/v1", "regarding": {"kind": "Pod"}, "note": "n"});
        let mut object = served.clone();
        to_storage(kind, &mut object);
        assert_eq!(object, json!({"apiVersion": "v1", "involvedObject": {"kind": "Pod"}, "message": "n"}));
        from_storage(kind, &mut object);
        assert_eq!(object, served);
    }
}
