//! The standards, as tables.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Level, Policy, Standard, label_faults, violations};

fn check(level: Level, spec: Value, expected: &[&str]) {
    let standard = Standard { level, ..Standard::default() };
    assert_eq!(violations(standard, &json!({}), &spec), expected);
}

#[test]
fn what_breaks_out_is_against_the_baseline() {
    let spec = json!({"hostPID": true, "volumes": [{"name": "h", "hostPath": {"path": "/"}}],
        "containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 5}],
            "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]});
    let expected = [
        "host namespaces (hostPID=true)",
        "hostPath volumes (volume \"h\")",
        "hostPort (container \"c\" uses hostPort 5)",
        "non-default capabilities (container \"c\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
    ];
    check(Level::Baseline, spec.clone(), &expected);
    check(Level::Privileged, spec, &[]);
}

#[test]
fn what_is_not_needed_is_against_the_restricted_level() {
    check(Level::Baseline, json!({"containers": [{"name": "c"}]}), &[]);
    let expected = [
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)",
        "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
        "seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\")",
        "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"])",
    ];
    check(Level::Restricted, json!({"containers": [{"name": "c"}]}), &expected);
    let modest = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [{"name": "c", "securityContext":
            {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}],
    });
    check(Level::Restricted, modest, &[]);
}

#[test]
fn labels_say_how_strict_a_namespace_is() {
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/enforce-version": "v1.25", "pod-security.kubernetes.io/warn": "strict"});
    let policy = Policy::of_labels(&labels);
    assert_eq!(policy.enforce.to_string(), "baseline:v1.25");
    assert_eq!(policy.warn.to_string(), "restricted:latest", "what cannot be understood is the strictest");
    assert_eq!(policy.audit, Standard::default());
    let fields: Vec<String> = label_faults(&labels).into_iter().map(|fault| fault.field).collect();
    assert_eq!(fields, ["metadata.labels[pod-security.kubernetes.io/warn]"]);
}

proptest! {
    /// The stricter level lets nothing in that the other keeps out.
    #[test]
    fn restricted_is_stricter(host in any::<bool>(), user in 0..2_i64, privileged in any::<bool>()) {
        let spec = json!({"hostNetwork": host, "containers": [{"name": "c",
            "securityContext": {"runAsUser": user, "privileged": privileged}}]});
        let count = |level| violations(Standard { level, ..Standard::default() }, &json!({}), &spec).len();
        prop_assert!(count(Level::Restricted) >= count(Level::Baseline));
    }
}
