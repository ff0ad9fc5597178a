//! Cells of volumes, their classes, and what storage drivers say of themselves.

use jiff::Timestamp;
use serde_json::Value;

use super::cell::{count, created, joined, list, name, text_or};

const UNSET: &str = "<unset>";

pub(super) fn cells(kind: &str, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let spec = &object["spec"];
    let middle: Vec<Value> = match kind {
        "PersistentVolume" => return Some(persistent_volume(object, now)),
        "PersistentVolumeClaim" => return Some(claim(object, now)),
        "CSIDriver" => csi_driver(spec),
        "CSINode" => vec![list(&spec["drivers"]).len().into()],
        "StorageClass" => vec![
            text_or(&object["provisioner"], ""),
            text_or(&object["reclaimPolicy"], "Delete"),
            text_or(&object["volumeBindingMode"], "Immediate"),
            (object["allowVolumeExpansion"] == true).into(),
        ],
        "VolumeAttachment" => vec![
            text_or(&spec["attacher"], ""),
            text_or(&spec["source"]["persistentVolumeName"], ""),
            text_or(&spec["nodeName"], ""),
            (object["status"]["attached"] == true).into(),
        ],
        "VolumeAttributesClass" => vec![text_or(&object["driverName"], "")],
        _ => return None,
    };
    let mut cells = vec![name(object)];
    cells.extend(middle);
    cells.push(created(object, now));
    Some(cells)
}

fn csi_driver(spec: &Value) -> Vec<Value> {
    let audiences = list(&spec["tokenRequests"]).iter().filter_map(|request| request["audience"].as_str());
    let audiences: Vec<&str> = audiences.collect();
    let tokens = if audiences.is_empty() { UNSET.into() } else { joined(audiences.into_iter()) };
    vec![
        (spec["attachRequired"] != false).into(),
        (spec["podInfoOnMount"] == true).into(),
        (spec["storageCapacity"] == true).into(),
        tokens,
        (spec["requiresRepublish"] == true).into(),
        joined(list(&spec["volumeLifecycleModes"]).iter().filter_map(Value::as_str)),
    ]
}

/// The usual short forms: `RWO`.
fn access_modes(modes: &Value) -> Value {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => Some("RWO"),
        Some("ReadOnlyMany") => Some("ROX"),
        Some("ReadWriteMany") => Some("RWX"),
        Some("ReadWriteOncePod") => Some("RWOP"),
        _ => None,
    };
    list(modes).iter().filter_map(short).collect::<Vec<&str>>().join(",").into()
}

fn class(object: &Value) -> Value {
    let annotation = &object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    match annotation {
        Value::String(_) => annotation.clone(),
        _ => text_or(&object["spec"]["storageClassName"], ""),
    }
}

/// A volume on its way out says so instead of its phase.
fn phase(object: &Value) -> Value {
    if object["metadata"]["deletionTimestamp"].is_string() {
        "Terminating".into()
    } else {
        text_or(&object["status"]["phase"], "")
    }
}

fn persistent_volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, claim) = (&object["spec"], &object["spec"]["claimRef"]);
    let of = |field: &str| claim[field].as_str().unwrap_or_default();
    let claimed = if claim.is_null() { String::new() } else { format!("{}/{}", of("namespace"), of("name")) };
    vec![
        name(object),
        text_or(&spec["capacity"]["storage"], ""),
        access_modes(&spec["accessModes"]),
        text_or(&spec["persistentVolumeReclaimPolicy"], ""),
        phase(object),
        claimed.into(),
        class(object),
        text_or(&spec["volumeAttributesClassName"], UNSET),
        text_or(&object["status"]["reason"], ""),
        created(object, now),
        text_or(&spec["volumeMode"], UNSET),
    ]
}

fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let bound = spec["volumeName"].as_str().is_some_and(|volume| !volume.is_empty());
    let (modes, capacity) = if bound {
        (access_modes(&status["accessModes"]), text_or(&status["capacity"]["storage"], "0"))
    } else {
        ("".into(), "".into())
    };
    vec![
        name(object),
        phase(object),
        text_or(&spec["volumeName"], ""),
        capacity,
        modes,
        class(object),
        text_or(&spec["volumeAttributesClassName"], UNSET),
        created(object, now),
        text_or(&spec["volumeMode"], UNSET),
    ]
}

/// What a quota hands out, with how much of it is used.
pub(super) fn resource_quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let hard = object["status"]["hard"].as_object();
    let mut names: Vec<&String> = hard.into_iter().flatten().map(|(name, _)| name).collect();
    names.sort();
    let (limits, requests): (Vec<&String>, Vec<&String>) =
        names.into_iter().partition(|name| name.starts_with("limits."));
    let said = |names: Vec<&String>| {
        let of = |name: &&String, field: &str| {
            object["status"][field][name.as_str()].as_str().unwrap_or("0").to_owned()
        };
        let terms: Vec<String> =
            names.iter().map(|name| format!("{name}: {}/{}", of(name, "used"), of(name, "hard"))).collect();
        Value::from(terms.join(", "))
    };
    vec![name(object), said(requests), said(limits), created(object, now)]
}

/// A budget's two sides are numbers or shares; the one that is not said is `N/A`.
pub(super) fn disruption_budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let share = |field: &str| match &object["spec"][field] {
        Value::Number(number) => number.to_string(),
        Value::String(share) => share.clone(),
        _ => "N/A".to_owned(),
    };
    vec![
        name(object),
        share("minAvailable").into(),
        share("maxUnavailable").into(),
        count(&object["status"]["disruptionsAllowed"]).into(),
        created(object, now),
    ]
}
