//! What must hold of volumes as objects: PersistentVolumes, their claims, and what storage drivers say of themselves.

use std::collections::HashSet;

use model::quantity::Quantity;
use serde_json::Value;

use super::{Faults, in_range, items, list, metadata, names, one_of, placement, pod, text, volume};
use crate::status::FieldError;

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// The sources of volumes of a cluster, in the order in which Kubernetes looks for them: the first that is there counts.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

pub(super) fn persistent_volume(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    access_modes("spec", spec, faults);
    let capacity = spec["capacity"].as_object();
    if capacity.is_none_or(serde_json::Map::is_empty) {
        faults.push(FieldError::required("spec.capacity", ""));
    }
    if spec["capacity"]["storage"].is_null() || capacity.is_some_and(|capacity| capacity.len() > 1) {
        faults.push(FieldError::not_supported("spec.capacity", spec["capacity"].clone(), &["storage"]));
    }
    for (name, quantity) in capacity.into_iter().flatten() {
        let path = format!("spec.capacity[{name}]");
        if parse(quantity).is_some_and(Quantity::is_negative) {
            faults.push(FieldError::invalid(path.as_str(), quantity.clone(), "must be a valid amount"));
        }
        positive(&path, quantity, faults);
    }
    volume_affinity(spec, faults);
    sources("spec", spec, faults);
    let class = &spec["volumeAttributesClassName"];
    if !class.is_null() {
        if *class == "" {
            let message = "an empty string is disallowed";
            faults.push(FieldError::required("spec.volumeAttributesClassName", message));
        }
        pod::named("spec", spec, "volumeAttributesClassName", names::subdomain, faults);
        if spec["csi"].is_null() {
            let message = "has to be specified when using volumeAttributesClassName";
            faults.push(FieldError::required("spec.csi", message));
        }
    }
}

fn volume_affinity(spec: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.nodeAffinity.required";
    let affinity = &spec["nodeAffinity"];
    if affinity.is_null() {
        return;
    }
    if affinity["required"].is_null() {
        faults.push(FieldError::required(PATH, "must specify required node constraints"));
    } else {
        placement::node_selector(PATH, &affinity["required"], faults);
    }
}

/// Exactly one; where there are several, the first is the one that counts.
fn sources(path: &str, spec: &Value, faults: &mut Faults) {
    let mut given = SOURCES.iter().filter(|source| !spec[**source].is_null());
    let Some(first) = given.next() else {
        faults.push(FieldError::required(path, "must specify a volume type"));
        return;
    };
    volume::source_fields(path, first, &spec[*first], volume::Holder::Cluster, faults);
    for extra in given {
        let told = if *extra == "cephfs" { "cephFS" } else { extra };
        let message = "may not specify more than 1 volume type";
        faults.push(FieldError::forbidden(format!("{path}.{told}"), message));
    }
    if *first == "local" && spec["nodeAffinity"].is_null() {
        let message = "Local volume requires node affinity";
        faults.push(FieldError::required(format!("{path}.nodeAffinity"), message));
    }
    let host = text(&spec["hostPath"], "path");
    let is_root = !host.is_empty() && host.split('/').all(|part| matches!(part, "" | "."));
    if is_root && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let message = "may not be 'recycle' for a hostPath mount of '/'";
        faults.push(FieldError::forbidden(format!("{path}.persistentVolumeReclaimPolicy"), message));
    }
}

pub(super) fn claim(object: &Value, faults: &mut Faults) {
    claim_spec("spec", &object["spec"], faults);
}

/// The spec of a claim, or of a template of claims.
pub(super) fn claim_spec(path: &str, spec: &Value, faults: &mut Faults) {
    access_modes(path, spec, faults);
    metadata::selector(&format!("{path}.selector"), &spec["selector"], faults);
    let storage = &spec["resources"]["requests"]["storage"];
    let of_storage = format!("{path}.resources[storage]");
    if storage.is_null() {
        faults.push(FieldError::required(of_storage, ""));
    } else {
        positive(&of_storage, storage, faults);
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        pod::named(path, spec, field, names::subdomain, faults);
    }
    one_of(path, spec, "volumeMode", &["Block", "Filesystem"], faults);
    for field in ["dataSource", "dataSourceRef"] {
        if !spec[field].is_null() {
            data_source(&format!("{path}.{field}"), &spec[field], faults);
        }
    }
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if source.is_null() || reference.is_null() {
        return;
    }
    let differ = ["apiGroup", "kind", "name"].iter().any(|field| source[*field] != reference[*field]);
    if !text(reference, "namespace").is_empty() || differ {
        let message = "dataSource must match dataSourceRef, and is of the same namespace";
        faults.push(FieldError::invalid(path, format!("{path}.dataSource"), message));
    }
}

fn data_source(path: &str, source: &Value, faults: &mut Faults) {
    for field in ["name", "kind"] {
        super::required(path, source, field, faults);
    }
    if text(source, "apiGroup").is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
        let message = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        faults.push(FieldError::invalid(path, text(source, "kind"), message));
    }
    pod::named(path, source, "apiGroup", names::subdomain, faults);
    pod::named(path, source, "namespace", names::label, faults);
}

fn access_modes(path: &str, spec: &Value, faults: &mut Faults) {
    let path = format!("{path}.accessModes");
    let modes: Vec<&str> = list(spec, "accessModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        faults.push(FieldError::required(path.as_str(), "at least 1 access mode is required"));
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        faults.push(FieldError::not_supported(path.as_str(), *mode, ACCESS_MODES));
    }
    let is_other = |mode: &&str| *mode != "ReadWriteOncePod" && ACCESS_MODES.contains(mode);
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(is_other) {
        let message = "may not use ReadWriteOncePod with other access modes";
        faults.push(FieldError::forbidden(path, message));
    }
}

fn parse(quantity: &Value) -> Option<Quantity> {
    Quantity::parse(quantity.as_str()?).ok()
}

fn positive(path: &str, quantity: &Value, faults: &mut Faults) {
    if parse(quantity).is_some_and(|parsed| parsed.to_milli() <= 0) {
        faults.push(FieldError::invalid(path, quantity.clone(), "must be greater than zero"));
    }
}

pub(super) fn storage_class(object: &Value, faults: &mut Faults) {
    provisioner("provisioner", text(object, "provisioner"), faults);
    parameters(object, faults);
    let mut seen = Vec::new();
    let topologies = list(object, "allowedTopologies").iter().enumerate();
    for (path, topology) in topologies.map(|(index, term)| (format!("allowedTopologies[{index}]"), term)) {
        let expressions = list(topology, "matchLabelExpressions");
        let mut keys = HashSet::new();
        for (path, expression) in items(&path, topology, "matchLabelExpressions") {
            let key = text(expression, "key");
            if list(expression, "values").is_empty() {
                faults.push(FieldError::required(format!("{path}.values"), ""));
            }
            let mut values = HashSet::new();
            for (path, value) in items(&path, expression, "values") {
                super::unique(&mut values, value.as_str().unwrap_or_default(), path, faults);
            }
            let faulty = names::qualified_name(key).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.key"), key, fault)));
            super::unique(&mut keys, key, format!("{path}.key"), faults);
        }
        if seen.contains(&expressions) {
            faults.push(FieldError::duplicate(format!("{path}.matchLabelExpressions"), ""));
        }
        seen.push(expressions);
    }
}

pub(super) fn attributes_class(object: &Value, faults: &mut Faults) {
    provisioner("driverName", text(object, "driverName"), faults);
    parameters(object, faults);
    if object["parameters"].as_object().is_some_and(serde_json::Map::is_empty) {
        let message = "must contain at least one key/value pair";
        faults.push(FieldError::required("parameters", message));
    }
}

fn provisioner(path: &str, name: &str, faults: &mut Faults) {
    if !name.is_empty() {
        let faulty = names::qualified_name(&name.to_lowercase()).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(path, name, fault)));
    }
}

fn parameters(object: &Value, faults: &mut Faults) {
    const MOST: usize = 512;
    const MOST_BYTES: usize = 256 * 1024;
    let Some(parameters) = object["parameters"].as_object() else { return };
    if parameters.len() > MOST {
        faults.push(FieldError::too_long("parameters", MOST));
        return;
    }
    if parameters.contains_key("") {
        faults.push(FieldError::invalid("parameters", "", "the name of a parameter can not be empty"));
    }
    let bytes: usize =
        parameters.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > MOST_BYTES {
        faults.push(FieldError::too_long("parameters", MOST_BYTES));
    }
}

/// Unknown modes are told of the whole list.
pub(super) fn csi_driver(object: &Value, faults: &mut Faults) {
    const MODES: &[&str] = &["Ephemeral", "Persistent"];
    const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;
    let spec = &object["spec"];
    for mode in list(spec, "volumeLifecycleModes") {
        if !mode.as_str().is_some_and(|mode| MODES.contains(&mode)) {
            faults.push(FieldError::not_supported("spec.volumeLifecycleModes", mode.clone(), MODES));
        }
    }
    let mut audiences = HashSet::new();
    for (path, request) in items("spec", spec, "tokenRequests") {
        let audience = text(request, "audience");
        if audiences.insert(audience) {
            in_range(&path, request, "expirationSeconds", TOKEN_SECONDS, faults);
        } else {
            faults.push(FieldError::duplicate(format!("{path}.audience"), audience));
        }
    }
    in_range("spec", spec, "nodeAllocatableUpdatePeriodSeconds", 10..=i64::MAX, faults);
    let in_secrets = &spec["serviceAccountTokenInSecrets"];
    if !in_secrets.is_null() && list(spec, "tokenRequests").is_empty() {
        let message = "is set but no tokenRequests are specified";
        faults.push(FieldError::invalid("spec.serviceAccountTokenInSecrets", in_secrets.clone(), message));
    }
}

pub(super) fn csi_node(object: &Value, faults: &mut Faults) {
    const MAX_NODE_ID: usize = 256;
    let mut seen = HashSet::new();
    for (path, driver) in items("spec", &object["spec"], "drivers") {
        let (name, node) = (text(driver, "name"), text(driver, "nodeID"));
        volume::driver(&format!("{path}.name"), name, faults);
        super::unique(&mut seen, name, format!("{path}.name"), faults);
        super::required(&path, driver, "nodeID", faults);
        if node.len() > MAX_NODE_ID {
            let message = format!("must be {MAX_NODE_ID} characters or less");
            faults.push(FieldError::invalid(format!("{path}.nodeID"), node, message));
        }
        super::not_negative(&format!("{path}.allocatable"), &driver["allocatable"], "count", faults);
        // Faults of the keys are told of the driver.
        let mut keys = HashSet::new();
        for key in list(driver, "topologyKeys").iter().filter_map(Value::as_str) {
            if key.is_empty() {
                faults.push(FieldError::required(path.as_str(), ""));
            }
            super::unique(&mut keys, key, path.as_str(), faults);
            let faulty = names::qualified_name(key).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path.as_str(), key, fault)));
        }
    }
}

pub(super) fn storage_capacity(object: &Value, faults: &mut Faults) {
    metadata::selector("nodeTopology", &object["nodeTopology"], faults);
    if parse(&object["capacity"]).is_some_and(Quantity::is_negative) {
        let message = "must be greater than or equal to 0";
        faults.push(FieldError::invalid("capacity", object["capacity"].clone(), message));
    }
}

pub(super) fn volume_attachment(object: &Value, faults: &mut Faults) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let source = &object["spec"]["source"];
    let (inline, named) = (&source["inlineVolumeSpec"], &source["persistentVolumeName"]);
    volume::driver("spec.attacher", text(&object["spec"], "attacher"), faults);
    let node = text(&object["spec"], "nodeName");
    let faulty = names::subdomain(node).into_iter();
    faults.extend(faulty.map(|fault| FieldError::invalid("spec.nodeName", node, fault)));
    match (inline.is_null(), named.is_null()) {
        (true, true) => faults.push(FieldError::required("spec.source", ONE)),
        (false, false) => faults.push(FieldError::forbidden("spec.source", ONE)),
        (true, false) => {
            super::required("spec.source", source, "persistentVolumeName", faults);
            pod::named("spec.source", source, "persistentVolumeName", names::subdomain, faults);
        }
        (false, true) => inline_volume("spec.source.inlineVolumeSpec", inline, faults),
    }
}

/// A volume that is no object: only drivers have those.
fn inline_volume(path: &str, spec: &Value, faults: &mut Faults) {
    const CONTEXT: &str = "in the context of inline volumes";
    for field in ["claimRef", "capacity", "nodeAffinity", "storageClassName"] {
        if !spec[field].is_null() {
            faults.push(FieldError::forbidden(
                format!("{path}.{field}"),
                format!("may not be specified {CONTEXT}"),
            ));
        }
    }
    if spec["csi"].is_null() {
        faults.push(FieldError::required(format!("{path}.csi"), format!("has to be specified {CONTEXT}")));
    }
    access_modes(path, spec, faults);
    for (field, only) in [("persistentVolumeReclaimPolicy", "Retain"), ("volumeMode", "Filesystem")] {
        if !text(spec, field).is_empty() && text(spec, field) != only {
            faults.push(FieldError::forbidden(
                format!("{path}.{field}"),
                format!("may only be {only} {CONTEXT}"),
            ));
        }
    }
    sources(path, spec, faults);
}
