//! The Pods that a manifest's object would become, for placing them without creating any.

use k8s_openapi::api::core::v1 as k8s;
use serde_json::{Value, json};

/// More replicas of one object than this are not tried: no cluster holds them.
const MOST_REPLICAS: u64 = 1_000_000;

/// Why an object's Pods are not known.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(
        "the Pods of {kind} `{name}` are not known beforehand: name a Pod, a Deployment, a StatefulSet, a ReplicaSet or a Job"
    )]
    Unknown { kind: String, name: String },
    #[error("the Pod template of {kind} `{name}` is not valid")]
    Template { kind: String, name: String, source: serde_json::Error },
}

/// The Pods of `object`; objects that have none, such as Services, yield none.
pub fn pods(object: &Value, namespace: &str) -> Result<Vec<k8s::Pod>, AppError> {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let name = object["metadata"]["name"].as_str().unwrap_or("unnamed").to_owned();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
    let spec = &object["spec"];
    let (template, count) = match kind.as_str() {
        "Pod" => (object, None),
        "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController" => {
            (&spec["template"], Some(spec["replicas"].as_u64().unwrap_or(1)))
        }
        "Job" => (&spec["template"], Some(at_once(spec))),
        "DaemonSet" | "CronJob" | "DagJob" => return Err(AppError::Unknown { kind, name }),
        _ => return Ok(Vec::new()),
    };
    let pod = |index: Option<u64>| {
        let mut pod = json!({ "metadata": template["metadata"], "spec": template["spec"] });
        pod["metadata"]["namespace"] = namespace.into();
        pod["metadata"]["name"] =
            index.map_or_else(|| name.clone(), |index| format!("{name}-{index}")).into();
        if index.is_some() {
            // Pods of one owner spread by themselves; the owner is not there yet, but its Pods would name it.
            pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name,
                "uid": format!("{namespace}/{kind}/{name}"), "controller": true }]);
        }
        serde_json::from_value(pod).map_err(|source| AppError::Template {
            kind: kind.clone(),
            name: name.clone(),
            source,
        })
    };
    match count {
        None => Ok(vec![pod(None)?]),
        Some(count) => (0..count.min(MOST_REPLICAS)).map(|index| pod(Some(index))).collect(),
    }
}

/// How many Pods of a Job run at the same time.
fn at_once(spec: &Value) -> u64 {
    let parallelism = spec["parallelism"].as_u64().unwrap_or(1);
    spec["completions"].as_u64().map_or(parallelism, |completions| completions.min(parallelism))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(object: &Value, expected: &[&str]) {
        let pods = pods(object, "default").unwrap();
        let names: Vec<String> = pods
            .iter()
            .map(|pod| {
                let metadata = &pod.metadata;
                format!("{}/{}", metadata.namespace.clone().unwrap(), metadata.name.clone().unwrap())
            })
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn replicas_are_counted_out() {
        let template = json!({ "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [] } });
        check(
            &json!({ "kind": "Pod", "metadata": { "name": "p" }, "spec": { "containers": [] } }),
            &["default/p"],
        );
        check(
            &json!({ "kind": "Deployment", "metadata": { "name": "d", "namespace": "n" },
                "spec": { "replicas": 2, "template": template } }),
            &["n/d-0", "n/d-1"],
        );
        check(
            &json!({ "kind": "Job", "metadata": { "name": "j" },
                "spec": { "parallelism": 5, "completions": 2, "template": template } }),
            &["default/j-0", "default/j-1"],
        );
        check(&json!({ "kind": "Service", "metadata": { "name": "s" } }), &[]);
    }

    #[test]
    fn what_is_not_known_beforehand_is_said() {
        let refused = pods(&json!({ "kind": "DaemonSet", "metadata": { "name": "d" } }), "default");
        assert!(matches!(refused, Err(AppError::Unknown { .. })));
        let refused = pods(&json!({ "kind": "Pod", "metadata": { "name": "p" }, "spec": 3 }), "default");
        assert!(matches!(refused, Err(AppError::Template { .. })));
    }
}
