//! What must hold of volumes of Pods.

mod projected;
mod source;

use std::collections::HashSet;

use serde_json::Value;

pub(super) use self::source::{Holder, driver, fields as source_fields};
use super::{Faults, container, items, list, names, required, storage, text};
use crate::status::FieldError;

/// The kinds of volumes of Pods, in the order in which Kubernetes looks for them: the first that is there counts.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Returns the names of the sound volumes, for the mounts to be checked against.
pub(super) fn check<'a>(path: &str, spec: &'a Value, faults: &mut Faults) -> HashSet<&'a str> {
    let mut sound = HashSet::new();
    for (path, volume) in items(path, spec, "volumes") {
        let faults_before = faults.len();
        sources(&path, volume, faults);
        let name = text(volume, "name");
        if name.is_empty() {
            faults.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            let faulty = names::label(name).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
        }
        if sound.contains(name) {
            faults.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        if faults.len() == faults_before {
            sound.insert(name);
        }
    }
    sound
}

fn sources(path: &str, volume: &Value, faults: &mut Faults) {
    let mut given = SOURCES.iter().filter(|source| is_said(volume, source));
    let Some(first) = given.next() else {
        faults.push(FieldError::required(path, "must specify a volume type"));
        return;
    };
    source(path, first, &volume[*first], faults);
    for extra in given {
        // Two are told under names of their own.
        let told = match *extra {
            "cephfs" => "cephFS",
            "downwardAPI" => "downwarAPI",
            other => other,
        };
        let message = "may not specify more than 1 volume type";
        faults.push(FieldError::forbidden(format!("{path}.{told}"), message));
    }
}

/// Whether an object that says little says something of `field`: where many are asked for, this finds them faster than
/// to look each up.
fn is_said(object: &Value, field: &str) -> bool {
    object.as_object().into_iter().flatten().any(|(name, value)| name == field && !value.is_null())
}

fn source(path: &str, name: &str, source: &Value, faults: &mut Faults) {
    source_fields(path, name, source, Holder::Pod, faults);
    let path = format!("{path}.{name}");
    match name {
        "emptyDir" if text(source, "sizeLimit").starts_with('-') => {
            let message = "must not be negative";
            faults.push(FieldError::forbidden(format!("{path}.sizeLimit"), message));
        }
        "secret" | "configMap" => keys(&path, source, faults),
        "downwardAPI" => list(source, "items").iter().for_each(|item| downward(&path, item, faults)),
        "projected" => projected::check(&path, source, faults),
        "ephemeral" => ephemeral(&path, source, faults),
        _ => {}
    }
    if matches!(name, "secret" | "configMap" | "downwardAPI" | "projected") {
        mode(&path, source, "defaultMode", faults);
    }
}

fn mode(path: &str, source: &Value, field: &str, faults: &mut Faults) {
    if let Some(mode) = source[field].as_i64()
        && !(0..=0o777).contains(&mode)
    {
        let message = "must be a number between 0 and 0777 (octal), both inclusive";
        faults.push(FieldError::invalid(format!("{path}.{field}"), mode, message));
    }
}

/// Which keys become which files.
fn keys(path: &str, source: &Value, faults: &mut Faults) {
    for (path, item) in items(path, source, "items") {
        required(&path, item, "key", faults);
        file(&path, item, "path", faults);
        mode(&path, item, "mode", faults);
    }
}

/// A file below the volume's root, which must have a name.
fn file(path: &str, item: &Value, field: &str, faults: &mut Faults) {
    required(path, item, field, faults);
    local(&format!("{path}.{field}"), text(item, field), faults);
}

/// A place below another: relative, and never above it.
pub(super) fn descending(path: &str, place: &str, faults: &mut Faults) {
    if place.starts_with('/') {
        faults.push(FieldError::invalid(path, place, "must be a relative path"));
    }
    if has_parent(place) {
        faults.push(FieldError::invalid(path, place, "must not contain '..'"));
    }
}

/// As [`descending`], and none of the names that are kept for how volumes are written.
fn local(path: &str, place: &str, faults: &mut Faults) {
    descending(path, place, faults);
    if place.starts_with("..") && !has_parent(place) {
        faults.push(FieldError::invalid(path, place, "must not start with '..'"));
    }
}

/// A file with facts of the Pod. Faults are told of the whole volume.
fn downward(path: &str, item: &Value, faults: &mut Faults) {
    file(path, item, "path", faults);
    let (field, resource) = (&item["fieldRef"], &item["resourceFieldRef"]);
    if field.is_object() {
        container::field_reference(&format!("{path}.fieldRef"), field, container::OF_FILE, faults);
        if resource.is_object() {
            let message = "fieldRef and resourceFieldRef can not be specified simultaneously";
            faults.push(FieldError::invalid(path, "resource", message));
        }
    } else if resource.is_object() {
        let path = format!("{path}.resourceFieldRef");
        if text(resource, "containerName").is_empty() {
            faults.push(FieldError::required(format!("{path}.containerName"), ""));
        } else {
            container::resource_reference(&path, resource, faults);
        }
    } else {
        faults.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"));
    }
    mode(path, item, "mode", faults);
}

/// A claim that lives as long as its Pod.
fn ephemeral(path: &str, source: &Value, faults: &mut Faults) {
    let path = format!("{path}.volumeClaimTemplate");
    let template = &source["volumeClaimTemplate"];
    if template.is_null() {
        faults.push(FieldError::required(path, ""));
        return;
    }
    let metadata = &template["metadata"];
    super::metadata::annotations(&format!("{path}.metadata.annotations"), &metadata["annotations"], faults);
    super::metadata::labels(&format!("{path}.metadata.labels"), &metadata["labels"], faults);
    for (field, value) in metadata.as_object().into_iter().flatten() {
        if !matches!(field.as_str(), "annotations" | "labels") && !value.is_null() {
            faults.push(FieldError::forbidden(format!("{path}.metadata.{field}"), "cannot be set"));
        }
    }
    storage::claim_spec(&format!("{path}.spec"), &template["spec"], faults);
}

fn has_parent(place: &str) -> bool {
    place.split('/').any(|part| part == "..")
}
