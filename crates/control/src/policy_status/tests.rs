//! What policies are told.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use serde_json::{Value, json};

use super::decide::status;

fn policy(expression: &str, observed: &Value) -> ValidatingAdmissionPolicy {
    serde_json::from_value(json!({
        "metadata": { "name": "p", "generation": 2 },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"],
            }] },
            "validations": [{ "expression": expression }],
        },
        "status": { "observedGeneration": observed },
    }))
    .unwrap()
}

#[test]
fn each_generation_is_told_once() {
    let told = status(&policy("object.spec.replicas < 5", &json!(1))).unwrap();
    assert_eq!(told, json!({ "observedGeneration": 2, "typeChecking": {} }));
    assert_eq!(status(&policy("object.spec.replicas < 5", &json!(2))), None);
}

#[test]
fn what_an_expression_cannot_mean_is_told() {
    let told = status(&policy("object.spec.nothing < 5", &Value::Null)).unwrap();
    let warnings = told["typeChecking"]["expressionWarnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0]["fieldRef"], "spec.validations[0].expression");
}
