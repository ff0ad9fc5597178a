//! What may not change of volumes, their claims and drivers.

use model::quantity::Quantity;
use serde_json::Value;

use super::{Faults, differ_beside, list, put, same_as, without_nulls};
use crate::status::FieldError;

const SIZE: &[&str] = &["resources", "requests", "storage"];

/// A claim may be bound, and may ask for more once it is.
pub(super) fn claim(new: &Value, old: &Value, faults: &mut Faults) {
    let is_bound = new["status"]["phase"] == "Bound";
    let (spec, before) = (&new["spec"], &old["spec"]);
    let mut may = Vec::new();
    if before["volumeName"].as_str().unwrap_or_default().is_empty() {
        may.push("volumeName");
    }
    if is_bound {
        may.push("volumeAttributesClassName");
    }
    // A class that was made the default later is filled in.
    if before["storageClassName"].is_null() && !spec["storageClassName"].is_null() {
        may.push("storageClassName");
    }
    let mut wanted = spec.clone();
    let (asked, had) = (storage(spec), storage(before));
    if is_bound && wanted["resources"]["requests"].is_object() {
        put(&mut wanted, SIZE, &before["resources"]["requests"]["storage"]);
    } else if asked.is_some() && asked == had {
        // The same amount in other words.
        put(&mut wanted, SIZE, &before["resources"]["requests"]["storage"]);
    }
    if differ_beside(&wanted, before, &may) {
        let message = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                       bound claims";
        faults.push(FieldError::forbidden("spec", message));
    }
    let holds = amount(&old["status"]["capacity"]["storage"]);
    if asked < had && asked.is_none_or(|asked| holds.is_some_and(|holds| asked <= holds)) {
        let message = "field can not be less than status.capacity";
        faults.push(FieldError::forbidden("spec.resources.requests.storage", message));
    }
    same_as(new, old, "spec.volumeMode", "volumeMode", faults);
    let applied = !old["status"]["currentVolumeAttributesClassName"].is_null();
    let class = &spec["volumeAttributesClassName"];
    if applied && *class != before["volumeAttributesClassName"] && class.as_str().is_none_or(str::is_empty) {
        let message = "a class that was applied can not be removed";
        faults.push(FieldError::forbidden("spec.volumeAttributesClassName", message));
    }
}

fn amount(value: &Value) -> Option<Quantity> {
    Quantity::parse(value.as_str()?).ok()
}

fn storage(spec: &Value) -> Option<Quantity> {
    amount(&spec["resources"]["requests"]["storage"])
}

/// Where a volume is never changes. Some of its fields are told without their parent, as Kubernetes does.
pub(super) fn volume(new: &Value, old: &Value, faults: &mut Faults) {
    const MAY: &[&str] = &[
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    const SECRET: &str = "controllerExpandSecretRef";
    let mut wanted = new["spec"].clone();
    if old["spec"]["csi"].is_object() && old["spec"]["csi"][SECRET].is_null() && wanted["csi"].is_object() {
        put(&mut wanted, &["csi", SECRET], &Value::Null);
    }
    if differ_beside(&wanted, &old["spec"], MAY) {
        let message = "spec.persistentvolumesource is immutable after creation";
        faults.push(FieldError::forbidden("spec.persistentvolumesource", message));
    }
    same_as(new, old, "spec.volumeMode", "volumeMode", faults);
    if !old["spec"]["nodeAffinity"].is_null() {
        same_as(new, old, "spec.nodeAffinity", "nodeAffinity", faults);
    }
    let class = |object: &Value| object["spec"]["volumeAttributesClassName"].is_null();
    if class(new) && !class(old) {
        let message = "update from non-nil value to nil is forbidden";
        faults.push(FieldError::forbidden("spec.volumeAttributesClassName", message));
    }
}

/// A driver on a node stays what it is, but for how many volumes it takes.
pub(super) fn drivers(new: &Value, old: &Value, faults: &mut Faults) {
    let without_limit = |driver: &Value| {
        let mut driver = driver.clone();
        put(&mut driver, &["allocatable"], &Value::Null);
        without_nulls(&driver)
    };
    for driver in list(new, "drivers") {
        let before = list(old, "drivers").iter().find(|before| before["name"] == driver["name"]);
        if before.is_some_and(|before| without_limit(before) != without_limit(driver)) {
            faults.push(FieldError::invalid("spec.drivers", driver.clone(), "field is immutable"));
        }
    }
}
