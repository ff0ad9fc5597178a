//! What is allowed but will surprise: deprecated fields, fields that are ignored, values that lose their meaning.
//!
//! Clients show these to their users; nothing is refused for them.

mod container;
mod pod;
mod service;
mod volume;

use std::fmt::Display;

use serde_json::Value;

use crate::Kind;
use crate::validate::{STANDARD_FINALIZERS, definition, names};

/// Labels of nodes that have newer names.
const RENAMED_LABELS: &[(&str, &str, &str)] = &[
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
];

const SECRETS_ONLY: &str = "kubernetes.io/enforce-mountable-secrets";

/// A place in an object. It is written out only where there is something to say of it, which is hardly ever.
type Path<'a> = &'a dyn Display;

/// What any request about objects of `kind` is told.
pub fn on_use(kind: &Kind) -> Option<&str> {
    if let Some(version) = kind.custom() {
        return version.deprecation.as_deref();
    }
    match (kind.group, kind.kind) {
        ("", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        ("", "Endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        _ => None,
    }
}

/// What the writer of an object is told, who makes it of `old` if it is there already.
pub fn on_write(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = &object["spec"];
    if kind.custom().is_some() {
        bare_finalizers(object, old, &mut warnings);
        return warnings;
    }
    // People seldom change a Pod or a template itself: what they were told once is not repeated.
    let is_new = old.is_none_or(|old| old["metadata"]["generation"] != object["metadata"]["generation"]);
    match (kind.group, kind.kind) {
        ("", "Pod") if old.is_none() => {
            name_of_hosts(object, "the Pod's hostname", &mut warnings);
            pod::template("", object, &mut warnings);
        }
        ("", "PodTemplate") if is_new => pod::template("template.", &object["template"], &mut warnings),
        ("", "ReplicationController")
        | ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
        | ("batch", "Job" | "CronJob") => {
            if old.is_none() && kind.group == "batch" {
                name_of_hosts(object, "Pod names and hostnames", &mut warnings);
            }
            if is_new {
                workload(kind, spec, &mut warnings);
            }
        }
        ("", "PersistentVolume") => persistent_volume(object, &mut warnings),
        ("", "PersistentVolumeClaim") => claim(object, &mut warnings),
        ("", "Service") => service::check(object, &mut warnings),
        ("", "ServiceAccount")
            if old.is_none_or(|old| old["metadata"]["annotations"][SECRETS_ONLY].is_null()) =>
        {
            annotation(
                object,
                SECRETS_ONLY,
                "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets",
                &mut warnings,
            );
        }
        ("apiextensions.k8s.io", _) => formats(spec, &mut warnings),
        ("discovery.k8s.io", "EndpointSlice") => endpoints(object, &mut warnings),
        ("networking.k8s.io", "Ingress") if old.is_none() => ingress(object, &mut warnings),
        ("networking.k8s.io", "NetworkPolicy") => network_policy(spec, &mut warnings),
        ("node.k8s.io", "RuntimeClass") => {
            let path = "scheduling.nodeSelector";
            labels(&path, &object["scheduling"]["nodeSelector"], &mut warnings);
        }
        ("", "Node") if !spec["externalID"].is_null() => {
            warnings.push("spec.externalID: this field is deprecated, and is unused".to_owned());
        }
        _ => {}
    }
    warnings
}

/// What becomes of the templates in a workload.
fn workload(kind: &Kind, spec: &Value, warnings: &mut Vec<String>) {
    match kind.kind {
        "CronJob" => {
            let template = &spec["jobTemplate"]["spec"]["template"];
            return pod::template("spec.jobTemplate.spec.template.", template, warnings);
        }
        "Job" => job(spec, warnings),
        "StatefulSet" => {
            for (index, claim) in list(spec, "volumeClaimTemplates") {
                claim_sizes(
                    &format_args!("spec.volumeClaimTemplates[{index}].spec"),
                    &claim["spec"],
                    warnings,
                );
            }
            if spec["revisionHistoryLimit"].as_i64().is_some_and(|limit| limit < 0) {
                warnings.push("spec.revisionHistoryLimit: less than none keeps all revisions".to_owned());
            }
        }
        _ => {}
    }
    pod::template("spec.template.", &spec["template"], warnings);
}

/// Addresses that have another spelling, and names where addresses are meant.
fn endpoints(slice: &Value, warnings: &mut Vec<String>) {
    if slice["addressType"] == "FQDN" {
        warnings.push("addressType: names of hosts are deprecated as endpoints".to_owned());
        return;
    }
    for (endpoint, addresses) in list(slice, "endpoints") {
        for (index, address) in list(addresses, "addresses") {
            service::spelling(&format_args!("endpoints[{endpoint}].addresses[{index}]"), address, warnings);
        }
    }
}

fn network_policy(spec: &Value, warnings: &mut Vec<String>) {
    for (direction, side) in [("ingress", "from"), ("egress", "to")] {
        for (rule, peers) in list(spec, direction) {
            for (peer, block) in list(peers, side) {
                let path = format_args!("spec.{direction}[{rule}].{side}[{peer}].ipBlock");
                let block = &block["ipBlock"];
                service::spelling(&format_args!("{path}.cidr"), &block["cidr"], warnings);
                for (index, hole) in list(block, "except") {
                    service::spelling(&format_args!("{path}.except[{index}]"), hole, warnings);
                }
            }
        }
    }
}

/// Names without a domain may be taken by two. Who finds one there is not to blame.
fn bare_finalizers(object: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
    let had = |name: &Value| {
        list(&old.unwrap_or(&Value::Null)["metadata"], "finalizers").any(|(_, finalizer)| finalizer == name)
    };
    for (index, finalizer) in list(&object["metadata"], "finalizers") {
        let name = finalizer.as_str().unwrap_or_default();
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) && !had(finalizer) {
            warnings.push(format!(
                "metadata.finalizers[{index}]: \"{name}\" has no domain and may be taken by others"
            ));
        }
    }
}

/// A format that nobody knows is no fault, but demands nothing.
fn formats(spec: &Value, warnings: &mut Vec<String>) {
    for (index, version) in spec["versions"].as_array().into_iter().flatten().enumerate() {
        let mut unknown = Vec::new();
        definition::unknown_formats(&version["schema"]["openAPIV3Schema"], &mut unknown);
        if !unknown.is_empty() {
            let place = format!("spec.versions[{index}].schema.openAPIV3Schema");
            warnings.push(format!("{place}: unrecognized formats: {}", unknown.join(", ")));
        }
    }
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    value[field].as_array().into_iter().flatten().enumerate()
}

fn annotation(object: &Value, key: &str, why: &str, warnings: &mut Vec<String>) {
    if !object["metadata"]["annotations"][key].is_null() {
        warnings.push(format!("metadata.annotations[{key}]: {why}"));
    }
}

/// Names that become names of hosts should be possible as such.
fn name_of_hosts(object: &Value, what: &str, warnings: &mut Vec<String>) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let faults = names::label(name);
    if !name.is_empty() && !faults.is_empty() {
        let faults = if name.contains('.') { "must not contain dots".to_owned() } else { faults.join(" ") };
        warnings.push(format!(
            "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is \
             recommended: [{faults}]"
        ));
    }
}

/// Keys of a node selector that have newer names.
fn labels(path: Path<'_>, selector: &Value, warnings: &mut Vec<String>) {
    for (key, _) in selector.as_object().into_iter().flatten() {
        label(&format_args!("{path}[{key}]"), key, warnings);
    }
}

fn label(path: Path<'_>, key: &str, warnings: &mut Vec<String>) {
    if let Some((_, since, newer)) = RENAMED_LABELS.iter().find(|(old, ..)| *old == key) {
        warnings.push(format!("{path}: deprecated since {since}; use \"{newer}\" instead"));
    }
}

/// The status of an indexed job lists what failed, and has room for so much only.
fn job(spec: &Value, warnings: &mut Vec<String>) {
    let count = |field: &str| spec[field].as_i64().unwrap_or_default();
    if spec["completionMode"] == "Indexed" && count("completions") > 100_000 && count("parallelism") > 10_000
    {
        let warning = "spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher \
                       than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes \
                       fail";
        warnings.push(warning.to_owned());
    }
}

const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const USE_STORAGE_CLASS: &str = "deprecated since v1.8; use \"storageClassName\" attribute instead";

fn persistent_volume(object: &Value, warnings: &mut Vec<String>) {
    let spec = &object["spec"];
    annotation(object, STORAGE_CLASS, USE_STORAGE_CLASS, warnings);
    annotation(
        object,
        "volume.beta.kubernetes.io/mount-options",
        "deprecated since v1.31; use \"mountOptions\" attribute instead",
        warnings,
    );
    if spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let warning = "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the \
                       recommended approach is to use dynamic provisioning.";
        warnings.push(warning.to_owned());
    }
    volume::removed_sources(&"spec", spec, warnings);
}

fn claim(object: &Value, warnings: &mut Vec<String>) {
    annotation(object, STORAGE_CLASS, USE_STORAGE_CLASS, warnings);
    claim_sizes(&"spec", &object["spec"], warnings);
}

/// What a claim, or a volume that makes one, asks for.
fn claim_sizes(path: Path<'_>, spec: &Value, warnings: &mut Vec<String>) {
    for field in ["limits", "requests"] {
        let path = format_args!("{path}.resources.{field}[storage]");
        container::fraction(&path, &spec["resources"][field]["storage"], warnings);
    }
}

fn ingress(object: &Value, warnings: &mut Vec<String>) {
    const CLASS: &str = "kubernetes.io/ingress.class";
    if !object["metadata"]["annotations"][CLASS].is_null() {
        warnings.push(format!(
            "annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{on_use, on_write};
    use crate::find;

    fn warnings(group: &str, plural: &str, object: &Value) -> Vec<String> {
        on_write(find(group, "v1", plural).unwrap(), object, None)
    }

    #[test]
    fn pods() {
        let pod = json!({"metadata": {"name": "a.b"}, "spec": {
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "imagePullSecrets": [{"name": ""}],
            "containers": [{
                "name": "c",
                "env": [{"name": "A"}, {"name": "A"}],
                "ports": [{"containerPort": 80}, {"containerPort": 80}],
                "resources": {"requests": {"memory": "100m"}},
            }],
        }});
        let said = warnings("", "pods", &pod);
        assert_eq!(said.len(), 6, "{said:#?}");
        let sound = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c",
            "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
            "resources": {"requests": {"memory": "1Gi", "cpu": "100m"}}}]}});
        assert!(warnings("", "pods", &sound).is_empty());
    }

    #[test]
    fn other_kinds() {
        let claim = json!({"spec": {"resources": {"requests": {"storage": "100m"}}}});
        assert_eq!(warnings("", "persistentvolumeclaims", &claim).len(), 1);
        let ingress = json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}});
        assert_eq!(warnings("networking.k8s.io", "ingresses", &ingress).len(), 1);
        assert!(on_use(find("", "v1", "endpoints").unwrap()).is_some());
        assert!(on_use(find("", "v1", "pods").unwrap()).is_none());
    }
}
