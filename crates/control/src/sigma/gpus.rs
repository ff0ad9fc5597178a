//! GPUs in Kubernetes' objects: whole ones by the resource of their device plugin; shares by Koordinator's resources
//! (`koordinator.sh/gpu-core: 50` is half a GPU), or by the annotations of Alibaba's open GPU share.
//!
//! Which GPUs a Pod holds is written into an annotation of its binding, in Koordinator's form.

use k8s_openapi::api::core::v1 as k8s;
use serde_json::{Value, json};
use sigma::gpu::{GPU, GpuAsk, GpuRequest, GpuSet, MOST_GPUS, NodeGpus};
use sigma::resources::Amounts;

use crate::pods::annotation;

/// In percent of a GPU; a Pod may name several, of which the largest counts.
const PERCENT: [&str; 3] =
    ["koordinator.sh/gpu", "koordinator.sh/gpu-core", "koordinator.sh/gpu-memory-ratio"];
const ALLOCATED: &str = "scheduling.koordinator.sh/device-allocated";
const SHARE_MILLI: &str = "alibabacloud.com/gpu-milli";
const SHARE_COUNT: &str = "alibabacloud.com/gpu-count";
const SHARE_INDEX: &str = "alibabacloud.com/gpu-index";
const SHARE_MODELS: &str = "alibabacloud.com/gpu-card-model";
/// Labels of nodes that name their GPUs' model.
const MODEL_LABELS: [&str; 3] = ["nvidia.com/gpu.product", "node.koordinator.sh/gpu-model", SHARE_MODELS];

/// The GPUs of a node.
pub(super) fn of_node(node: &k8s::Node, allocatable: &Amounts) -> NodeGpus {
    let amount = |name: &str| allocatable.get(name).copied();
    let by_percent = || PERCENT.iter().find_map(|name| amount(name)).map(|percent| percent / 100);
    let count = amount(GPU).or_else(by_percent).or_else(|| amount(SHARE_COUNT)).unwrap_or(0);
    let labels = node.metadata.labels.as_ref();
    let model = labels.and_then(|labels| MODEL_LABELS.iter().find_map(|name| labels.get(*name)));
    NodeGpus {
        count: u16::try_from(count).unwrap_or(MOST_GPUS).min(MOST_GPUS),
        model: model.cloned().unwrap_or_default(),
    }
}

/// What the Pod asks of GPUs. Shares leave `requests`: they are spent GPU by GPU, not as sums.
pub(super) fn request(pod: &k8s::Pod, requests: &mut Amounts) -> Option<GpuRequest> {
    let percent = PERCENT.iter().filter_map(|name| requests.remove(*name)).max().unwrap_or(0);
    let whole = requests.get(GPU).copied().unwrap_or(0);
    let ask = ask(whole, percent.saturating_mul(10)).or_else(|| annotated_ask(pod))?;
    let models = annotation(pod, SHARE_MODELS).unwrap_or_default();
    let models = models.split('|').filter(|model| !model.is_empty()).map(str::to_owned).collect();
    Some(GpuRequest { ask, models })
}

/// More than one GPU is always so many whole ones, rounded up.
fn ask(whole: u64, milli: u64) -> Option<GpuAsk> {
    let count = |count: u64| GpuAsk::Whole(u16::try_from(count).unwrap_or(u16::MAX));
    match (whole, milli) {
        (0, 0) => None,
        (0, 1..1000) => u16::try_from(milli).ok().map(GpuAsk::Share),
        (0, _) => Some(count(milli.div_ceil(1000))),
        (_, _) => Some(count(whole)),
    }
}

fn annotated_ask(pod: &k8s::Pod) -> Option<GpuAsk> {
    let milli: u64 = annotation(pod, SHARE_MILLI)?.parse().ok()?;
    let count: u64 = annotation(pod, SHARE_COUNT).map_or(Some(1), |count| count.parse().ok())?;
    match count {
        1 => ask(0, milli),
        _ => ask(count, 0),
    }
}

/// The GPUs that the Pod is known to hold.
pub(super) fn held(pod: &k8s::Pod) -> Option<GpuSet> {
    let by_index = || {
        let indices = annotation(pod, SHARE_INDEX)?.split('-').map(|index| index.parse().ok());
        indices.collect::<Option<Vec<u16>>>()
    };
    let indices = annotation(pod, ALLOCATED).and_then(minors).or_else(by_index)?;
    Some(GpuSet::new(indices))
}

/// The numbers of the devices in Koordinator's annotation.
fn minors(text: &str) -> Option<Vec<u16>> {
    let allocated: Value = serde_json::from_str(text).ok()?;
    let minor = |device: &Value| u16::try_from(device["minor"].as_u64()?).ok();
    allocated["gpu"].as_array()?.iter().map(minor).collect()
}

/// The annotation of a binding that says which GPUs the Pod holds.
pub(super) fn annotation_of(gpus: &GpuSet, pod: &k8s::Pod) -> Option<(String, String)> {
    let request = super::convert::pod(pod).gpu.filter(|_| !gpus.is_empty())?;
    let percent = (request.ask.milli_each() / 10).to_string();
    let device = |minor: usize| {
        json!({ "minor": minor, "resources":
            { "koordinator.sh/gpu-core": percent, "koordinator.sh/gpu-memory-ratio": percent } })
    };
    let devices: Vec<Value> = gpus.iter().map(device).collect();
    Some((ALLOCATED.to_owned(), json!({ "gpu": devices }).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(requests: &Value, annotations: &Value) -> k8s::Pod {
        let container = json!({ "name": "c", "resources": { "requests": requests } });
        serde_json::from_value(json!({
            "metadata": { "name": "p", "annotations": annotations }, "spec": { "containers": [container] } }))
        .unwrap()
    }

    fn check(requests: &Value, annotations: &Value, expected: Option<GpuAsk>) {
        let converted = super::super::convert::pod(&pod(requests, annotations));
        assert_eq!(converted.gpu.map(|gpu| gpu.ask), expected, "{requests} {annotations}");
        assert!(converted.requests.keys().all(|name| !name.starts_with("koordinator.sh/")));
    }

    #[test]
    fn shares_and_whole_gpus_by_all_their_names() {
        check(&json!({ "cpu": "1" }), &json!({}), None);
        check(&json!({ "nvidia.com/gpu": "2" }), &json!({}), Some(GpuAsk::Whole(2)));
        let both = json!({ "koordinator.sh/gpu-core": "50", "koordinator.sh/gpu-memory-ratio": "60" });
        check(&both, &json!({}), Some(GpuAsk::Share(600)));
        check(&json!({ "koordinator.sh/gpu": "200" }), &json!({}), Some(GpuAsk::Whole(2)));
        check(&json!({ "koordinator.sh/gpu": "150" }), &json!({}), Some(GpuAsk::Whole(2)));
        check(&json!({}), &json!({ SHARE_MILLI: "810" }), Some(GpuAsk::Share(810)));
        check(&json!({}), &json!({ SHARE_MILLI: "1000", SHARE_COUNT: "4" }), Some(GpuAsk::Whole(4)));
        check(&json!({}), &json!({ SHARE_MILLI: "many" }), None);
    }

    #[test]
    fn what_a_binding_says_is_read_back() {
        let asking = pod(&json!({ "koordinator.sh/gpu": "50" }), &json!({}));
        let gpus = GpuSet::new([3]);
        let (name, value) = annotation_of(&gpus, &asking).unwrap();
        assert_eq!(held(&pod(&json!({}), &json!({ name: value }))), Some(gpus));
        assert_eq!(held(&pod(&json!({}), &json!({ SHARE_INDEX: "0-2" }))), Some(GpuSet::new([0, 2])));
        assert_eq!(held(&pod(&json!({}), &json!({ ALLOCATED: "no JSON" }))), None);
        assert_eq!(annotation_of(&GpuSet::default(), &asking), None);
    }

    #[test]
    fn a_node_says_how_many_of_what() {
        let node: k8s::Node = serde_json::from_value(json!({
            "metadata": { "name": "n", "labels": { "nvidia.com/gpu.product": "A10" } },
            "status": { "allocatable": { "nvidia.com/gpu": "4" } } }))
        .unwrap();
        assert_eq!(super::super::convert::node(&node).gpus, NodeGpus { count: 4, model: "A10".to_owned() });
    }
}
