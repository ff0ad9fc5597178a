//! The kinds of `metrics.k8s.io`, which are measured and not stored: served where there are agents to ask.

use super::{Entry, group};

const METRICS: Entry = group("metrics.k8s.io", "v1beta1").verbs(&["get", "list"]);

pub(super) const METRICS_KINDS: &[Entry] = &[
    METRICS.cluster(["NodeMetrics", "", "nodes", "io.k8s.metrics.v1beta1.NodeMetrics"]),
    METRICS.namespaced(["PodMetrics", "", "pods", "io.k8s.metrics.v1beta1.PodMetrics"]),
];
