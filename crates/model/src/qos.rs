//! The QoS class of a Pod: who gives way to whom on a host.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::names::{BATCH_CPU, BATCH_MEMORY, QOS_LABEL};

/// Who gives way to whom: a class yields to every class before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QosClass {
    /// Long-lived services. They own what they were promised.
    Online,
    /// Work that lives on what online leaves idle, and is squeezed or evicted first.
    Batch,
}

impl QosClass {
    /// The class of `pod`: batch when it asks for batch resources or carries Koordinator's `BE` label.
    pub fn of(pod: &Pod) -> Self {
        let labelled = pod
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(QOS_LABEL))
            .is_some_and(|class| class == "BE");
        let asks = pod.spec.iter().flat_map(|spec| &spec.containers).any(asks_for_batch);
        if labelled || asks { Self::Batch } else { Self::Online }
    }

    /// The name of the class in cgroup paths, labels and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Batch => "batch",
        }
    }
}

fn asks_for_batch(container: &Container) -> bool {
    let resources = container.resources.iter();
    resources
        .flat_map(|resources| resources.requests.iter().chain(resources.limits.iter()))
        .any(|quantities| quantities.contains_key(BATCH_CPU) || quantities.contains_key(BATCH_MEMORY))
}
