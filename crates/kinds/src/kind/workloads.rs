//! The kinds that run, scale and protect Pods.

use super::{Entry, SCALE, Subresource, group, part};

const APPS: Entry = group("apps", "v1");
const AUTOSCALING_V2: Entry = group("autoscaling", "v2");
const AUTOSCALING_V1: Entry = group("autoscaling", "v1");
const BATCH: Entry = group("batch", "v1");
const POLICY: Entry = group("policy", "v1");

pub(super) const APPS_KINDS: &[Entry] = &[
    APPS.namespaced([
        "ControllerRevision",
        "controllerrevision",
        "controllerrevisions",
        "io.k8s.api.apps.v1.ControllerRevision",
    ]),
    APPS.namespaced(["DaemonSet", "daemonset", "daemonsets", "io.k8s.api.apps.v1.DaemonSet"])
        .short(&["ds"])
        .within(&["all"])
        .with(&[part("status", "apps", "DaemonSet")]),
    APPS.namespaced(["Deployment", "deployment", "deployments", "io.k8s.api.apps.v1.Deployment"])
        .short(&["deploy"])
        .within(&["all"])
        .with(&[SCALE, part("status", "apps", "Deployment")]),
    APPS.namespaced(["ReplicaSet", "replicaset", "replicasets", "io.k8s.api.apps.v1.ReplicaSet"])
        .short(&["rs"])
        .within(&["all"])
        .with(&[SCALE, part("status", "apps", "ReplicaSet")]),
    APPS.namespaced(["StatefulSet", "statefulset", "statefulsets", "io.k8s.api.apps.v1.StatefulSet"])
        .short(&["sts"])
        .within(&["all"])
        .with(&[SCALE, part("status", "apps", "StatefulSet")]),
];

pub(super) const AUTOSCALING_V2_KINDS: &[Entry] = &[AUTOSCALING_V2
    .namespaced([
        "HorizontalPodAutoscaler",
        "horizontalpodautoscaler",
        "horizontalpodautoscalers",
        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    ])
    .short(&["hpa"])
    .within(&["all"])
    .with(&[Subresource { version: "v2", ..part("status", "autoscaling", "HorizontalPodAutoscaler") }])];

pub(super) const AUTOSCALING_V1_KINDS: &[Entry] = &[AUTOSCALING_V1
    .namespaced([
        "HorizontalPodAutoscaler",
        "horizontalpodautoscaler",
        "horizontalpodautoscalers",
        "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    ])
    .short(&["hpa"])
    .within(&["all"])
    .with(&[part("status", "autoscaling", "HorizontalPodAutoscaler")])];

pub(super) const BATCH_KINDS: &[Entry] = &[
    BATCH
        .namespaced(["CronJob", "cronjob", "cronjobs", "io.k8s.api.batch.v1.CronJob"])
        .short(&["cj"])
        .within(&["all"])
        .with(&[part("status", "batch", "CronJob")]),
    BATCH
        .namespaced(["Job", "job", "jobs", "io.k8s.api.batch.v1.Job"])
        .within(&["all"])
        .with(&[part("status", "batch", "Job")]),
];

pub(super) const POLICY_KINDS: &[Entry] = &[POLICY
    .namespaced([
        "PodDisruptionBudget",
        "poddisruptionbudget",
        "poddisruptionbudgets",
        "io.k8s.api.policy.v1.PodDisruptionBudget",
    ])
    .short(&["pdb"])
    .with(&[part("status", "policy", "PodDisruptionBudget")])];
