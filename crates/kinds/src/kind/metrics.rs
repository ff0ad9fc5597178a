//! The kinds of `metrics.k8s.io`, which are measured and not stored: served where there are agents to ask.

use super::{Kind, group};

const METRICS: Kind = group("metrics.k8s.io", "v1beta1").verbs(&["get", "list"]);

pub(super) const METRICS_KINDS: &[Kind] = &[
    METRICS.cluster(["NodeMetrics", "", "nodes", "io.k8s.metrics.v1beta1.NodeMetrics"]),
    METRICS.namespaced(["PodMetrics", "", "pods", "io.k8s.metrics.v1beta1.PodMetrics"]),
];
