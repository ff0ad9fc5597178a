//! What the class that a Pod or an Ingress names, or does not name, says about it.

use async_trait::async_trait;
use kinds::status::Failure;
use serde_json::{Map, Value, json};

use super::{Operation, Plugin, Review, storage};
use crate::object;

/// A Pod's runtime class must be there; it brings the overhead and the nodes that it needs.
pub(super) struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        if review.operation != Operation::Create || !review.is_about("", "pods") {
            return Ok(());
        }
        let name = review.object["spec"]["runtimeClassName"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() {
            let has_overhead =
                review.object["spec"]["overhead"].as_object().is_some_and(|map| !map.is_empty());
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return if has_overhead { Err(review.forbid(why)) } else { Ok(()) };
        }
        let Some(classes) = review.lister("node.k8s.io", "runtimeclasses").await? else { return Ok(()) };
        let Some(class) = classes.get("", &name) else {
            return Err(review.forbid(&format!("pod rejected: RuntimeClass \"{name}\" not found")));
        };
        set_overhead(&mut review.object, &class["overhead"]["podFixed"])
            .and_then(|()| set_scheduling(&mut review.object, &class["scheduling"]))
            .map_err(|why| review.forbid(&format!("pod rejected: {why}")))
    }
}

fn set_overhead(pod: &mut Value, overhead: &Value) -> Result<(), String> {
    let asked = pod["spec"]["overhead"].as_object().is_some_and(|map| !map.is_empty());
    if asked && pod["spec"]["overhead"] != *overhead {
        return Err("Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned());
    }
    if overhead.is_object() {
        object::entry_object(pod, "spec").insert("overhead".into(), overhead.clone());
    }
    Ok(())
}

fn set_scheduling(pod: &mut Value, scheduling: &Value) -> Result<(), String> {
    let wanted = scheduling["nodeSelector"].as_object().cloned().unwrap_or_else(Map::new);
    for (key, value) in wanted {
        let spec = &mut pod["spec"];
        let selector = object::entry_object(spec, "nodeSelector");
        if selector.get(&key).is_some_and(|had| *had != value) {
            return Err(format!("conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}"));
        }
        selector.insert(key, value);
    }
    let tolerations = scheduling["tolerations"].as_array().cloned().unwrap_or_default();
    if !tolerations.is_empty() {
        let spec = object::entry_object(pod, "spec");
        let slot = spec.entry("tolerations").or_insert_with(|| json!([]));
        let had = slot.as_array().cloned().unwrap_or_default();
        let new = tolerations.into_iter().filter(|toleration| !had.contains(toleration));
        *slot = had.iter().cloned().chain(new).collect();
    }
    Ok(())
}

const DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const INGRESS_CLASS_OLD: &str = "kubernetes.io/ingress.class";

/// An Ingress that names no class gets the default one.
pub(super) struct DefaultIngressClass;

#[async_trait]
impl Plugin for DefaultIngressClass {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        const GROUP: &str = "networking.k8s.io";
        let is_new = review.operation == Operation::Create && review.is_about(GROUP, "ingresses");
        let says = !review.object["spec"]["ingressClassName"].is_null()
            || !review.object["metadata"]["annotations"][INGRESS_CLASS_OLD].is_null();
        if !is_new || says {
            return Ok(());
        }
        let Some(classes) = review.lister(GROUP, "ingressclasses").await? else { return Ok(()) };
        let all = classes.all();
        let defaults = all.iter().map(|class| &**class);
        let defaults =
            defaults.filter(|class| class["metadata"]["annotations"][DEFAULT_INGRESS_CLASS] == "true");
        if let Some(name) = storage::newest(defaults) {
            object::entry_object(&mut review.object, "spec").insert("ingressClassName".into(), name.into());
        }
        Ok(())
    }
}
