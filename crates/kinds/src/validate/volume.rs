//! What must hold of volumes.

use std::collections::HashSet;

use serde_json::Value;

use super::{Faults, container, items, names, required, text, unique};
use crate::status::FieldError;

/// Returns the names of the sound volumes, for the mounts to be checked against.
pub(super) fn check<'a>(path: &str, spec: &'a Value, faults: &mut Faults) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    let mut sound = HashSet::new();
    for (path, volume) in items(path, spec, "volumes") {
        let faults_before = faults.len();
        let name = text(volume, "name");
        if name.is_empty() {
            faults.push(FieldError::required(format!("{path}.name"), ""));
        } else {
            let faulty = names::label(name).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
            unique(&mut seen, name, format!("{path}.name"), faults);
        }
        sources(&path, volume, faults);
        if faults.len() == faults_before {
            sound.insert(name);
        }
    }
    sound
}

fn sources(path: &str, volume: &Value, faults: &mut Faults) {
    let Some(fields) = volume.as_object() else { return };
    let given: Vec<&String> = fields.keys().filter(|key| *key != "name").collect();
    if given.is_empty() {
        faults.push(FieldError::required(path, "must specify a volume type"));
    }
    for extra in given.iter().skip(1) {
        let message = "may not specify more than 1 volume type";
        faults.push(FieldError::forbidden(format!("{path}.{extra}"), message));
    }
    for source in given {
        source_fields(&format!("{path}.{source}"), source, &volume[source.as_str()], faults);
    }
}

fn source_fields(path: &str, name: &str, source: &Value, faults: &mut Faults) {
    match name {
        "secret" => required(path, source, "secretName", faults),
        "configMap" => required(path, source, "name", faults),
        "hostPath" => host_path(path, source, faults),
        "persistentVolumeClaim" => required(path, source, "claimName", faults),
        "csi" => required(path, source, "driver", faults),
        "nfs" => nfs(path, source, faults),
        "iscsi" => ["targetPortal", "iqn"].iter().for_each(|field| required(path, source, field, faults)),
        "downwardAPI" => downward(path, source, faults),
        "projected" => projected(path, source, faults),
        _ => {}
    }
    if matches!(name, "secret" | "configMap") {
        keys(path, source, faults);
    }
    if matches!(name, "secret" | "configMap" | "downwardAPI" | "projected") {
        if let Some(mode) = source["defaultMode"].as_i64()
            && !(0..=0o777).contains(&mode)
        {
            let message = "must be a number between 0 and 0777 (octal), both inclusive";
            faults.push(FieldError::invalid(format!("{path}.defaultMode"), mode, message));
        }
    }
}

/// Which keys become which files.
fn keys(path: &str, source: &Value, faults: &mut Faults) {
    for (path, item) in items(path, source, "items") {
        required(&path, item, "key", faults);
        file(&path, item, faults);
    }
}

/// A file below the volume's root.
fn file(path: &str, item: &Value, faults: &mut Faults) {
    let place = text(item, "path");
    if place.is_empty() {
        faults.push(FieldError::required(format!("{path}.path"), ""));
    } else if place.starts_with('/') {
        faults.push(FieldError::invalid(format!("{path}.path"), place, "must be a relative path"));
    } else if has_parent(place) {
        faults.push(FieldError::invalid(format!("{path}.path"), place, "must not contain '..'"));
    }
}

fn nfs(path: &str, source: &Value, faults: &mut Faults) {
    required(path, source, "server", faults);
    required(path, source, "path", faults);
    let place = text(source, "path");
    if !place.starts_with('/') {
        faults.push(FieldError::invalid(format!("{path}.path"), place, "must be an absolute path"));
    }
}

fn downward(path: &str, source: &Value, faults: &mut Faults) {
    for (path, item) in items(path, source, "items") {
        file(&path, item, faults);
        let (field, resource) = (&item["fieldRef"], &item["resourceFieldRef"]);
        if field.is_object() && resource.is_object() {
            let message = "fieldRef and resourceFieldRef can not be specified simultaneously";
            faults.push(FieldError::invalid(path, "resource", message));
        } else if field.is_object() {
            let path = format!("{path}.fieldRef");
            container::field_reference(&path, field, container::OF_FILE, faults);
        } else if resource.is_object() {
            let path = format!("{path}.resourceFieldRef");
            required(&path, resource, "containerName", faults);
            container::resource_reference(&path, resource, faults);
        } else {
            let message = "one of fieldRef and resourceFieldRef is required";
            faults.push(FieldError::required(format!("{path}.fieldRef"), message));
        }
    }
}

/// How long a token may last, in seconds.
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;

fn projected(path: &str, source: &Value, faults: &mut Faults) {
    for (path, source) in items(path, source, "sources") {
        let given: Vec<&String> = source.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        for extra in given.iter().skip(1) {
            let message = "may not specify more than 1 volume type per source";
            faults.push(FieldError::forbidden(format!("{path}.{extra}"), message));
        }
        for name in given {
            let (path, source) = (format!("{path}.{name}"), &source[name.as_str()]);
            match name.as_str() {
                "secret" | "configMap" => {
                    required(&path, source, "name", faults);
                    keys(&path, source, faults);
                }
                "downwardAPI" => downward(&path, source, faults),
                "serviceAccountToken" => {
                    super::in_range(&path, source, "expirationSeconds", TOKEN_SECONDS, faults);
                    file(&path, source, faults);
                }
                _ => {}
            }
        }
    }
}

fn host_path(path: &str, source: &Value, faults: &mut Faults) {
    const TYPES: &[&str] = &[
        "",
        "DirectoryOrCreate",
        "Directory",
        "FileOrCreate",
        "File",
        "Socket",
        "CharDevice",
        "BlockDevice",
    ];
    let place = text(source, "path");
    if place.is_empty() {
        faults.push(FieldError::required(format!("{path}.path"), ""));
    } else if has_parent(place) {
        faults.push(FieldError::invalid(format!("{path}.path"), place, "must not contain '..'"));
    }
    super::one_of(path, source, "type", TYPES, faults);
}

fn has_parent(place: &str) -> bool {
    place.split('/').any(|part| part == "..")
}
