//! What must hold of where a container sees its volumes.

use std::collections::HashSet;

use serde_json::Value;

use super::super::{Faults, items, list, text};
use super::Surroundings;
use crate::status::FieldError;

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
const RECURSIONS: &[&str] = &["Disabled", "Enabled", "IfPossible"];

pub(in crate::validate) fn check(
    path: &str,
    container: &Value,
    volumes: &HashSet<&str>,
    faults: &mut Faults,
) {
    let mut paths = HashSet::new();
    let whole = format!("{path}.volumeMounts");
    for (path, mount) in items(path, container, "volumeMounts") {
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            faults.push(FieldError::required(format!("{path}.name"), ""));
        }
        if !volumes.contains(name) {
            faults.push(FieldError::not_found(format!("{path}.name"), name));
        }
        if place.is_empty() {
            faults.push(FieldError::required(format!("{path}.mountPath"), ""));
        }
        if !paths.insert(place) {
            faults.push(FieldError::invalid(format!("{path}.mountPath"), place, "must be unique"));
        }
        overlap(&path, mount, (list(container, "volumeDevices"), "mountPath", "devicePath"), faults);
        sub_paths(&path, &whole, mount, faults);
        propagation(&whole, mount, container, faults);
    }
}

/// A volume is mounted or a device, not both; and so is a place.
fn overlap(path: &str, item: &Value, others: (&[Value], &str, &str), faults: &mut Faults) {
    let (others, place, place_of_others) = others;
    let (name, at) = (text(item, "name"), text(item, place));
    if others.iter().any(|other| text(other, "name") == name) {
        let message = "must not be used both as a mount and as a device";
        faults.push(FieldError::invalid(format!("{path}.name"), name, message));
    }
    if others.iter().any(|other| text(other, place_of_others) == at) {
        let message = "must not be the place both of a mount and of a device";
        faults.push(FieldError::invalid(format!("{path}.{place}"), at, message));
    }
}

fn sub_paths(path: &str, whole: &str, mount: &Value, faults: &mut Faults) {
    let (sub_path, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
    if !sub_path.is_empty() && !expression.is_empty() {
        let message = "subPathExpr and subPath are mutually exclusive";
        faults.push(FieldError::invalid(format!("{path}.subPathExpr"), expression, message));
    }
    for field in ["subPath", "subPathExpr"] {
        super::super::volume::descending(&format!("{whole}.{field}"), text(mount, field), faults);
    }
}

fn propagation(whole: &str, mount: &Value, container: &Value, faults: &mut Faults) {
    let path = format!("{whole}.mountPropagation");
    let propagation = &mount["mountPropagation"];
    super::super::one_of(whole, mount, "mountPropagation", PROPAGATIONS, faults);
    if *propagation == "Bidirectional" && container["securityContext"]["privileged"] != true {
        let message = "Bidirectional mount propagation is available only to privileged containers";
        faults.push(FieldError::forbidden(path, message));
    }
    super::super::one_of(whole, mount, "recursiveReadOnly", RECURSIONS, faults);
    if matches!(text(mount, "recursiveReadOnly"), "Enabled" | "IfPossible") {
        let path = format!("{whole}.recursiveReadOnly");
        if mount["readOnly"] != true {
            let message = "may only be specified when readOnly is true";
            faults.push(FieldError::forbidden(path.as_str(), message));
        }
        if !propagation.is_null() && *propagation != "None" {
            let message = "may only be specified when mountPropagation is None or not specified";
            faults.push(FieldError::forbidden(path, message));
        }
    }
}

/// Devices are volumes, too; where they appear is theirs alone.
pub(super) fn devices(path: &str, container: &Value, around: &Surroundings<'_>, faults: &mut Faults) {
    let (mut seen, mut paths) = (HashSet::new(), HashSet::new());
    for (path, device) in items(path, container, "volumeDevices") {
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        let at_name = || format!("{path}.name");
        if name.is_empty() {
            faults.push(FieldError::required(at_name(), ""));
        } else if !seen.insert(name) {
            faults.push(FieldError::invalid(at_name(), name, "must be unique"));
        }
        let volume = list(around.spec, "volumes").iter().find(|volume| text(volume, "name") == name);
        let is_block = volume.is_some_and(|volume| {
            !volume["persistentVolumeClaim"].is_null() || !volume["ephemeral"].is_null()
        });
        if !around.volumes.contains(name) {
            faults.push(FieldError::not_found(at_name(), name));
        } else if volume.is_some() && !is_block {
            let message = "only claims of volumes can be devices";
            faults.push(FieldError::invalid(at_name(), name, message));
        }
        let place_path = format!("{path}.devicePath");
        if place.is_empty() {
            faults.push(FieldError::required(place_path.as_str(), ""));
        }
        if place.split('/').any(|part| part == "..") {
            faults.push(FieldError::invalid(place_path, place, "must not contain '..'"));
        } else if !paths.insert(place) {
            faults.push(FieldError::invalid(place_path, place, "must be unique"));
        }
        overlap(&path, device, (list(container, "volumeMounts"), "devicePath", "mountPath"), faults);
    }
}
