//! Pods stay for a while on a node that stopped answering, and new nodes wait until they are known to be well.

use async_trait::async_trait;
use kinds::status::Failure;
use serde_json::{Value, json};

use super::{Operation, Plugin, Review};
use crate::object;

/// How long a Pod stays on a node that stopped answering.
const EVICTION_SECONDS: i64 = 300;
const UNWELL_NODE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) struct DefaultTolerations;

#[async_trait]
impl Plugin for DefaultTolerations {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let is_written = matches!(review.operation, Operation::Create | Operation::Update);
        if is_written && review.is_about("", "pods") {
            add_tolerations(&mut review.object);
        }
        Ok(())
    }
}

fn add_tolerations(pod: &mut Value) {
    let had = pod["spec"]["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_missing = |taint: &&str| !had.iter().any(|toleration| tolerates(toleration, taint));
    let missing: Vec<Value> = UNWELL_NODE_TAINTS.into_iter().filter(is_missing).map(toleration).collect();
    if missing.is_empty() {
        return;
    }
    let tolerations = object::entry_object(pod, "spec").entry("tolerations").or_insert(Value::Null);
    match tolerations {
        Value::Array(tolerations) => tolerations.extend(missing),
        other => *other = missing.into(),
    }
}

fn toleration(taint: &str) -> Value {
    json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": EVICTION_SECONDS})
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let is = |field: &str, wanted: &str| {
        let value = toleration[field].as_str().unwrap_or_default();
        value.is_empty() || value == wanted
    };
    is("key", taint) && is("effect", "NoExecute")
}
