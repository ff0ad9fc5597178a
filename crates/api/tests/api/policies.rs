//! Admission policies: expressions that refuse, warn and change, through the whole server.

use serde_json::{Value, json};

use crate::harness::Cluster;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

/// A policy about config maps, and where it applies.
async fn configure(cluster: &Cluster, kind: &str, spec: Value, binding: Value) {
    let mut spec = spec;
    spec["matchConstraints"] = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["configmaps"]}]});
    let mut binding = binding;
    binding["policyName"] = "p".into();
    for (kind, name, spec) in [(kind.to_owned(), "p", spec), (format!("{kind}Binding"), "b", binding)] {
        let plural = kind.to_lowercase().replace("policy", "policies");
        let plural = if kind.ends_with("Binding") { format!("{}s", kind.to_lowercase()) } else { plural };
        let path = format!("{CONFIGURATIONS}/{plural}");
        let body = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": name}, "spec": spec});
        // The state of before is replaced.
        cluster.request("DELETE", &format!("{path}/{name}"), &Value::Null).await;
        let (status, said) = cluster.request("POST", &path, &body).await;
        assert_eq!(status, 201, "{said}");
    }
}

const VALIDATING: &str = "ValidatingAdmissionPolicy";
const MUTATING: &str = "MutatingAdmissionPolicy";

async fn create(cluster: &Cluster, name: &str) -> (u16, Value) {
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}});
    cluster.request("POST", &format!("{CONFIG_MAPS}?dryRun=All"), &body).await
}

/// The code and the message with which a policy of one validation answers.
async fn judged(cluster: &Cluster, validation: Value) -> (u16, String) {
    let spec = json!({"validations": [validation]});
    configure(cluster, VALIDATING, spec, json!({"validationActions": ["Deny"]})).await;
    let (status, said) = create(cluster, "a").await;
    (status, said["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_see_the_request() {
    let cluster = Cluster::start().await;
    for holds in [
        "object.data.k == 'v' && oldObject == null",
        "request.operation == 'CREATE' && request.resource.resource == 'configmaps' && request.dryRun",
        "request.userInfo.username == 'kubernetes-admin'",
        "namespaceObject.metadata.name == 'default'",
        "authorizer.group('').resource('pods').namespace('default').check('create').allowed()",
        "authorizer.requestResource.check('create').allowed()",
        "!authorizer.serviceAccount('default', 'default').group('').resource('secrets').check('list').allowed()",
    ] {
        let (status, said) = judged(&cluster, json!({"expression": holds})).await;
        assert_eq!(status, 201, "{holds}: {said}");
        let (status, _) = judged(&cluster, json!({"expression": format!("!({holds})")})).await;
        assert_eq!(status, 422, "{holds}");
    }
    let worded = json!({"expression": "false", "messageExpression": "'no ' + object.metadata.name", "reason": "Forbidden"});
    let (status, said) = judged(&cluster, worded).await;
    assert_eq!(status, 403);
    assert!(said.ends_with("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no a"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_expression_stalls_nobody() {
    let cluster = Cluster::start().await;
    let endless = "[0,1,2,3,4,5,6,7,8,9].all(a, ".repeat(10) + "true" + &")".repeat(10);
    let (status, said) = judged(&cluster, json!({"expression": endless})).await;
    assert_eq!(status, 422);
    assert!(said.contains("cost limit exceeded"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compiled_is_refused() {
    let cluster = Cluster::start().await;
    let body = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": VALIDATING, "metadata": {"name": "p"},
        "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE"], "resources": ["configmaps"]}]},
            "validations": [{"expression": "nobody.knows"}, {"expression": "1"}, {"expression": "'a' + 1 == 2"}]}});
    let path = format!("{CONFIGURATIONS}/validatingadmissionpolicies");
    let (status, said) = cluster.request("POST", &path, &body).await;
    assert_eq!(status, 422, "{said}");
    let causes = said["details"]["causes"].as_array().unwrap();
    let fields: Vec<&str> = causes.iter().filter_map(|cause| cause["field"].as_str()).collect();
    let at = |index: usize| format!("spec.validations[{index}].expression");
    assert_eq!(fields, [at(0), at(1), at(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_objects() {
    let cluster = Cluster::start().await;
    let parameters = |name: &str, most: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"use": "limits"}},
            "data": {"most": most}})
    };
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "size(object.data) <= int(params.data.most)",
            "messageExpression": "'at most ' + params.data.most"}],
    });
    let bound = |reference: Value| json!({"validationActions": ["Deny"], "paramRef": reference});
    assert_eq!(cluster.request("POST", CONFIG_MAPS, &parameters("loose", "5")).await.0, 201);
    assert_eq!(cluster.request("POST", CONFIG_MAPS, &parameters("tight", "0")).await.0, 201);
    for (reference, expected) in [
        (json!({"name": "loose", "parameterNotFoundAction": "Deny"}), 201),
        (json!({"name": "loose", "namespace": "default", "parameterNotFoundAction": "Deny"}), 201),
        (json!({"name": "tight", "parameterNotFoundAction": "Deny"}), 422),
        (json!({"name": "missing", "parameterNotFoundAction": "Deny"}), 422),
        (json!({"name": "missing", "parameterNotFoundAction": "Allow"}), 201),
        (json!({"selector": {"matchLabels": {"use": "limits"}}, "parameterNotFoundAction": "Deny"}), 422),
        (json!({"selector": {"matchLabels": {"use": "other"}}, "parameterNotFoundAction": "Allow"}), 201),
    ] {
        configure(&cluster, VALIDATING, spec.clone(), bound(reference.clone())).await;
        let (status, said) = create(&cluster, "a").await;
        assert_eq!(status, expected, "{reference}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_narrow_and_policies_exclude() {
    let cluster = Cluster::start().await;
    let refusing = json!({"validations": [{"expression": "false"}]});
    let elsewhere = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}});
    let excluding = json!({"excludeResourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"],
        "operations": ["*"], "resources": ["*"], "resourceNames": ["spared"]}]});
    for (matched, name, expected) in [
        (json!({}), "a", 422),
        (elsewhere, "a", 201),
        (excluding.clone(), "a", 422),
        (excluding, "spared", 201),
    ] {
        let binding = json!({"validationActions": ["Deny"], "matchResources": matched});
        configure(&cluster, VALIDATING, refusing.clone(), binding).await;
        let (status, said) = create(&cluster, name).await;
        assert_eq!(status, expected, "{matched} {name}: {said}");
    }
    configure(&cluster, VALIDATING, refusing, json!({"validationActions": ["Audit"]})).await;
    assert_eq!(create(&cluster, "a").await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_objects() {
    let cluster = Cluster::start().await;
    let mutate = async |mutation: Value, failure_policy: &str| {
        let spec = json!({"reinvocationPolicy": "Never", "failurePolicy": failure_policy,
            "variables": [{"name": "who", "expression": "request.userInfo.username"}],
            "matchConditions": [{"name": "c", "expression": "object.metadata.name != 'spared'"}],
            "mutations": [mutation]});
        configure(&cluster, MUTATING, spec, json!({})).await;
        create(&cluster, "a").await
    };
    let label = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
        "Object{metadata: Object.metadata{labels: {'by': variables.who}}}"}});
    let (status, made) = mutate(label, "Fail").await;
    assert_eq!((status, &made["metadata"]["labels"]["by"]), (201, &json!("kubernetes-admin")), "{made}");
    assert_eq!(made["data"]["k"], "v");
    assert_eq!(create(&cluster, "spared").await.1["metadata"]["labels"], Value::Null);
    let patch = json!({"patchType": "JSONPatch", "jsonPatch": {"expression":
        "[JSONPatch{op: 'replace', path: '/data/k', value: object.data.k + '!'}]"}});
    assert_eq!(mutate(patch, "Fail").await.1["data"]["k"], "v!");
    let failing = json!({"patchType": "JSONPatch", "jsonPatch": {"expression":
        "[JSONPatch{op: 'replace', path: '/nowhere', value: 1}]"}});
    assert_eq!(mutate(failing.clone(), "Fail").await.0, 422);
    let (status, made) = mutate(failing, "Ignore").await;
    assert_eq!((status, &made["data"]["k"]), (201, &json!("v")));
}
