//! Pods: the first status, and the parts that have paths of their own.

use serde_json::{Value, json};

use crate::object;

/// A new Pod waits, and knows its QoS class.
pub(super) fn prepare_create(pod: &mut Value) {
    let qos_class = kinds::defaults::quality_of_service(&pod["spec"]);
    pod["status"] = json!({"phase": "Pending", "qosClass": qos_class});
    let is_gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    if is_gated {
        pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
            "lastTransitionTime": pod["metadata"]["creationTimestamp"], "reason": "SchedulingGated",
            "message": "The Pod is held back until its scheduling gates are lifted"}]);
    }
}

/// The class follows from the spec: a writer that leaves it out does not mean to take it away.
pub(super) fn keep_quality(new: &mut Value, old: &Value) {
    const FIELD: &str = "qosClass";
    if let Some(class) = old["status"].get(FIELD)
        && new["status"][FIELD].as_str().is_none_or(str::is_empty)
    {
        object::entry_object(new, "status").insert(FIELD.into(), class.clone());
    }
}

/// A write to the ephemeral containers changes nothing else.
pub(super) fn keep_all_but_ephemeral_containers(new: &mut Value, old: &Value) {
    const FIELD: &str = "ephemeralContainers";
    let wanted = new["spec"].get(FIELD).cloned();
    object::replace_all_but_managers(new, old);
    let spec = object::entry_object(new, "spec");
    match wanted {
        Some(wanted) => drop(spec.insert(FIELD.into(), wanted)),
        None => drop(spec.remove(FIELD)),
    }
}

/// A write to the size changes only the shares of containers, and how each is changed.
pub(super) fn keep_all_but_resources(new: &mut Value, old: &Value) {
    let wanted = object::replace_all_but_managers(new, old);
    for list in ["containers", "initContainers"] {
        for container in object::items_mut(new, list) {
            let name = container["name"].clone();
            let mut sized = wanted["spec"][list].as_array().into_iter().flatten();
            let Some(sized) = sized.find(|sized| sized["name"] == name) else { continue };
            for field in ["resources", "resizePolicy"] {
                match (sized.get(field), container.as_object_mut()) {
                    (Some(value), Some(container)) => drop(container.insert(field.into(), value.clone())),
                    (None, Some(container)) => drop(container.remove(field)),
                    (_, None) => {}
                }
            }
        }
    }
}
