//! What must hold of one source of a volume: what it cannot do without, as one table, and the grammars of its fields.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{Faults, has_parent, required, text};
use crate::status::FieldError;
use crate::validate::rules::is_empty;
use crate::validate::{in_range, names, one_of};

/// Whose volume it is. The volumes of a cluster name Secrets of any namespace, those of a Pod only of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::validate) enum Holder {
    Pod,
    Cluster,
}

/// What a source cannot do without.
const REQUIRED: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("configMap", &["name"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("hostPath", &["path"]),
    ("image", &["reference"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("local", &["path"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &["registry", "volume"]),
    ("rbd", &["monitors", "image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("secret", &["secretName"]),
    ("storageos", &["volumeName"]),
    ("vsphereVolume", &["volumePath"]),
];

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// `path` is that of the volume, not of its source.
pub(in crate::validate) fn fields(
    path: &str,
    name: &str,
    source: &Value,
    holder: Holder,
    faults: &mut Faults,
) {
    // One is told under a name of its own.
    let told = if name == "gcePersistentDisk" { "persistentDisk" } else { name };
    let path = format!("{path}.{told}");
    let needed = REQUIRED.iter().filter(|(of, _)| *of == name).flat_map(|(_, needed)| *needed);
    for field in needed.filter(|field| is_empty(&source[**field])) {
        faults.push(FieldError::required(format!("{path}.{field}"), ""));
    }
    match name {
        "awsElasticBlockStore" | "gcePersistentDisk" => in_range(&path, source, "partition", 0..=255, faults),
        "csi" => csi(&path, source, holder, faults),
        "fc" => fibre_channel(&path, source, faults),
        "flocker" => flocker(&path, source, faults),
        "gitRepo" => super::descending(&format!("{path}.directory"), text(source, "directory"), faults),
        "hostPath" | "local" => host_path(&path, source, faults),
        "image" => one_of(&path, source, "pullPolicy", &["Always", "IfNotPresent", "Never"], faults),
        "iscsi" => iscsi(&path, source, faults),
        "nfs" if !text(source, "path").starts_with('/') => {
            let message = "must be an absolute path";
            faults.push(FieldError::invalid(format!("{path}.path"), text(source, "path"), message));
        }
        "azureDisk" => {
            one_of(&path, source, "cachingMode", &["None", "ReadOnly", "ReadWrite"], faults);
            one_of(&path, source, "kind", &["Dedicated", "Managed", "Shared"], faults);
        }
        _ => {}
    }
}

fn host_path(path: &str, source: &Value, faults: &mut Faults) {
    let place = text(source, "path");
    if place.is_empty() {
        return;
    }
    if has_parent(place) {
        faults.push(FieldError::invalid(format!("{path}.path"), place, "must not contain '..'"));
    }
    one_of(path, source, "type", HOST_PATH_TYPES, faults);
}

/// The name of a driver: a domain, in any case.
pub(in crate::validate) fn driver(path: &str, name: &str, faults: &mut Faults) {
    const MOST: usize = 63;
    if name.is_empty() {
        faults.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > MOST {
        faults.push(FieldError::too_long(path, MOST));
    }
    let faulty = names::subdomain(&name.to_lowercase()).into_iter();
    faults.extend(faulty.map(|fault| FieldError::invalid(path, name, fault)));
}

fn csi(path: &str, source: &Value, holder: Holder, faults: &mut Faults) {
    driver(&format!("{path}.driver"), text(source, "driver"), faults);
    if holder == Holder::Pod {
        let secret = &source["nodePublishSecretRef"];
        if secret.is_object() {
            required(&format!("{path}.nodePublishSecretRef"), secret, "name", faults);
        }
        return;
    }
    required(path, source, "volumeHandle", faults);
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = &source[field];
        if secret.is_object() {
            let path = format!("{path}.{field}");
            for (field, check) in [("name", names::subdomain as Grammar), ("namespace", names::label)] {
                let value = text(secret, field);
                required(&path, secret, field, faults);
                let faulty = check(value).into_iter().filter(|_| !value.is_empty());
                faults
                    .extend(faulty.map(|fault| FieldError::invalid(format!("{path}.{field}"), value, fault)));
            }
        }
    }
}

type Grammar = fn(&str) -> Vec<String>;

fn fibre_channel(path: &str, source: &Value, faults: &mut Faults) {
    let (targets, ids) = (is_empty(&source["targetWWNs"]), is_empty(&source["wwids"]));
    let place = format!("{path}.targetWWNs");
    match (targets, ids) {
        (true, true) => faults.push(FieldError::required(place, "must specify targetWWNs or wwids")),
        (false, false) => {
            let message = "targetWWNs and wwids can not be specified simultaneously";
            faults.push(FieldError::invalid(place, source["targetWWNs"].clone(), message));
        }
        _ => {}
    }
    if !targets {
        if source["lun"].is_null() {
            faults.push(FieldError::required(format!("{path}.lun"), "is required with targetWWNs"));
        }
        in_range(path, source, "lun", 0..=255, faults);
    }
}

fn flocker(path: &str, source: &Value, faults: &mut Faults) {
    let (name, id) = (text(source, "datasetName"), text(source, "datasetUUID"));
    match (name.is_empty(), id.is_empty()) {
        (true, true) => {
            faults.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
        }
        (false, false) => {
            let message = "datasetName and datasetUUID can not be specified simultaneously";
            faults.push(FieldError::invalid(path, "resource", message));
        }
        _ => {}
    }
    if name.contains('/') {
        faults.push(FieldError::invalid(format!("{path}.datasetName"), name, "must not contain '/'"));
    }
}

/// The three forms of names of targets and initiators.
static ISCSI_NAME: LazyLock<Regex> = LazyLock::new(|| {
    let forms =
        r"^(iqn\.\d{4}-\d{2}\.[[:alnum:].-]+:[^,;*&$|\s]+|eui\.[[:alnum:]]{16}|naa\.[[:alnum:]]{32})$";
    Regex::new(forms).expect("the expression is a constant, and a test uses it")
});

fn iscsi(path: &str, source: &Value, faults: &mut Faults) {
    for (field, told) in [("iqn", "iqn"), ("initiatorName", "initiatorname")] {
        let name = text(source, field);
        if !name.is_empty() && !ISCSI_NAME.is_match(name) {
            let message = "must be a name in one of the forms iqn, eui and naa";
            faults.push(FieldError::invalid(format!("{path}.{told}"), name, message));
        }
    }
    in_range(path, source, "lun", 0..=255, faults);
    let is_secret = source["chapAuthDiscovery"] == true || source["chapAuthSession"] == true;
    if is_secret && source["secretRef"].is_null() {
        faults.push(FieldError::required(format!("{path}.secretRef"), ""));
    }
}
