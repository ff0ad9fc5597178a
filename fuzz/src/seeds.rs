//! What to begin with: a few documents of our own, and the recorded requests where they are at hand.

use std::path::PathBuf;

use serde_json::{Value, json};

/// What a target likes to eat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Diet {
    /// Objects and patches as JSON.
    Documents,
    /// Selectors, quantities, paths: lines of text.
    Lines,
    /// The language of policies and of rules in schemas.
    Expressions,
}

const EXPRESSIONS: [&str; 14] = [
    "object.spec.replicas > 2 && has(object.metadata.labels) || !(1 in [1, 2])",
    "object.spec.items.all(i, i > 0) && object.spec.items.exists_one(j, j == 2)",
    "object.spec.items.map(i, i > 1, {'a': i, 'b': [i, i + 1]}).filter(m, m.a % 2 == 0)",
    "object.?spec.?paused.orValue(false) ? 'a' + string(1) : \"b\".upperAscii()",
    "'a,b,c'.split(',').join('-').replace('-', '--', 1).matches('^[a-c-]+$')",
    "'%s %d %f %x %b'.format(['a', 1, 1.5, 255, true])",
    "quantity('1Gi').add(quantity('1M')).isGreaterThan(quantity('1')) && isQuantity('x')",
    "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
    "timestamp('2030-01-01T00:00:00Z') - timestamp('2029-01-01T00:00:00Z') > duration('1h30m')",
    "sets.intersects([1, 2], lists.range(3)) && math.greatest(1, 2u, 3.0) == 3",
    "Object{spec: Object.spec{replicas: object.spec.replicas * 2}}",
    "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]",
    "semver('1.2.3-rc.1').isLessThan(semver('2.0.0')) && url('https://a:1/b?c=d').getHost() == 'a:1'",
    "'aXbXc'.indexOf('X', 2) + 'abc'.substring(1, 2).size() + b'abc'.size() - [[1], [2, [3]]].flatten(2).size()",
];

const LINES: [&str; 16] = [
    "app=web,tier in (a, b),!canary",
    "a.b/c notin (x,y,z)",
    "x>1,y<2",
    "metadata.name=a,status.phase!=Running",
    "spec.nodeName==n1",
    "a\\,b=c\\=d",
    "/api/v1/namespaces/default/pods/p/log?tailLines=1",
    "/apis/apps/v1/namespaces/default/deployments/web/scale",
    "/api/v1/watch/pods?resourceVersion=0&timeoutSeconds=1",
    "/openapi/v3/apis/apps/v1?hash=00",
    "/api/v1/pods?limit=1&continue=eyJyIjoxfQ",
    "/api/v1/namespaces/default/configmaps?fieldValidation=Strict&dryRun=All&fieldManager=m",
    "100m",
    "1.5Gi",
    "-0.000000001E",
    "5e-3",
];

/// The seeds of a diet.
pub(crate) fn of(diet: Diet) -> Vec<Vec<u8>> {
    match diet {
        Diet::Expressions => EXPRESSIONS.iter().map(|line| line.as_bytes().to_vec()).collect(),
        Diet::Lines => LINES.iter().map(|line| line.as_bytes().to_vec()).collect(),
        Diet::Documents => {
            let own = documents().into_iter().map(|document| document.to_string().into_bytes());
            own.chain(recorded()).collect()
        }
    }
}

fn documents() -> Vec<Value> {
    let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "100m", "memory": "1Gi"}}});
    let pod = json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"key": "k", "operator": "Exists"}]});
    let boat = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "n": {"type": "integer", "default": 1}, "s": {"type": "string", "pattern": "^(a|b)+$"}},
        "x-kubernetes-validations": [{"rule": "self.n > 0 && self.s.matches('a+')"}]}}});
    vec![
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"},
            "finalizers": ["a.b/c"]}, "spec": pod}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1,
            "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "j-"},
            "spec": {"template": {"spec": pod}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"ports": [{"port": 80, "targetPort": "http"}], "selector": {"a": "b"}}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "dg=="}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "boats.example.test"}, "spec": {"group": "example.test", "scope": "Namespaced",
                "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": boat}}]}}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "v"}, "spec": {"failurePolicy": "Ignore", "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]},
                "validations": [{"expression": "object.metadata.name.size() < 10 && [1, 2].all(x, x > 0)"}]}}),
        json!({"uid": "u", "allowed": true, "patchType": "JSONPatch",
            "patch": "W3sib3AiOiJhZGQiLCJwYXRoIjoiL3NwZWMvaG9zdG5hbWUiLCJ2YWx1ZSI6ImgifV0=",
            "warnings": ["w"], "auditAnnotations": {"a": "b"}}),
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "u",
            "allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "m", "details": {}}}}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": "m"}, "spec": {"reinvocationPolicy": "Never", "variables": [
                {"name": "n", "expression": "object.metadata.name"}], "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                    "Object{data: {'n': variables.n}}"}},
                {"patchType": "JSONPatch", "jsonPatch": {"expression":
                    "[JSONPatch{op: 'add', path: '/data/x', value: 'y'}]"}}]}}),
        json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"}, {"op": "test", "path": "/spec", "value": 1},
            {"op": "move", "from": "/a", "path": "/b/-"}]),
        json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "c"}],
            "containers": [{"name": "c", "$patch": "delete"}], "$retainKeys": ["containers"]}}}}),
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground",
            "preconditions": {"uid": "u"}, "gracePeriodSeconds": 3}),
    ]
}

/// The bodies of the recorded requests, where the recordings lie beside the repository.
fn recorded() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/golden/cases"));
    let mut bodies = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        let group: Value = serde_json::from_slice(&text).unwrap_or_default();
        let cases = group["cases"].as_array().into_iter().flatten();
        let steps = cases.flat_map(|case| case["steps"].as_array().into_iter().flatten());
        bodies.extend(steps.filter_map(|step| match &step["body"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone().into_bytes()),
            body => Some(body.to_string().into_bytes()),
        }));
    }
    bodies
}
