//! Rules about single fields, as one table: where, and what must hold there.
//!
//! A path is dotted, `[]` stands for every item of a list. A rule is judged where the object that would hold the
//! field is there; what depends on other fields is code beside this table.

use std::ops::RangeInclusive;

use serde_json::Value;

use self::Rule::{
    Label, LabelKey, LabelSelector, NotNegative, OneOf, PathSegment, Range, Required, Subdomain,
};
use super::{Faults, metadata, names};
use crate::Kind;
use crate::status::FieldError;

/// What must hold of one field.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// It must be there and not be empty.
    Required,
    /// It must be one of these, if it is there.
    OneOf(&'static [&'static str]),
    NotNegative,
    Range(RangeInclusive<i64>),
    /// A DNS subdomain, if it is there.
    Subdomain,
    /// A DNS label, if it is there.
    Label,
    /// Must be possible as a part of a path, if it is there.
    PathSegment,
    LabelSelector,
    /// Must be possible as the key of a label, if it is there.
    LabelKey,
}

type Rules = &'static [(&'static str, Rule)];

const POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCHES: &[&str] = &["Equivalent", "Exact"];
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

fn rules(kind: &Kind) -> Rules {
    match (kind.group, kind.kind) {
        ("", _) => core(kind),
        ("apps", _) => apps(kind),
        ("batch", "CronJob") => &[
            ("spec.schedule", Required),
            ("spec.startingDeadlineSeconds", NotNegative),
            ("spec.concurrencyPolicy", OneOf(&["Allow", "Forbid", "Replace"])),
            ("spec.successfulJobsHistoryLimit", NotNegative),
            ("spec.failedJobsHistoryLimit", NotNegative),
        ],
        ("autoscaling", _) => &[
            ("spec.scaleTargetRef.kind", Required),
            ("spec.scaleTargetRef.kind", PathSegment),
            ("spec.scaleTargetRef.name", Required),
            ("spec.scaleTargetRef.name", PathSegment),
        ],
        ("policy", _) => &[
            ("spec.selector", LabelSelector),
            ("spec.unhealthyPodEvictionPolicy", OneOf(&["AlwaysAllow", "IfHealthyBudget"])),
        ],
        ("discovery.k8s.io", _) => &[
            ("addressType", Required),
            ("addressType", OneOf(&["FQDN", "IPv4", "IPv6"])),
            ("endpoints[].hostname", Label),
            ("endpoints[].nodeName", Subdomain),
            ("endpoints[].addresses", Required),
            ("ports[].protocol", OneOf(&["SCTP", "TCP", "UDP"])),
        ],
        ("networking.k8s.io", _) => networking(kind),
        ("storage.k8s.io", _) => storage(kind),
        ("node.k8s.io", _) => &[("handler", Required), ("handler", Label)],
        ("admissionregistration.k8s.io", _) => admission(kind),
        ("certificates.k8s.io", _) => &[
            ("spec.usages", Required),
            ("spec.signerName", Required),
            ("spec.usages[]", OneOf(USAGES)),
            ("spec.expirationSeconds", Range(600..=i64::MAX)),
        ],
        ("flowcontrol.apiserver.k8s.io", _) => flow_control(kind),
        ("resource.k8s.io", _) => &[
            ("spec.devices.requests[].name", Required),
            ("spec.devices.requests[].name", Label),
            ("spec.devices.requests[].exactly.deviceClassName", Required),
            ("spec.devices.requests[].exactly.deviceClassName", Subdomain),
            ("spec.devices.requests[].exactly.allocationMode", OneOf(&["All", "ExactCount"])),
            ("spec.spec.devices.requests[].name", Required),
            ("spec.spec.devices.requests[].name", Label),
            ("spec.spec.devices.requests[].exactly.deviceClassName", Required),
            ("spec.spec.devices.requests[].exactly.deviceClassName", Subdomain),
            ("spec.spec.devices.requests[].exactly.allocationMode", OneOf(&["All", "ExactCount"])),
        ],
        ("crest.dev", _) => ours(kind),
        _ => &[],
    }
}

fn ours(kind: &Kind) -> Rules {
    /// A day.
    const LONGEST: i64 = 24 * 3600;
    match kind.kind {
        "PodGroup" => &[
            ("spec.minMember", Range(1..=i32::MAX as i64)),
            ("spec.scheduleTimeoutSeconds", Range(1..=LONGEST)),
        ],
        "RebalancePolicy" => &[
            ("spec.goal", Required),
            ("spec.goal", OneOf(&["FreeMachines", "RemoveHotSpots"])),
            ("spec.by", OneOf(&["MeasuredUse", "Requests"])),
            ("spec.namespaces[]", Label),
            ("spec.selector", LabelSelector),
            ("spec.cpuThresholdPercent", Range(1..=100)),
            ("spec.memoryThresholdPercent", Range(1..=100)),
            ("spec.leastGainPercent", Range(1..=100)),
            ("spec.maxMovesAtOnce", Range(1..=100)),
            ("spec.maxMovesPerHour", Range(1..=1000)),
            ("spec.intervalSeconds", Range(1..=LONGEST)),
            ("spec.leaveAloneSeconds", Range(0..=30 * LONGEST)),
            ("spec.moveTimeoutSeconds", Range(1..=LONGEST)),
            ("spec.window.start", Required),
            ("spec.window.end", Required),
        ],
        "Tide" => &[
            ("spec.selector", LabelSelector),
            ("spec.sharePercent", Range(1..=100)),
            ("spec.durationSeconds", Range(1..=30 * LONGEST)),
            ("spec.leadSeconds", Range(1..=30 * LONGEST)),
            ("spec.graceSeconds", Range(0..=LONGEST)),
            ("spec.prediction.marginPercent", Range(0..=400)),
            ("spec.prediction.minHosts", Range(1..=1_000_000)),
            ("spec.prediction.minDays", Range(1..=60)),
            ("spec.windows[].from", Required),
            ("spec.windows[].to", Required),
        ],
        "BatchQuota" => {
            &[("spec.parent", Subdomain), ("spec.weight", Range(1..=1_000_000)), ("spec.namespaces[]", Label)]
        }
        "ElasticQuota" => &[("spec.namespaces[]", Label), ("spec.namespaceSelector", LabelSelector)],
        "ColocationPolicy" => &[
            ("spec.nodeSelector", LabelSelector),
            ("spec.cpu.servicesBy", OneOf(&["Larger", "Request", "Use"])),
            ("spec.memory.servicesBy", OneOf(&["Larger", "Request", "Use"])),
        ],
        "ColocationProfile" => &[
            ("spec.namespaceSelector", LabelSelector),
            ("spec.selector", LabelSelector),
            ("spec.class", OneOf(&["batch", "free", "pinned", "shared"])),
            ("spec.priorityClassName", Subdomain),
            ("spec.quota", Subdomain),
        ],
        "InterferenceRule" => &[
            ("spec.pods.selector", LabelSelector),
            ("spec.pods.namespaces[]", Label),
            ("spec.beside.selector", LabelSelector),
            ("spec.beside.namespaces[]", Label),
            ("spec.topologyKey", Required),
            ("spec.topologyKey", LabelKey),
        ],
        "Reservation" => &[
            ("spec.resources", Required),
            ("spec.owners", Required),
            ("spec.owners", LabelSelector),
            ("spec.ttlSeconds", Range(1..=i32::MAX as i64)),
        ],
        "SchedulingPolicy" => &[
            ("spec.schedulerName", Subdomain),
            ("spec.placement", OneOf(&["Pack", "Spread"])),
            ("spec.weights.fill", Range(0..=100)),
            ("spec.weights.balance", Range(0..=100)),
            ("spec.weights.apart", Range(0..=100)),
            ("spec.weights.company", Range(0..=100)),
            ("spec.weights.nodeAffinity", Range(0..=100)),
            ("spec.weights.taints", Range(0..=100)),
            ("spec.weights.images", Range(0..=100)),
        ],
        _ => &[],
    }
}

fn core(kind: &Kind) -> Rules {
    match kind.kind {
        "PersistentVolume" => &[
            ("spec.persistentVolumeReclaimPolicy", OneOf(&["Delete", "Recycle", "Retain"])),
            ("spec.volumeMode", OneOf(&["Block", "Filesystem"])),
            ("spec.storageClassName", Subdomain),
        ],
        "ReplicationController" => &[
            ("spec.minReadySeconds", NotNegative),
            ("spec.selector", Required),
            ("spec.replicas", NotNegative),
        ],
        _ => &[],
    }
}

fn apps(kind: &Kind) -> Rules {
    const RETENTION: &[&str] = &["Delete", "Retain"];
    match kind.kind {
        "ControllerRevision" => &[("data", Required), ("revision", NotNegative)],
        "DaemonSet" => &[("spec.minReadySeconds", NotNegative), ("spec.revisionHistoryLimit", NotNegative)],
        "StatefulSet" => &[
            ("spec.replicas", NotNegative),
            ("spec.minReadySeconds", NotNegative),
            ("spec.revisionHistoryLimit", NotNegative),
            ("spec.ordinals.start", NotNegative),
            ("spec.updateStrategy.rollingUpdate.partition", NotNegative),
            ("spec.persistentVolumeClaimRetentionPolicy.whenDeleted", OneOf(RETENTION)),
            ("spec.persistentVolumeClaimRetentionPolicy.whenScaled", OneOf(RETENTION)),
        ],
        _ => &[],
    }
}

fn networking(kind: &Kind) -> Rules {
    match kind.kind {
        "Ingress" => &[("spec.ingressClassName", Subdomain), ("spec.tls[].secretName", Subdomain)],
        "IngressClass" => &[
            ("spec.controller", Required),
            ("spec.parameters.kind", Required),
            ("spec.parameters.kind", PathSegment),
            ("spec.parameters.name", Required),
            ("spec.parameters.name", PathSegment),
            ("spec.parameters.apiGroup", Subdomain),
            ("spec.parameters.scope", OneOf(&["Cluster", "Namespace"])),
        ],
        "NetworkPolicy" => {
            &[("spec.podSelector", LabelSelector), ("spec.policyTypes[]", OneOf(&["Egress", "Ingress"]))]
        }
        "IPAddress" => &[
            ("spec.parentRef", Required),
            ("spec.parentRef.resource", Required),
            ("spec.parentRef.name", Required),
        ],
        "ServiceCIDR" => &[("spec.cidrs", Required)],
        _ => &[],
    }
}

fn storage(kind: &Kind) -> Rules {
    match kind.kind {
        "CSIDriver" => &[("spec.fsGroupPolicy", OneOf(&["File", "None", "ReadWriteOnceWithFSType"]))],
        "CSIStorageCapacity" => &[("storageClassName", Required), ("storageClassName", Subdomain)],
        "StorageClass" => &[
            ("provisioner", Required),
            ("reclaimPolicy", OneOf(&["Delete", "Retain"])),
            ("volumeBindingMode", OneOf(&["Immediate", "WaitForFirstConsumer"])),
        ],
        "VolumeAttributesClass" => &[("driverName", Required), ("parameters", Required)],
        _ => &[],
    }
}

fn admission(kind: &Kind) -> Rules {
    const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
    match kind.kind {
        "ValidatingAdmissionPolicy" => &[
            ("spec.failurePolicy", OneOf(POLICIES)),
            ("spec.paramKind.apiVersion", Required),
            ("spec.paramKind.kind", Required),
            ("spec.matchConstraints", Required),
            ("spec.matchConstraints.matchPolicy", OneOf(MATCHES)),
            ("spec.matchConstraints.resourceRules", Required),
            ("spec.variables[].name", Required),
            ("spec.variables[].expression", Required),
            ("spec.validations[].expression", Required),
            ("spec.validations[].reason", OneOf(REASONS)),
            ("spec.matchConditions[].name", Required),
            ("spec.matchConditions[].expression", Required),
            ("spec.auditAnnotations[].key", Required),
            ("spec.auditAnnotations[].valueExpression", Required),
        ],
        "MutatingAdmissionPolicy" => &[
            ("spec.failurePolicy", OneOf(POLICIES)),
            ("spec.reinvocationPolicy", OneOf(&["IfNeeded", "Never"])),
            ("spec.paramKind.apiVersion", Required),
            ("spec.paramKind.kind", Required),
            ("spec.matchConstraints", Required),
            ("spec.matchConstraints.matchPolicy", OneOf(MATCHES)),
            ("spec.matchConstraints.resourceRules", Required),
            ("spec.variables[].name", Required),
            ("spec.variables[].expression", Required),
            ("spec.mutations", Required),
            ("spec.mutations[].patchType", Required),
            ("spec.mutations[].patchType", OneOf(&["ApplyConfiguration", "JSONPatch"])),
            ("spec.matchConditions[].name", Required),
            ("spec.matchConditions[].expression", Required),
        ],
        "ValidatingAdmissionPolicyBinding" => &[
            ("spec.policyName", Required),
            ("spec.policyName", PathSegment),
            ("spec.matchResources.matchPolicy", OneOf(MATCHES)),
            ("spec.validationActions", Required),
            ("spec.validationActions[]", OneOf(&["Audit", "Deny", "Warn"])),
            ("spec.paramRef.parameterNotFoundAction", Required),
            ("spec.paramRef.parameterNotFoundAction", OneOf(&["Allow", "Deny"])),
        ],
        "MutatingAdmissionPolicyBinding" => &[
            ("spec.policyName", Required),
            ("spec.policyName", PathSegment),
            ("spec.matchResources.matchPolicy", OneOf(MATCHES)),
            ("spec.paramRef.parameterNotFoundAction", Required),
            ("spec.paramRef.parameterNotFoundAction", OneOf(&["Allow", "Deny"])),
        ],
        _ => &[
            ("webhooks[].name", Required),
            ("webhooks[].failurePolicy", OneOf(POLICIES)),
            ("webhooks[].matchPolicy", OneOf(MATCHES)),
            ("webhooks[].sideEffects", Required),
            ("webhooks[].sideEffects", OneOf(&["None", "NoneOnDryRun"])),
            ("webhooks[].timeoutSeconds", Range(1..=30)),
            ("webhooks[].admissionReviewVersions", Required),
            ("webhooks[].reinvocationPolicy", OneOf(&["IfNeeded", "Never"])),
            ("webhooks[].namespaceSelector", LabelSelector),
            ("webhooks[].objectSelector", LabelSelector),
            ("webhooks[].rules[].operations", Required),
            ("webhooks[].rules[].operations[]", OneOf(OPERATIONS)),
            ("webhooks[].rules[].apiGroups", Required),
            ("webhooks[].rules[].apiVersions", Required),
            ("webhooks[].rules[].resources", Required),
            ("webhooks[].rules[].scope", OneOf(SCOPES)),
            ("webhooks[].clientConfig.service.name", Required),
            ("webhooks[].clientConfig.service.namespace", Required),
            ("webhooks[].clientConfig.service.port", Range(1..=65535)),
            ("webhooks[].matchConditions[].name", Required),
            ("webhooks[].matchConditions[].expression", Required),
        ],
    }
}

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn flow_control(kind: &Kind) -> Rules {
    match kind.kind {
        "FlowSchema" => &[
            ("spec.matchingPrecedence", Range(1..=10_000)),
            ("spec.priorityLevelConfiguration.name", Required),
            ("spec.distinguisherMethod.type", OneOf(&["ByNamespace", "ByUser"])),
            ("spec.rules[].subjects", Required),
            ("spec.rules[].subjects[].kind", OneOf(&["Group", "ServiceAccount", "User"])),
            ("spec.rules[].resourceRules[].verbs", Required),
            ("spec.rules[].resourceRules[].apiGroups", Required),
            ("spec.rules[].resourceRules[].resources", Required),
            ("spec.rules[].nonResourceRules[].verbs", Required),
            ("spec.rules[].nonResourceRules[].nonResourceURLs", Required),
        ],
        _ => &[("spec.type", Required), ("spec.type", OneOf(&["Exempt", "Limited"]))],
    }
}

/// Judges an object by the rules of its kind.
pub(super) fn check(kind: &Kind, object: &Value, faults: &mut Faults) {
    for (path, rule) in rules(kind) {
        at(String::new(), object, path, rule, faults);
    }
}

fn at(place: String, value: &Value, path: &str, rule: &Rule, faults: &mut Faults) {
    let (head, rest) = match path.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (path, None),
    };
    let name = head.strip_suffix("[]");
    let dot = if place.is_empty() { "" } else { "." };
    let here = format!("{place}{dot}{}", name.unwrap_or(head));
    let found = &value[name.unwrap_or(head)];
    if name.is_some() {
        for (index, item) in found.as_array().into_iter().flatten().enumerate() {
            let here = format!("{here}[{index}]");
            match rest {
                Some(rest) => at(here, item, rest, rule, faults),
                None => judge(&here, item, rule, faults),
            }
        }
        return;
    }
    match rest {
        // The object's own parts are looked into even where they are missing: what is required there is missing too.
        Some(rest) if found.is_object() || (place.is_empty() && head == "spec") => {
            at(here, found, rest, rule, faults);
        }
        Some(_) => {}
        None => judge(&here, found, rule, faults),
    }
}

fn judge(path: &str, value: &Value, rule: &Rule, faults: &mut Faults) {
    let text = value.as_str().unwrap_or_default();
    let mut names = |found: Vec<String>| {
        if !text.is_empty() {
            faults.extend(found.into_iter().map(|fault| FieldError::invalid(path, text, fault)));
        }
    };
    match rule {
        Required if is_empty(value) => faults.push(FieldError::required(path, "")),
        Required => {}
        OneOf(supported) => {
            if !text.is_empty() && !supported.contains(&text) {
                faults.push(FieldError::not_supported(path, value.clone(), supported));
            }
        }
        NotNegative => {
            if let Some(number) = value.as_i64().filter(|number| *number < 0) {
                faults.push(FieldError::invalid(path, number, "must be greater than or equal to 0"));
            }
        }
        Range(range) => {
            if let Some(number) = value.as_i64().filter(|number| !range.contains(number)) {
                let message = format!("must be between {} and {}, inclusive", range.start(), range.end());
                faults.push(FieldError::invalid(path, number, message));
            }
        }
        Subdomain => names(names::subdomain(text)),
        Label => names(names::label(text)),
        PathSegment => names(names::path_segment(text)),
        LabelSelector => metadata::selector(path, value, faults),
        LabelKey => names(names::qualified_name(text)),
    }
}

/// Whether a value says nothing.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
