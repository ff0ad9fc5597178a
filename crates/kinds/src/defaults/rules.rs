//! Defaults that are plain values at plain places, as one table; what depends on other fields is code beside it.
//!
//! A path is dotted; `[]` stands for every item of a list, `!` after a name makes the object if it is not there.
//! Without `!` a rule holds only where the object is.

use serde_json::{Map, Value};

use self::Fill::{Flag, Null, Number, Object, One, Text};
use super::{fill, fill_zero};
use crate::Kind;

/// What is filled in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fill {
    Text(&'static str),
    Number(i64),
    Flag(bool),
    /// An empty object.
    Object,
    /// A list of one text.
    One(&'static str),
    /// What clients expect to see, if only as `null`.
    Null,
}

type Rules = &'static [(&'static str, Fill)];

const MATCHED: &[&str] = &["matchConstraints", "matchResources"];

/// The rules of a kind.
fn rules(kind: &Kind) -> Rules {
    match (kind.group, kind.kind) {
        ("", "Endpoints") => &[("subsets[].ports[].protocol", Text("TCP"))],
        ("crest.dev", "InterferenceRule") => &[("spec.topologyKey", Text(model::names::HOSTNAME_LABEL))],
        ("crest.dev", "SchedulingPolicy") => &[("spec.placement", Text("Spread"))],
        ("", "LimitRange") => &[("spec!.limits", Null)],
        ("", "Node") => &[
            ("spec", Object),
            ("status!.daemonEndpoints!.kubeletEndpoint!.Port", Number(0)),
            ("status.nodeInfo!.machineID", Text("")),
            ("status.nodeInfo.systemUUID", Text("")),
            ("status.nodeInfo.bootID", Text("")),
            ("status.nodeInfo.kernelVersion", Text("")),
            ("status.nodeInfo.osImage", Text("")),
            ("status.nodeInfo.containerRuntimeVersion", Text("")),
            ("status.nodeInfo.kubeletVersion", Text("")),
            ("status.nodeInfo.kubeProxyVersion", Text("")),
            ("status.nodeInfo.operatingSystem", Text("")),
            ("status.nodeInfo.architecture", Text("")),
        ],
        ("", "PersistentVolume") => PERSISTENT_VOLUME,
        ("", "PersistentVolumeClaim") => &[
            ("spec!.resources", Object),
            ("spec.volumeMode", Text("Filesystem")),
            ("status!.phase", Text("Pending")),
        ],
        ("", "PodTemplate") => &[("template!.metadata", Object)],
        ("", "ReplicationController") => &[("spec!.replicas", Number(1)), ("status!.replicas", Number(0))],
        ("", "ResourceQuota") => &[("spec", Object), ("status", Object)],
        ("apps", _) => apps(kind),
        ("autoscaling", _) => &[
            ("spec!.minReplicas", Number(1)),
            ("status!.desiredReplicas", Number(0)),
            ("status.currentMetrics", Null),
        ],
        ("batch", "CronJob") => &[
            ("spec!.concurrencyPolicy", Text("Allow")),
            ("spec.suspend", Flag(false)),
            ("spec.successfulJobsHistoryLimit", Number(3)),
            ("spec.failedJobsHistoryLimit", Number(1)),
            ("spec.jobTemplate!.metadata", Object),
            ("spec.jobTemplate.spec!.template!.metadata", Object),
            ("status", Object),
        ],
        ("coordination.k8s.io", "Lease") => &[("spec", Object)],
        ("discovery.k8s.io", "EndpointSlice") => &[
            ("endpoints", Null),
            ("ports", Null),
            ("endpoints[].conditions", Object),
            ("ports[].name", Text("")),
            ("ports[].protocol", Text("TCP")),
        ],
        ("networking.k8s.io", _) => networking(kind),
        ("policy", "PodDisruptionBudget") => &[
            ("spec", Object),
            ("status!.disruptionsAllowed", Number(0)),
            ("status.currentHealthy", Number(0)),
            ("status.desiredHealthy", Number(0)),
            ("status.expectedPods", Number(0)),
        ],
        ("scheduling.k8s.io", "PriorityClass") => {
            &[("value", Number(0)), ("preemptionPolicy", Text("PreemptLowerPriority"))]
        }
        ("storage.k8s.io", _) => storage(kind),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => &[("rules", Null)],
        ("rbac.authorization.k8s.io", _) => &[
            ("roleRef!.apiGroup", Text("rbac.authorization.k8s.io")),
            ("roleRef.kind", Text("")),
            ("roleRef.name", Text("")),
        ],
        ("admissionregistration.k8s.io", _) => admission(kind),
        ("certificates.k8s.io", _) => &[("status", Object)],
        ("flowcontrol.apiserver.k8s.io", _) => flow_control(kind),
        ("resource.k8s.io", _) => resource(kind),
        ("apiregistration.k8s.io", _) => &[("spec!.service.port", Number(443)), ("status", Object)],
        _ => &[],
    }
}

const PERSISTENT_VOLUME: Rules = &[
    ("spec!.persistentVolumeReclaimPolicy", Text("Retain")),
    ("spec.volumeMode", Text("Filesystem")),
    ("status!.phase", Text("Pending")),
];

/// What a volume is made of, in Pods and in PersistentVolumes.
const VOLUME_SOURCE: Rules = &[
    ("hostPath.type", Text("")),
    ("iscsi.iscsiInterface", Text("default")),
    ("rbd.pool", Text("rbd")),
    ("rbd.user", Text("admin")),
    ("rbd.keyring", Text("/etc/ceph/keyring")),
    ("scaleIO.storageMode", Text("ThinProvisioned")),
    ("scaleIO.fsType", Text("xfs")),
    ("azureDisk.cachingMode", Text("ReadWrite")),
    ("azureDisk.kind", Text("Shared")),
    ("azureDisk.fsType", Text("ext4")),
    ("azureDisk.readOnly", Flag(false)),
];

fn apps(kind: &Kind) -> Rules {
    match kind.kind {
        "ControllerRevision" => &[("revision", Number(0))],
        "DaemonSet" => &[
            ("spec!.updateStrategy!.type", Text("RollingUpdate")),
            ("spec.revisionHistoryLimit", Number(10)),
            ("status!.currentNumberScheduled", Number(0)),
            ("status.numberMisscheduled", Number(0)),
            ("status.desiredNumberScheduled", Number(0)),
            ("status.numberReady", Number(0)),
        ],
        "StatefulSet" => &[
            ("spec!.podManagementPolicy", Text("OrderedReady")),
            ("spec.updateStrategy!.type", Text("RollingUpdate")),
            ("spec.replicas", Number(1)),
            ("spec.revisionHistoryLimit", Number(10)),
            ("spec.persistentVolumeClaimRetentionPolicy!.whenDeleted", Text("Retain")),
            ("spec.persistentVolumeClaimRetentionPolicy.whenScaled", Text("Retain")),
            ("spec.volumeClaimTemplates[].apiVersion", Text("v1")),
            ("spec.volumeClaimTemplates[].kind", Text("PersistentVolumeClaim")),
            ("spec.volumeClaimTemplates[].metadata", Object),
            ("spec.volumeClaimTemplates[].spec!.resources", Object),
            ("spec.volumeClaimTemplates[].spec.volumeMode", Text("Filesystem")),
            ("spec.volumeClaimTemplates[].status!.phase", Text("Pending")),
            ("status!.replicas", Number(0)),
            ("status.availableReplicas", Number(0)),
        ],
        _ => &[],
    }
}

fn networking(kind: &Kind) -> Rules {
    match kind.kind {
        "Ingress" => &[("spec", Object), ("status!.loadBalancer", Object)],
        "IngressClass" => &[("spec!.parameters.scope", Text("Cluster"))],
        "NetworkPolicy" => &[
            ("spec!.podSelector", Object),
            ("spec.ingress[].ports[].protocol", Text("TCP")),
            ("spec.egress[].ports[].protocol", Text("TCP")),
        ],
        "IPAddress" => &[("spec", Object)],
        "ServiceCIDR" => &[("spec!.cidrs", Null), ("status", Object)],
        _ => &[],
    }
}

fn storage(kind: &Kind) -> Rules {
    match kind.kind {
        "CSIDriver" => &[
            ("spec!.attachRequired", Flag(true)),
            ("spec.podInfoOnMount", Flag(false)),
            ("spec.volumeLifecycleModes", One("Persistent")),
            ("spec.storageCapacity", Flag(false)),
            ("spec.fsGroupPolicy", Text("ReadWriteOnceWithFSType")),
            ("spec.requiresRepublish", Flag(false)),
            ("spec.seLinuxMount", Flag(false)),
        ],
        "CSINode" => &[("spec!.drivers", Null)],
        "StorageClass" => &[("reclaimPolicy", Text("Delete")), ("volumeBindingMode", Text("Immediate"))],
        "VolumeAttachment" => &[("spec!.source", Object), ("status!.attached", Flag(false))],
        _ => &[],
    }
}

fn admission(kind: &Kind) -> Rules {
    match kind.kind {
        "ValidatingAdmissionPolicy" => &[("spec!.failurePolicy", Text("Fail")), ("status", Object)],
        "MutatingAdmissionPolicy" => {
            &[("spec!.failurePolicy", Text("Fail")), ("spec.reinvocationPolicy", Text("Never"))]
        }
        "ValidatingWebhookConfiguration" => WEBHOOKS,
        "MutatingWebhookConfiguration" => MUTATING_WEBHOOKS,
        _ => &[("spec", Object)],
    }
}

const WEBHOOKS: Rules = &[
    ("webhooks[].clientConfig", Object),
    ("webhooks[].clientConfig.service.port", Number(443)),
    ("webhooks[].rules[].scope", Text("*")),
    ("webhooks[].failurePolicy", Text("Fail")),
    ("webhooks[].matchPolicy", Text("Equivalent")),
    ("webhooks[].namespaceSelector", Object),
    ("webhooks[].objectSelector", Object),
    ("webhooks[].timeoutSeconds", Number(10)),
];

const MUTATING_WEBHOOKS: Rules = &[
    ("webhooks[].clientConfig", Object),
    ("webhooks[].clientConfig.service.port", Number(443)),
    ("webhooks[].rules[].scope", Text("*")),
    ("webhooks[].failurePolicy", Text("Fail")),
    ("webhooks[].matchPolicy", Text("Equivalent")),
    ("webhooks[].namespaceSelector", Object),
    ("webhooks[].objectSelector", Object),
    ("webhooks[].timeoutSeconds", Number(10)),
    ("webhooks[].reinvocationPolicy", Text("Never")),
];

/// What the admission policies' `matchConstraints` and their bindings' `matchResources` have in common.
const MATCH: Rules = &[
    ("matchPolicy", Text("Equivalent")),
    ("namespaceSelector", Object),
    ("objectSelector", Object),
    ("resourceRules[].scope", Text("*")),
    ("excludeResourceRules[].scope", Text("*")),
];

fn flow_control(kind: &Kind) -> Rules {
    match kind.kind {
        "FlowSchema" => &[("spec!.matchingPrecedence", Number(1000)), ("status", Object)],
        _ => &[
            ("spec!.limited.nominalConcurrencyShares", Number(30)),
            ("spec.limited.lendablePercent", Number(0)),
            ("spec.limited.limitResponse.queuing.queues", Number(64)),
            ("spec.limited.limitResponse.queuing.handSize", Number(8)),
            ("spec.limited.limitResponse.queuing.queueLengthLimit", Number(50)),
            ("spec.exempt.nominalConcurrencyShares", Number(0)),
            ("spec.exempt.lendablePercent", Number(0)),
            ("status", Object),
        ],
    }
}

fn resource(kind: &Kind) -> Rules {
    match kind.kind {
        "DeviceClass" => &[("spec", Object)],
        "ResourceClaim" => &[
            ("spec!.devices", Object),
            ("spec.devices.requests[].exactly.allocationMode", Text("ExactCount")),
            ("spec.devices.requests[].firstAvailable[].allocationMode", Text("ExactCount")),
            ("status", Object),
        ],
        "ResourceClaimTemplate" => &[
            ("spec!.spec!.devices", Object),
            ("spec.spec.devices.requests[].exactly.allocationMode", Text("ExactCount")),
            ("spec.spec.devices.requests[].firstAvailable[].allocationMode", Text("ExactCount")),
        ],
        _ => &[],
    }
}

/// Fills in what the table says of `kind`.
pub(super) fn apply(kind: &Kind, fields: &mut Map<String, Value>) {
    for (path, value) in rules(kind) {
        at(fields, path, *value);
    }
    if kind.kind == "PersistentVolume"
        && let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut)
    {
        volume_source(spec);
    }
    if kind.group != "admissionregistration.k8s.io" {
        return;
    }
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        for name in MATCHED {
            let Some(matched) = spec.get_mut(*name).and_then(Value::as_object_mut) else { continue };
            MATCH.iter().for_each(|(path, value)| at(matched, path, *value));
        }
    }
}

/// Fills in what the table says of the sources of a volume.
pub(super) fn volume_source(volume: &mut Map<String, Value>) {
    VOLUME_SOURCE.iter().for_each(|(path, value)| at(volume, path, *value));
}

/// The first status of an object that is made by a client, who has no say in it.
pub(super) fn status(kind: &Kind) -> Value {
    let mut fields = Map::new();
    for (path, value) in rules(kind).iter().filter(|(path, _)| path.starts_with("status")) {
        at(&mut fields, path, *value);
    }
    fields.remove("status").unwrap_or_else(|| Value::Object(Map::new()))
}

fn at(fields: &mut Map<String, Value>, path: &str, value: Fill) {
    let Some((head, rest)) = path.split_once('.') else { return set(fields, path, value) };
    if let Some(name) = head.strip_suffix("[]") {
        super::items(fields, name).for_each(|item| at(item, rest, value));
    } else if let Some(name) = head.strip_suffix('!') {
        if let Some(inner) = super::object(fields, name) {
            at(inner, rest, value);
        }
    } else if let Some(inner) = super::existing(fields, head) {
        at(inner, rest, value);
    }
}

fn set(fields: &mut Map<String, Value>, name: &str, value: Fill) {
    match value {
        Text(text) => fill_zero(fields, name, text),
        // Asking for no precedence at all means the usual one.
        Number(number) if name == "matchingPrecedence" => fill_zero(fields, name, number),
        Number(number) => fill(fields, name, number),
        Flag(flag) => fill(fields, name, flag),
        Object => fill(fields, name, Map::new()),
        One(text) => fill(fields, name, vec![Value::from(text)]),
        Null => {
            fields.entry(name).or_insert(Value::Null);
        }
    }
}
