//! What must hold of the environment of a container.

use model::Quantity;
use serde_json::Value;

use super::super::{Faults, items, list, names, required, text};
use crate::status::FieldError;

/// The fields of its Pod that a container can be told in a variable.
const OF_ENVIRONMENT: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Those that it can be told in a file.
pub(in crate::validate) const OF_FILE: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Those that have a name at all.
const NAMED: &[&str] =
    &["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];

pub(in crate::validate) fn check(path: &str, container: &Value, faults: &mut Faults) {
    for (path, variable) in items(path, container, "env") {
        let name = text(variable, "name");
        if name.is_empty() {
            faults.push(FieldError::required(format!("{path}.name"), ""));
        } else if let Some(fault) = names::env_name(name) {
            faults.push(FieldError::invalid(format!("{path}.name"), name, fault));
        }
        if variable["valueFrom"].is_object() {
            value_from(&path, variable, faults);
        }
    }
    // How many sources there are is told of the whole list.
    let whole = format!("{path}.envFrom");
    for (path, source) in items(path, container, "envFrom") {
        let prefix = text(source, "prefix");
        let faulty = names::env_name(prefix).filter(|_| !prefix.is_empty());
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.prefix"), prefix, fault)));
        let given: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|field| source[*field].is_object()).collect();
        for field in &given {
            object_name(&format!("{path}.{field}"), &source[*field], faults);
        }
        let message = match given.len() {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        faults.push(FieldError::invalid(whole.as_str(), "", message));
    }
}

/// The name of a ConfigMap or Secret, which must be there.
fn object_name(path: &str, reference: &Value, faults: &mut Faults) {
    let name = text(reference, "name");
    required(path, reference, "name", faults);
    if !name.is_empty() {
        let faulty = names::subdomain(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
    }
}

fn value_from(path: &str, variable: &Value, faults: &mut Faults) {
    const SOURCES: [&str; 5] =
        ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let path = format!("{path}.valueFrom");
    let source = &variable["valueFrom"];
    let given = SOURCES.into_iter().filter(|name| source[*name].is_object());
    let mut count = 0;
    for name in given {
        count += 1;
        let (path, reference) = (format!("{path}.{name}"), &source[name]);
        match name {
            "fieldRef" => field_reference(&path, reference, OF_ENVIRONMENT, faults),
            "resourceFieldRef" => resource_reference(&path, reference, faults),
            "fileKeyRef" => file_key(&path, reference, faults),
            _ => key(&path, reference, faults),
        }
    }
    let message = match count {
        0 => "must specify one of the sources of a value",
        _ if !text(variable, "value").is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    faults.push(FieldError::invalid(path, "", message));
}

/// A key of a ConfigMap or Secret. That its name must be there is told as any other fault of the name.
fn key(path: &str, reference: &Value, faults: &mut Faults) {
    let (name, key) = (text(reference, "name"), text(reference, "key"));
    let faulty = names::subdomain(name).into_iter();
    faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
    if key.is_empty() {
        faults.push(FieldError::required(format!("{path}.key"), ""));
    } else {
        let faulty = names::config_key(key).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.key"), key, fault)));
    }
}

/// A variable that stands in a file of an emptyDir.
fn file_key(path: &str, reference: &Value, faults: &mut Faults) {
    for field in ["key", "volumeName", "path"] {
        required(path, reference, field, faults);
    }
    let key = text(reference, "key");
    let faulty = names::env_name(key).filter(|_| !key.is_empty());
    faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.key"), key, fault)));
    let volume = text(reference, "volumeName");
    let faulty = names::label(volume).into_iter().filter(|_| !volume.is_empty());
    faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.volumeName"), volume, fault)));
    let place = text(reference, "path");
    if place.split('/').any(|part| part == "..") {
        faults.push(FieldError::invalid(format!("{path}.path"), place, "must not contain '..'"));
    }
}

pub(in crate::validate) fn field_reference(
    path: &str,
    reference: &Value,
    told: &[&str],
    faults: &mut Faults,
) {
    let field = text(reference, "fieldPath");
    let place = format!("{path}.fieldPath");
    if field.is_empty() {
        faults.push(FieldError::required(place, ""));
        return;
    }
    let of_map = field.strip_suffix("']").and_then(|field| field.split_once("['"));
    match of_map {
        Some((map @ ("metadata.annotations" | "metadata.labels"), key)) => {
            let lower = key.to_lowercase();
            let checked = if map == "metadata.annotations" { lower.as_str() } else { key };
            let faulty = names::qualified_name(checked).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path, key, fault)));
        }
        Some(_) => faults.push(FieldError::invalid(place, field, "does not support subscript")),
        None if told.contains(&field) => {}
        None if OF_ENVIRONMENT.contains(&field) || NAMED.contains(&field) => {
            faults.push(FieldError::not_supported(place, field, told));
        }
        None => {
            let message = format!("error converting fieldPath: field label not supported: {field}");
            faults.push(FieldError::invalid(place, field, message));
        }
    }
}

pub(in crate::validate) fn resource_reference(path: &str, reference: &Value, faults: &mut Faults) {
    const RESOURCES: &[&str] = &[
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    let resource = text(reference, "resource");
    let is_huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|huge| resource.starts_with(huge));
    if resource.is_empty() {
        faults.push(FieldError::required(format!("{path}.resource"), ""));
    } else if !is_huge && !RESOURCES.contains(&resource) {
        faults.push(FieldError::not_supported(format!("{path}.resource"), resource, RESOURCES));
        return;
    }
    let divisor = text(reference, "divisor");
    let is_none = Quantity::parse(divisor).is_ok_and(|divisor| divisor.to_milli() == 0);
    if !divisor.is_empty() && !is_none && !resource.is_empty() && !divides(resource, divisor) {
        let message = "must be a whole unit of the resource";
        faults.push(FieldError::invalid(format!("{path}.divisor"), resource, message));
    }
}

/// Whether amounts of a resource are told in such units.
fn divides(resource: &str, divisor: &str) -> bool {
    const OF_BYTES: &[&str] =
        &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    if resource.ends_with(".cpu") { matches!(divisor, "1" | "1m") } else { OF_BYTES.contains(&divisor) }
}

/// Files of variables stand in volumes that a container of the Pod can write.
pub(in crate::validate) fn file_volumes(path: &str, spec: &Value, faults: &mut Faults) {
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for (path, container) in items(path, spec, field) {
            for (path, variable) in items(&path, container, "env") {
                let reference = &variable["valueFrom"]["fileKeyRef"];
                let name = text(reference, "volumeName");
                let path = format!("{path}.valueFrom.fileKeyRef.volumeName");
                let found = list(spec, "volumes").iter().find(|volume| text(volume, "name") == name);
                match found {
                    _ if reference.is_null() => {}
                    None => faults.push(FieldError::not_found(path, name)),
                    Some(volume) if volume["emptyDir"].is_null() => {
                        faults.push(FieldError::invalid(path, name, "must be an emptyDir"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}
