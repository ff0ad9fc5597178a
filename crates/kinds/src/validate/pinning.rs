//! CPUs of its own that a Pod asks for by annotations of ours.

use std::collections::BTreeMap;

use model::names::{CPU_POLICY, CPU_SET, NUMA_POLICY};
use model::pinning::{PinningError, Wish};
use serde_json::Value;

use super::Faults;
use crate::status::FieldError;
use crate::{defaults, resources};

/// What a Pod that is to be created asks for must be what it may have.
pub(super) fn check_new(pod: &Value, faults: &mut Faults) {
    let asked = wish(pod).and_then(|wish| {
        let Some(wish) = wish else { return Ok(()) };
        let requests = resources::of_pod(pod, "requests");
        let milli = requests.get("cpu").map_or(0, |amount| amount.milli());
        let class = defaults::quality_of_service(&pod["spec"]);
        wish.granted(class, u64::try_from(milli.max(0)).unwrap_or(u64::MAX)).map(drop)
    });
    told("metadata.annotations", pod, asked, faults);
}

/// A template says something that is known; whether its Pods may have it is seen when they are made.
pub(super) fn check_template(path: &str, template: &Value, faults: &mut Faults) {
    told(path, template, wish(template).map(drop), faults);
}

/// What has been granted stands: the scheduler and the host's agent reckon with it.
pub(super) fn check_update(new: &Value, old: &Value, faults: &mut Faults) {
    let is_placed = old["spec"]["nodeName"].as_str().is_some_and(|name| !name.is_empty());
    let [new, old] = [new, old].map(|pod| &pod["metadata"]["annotations"]);
    for name in [CPU_POLICY, NUMA_POLICY, CPU_SET].into_iter().filter(|name| new[name] != old[name]) {
        if is_placed || name != CPU_SET {
            let message = "may not be added, changed or removed";
            faults.push(FieldError::forbidden(format!("metadata.annotations[{name}]"), message));
        }
    }
}

/// Its CPUs were chosen for its number of them.
pub(super) fn check_resize(new: &Value, old: &Value, faults: &mut Faults) {
    let cpu = |pod: &Value| resources::of_pod(pod, "requests").get("cpu").map(|amount| amount.milli());
    if !old["metadata"]["annotations"][CPU_POLICY].is_null() && cpu(new) != cpu(old) {
        let message = "the cpu of a pod with CPUs of its own cannot be resized";
        faults.push(FieldError::forbidden("spec.containers", message));
    }
}

fn wish(pod: &Value) -> Result<Option<Wish>, PinningError> {
    let all = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let ours = all.filter(|(name, _)| [CPU_POLICY, NUMA_POLICY].contains(&name.as_str()));
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    Wish::of(&ours.filter_map(text).collect::<BTreeMap<_, _>>())
}

fn told(path: &str, pod: &Value, asked: Result<(), PinningError>, faults: &mut Faults) {
    if let Err(error) = asked {
        let name = error.annotation();
        let value = pod["metadata"]["annotations"][name].clone();
        faults.push(FieldError::invalid(format!("{path}[{name}]"), value, error.to_string()));
    }
}
