//! The side of a host on which a Pod is: services, or what lives on what they leave idle. See [`crate::class`] for the four
//! classes that these are made of.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::class::{Class, Lent, Signs, class_of};
use crate::names::{CLASS_LABEL, MID_CPU, MID_MEMORY, QOS_LABEL};

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
    /// The side on which `pod` is, by its label, Koordinator's, its priority class or what it asks for. Where these
    /// contradict each other, which admission lets nobody do, what it asks for decides.
    pub fn of(pod: &Pod) -> Self {
        let label = |name| pod.metadata.labels.as_ref()?.get(name).map(String::as_str);
        let signs = Signs {
            label: label(CLASS_LABEL),
            koordinator: label(QOS_LABEL),
            priority_class: pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_deref()),
            asks_for: Lent::of(|names| any_asks_for(pod, names)),
            scheduler: None,
            has_cpu_policy: false,
        };
        let is_batch = match class_of(&signs) {
            Ok(class) => class.is_some_and(Class::is_batch),
            Err(_) => signs.asks_for.is_some_and(Lent::is_batch) || signs.koordinator == Some("BE"),
        };
        if is_batch { Self::Batch } else { Self::Online }
    }

    /// The name of the class in cgroup paths, labels and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Batch => "batch",
        }
    }
}

/// Whether `pod` lives on what services requested and do not use: on their side, and after them.
pub fn is_mid(pod: &Pod) -> bool {
    any_asks_for(pod, [MID_CPU, MID_MEMORY])
}

fn any_asks_for(pod: &Pod, names: [&str; 2]) -> bool {
    let asks = |container: &Container| {
        let resources = container.resources.iter();
        let mut amounts =
            resources.flat_map(|resources| resources.requests.iter().chain(resources.limits.iter()));
        amounts.any(|quantities| names.iter().any(|name| quantities.contains_key(*name)))
    };
    let containers =
        |spec: &PodSpec| spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(asks);
    pod.spec.as_ref().is_some_and(containers)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: &Value, expected: (QosClass, bool)) {
        let pod = json!({ "metadata": { "name": "p" }, "spec": spec });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!((QosClass::of(&pod), is_mid(&pod)), expected, "{spec}");
    }

    #[test]
    fn any_container_says_what_a_pod_lives_on() {
        for amounts in ["requests", "limits"] {
            for (name, expected) in [
                ("kubernetes.io/batch-memory", (QosClass::Batch, false)),
                ("kubernetes.io/mid-cpu", (QosClass::Online, true)),
                ("cpu", (QosClass::Online, false)),
            ] {
                let asking = json!({ "name": "a", "resources": { amounts: { name: "1" } } });
                let plain = json!({ "name": "b" });
                check(&json!({ "containers": [plain, asking] }), expected);
                check(&json!({ "initContainers": [asking], "containers": [plain] }), expected);
            }
        }
    }
}
