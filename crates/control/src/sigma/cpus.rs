//! CPUs of pinned Pods in Kubernetes' objects: nodes tell how theirs lie, Pods ask by annotations, and which they have is
//! written into an annotation of their binding, where the host's agent finds it.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as k8s;
use model::names::{CPU_SET, CPU_TOPOLOGY};
use model::pinning::{Pinning, PinningError, Wish};
use model::{CpuSet, CpuTopology};
use sigma::resources::{Amounts, CPU};

use crate::pods::annotation;

/// How the CPUs of the node lie. What does not say so properly says nothing.
pub(super) fn of_node(node: &k8s::Node) -> Option<Arc<CpuTopology>> {
    let told = node.metadata.annotations.as_ref()?.get(CPU_TOPOLOGY)?;
    serde_json::from_str(told).ok().map(Arc::new)
}

/// The CPUs of its own that the Pod asks for.
pub(super) fn request(pod: &k8s::Pod, requests: &Amounts) -> Option<Result<Pinning, PinningError>> {
    let wish = Wish::of(pod.metadata.annotations.as_ref()?).transpose()?;
    let cpu = requests.get(CPU).copied().unwrap_or(0);
    Some(wish.and_then(|wish| wish.granted(&class(pod), cpu)))
}

/// Kubernetes' own class. A Pod that no server has seen yet, of a file, has none in its status.
fn class(pod: &k8s::Pod) -> String {
    let told = pod.status.as_ref().and_then(|status| status.qos_class.clone());
    told.unwrap_or_else(|| {
        let spec = serde_json::to_value(&pod.spec).unwrap_or_default();
        kinds::defaults::quality_of_service(&spec).to_owned()
    })
}

/// The CPUs that a bound Pod has: none where nobody said so.
pub(super) fn held(pod: &k8s::Pod) -> CpuSet {
    annotation(pod, CPU_SET).and_then(|list| list.parse().ok()).unwrap_or_default()
}

/// The annotation of a binding that says which CPUs the Pod has.
pub(super) fn annotation_of(cpus: &CpuSet) -> Option<(String, String)> {
    (!cpus.is_empty()).then(|| (CPU_SET.to_owned(), cpus.to_string()))
}

#[cfg(test)]
mod tests {
    use model::pinning::{CoreShape, NumaPolicy};
    use serde_json::{Value, json};

    use model::names::{CPU_POLICY, NUMA_POLICY};

    use super::*;

    fn pod(requests: &Value, limits: &Value, annotations: &Value) -> k8s::Pod {
        let container = json!({ "name": "c", "resources": { "requests": requests, "limits": limits } });
        serde_json::from_value(json!({
            "metadata": { "name": "p", "annotations": annotations }, "spec": { "containers": [container] } }))
        .unwrap()
    }

    #[test]
    fn who_asks_for_cpus_of_its_own() {
        let check =
            |amounts: [&Value; 2], annotations: Value, expected: Option<Result<Pinning, PinningError>>| {
                let converted = super::super::convert::pod(&pod(amounts[0], amounts[1], &annotations));
                assert_eq!(converted.pinning, expected, "{annotations}");
            };
        let (whole, part) =
            (json!({ "cpu": "2", "memory": "1Gi" }), json!({ "cpu": "1500m", "memory": "1Gi" }));
        let pinned = Pinning { count: 2, shape: CoreShape::Full, numa: NumaPolicy::Single };
        check([&whole, &whole], json!({}), None);
        check([&whole, &whole], json!({ CPU_POLICY: "full-cores", NUMA_POLICY: "single" }), Some(Ok(pinned)));
        let burstable = Err(PinningError::Class("Burstable".to_owned()));
        check([&whole, &json!({})], json!({ CPU_POLICY: "full-cores" }), Some(burstable));
        let fraction = Err(PinningError::Fraction(1500));
        check([&part, &part], json!({ CPU_POLICY: "full-cores" }), Some(fraction));
        check([&whole, &whole], json!({ NUMA_POLICY: "single" }), Some(Err(PinningError::NumaAlone)));
    }

    #[test]
    fn what_a_binding_says_is_read_back() {
        let cpus: CpuSet = "0-2,8".parse().unwrap();
        let (name, value) = annotation_of(&cpus).unwrap();
        let none = json!({});
        assert_eq!(held(&pod(&none, &none, &json!({ name: value }))), cpus);
        assert_eq!(held(&pod(&none, &none, &json!({ CPU_SET: "all of them" }))), CpuSet::default());
        assert_eq!(annotation_of(&CpuSet::default()), None);
    }

    #[test]
    fn a_node_says_how_its_cpus_lie() {
        let node = |told: &str| -> k8s::Node {
            let annotations = json!({ CPU_TOPOLOGY: told });
            serde_json::from_value(json!({ "metadata": { "name": "n", "annotations": annotations } }))
                .unwrap()
        };
        let told = node(r#"{"numa":[{"id":0,"socket":0,"cores":["0,2","1,3"]}]}"#);
        let topology = super::super::convert::node(&told).cpu_topology.unwrap();
        assert_eq!(topology.cpus().to_string(), "0-3");
        assert_eq!(of_node(&node(r#"{"numa":[]}"#)), None);
        assert_eq!(of_node(&node("four")), None);
    }
}
