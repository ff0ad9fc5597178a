//! What must hold of a status, as far as Kubernetes looks at what controllers and agents write.

use serde_json::Value;

use super::{Faults, address, items, job, list, names, network, not_negative, one_of, quota, text};
use crate::Kind;
use crate::status::FieldError;

/// Counts of replicas: which there are, and which of them are parts of others.
struct Counts {
    group: &'static str,
    kind: &'static str,
    fields: &'static [&'static str],
    /// Those that are never more than `replicas`.
    parts: &'static [&'static str],
}

const COUNTS: &[Counts] = &[
    Counts {
        group: "",
        kind: "ReplicationController",
        fields: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
        parts: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    },
    Counts {
        group: "apps",
        kind: "ReplicaSet",
        fields: &[
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
            "terminatingReplicas",
        ],
        parts: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    },
    Counts {
        group: "apps",
        kind: "Deployment",
        fields: &[
            "observedGeneration",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ],
        parts: &["updatedReplicas", "readyReplicas", "availableReplicas"],
    },
    Counts {
        group: "apps",
        kind: "StatefulSet",
        fields: &[
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ],
        parts: &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
    },
    Counts {
        group: "apps",
        kind: "DaemonSet",
        fields: &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ],
        parts: &[],
    },
    Counts {
        group: "autoscaling",
        kind: "HorizontalPodAutoscaler",
        fields: &["currentReplicas", "desiredReplicas"],
        parts: &[],
    },
    Counts {
        group: "policy",
        kind: "PodDisruptionBudget",
        fields: &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"],
        parts: &[],
    },
];

fn counts(kind: &Kind) -> Option<&'static Counts> {
    COUNTS.iter().find(|counts| counts.group == kind.group && counts.kind == kind.kind)
}

/// Whether the status of such objects is judged by rules of its own.
pub(super) fn is_judged(kind: &Kind) -> bool {
    let has_rules = matches!(
        (kind.group, kind.kind),
        (
            "",
            "Namespace" | "PersistentVolume" | "PersistentVolumeClaim" | "Pod" | "ResourceQuota" | "Service"
        ) | ("batch", "CronJob" | "Job")
            | ("networking.k8s.io", "Ingress" | "ServiceCIDR")
    );
    has_rules || counts(kind).is_some()
}

pub(super) fn check(kind: &Kind, new: &Value, old: &Value, faults: &mut Faults) {
    let status = &new["status"];
    if let Some(counts) = counts(kind) {
        replicas(counts, status, faults);
        decremented(status, &old["status"], faults);
    }
    match (kind.group, kind.kind) {
        ("", "Namespace") => phase(new, faults),
        ("", "Pod") => pod(new, old, faults),
        ("", "ResourceQuota") => quota::status(status, faults),
        ("", "Service") => service(new, faults),
        ("batch", "Job") => job::status(new, old, faults),
        ("networking.k8s.io", "Ingress") => network::ingress_status(status, faults),
        _ => {}
    }
}

/// Never less than none, never more than there are.
fn replicas(counts: &Counts, status: &Value, faults: &mut Faults) {
    let of = |field: &str| status[field].as_i64().unwrap_or_default();
    if !counts.parts.is_empty() {
        not_negative("status", status, "replicas", faults);
    }
    for field in counts.fields {
        not_negative("status", status, field, faults);
    }
    let mut refused = |field: &str, message: &str| {
        faults.push(FieldError::invalid(format!("status.{field}"), of(field), message));
    };
    for field in counts.parts.iter().filter(|field| of(field) > of("replicas")) {
        refused(field, "cannot be greater than status.replicas");
    }
    if counts.parts.contains(&"availableReplicas") && of("availableReplicas") > of("readyReplicas") {
        refused("availableReplicas", "cannot be greater than readyReplicas");
    }
}

/// How often names collided only grows.
fn decremented(status: &Value, old: &Value, faults: &mut Faults) {
    const FIELD: &str = "collisionCount";
    let (count, before) = (status[FIELD].as_i64(), old[FIELD].as_i64());
    if before.is_some() && count < before {
        let message = "cannot be decremented";
        faults.push(FieldError::invalid("status.collisionCount", count.unwrap_or_default(), message));
    }
}

fn phase(namespace: &Value, faults: &mut Faults) {
    let is_ending = !namespace["metadata"]["deletionTimestamp"].is_null();
    let (expected, phase) =
        (if is_ending { "Terminating" } else { "Active" }, text(&namespace["status"], "phase"));
    if phase != expected {
        let message = format!("may only be '{expected}' at this point of the namespace's life");
        faults.push(FieldError::invalid("status.Phase", phase, message));
    }
}

fn service(service: &Value, faults: &mut Faults) {
    const PATH: &str = "status.loadBalancer";
    let balancer = &service["status"]["loadBalancer"];
    if service["spec"]["type"] != "LoadBalancer" && !list(balancer, "ingress").is_empty() {
        let message = "may only be used when `spec.type` is 'LoadBalancer'";
        faults.push(FieldError::forbidden(format!("{PATH}.ingress"), message));
        return;
    }
    for (path, point) in items(PATH, balancer, "ingress") {
        network::entry_point(&path, point, faults);
        let has_address = !text(point, "ip").is_empty();
        let place = format!("{path}.ipMode");
        match (point["ipMode"].is_null(), has_address) {
            (true, true) => faults.push(FieldError::required(place, "must be specified when `ip` is set")),
            (false, false) => {
                faults.push(FieldError::forbidden(place, "may not be specified when `ip` is not set"));
            }
            _ => one_of(&path, point, "ipMode", &["Proxy", "VIP"], faults),
        }
    }
}

fn pod(new: &Value, old: &Value, faults: &mut Faults) {
    let (status, before) = (&new["status"], &old["status"]);
    for (path, condition) in items("status", status, "conditions") {
        let kind = text(condition, "type");
        not_negative(&path, condition, "observedGeneration", faults);
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            let faulty = names::qualified_name(kind).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.Type"), kind, fault)));
        }
    }
    not_negative("status", status, "observedGeneration", faults);
    let class = (&status["qosClass"], &before["qosClass"]);
    if !class.0.is_null() && !class.1.is_null() && class.0 != class.1 {
        faults.push(FieldError::invalid("status.qosClass", class.0.clone(), "field is immutable"));
    }
    nominated(new, before, faults);
    for field in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        ended(field, new, before, faults);
    }
    for (field, single) in [("podIPs", "podIP"), ("hostIPs", "hostIP")] {
        addresses((field, single), status, faults);
    }
}

fn nominated(new: &Value, before: &Value, faults: &mut Faults) {
    const FIELD: &str = "nominatedNodeName";
    let name = text(&new["status"], FIELD);
    if name.is_empty() || new["status"][FIELD] == before[FIELD] {
        return;
    }
    let faulty = names::subdomain(name).into_iter();
    faults.extend(faulty.map(|fault| FieldError::invalid(format!("status.{FIELD}"), name, fault)));
    if !text(&new["spec"], "nodeName").is_empty() {
        let message = "may not be set on pods that are already bound to a node";
        faults.push(FieldError::forbidden(format!("status.{FIELD}"), message));
    }
}

/// A container that ended for good does not run again.
fn ended(field: &str, pod: &Value, before: &Value, faults: &mut Faults) {
    for (path, was) in items("status", before, field) {
        let end = &was["state"]["terminated"];
        let now = list(&pod["status"], field).iter().find(|now| now["name"] == was["name"]);
        let runs_again = now.is_some_and(|now| now["state"]["terminated"].is_null());
        if !end.is_null() && runs_again && !restarts(field, pod, was) {
            let message = "may not be transitioned to non-terminated state";
            faults.push(FieldError::forbidden(format!("{path}.state"), message));
        }
    }
}

fn restarts(field: &str, pod: &Value, was: &Value) -> bool {
    let (list_of, spec) = match field {
        "containerStatuses" => ("containers", &pod["spec"]),
        "initContainerStatuses" => ("initContainers", &pod["spec"]),
        _ => return false,
    };
    let container = list(spec, list_of).iter().find(|container| container["name"] == was["name"]);
    let own = container.map_or("", |container| text(container, "restartPolicy"));
    let has_rules = container.is_some_and(|container| !list(container, "restartPolicyRules").is_empty());
    let failed = was["state"]["terminated"]["exitCode"] != 0;
    match if own.is_empty() { text(spec, "restartPolicy") } else { own } {
        "Always" => true,
        "OnFailure" => failed || has_rules,
        _ => has_rules,
    }
}

/// At most one address of each family.
fn addresses((field, single): (&str, &str), status: &Value, faults: &mut Faults) {
    let path = format!("status.{field}");
    let found: Vec<&str> = list(status, field).iter().map(|item| text(item, "ip")).collect();
    for (index, ip) in found.iter().enumerate() {
        address::check(&format!("{path}[{index}]"), ip, faults);
    }
    if single == "hostIP" && found.first().is_some_and(|first| *first != text(status, single)) {
        let message = "must be equal to `hostIP`";
        faults.push(FieldError::invalid(format!("{path}[0].ip"), found[0], message));
    }
    let families: Vec<bool> =
        found.iter().filter_map(|ip| address::parse(ip)).map(|ip| ip.is_ipv4()).collect();
    let is_pair = families.len() < 2 || (families.len() == 2 && families[0] != families[1]);
    if !is_pair {
        let message = "may specify no more than one IP for each IP family";
        faults.push(FieldError::invalid(path, status[field].clone(), message));
    }
}
