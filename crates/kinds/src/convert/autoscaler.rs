//! `autoscaling/v1` autoscalers know one metric, the share of the requested CPU; they are stored as `autoscaling/v2`.
//!
//! What else a stored autoscaler scales on is kept when an old client writes: it travels in an annotation.

use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const SHARE: &str = "targetCPUUtilizationPercentage";
const CURRENT: &str = "currentCPUUtilizationPercentage";

fn cpu(target: &str, value: Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", target: value}})
}

fn is_cpu_share(metric: &Value) -> bool {
    metric["resource"]["name"] == "cpu" && !metric["resource"]["target"]["averageUtilization"].is_null()
}

fn fields<'a>(object: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(name)?.as_object_mut()
}

/// Takes an annotation that holds JSON.
fn take(object: &mut Value, key: &str) -> Option<Value> {
    let metadata = fields(object, "metadata")?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

/// The stored form.
pub(super) fn to_v2(object: &mut Value) {
    object["apiVersion"] = "autoscaling/v2".into();
    let (others, behavior) = (take(object, METRICS), take(object, BEHAVIOR));
    if let Some(spec) = fields(object, "spec") {
        let mut metrics: Vec<Value> = Vec::new();
        if let Some(share) = spec.remove(SHARE) {
            metrics.push(cpu("target", json!({"type": "Utilization", "averageUtilization": share})));
        }
        if let Some(Value::Array(others)) = others {
            metrics.extend(others);
        }
        if !metrics.is_empty() {
            spec.insert("metrics".into(), metrics.into());
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".into(), behavior);
        }
    }
    if let Some(status) = fields(object, "status")
        && let Some(share) = status.remove(CURRENT)
    {
        let current = cpu("current", json!({"averageUtilization": share, "averageValue": "0"}));
        status.insert("currentMetrics".into(), json!([current]));
    }
}

/// The old form.
pub(super) fn to_v1(object: &mut Value) {
    object["apiVersion"] = "autoscaling/v1".into();
    let mut kept: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = fields(object, "spec") {
        if let Some(Value::Array(mut metrics)) = spec.remove("metrics") {
            if let Some(index) = metrics.iter().position(is_cpu_share) {
                let metric = metrics.remove(index);
                spec.insert(SHARE.into(), metric["resource"]["target"]["averageUtilization"].clone());
            }
            if !metrics.is_empty() {
                kept.push((METRICS, metrics.into()));
            }
        }
        kept.extend(spec.remove("behavior").map(|behavior| (BEHAVIOR, behavior)));
    }
    if let Some(status) = fields(object, "status") {
        let metrics = status.remove("currentMetrics").unwrap_or_default();
        let share = metrics[0]["resource"]["current"]["averageUtilization"].clone();
        if share.is_i64() {
            status.insert(CURRENT.into(), share);
        }
        status.remove("conditions");
        status.entry("currentReplicas").or_insert_with(|| 0.into());
    }
    for (key, value) in kept {
        object["metadata"]["annotations"][key] = value.to_string().into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{to_v1, to_v2};

    #[test]
    fn what_the_old_form_cannot_say_survives_it() {
        let stored = json!({
            "apiVersion": "autoscaling/v2",
            "metadata": {"name": "a"},
            "spec": {
                "maxReplicas": 3,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 50}}},
                    {"type": "Pods", "pods": {"metric": {"name": "x"}}},
                ],
                "behavior": {"scaleUp": {"selectPolicy": "Max"}},
            },
        });
        let mut object = stored.clone();
        to_v1(&mut object);
        assert_eq!(object["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}));
        to_v2(&mut object);
        assert_eq!(object, stored);
    }
}
