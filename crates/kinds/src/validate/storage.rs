//! What must hold of volumes as objects: PersistentVolumes, their claims, and what storage drivers say of themselves.

use model::quantity::Quantity;
use serde_json::Value;

use super::{Faults, items, list, names, text};
use crate::status::FieldError;

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// Everything in a PersistentVolume's spec that is no source.
const NO_SOURCES: &[&str] = &[
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

pub(super) fn persistent_volume(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    access_modes(spec, faults);
    let capacity = spec["capacity"].as_object();
    if capacity.is_none_or(serde_json::Map::is_empty) {
        faults.push(FieldError::required("spec.capacity", ""));
    }
    if spec["capacity"]["storage"].is_null() || capacity.is_some_and(|capacity| capacity.len() > 1) {
        faults.push(FieldError::not_supported("spec.capacity", spec["capacity"].clone(), &["storage"]));
    }
    for (name, quantity) in capacity.into_iter().flatten() {
        positive(&format!("spec.capacity[{name}]"), quantity, faults);
    }
    sources(spec, faults);
}

/// Exactly one; where there are several, the one that Kubernetes looks at first is the one that counts.
fn sources(spec: &Value, faults: &mut Faults) {
    const FIRST: &[&str] =
        &["hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "nfs", "rbd", "quobyte"];
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    let mut given: Vec<&str> = spec
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .filter(|name| !NO_SOURCES.contains(name))
        .collect();
    given.sort_by_key(|name| rank(name));
    if given.is_empty() {
        faults.push(FieldError::required("spec", "must specify a volume type"));
    }
    for extra in given.iter().skip(1) {
        let message = "may not specify more than 1 volume type";
        faults.push(FieldError::forbidden(format!("spec.{extra}"), message));
    }
    if given.first() == Some(&"local") && spec["nodeAffinity"].is_null() {
        faults.push(FieldError::required("spec.nodeAffinity", "Local volume requires node affinity"));
    }
    if given.first() == Some(&"hostPath") {
        let path = text(&spec["hostPath"], "path");
        if path.split('/').any(|part| part == "..") {
            faults.push(FieldError::invalid("spec.hostPath.path", path, "must not contain '..'"));
        }
        if path == "/" && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
            let message = "may not be 'recycle' for a hostPath mount of '/'";
            faults.push(FieldError::forbidden("spec.persistentVolumeReclaimPolicy", message));
        }
    }
}

pub(super) fn claim(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    access_modes(spec, faults);
    let modes = list(spec, "accessModes");
    if modes.len() > 1 && modes.iter().any(|mode| *mode == "ReadWriteOncePod") {
        let message = "may not use ReadWriteOncePod with other access modes";
        faults.push(FieldError::forbidden("spec.accessModes", message));
    }
    let storage = &spec["resources"]["requests"]["storage"];
    if storage.is_null() {
        faults.push(FieldError::required("spec.resources[storage]", ""));
    } else {
        positive("spec.resources[storage]", storage, faults);
    }
    if !spec["dataSource"].is_null()
        && text(&spec["dataSource"], "apiGroup").is_empty()
        && text(&spec["dataSource"], "kind") != "PersistentVolumeClaim"
    {
        let message = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        faults.push(FieldError::invalid("spec.dataSource", text(&spec["dataSource"], "kind"), message));
    }
}

fn access_modes(spec: &Value, faults: &mut Faults) {
    for mode in list(spec, "accessModes") {
        if !mode.as_str().is_some_and(|mode| ACCESS_MODES.contains(&mode)) {
            faults.push(FieldError::not_supported("spec.accessModes", mode.clone(), ACCESS_MODES));
        }
    }
}

/// Not negative, and not nothing: two rules, so that a negative amount is told twice.
fn positive(path: &str, quantity: &Value, faults: &mut Faults) {
    let Some(parsed) = quantity.as_str().and_then(|text| Quantity::parse(text).ok()) else { return };
    if parsed.is_negative() {
        faults.push(FieldError::invalid(path, quantity.clone(), "must be greater than or equal to 0"));
    }
    if parsed.to_milli() <= 0 {
        faults.push(FieldError::invalid(path, quantity.clone(), "must be greater than zero"));
    }
}

pub(super) fn storage_class(object: &Value, faults: &mut Faults) {
    let provisioner = text(object, "provisioner");
    if !provisioner.is_empty() {
        let faulty = names::qualified_name(&provisioner.to_lowercase()).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid("provisioner", provisioner, fault)));
    }
}

/// Unknown modes are told of the whole list.
pub(super) fn csi_driver(object: &Value, faults: &mut Faults) {
    const MODES: &[&str] = &["Ephemeral", "Persistent"];
    for mode in list(&object["spec"], "volumeLifecycleModes") {
        if !mode.as_str().is_some_and(|mode| MODES.contains(&mode)) {
            faults.push(FieldError::not_supported("spec.volumeLifecycleModes", mode.clone(), MODES));
        }
    }
}

pub(super) fn csi_node(object: &Value, faults: &mut Faults) {
    let mut seen = std::collections::HashSet::new();
    for (path, driver) in items("spec", &object["spec"], "drivers") {
        super::unique(&mut seen, text(driver, "name"), format!("{path}.name"), faults);
    }
}

pub(super) fn volume_attachment(object: &Value, faults: &mut Faults) {
    let source = &object["spec"]["source"];
    let (inline, named) = (&source["inlineVolumeSpec"], &source["persistentVolumeName"]);
    match (inline.is_null(), named.is_null()) {
        (true, true) => {
            let message = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            faults.push(FieldError::required("spec.source", message));
        }
        (false, false) => {
            let message = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            faults.push(FieldError::forbidden("spec.source", message));
        }
        _ => {}
    }
}
