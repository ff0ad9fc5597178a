//! What must hold of volumes.

use std::collections::HashSet;

use serde_json::Value;

use super::{Faults, items, names, required, text, unique};
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
        _ => {}
    }
    if matches!(name, "secret" | "configMap") {
        for (path, item) in items(path, source, "items") {
            required(&path, item, "key", faults);
            let place = text(item, "path");
            if place.is_empty() {
                faults.push(FieldError::required(format!("{path}.path"), ""));
            } else if place.starts_with('/') {
                faults.push(FieldError::invalid(format!("{path}.path"), place, "must be a relative path"));
            } else if has_parent(place) {
                faults.push(FieldError::invalid(format!("{path}.path"), place, "must not contain '..'"));
            }
        }
        if let Some(mode) = source["defaultMode"].as_i64()
            && !(0..=0o777).contains(&mode)
        {
            let message = "must be a number between 0 and 0777 (octal), both inclusive";
            faults.push(FieldError::invalid(format!("{path}.defaultMode"), mode, message));
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
