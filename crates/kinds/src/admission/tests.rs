use serde_json::{Value, json};

use super::policy::{Conditions, Denial, Inputs, Policy};
use super::review::{self, AnswerError, Outcome};
use super::{Matcher, Operation, Request};
use crate::cel::{Authority, Query, Value as CelValue, Verdict};
use crate::find;

struct Nobody;

impl Authority for Nobody {
    fn decide(&self, _query: &Query) -> Verdict {
        Verdict::default()
    }

    fn request(&self) -> Query {
        Query::default()
    }
}

fn request<'a>(group: &str, plural: &str, subresource: Option<&'a str>) -> Request<'a> {
    let version = if group == "autoscaling" { "v2" } else { "v1" };
    Request {
        kind: find(group, version, plural).unwrap(),
        versions: &[],
        subresource,
        operation: Operation::Create,
        namespace: "n",
        name: "x".to_owned(),
        dry_run: false,
        user: json!({"username": "jane"}),
        options: Value::Null,
    }
}

fn webhook(rule: Value) -> Value {
    json!({"name": "a.example.com", "rules": [rule]})
}

fn rule(groups: &str, versions: &str, resources: &str) -> Value {
    json!({"operations": ["CREATE"], "apiGroups": [groups], "apiVersions": [versions],
        "resources": [resources], "scope": "*"})
}

/// As what the rule sees the request.
fn seen(rule: Value, request: &Request<'_>) -> Option<String> {
    let matcher = Matcher::of_webhook(&webhook(rule)).unwrap();
    matcher.seen_as(request).map(|kind| format!("{}/{}", kind.api_version(), kind.plural))
}

#[test]
fn rules_name_groups_versions_and_resources() {
    let pods = request("", "pods", None);
    let status = request("", "pods", Some("status"));
    let is_seen = |said: Value, request: &Request<'_>| seen(said, request).is_some();
    assert!(is_seen(rule("", "v1", "pods"), &pods));
    assert!(is_seen(rule("*", "*", "*"), &pods));
    assert!(is_seen(rule("*", "*", "*/*"), &pods));
    assert!(!is_seen(rule("apps", "v1", "pods"), &pods));
    assert!(!is_seen(rule("", "v2", "pods"), &pods));
    assert!(!is_seen(rule("", "v1", "*"), &status), "all resources, but no subresources");
    for resource in ["pods/status", "pods/*", "*/status", "*/*"] {
        assert!(is_seen(rule("", "v1", resource), &status), "{resource}");
        assert_eq!(is_seen(rule("", "v1", resource), &pods), resource.ends_with("/*"), "{resource}");
    }
    let mut scoped = rule("", "v1", "pods");
    scoped["scope"] = "Cluster".into();
    assert!(!is_seen(scoped.clone(), &pods));
    scoped["resources"] = json!(["namespaces"]);
    let namespaces = request("", "namespaces", None);
    assert!(is_seen(scoped, &namespaces));
    let mut named = rule("", "v1", "pods");
    named["resourceNames"] = json!(["other"]);
    assert!(!is_seen(named, &pods));
    let mut updates = rule("", "v1", "pods");
    updates["operations"] = json!(["UPDATE", "DELETE"]);
    assert!(!is_seen(updates, &pods));
}

#[test]
fn other_versions_of_the_same_objects_are_meant_too() {
    let autoscaler = request("autoscaling", "horizontalpodautoscalers", None);
    let old = rule("autoscaling", "v1", "horizontalpodautoscalers");
    let seen_as = Some("autoscaling/v1/horizontalpodautoscalers".to_owned());
    assert_eq!(seen(old.clone(), &autoscaler), seen_as);
    let mut exact = webhook(old);
    exact["matchPolicy"] = "Exact".into();
    assert!(Matcher::of_webhook(&exact).unwrap().seen_as(&autoscaler).is_none());
}

#[test]
fn what_configures_admission_is_exempt() {
    for plural in ["validatingwebhookconfigurations", "mutatingadmissionpolicies"] {
        let request = request("admissionregistration.k8s.io", plural, None);
        assert_eq!(seen(rule("*", "*", "*"), &request), None);
    }
}

#[test]
fn objects_are_selected_by_either_state() {
    let selecting = json!({"objectSelector": {"matchLabels": {"a": "1"}}, "rules": []});
    let matcher = Matcher::of_webhook(&selecting).unwrap();
    let labelled = json!({"metadata": {"labels": {"a": "1"}}});
    let bare = json!({"metadata": {}});
    assert!(matcher.selects(&labelled, &bare) && matcher.selects(&bare, &labelled));
    assert!(!matcher.selects(&bare, &Value::Null) && !matcher.selects(&json!({}), &Value::Null));
    assert!(Matcher::of_webhook(&json!({})).unwrap().selects(&json!({}), &Value::Null));
}

fn answer(response: Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}

#[test]
fn answers_are_not_believed_at_once() {
    let read = |review: &Value, mutates| review::answer(review, "a.example.com", "u", mutates);
    let allowed = answer(json!({"uid": "u", "allowed": true}));
    assert_eq!(read(&allowed, false).unwrap().outcome, Outcome::Allowed);
    let mut old = allowed.clone();
    old["apiVersion"] = "admission.k8s.io/v1beta1".into();
    assert!(matches!(read(&old, false), Err(AnswerError::Version { .. })));
    assert!(matches!(read(&json!("what"), false), Err(AnswerError::Version { .. })));
    assert_eq!(read(&answer(Value::Null), false), Err(AnswerError::Absent));
    let lie = answer(json!({"uid": "v", "allowed": true}));
    assert!(matches!(read(&lie, false), Err(AnswerError::Uid { .. })));
    let patch = |patch: &str, patch_type: &str| {
        answer(json!({"uid": "u", "allowed": true, "patch": patch, "patchType": patch_type}))
    };
    assert_eq!(read(&patch("W10=", "JSONPatch"), true).unwrap().outcome, Outcome::Patched(b"[]".to_vec()));
    assert_eq!(read(&patch("W10=", "JSONPatch"), false), Err(AnswerError::PatchOfValidating));
    assert_eq!(read(&patch("W10=", ""), true), Err(AnswerError::NoPatchType));
    assert_eq!(read(&patch("", "JSONPatch"), true), Err(AnswerError::NoPatch));
    assert_eq!(read(&patch("%", "JSONPatch"), true), Err(AnswerError::Encoding));
    assert!(matches!(read(&patch("W10=", "Merge"), true), Err(AnswerError::PatchType { .. })));
}

#[test]
fn a_refusal_is_never_a_success() {
    let refused = |status: Value| {
        let review = answer(json!({"uid": "u", "allowed": false, "status": status}));
        match review::answer(&review, "a.example.com", "u", false).unwrap().outcome {
            Outcome::Refused(failure) => failure.to_value(),
            other => panic!("{other:?}"),
        }
    };
    let plain = refused(Value::Null);
    assert_eq!((&plain["code"], &plain["reason"]), (&json!(400), &Value::Null));
    assert_eq!(
        plain["message"],
        "admission webhook \"a.example.com\" denied the request without explanation"
    );
    let worded = refused(json!({"code": 418, "reason": "Teapot", "message": "no coffee",
        "details": {"causes": [{"field": "spec"}]}}));
    assert_eq!((&worded["code"], &worded["reason"]), (&json!(418), &json!("Teapot")));
    assert_eq!(worded["message"], "admission webhook \"a.example.com\" denied the request: no coffee");
    assert_eq!(worded["details"]["causes"][0]["field"], "spec");
    assert_eq!(refused(json!({"code": 200, "status": "Success"}))["code"], 400);
}

fn inputs(object: &Value) -> Inputs {
    Inputs::new(&json!({"operation": "CREATE", "name": "x"}), object, &Value::Null, None)
}

fn policy(spec: Value) -> Policy {
    let object = json!({"kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": spec});
    Policy::compile(&object).unwrap()
}

#[test]
fn a_policy_denies_in_its_own_words() {
    let policy = policy(json!({
        "variables": [
            {"name": "limit", "expression": "2"},
            {"name": "over", "expression": "object.spec.replicas > variables.limit"},
            {"name": "unused", "expression": "object.nope.nope"},
        ],
        "validations": [
            {"expression": "!variables.over", "messageExpression": "'at most ' + string(variables.limit)"},
            {"expression": "!variables.over", "message": "too many", "reason": "Forbidden"},
            {"expression": "!variables.over", "messageExpression": "'a\\nb'"},
            {"expression": "object.missing"},
        ],
        "auditAnnotations": [{"key": "over", "valueExpression": "variables.over ? 'yes' : null"}],
    }));
    let denial = |message: &str, reason: &str| Denial { message: message.into(), reason: reason.into() };
    let verdict = policy.decide(&inputs(&json!({"spec": {"replicas": 3}})), &CelValue::Null, &Nobody);
    assert_eq!(
        verdict.denials,
        [
            denial("at most 2", ""),
            denial("too many", "Forbidden"),
            denial("failed expression: !variables.over", ""),
            denial("no such key: missing", ""),
        ]
    );
    assert_eq!(verdict.annotations, [("p/over".to_owned(), "yes".to_owned())]);
    let verdict =
        policy.decide(&inputs(&json!({"spec": {"replicas": 1}, "missing": true})), &CelValue::Null, &Nobody);
    assert_eq!(verdict, super::policy::Verdict::default());
}

#[test]
fn what_fails_is_for_the_failure_policy() {
    let lenient = policy(json!({"failurePolicy": "Ignore",
        "validations": [{"expression": "object.missing"}, {"expression": "false"}]}));
    let verdict = lenient.decide(&inputs(&json!({})), &CelValue::Null, &Nobody);
    assert_eq!(verdict.denials.len(), 1, "only what was decided: {verdict:?}");
    let conditional = policy(json!({"validations": [{"expression": "false"}], "matchConditions": [
        {"name": "fails", "expression": "object.missing"},
        {"name": "excludes", "expression": "false"},
    ]}));
    assert!(conditional.decide(&inputs(&json!({})), &CelValue::Null, &Nobody).denials.is_empty());
}

#[test]
fn faults_of_expressions_are_told_by_their_fields() {
    let object = json!({"metadata": {"name": "p"}, "spec": {
        "matchConditions": [{"name": "a", "expression": "params.x"}],
        "variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "a b"}],
        "validations": [
            {"expression": "object."},
            {"expression": "'text'"},
            {"expression": "variables.b", "messageExpression": "1"},
            {"expression": "request.nope"},
        ],
        "auditAnnotations": [{"key": "k", "valueExpression": "1"}],
    }});
    let faults: Vec<String> =
        Policy::compile(&object).unwrap_err().into_iter().map(|fault| fault.field).collect();
    assert_eq!(
        faults,
        [
            "spec.matchConditions[0].expression",
            "spec.variables[0].expression",
            "spec.variables[1].expression",
            "spec.validations[0].expression",
            "spec.validations[1].expression",
            "spec.validations[2].messageExpression",
            "spec.validations[3].expression",
            "spec.auditAnnotations[0].valueExpression",
        ]
    );
}

#[test]
fn policies_change_objects() {
    let kind = find("", "v1", "pods").unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"kept": "1"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mutated = |mutation: Value| {
        let policy = policy(json!({"mutations": [mutation]}));
        policy.mutate(kind, (&pod, &inputs(&pod)), &CelValue::Null, &Nobody)
    };
    let applied = mutated(json!({"applyConfiguration": {"expression":
        "Object{metadata: Object.metadata{labels: {'added': 'yes'}}, spec: Object.spec{containers: \
         object.spec.containers.map(c, Object.spec.containers{name: c.name, imagePullPolicy: 'Always'})}}"}}));
    let applied = applied.unwrap().unwrap();
    assert_eq!(applied["metadata"]["labels"], json!({"kept": "1", "added": "yes"}));
    assert_eq!(applied["spec"]["containers"][0]["image"], "i");
    assert_eq!(applied["spec"]["containers"][0]["imagePullPolicy"], "Always");
    let patched = mutated(json!({"jsonPatch": {"expression":
        "[JSONPatch{op: 'test', path: '/metadata/labels/kept', value: '1'}, \
          JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]"}}));
    assert_eq!(patched.unwrap().unwrap()["metadata"]["labels"]["a/b"], "c");
    for expression in [
        "[JSONPatch{op: 'test', path: '/metadata/name', value: 'other'}]",
        "[JSONPatch{op: 'replace', path: '/spec/containers', value: 'none'}]",
    ] {
        assert!(mutated(json!({"jsonPatch": {"expression": expression}})).is_err(), "{expression}");
    }
    let misfit = "Object{spec: Object.spec{containers: 'none'}}";
    assert!(mutated(json!({"applyConfiguration": {"expression": misfit}})).is_err());
}

#[test]
fn conditions_of_webhooks_know_no_parameters() {
    let webhook = json!({"matchConditions": [{"name": "a", "expression": "request.name == 'x'"}]});
    let conditions = Conditions::of_webhook(&webhook, "webhooks[0]").unwrap();
    assert_eq!(conditions.hold_for(&inputs(&json!({})), &Nobody), Ok(true));
    let webhook = json!({"matchConditions": [{"name": "a", "expression": "params == null"}]});
    let faults = Conditions::of_webhook(&webhook, "webhooks[0]").unwrap_err();
    assert_eq!(faults[0].field, "webhooks[0].matchConditions[0].expression");
}
