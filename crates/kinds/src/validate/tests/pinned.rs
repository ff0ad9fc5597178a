//! Who may ask for CPUs of its own, and when that may change.

use model::names::{CPU_POLICY, CPU_SET, NUMA_POLICY};
use serde_json::{Value, json};

use super::{complete, kind, told};
use crate::validate::{create, resize, update};

const POLICY_PATH: &str = "Invalid metadata.annotations[crest.dev/cpu-policy]";

fn pod(cpu: &str, annotations: &Value) -> Value {
    let amounts = json!({"cpu": cpu, "memory": "1Gi"});
    let container = json!({"name": "c", "image": "i", "resources": {"requests": amounts, "limits": amounts}});
    json!({"metadata": {"annotations": annotations}, "spec": {"nodeName": "n", "containers": [container]}})
}

#[test]
fn new_pods_and_templates() {
    let check = |name: &str, body: &Value, expected: &[&str]| {
        assert_eq!(told(&create(kind(name), &complete(name, body))), expected, "{name} {body}");
    };
    check("Pod", &pod("2", &json!({CPU_POLICY: "full-cores", NUMA_POLICY: "single"})), &[]);
    check("Pod", &pod("2", &json!({CPU_POLICY: "mine"})), &[POLICY_PATH]);
    check("Pod", &pod("2500m", &json!({CPU_POLICY: "pinned"})), &[POLICY_PATH]);
    let numa_path = "Invalid metadata.annotations[crest.dev/numa-policy]";
    check("Pod", &pod("2", &json!({CPU_POLICY: "pinned", NUMA_POLICY: "two"})), &[numa_path]);
    check("Pod", &pod("2", &json!({NUMA_POLICY: "single"})), &[numa_path]);
    let mut burstable = pod("2", &json!({CPU_POLICY: "pinned"}));
    burstable["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "4", "memory": "1Gi"});
    check("Pod", &burstable, &[POLICY_PATH]);
    let template = json!({"metadata": {"labels": {"a": "b"}, "annotations": {CPU_POLICY: "mine"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    check("Deployment", &deployment, &["Invalid spec.template.annotations[crest.dev/cpu-policy]"]);
}

#[test]
fn what_was_granted_stands() {
    let old = complete("Pod", &pod("2", &json!({CPU_POLICY: "pinned", CPU_SET: "0-1"})));
    let change = |path: &str, value: Value| {
        let mut new = old.clone();
        *new.pointer_mut(path).unwrap() = value;
        new
    };
    let set = "/metadata/annotations/crest.dev~1cpu-set";
    let forbidden = ["Forbidden metadata.annotations[crest.dev/cpu-set]"];
    assert_eq!(told(&update(kind("Pod"), &change(set, "2-3".into()), &old)), forbidden);
    let policy = "/metadata/annotations/crest.dev~1cpu-policy";
    let forbidden = ["Forbidden metadata.annotations[crest.dev/cpu-policy]"];
    assert_eq!(told(&update(kind("Pod"), &change(policy, "full-cores".into()), &old)), forbidden);
    let resources = "/spec/containers/0/resources";
    let more = json!({"cpu": "3", "memory": "1Gi"});
    let new = change(resources, json!({"requests": more, "limits": more}));
    assert_eq!(told(&resize(kind("Pod"), &new, &old)), ["Forbidden spec.containers"]);
    let more = json!({"cpu": "2", "memory": "2Gi"});
    let new = change(resources, json!({"requests": more, "limits": more}));
    assert!(told(&resize(kind("Pod"), &new, &old)).is_empty());
}
