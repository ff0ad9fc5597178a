//! Admission webhooks: a real program over HTTPS that allows, refuses, changes, hangs and lies.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Response, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::harness::Cluster;
use crate::program::Program;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

/// The program, and what it heard.
struct Hook {
    program: Program,
    heard: Arc<Heard>,
}

/// What it was asked, by the path of the question.
#[derive(Debug)]
struct Heard {
    questions: Mutex<Vec<(String, Value)>>,
    together: Barrier,
}

impl Hook {
    async fn start() -> Self {
        let heard = Arc::new(Heard { questions: Mutex::default(), together: Barrier::new(2) });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&heard));
        Self { program: Program::start(router).await, heard }
    }

    /// A webhook for the creation of config maps, with what `more` says of it.
    fn webhook(&self, path: &str, more: Value) -> Value {
        let mut webhook = json!({
            "name": format!("{path}.example.com"),
            "clientConfig": self.program.at(path),
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["configmaps"]}],
            "admissionReviewVersions": ["v1"], "sideEffects": "None",
        });
        for (field, value) in more.as_object().unwrap() {
            webhook[field] = value.clone();
        }
        webhook
    }

    /// The questions that were asked at a path.
    fn asked(&self, path: &str) -> Vec<Value> {
        let questions = self.heard.questions.lock();
        questions.iter().filter(|(at, _)| at == path).map(|(_, question)| question.clone()).collect()
    }
}

async fn answer(State(heard): State<Arc<Heard>>, uri: Uri, body: Bytes) -> Response<Body> {
    let path = uri.path().trim_matches('/').to_owned();
    let review: Value = serde_json::from_slice(&body).unwrap();
    heard.questions.lock().push((path.clone(), review["request"].clone()));
    if path.starts_with("hang") {
        std::future::pending::<()>().await;
    }
    if path.starts_with("together") {
        heard.together.wait().await;
    }
    match said(&path, &review["request"]) {
        Ok(response) => {
            let api_version = if path == "beta" { "admission.k8s.io/v1beta1" } else { "admission.k8s.io/v1" };
            let review = json!({"apiVersion": api_version, "kind": "AdmissionReview", "response": response});
            Response::new(review.to_string().into())
        }
        Err(response) => *response,
    }
}

fn said(path: &str, request: &Value) -> Result<Value, Box<Response<Body>>> {
    let uid = &request["uid"];
    let patched = |patch: Value| json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())});
    let with_status = |status: StatusCode| Response::builder().status(status);
    Ok(match path {
        "deny" => json!({"uid": uid, "allowed": false, "status": {"code": 403, "reason": "Forbidden",
            "message": "not today", "details": {"causes": [{"field": "data"}]}}}),
        "deny-silently" => json!({"uid": uid, "allowed": false}),
        "warn" => {
            json!({"uid": uid, "allowed": true, "warnings": ["careful"], "auditAnnotations": {"k": "v"}})
        }
        "label" => patched(json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}])),
        // Counts how often it was asked, after whatever is there.
        "first" | "second" => {
            let order = request["object"]["data"]["order"].as_str().unwrap_or_default();
            let order = format!("{order}{path},");
            patched(json!([{"op": "add", "path": "/data", "value": {"order": order}}]))
        }
        "wrong-uid" => json!({"uid": "another", "allowed": true}),
        "no-response" => Value::Null,
        "bad-patch" => patched(json!([{"op": "remove", "path": "/nowhere"}])),
        "no-object" => patched(json!([{"op": "add", "path": "/data", "value": "text"}])),
        "odd-patch" => json!({"uid": uid, "allowed": true, "patchType": "Merge", "patch": "e30="}),
        "garbage" => return Err(Box::new(Response::new("{\"kind\":".into()))),
        "huge" => return Err(Box::new(Response::new(" ".repeat(9 << 20).into()))),
        "broken" => {
            return Err(with_status(StatusCode::INTERNAL_SERVER_ERROR).body(Body::empty()).unwrap().into());
        }
        "redirect" => {
            let elsewhere = with_status(StatusCode::TEMPORARY_REDIRECT).header("location", "/allow");
            return Err(elsewhere.body(Body::empty()).unwrap().into());
        }
        _ => json!({"uid": uid, "allowed": true}),
    })
}

async fn configure(cluster: &Cluster, kind: &str, name: &str, webhooks: Vec<Value>) {
    let plural = format!("{}configurations", kind.to_lowercase());
    let kind = format!("{kind}Configuration");
    let body = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": name}, "webhooks": webhooks});
    let (status, said) = cluster.request("POST", &format!("{CONFIGURATIONS}/{plural}"), &body).await;
    assert_eq!(status, 201, "{said}");
}

async fn unconfigure(cluster: &Cluster, kind: &str, name: &str) {
    let path = format!("{CONFIGURATIONS}/{}configurations/{name}", kind.to_lowercase());
    assert_eq!(cluster.request("DELETE", &path, &Value::Null).await.0, 200);
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

async fn create(cluster: &Cluster, name: &str) -> (u16, Value) {
    cluster.request("POST", CONFIG_MAPS, &config_map(name)).await
}

const VALIDATING: &str = "ValidatingWebhook";
const MUTATING: &str = "MutatingWebhook";

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_refuses_in_its_own_words() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    configure(&cluster, VALIDATING, "w", vec![hook.webhook("deny", json!({"failurePolicy": "Ignore"}))])
        .await;
    let (status, said) = create(&cluster, "a").await;
    assert_eq!((status, &said["reason"]), (403, &json!("Forbidden")));
    assert_eq!(said["message"], "admission webhook \"deny.example.com\" denied the request: not today");
    assert_eq!(said["details"]["causes"][0]["field"], "data");
    let question = &hook.asked("deny")[0];
    assert_eq!(question["operation"], "CREATE");
    assert_eq!(question["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(question["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!(question["userInfo"]["username"], "kubernetes-admin");
    assert_eq!((&question["namespace"], &question["name"]), (&json!("default"), &json!("a")));
    assert_eq!(question["object"]["kind"], "ConfigMap");
    assert_eq!(question["options"]["kind"], "CreateOptions");
    unconfigure(&cluster, VALIDATING, "w").await;
    configure(&cluster, VALIDATING, "w", vec![hook.webhook("deny-silently", json!({}))]).await;
    let (status, said) = create(&cluster, "a").await;
    assert_eq!(status, 400, "{said}");
    unconfigure(&cluster, VALIDATING, "w").await;
    assert_eq!(create(&cluster, "a").await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_reach_the_client() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    configure(&cluster, VALIDATING, "w", vec![hook.webhook("warn", json!({}))]).await;
    let body = config_map("a").to_string().into_bytes();
    let request = http::Request::post(CONFIG_MAPS).header("content-type", "application/json");
    let response = cluster.client.send(request.body(body.into()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["warning"], "299 - \"careful\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_change_objects_one_after_the_other() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    configure(&cluster, MUTATING, "a", vec![hook.webhook("label", json!({}))]).await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    configure(&cluster, MUTATING, "b", vec![hook.webhook("first", again), hook.webhook("second", json!({}))])
        .await;
    let (status, made) = create(&cluster, "a").await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["metadata"]["labels"]["seen"], "yes");
    assert_eq!(made["data"]["order"], "first,second,first,", "only the first wants to be asked again");
    assert_eq!(hook.asked("label").len(), 1);
    let owned = &made["metadata"]["managedFields"];
    assert!(!owned.to_string().contains("f:order"), "what a webhook wrote is not the client's: {owned}");
}

/// Whatever is no answer is a failure, and the failure policy decides what follows from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_lies_is_not_believed() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let lies = ["wrong-uid", "no-response", "beta", "garbage", "huge", "broken", "redirect"];
    let cases = lies.iter().flat_map(|lie| [(VALIDATING, *lie), (MUTATING, *lie)]);
    let cases = cases.chain([(VALIDATING, "label"), (MUTATING, "odd-patch")]);
    for (place, (kind, lie)) in cases.enumerate() {
        for (failure_policy, expected) in [("Fail", 500), ("Ignore", 201)] {
            let webhook = hook.webhook(lie, json!({"failurePolicy": failure_policy}));
            configure(&cluster, kind, "w", vec![webhook]).await;
            let (status, said) = create(&cluster, &format!("lie-{place}")).await;
            assert_eq!(status, expected, "{kind} {lie} {failure_policy}: {said}");
            if status == 500 {
                assert_eq!(said["reason"], "InternalError", "{said}");
                assert!(said["message"].as_str().unwrap().contains("failed calling webhook"), "{said}");
            }
            unconfigure(&cluster, kind, "w").await;
        }
    }
    assert!(hook.asked("allow").is_empty(), "redirects are not followed");
    // What a believed answer makes of the object is never passed over.
    for lie in ["bad-patch", "no-object"] {
        configure(&cluster, MUTATING, "w", vec![hook.webhook(lie, json!({"failurePolicy": "Ignore"}))]).await;
        let (status, said) = create(&cluster, lie).await;
        assert_eq!(status, 500, "{lie}: {said}");
        unconfigure(&cluster, MUTATING, "w").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_hangs_keeps_nobody() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    for (failure_policy, expected) in [("Fail", 500), ("Ignore", 201)] {
        let webhook = hook.webhook("hang", json!({"failurePolicy": failure_policy, "timeoutSeconds": 1}));
        configure(&cluster, VALIDATING, "w", vec![webhook]).await;
        let created = tokio::time::timeout(Duration::from_secs(20), create(&cluster, "a")).await;
        let (status, said) = created.unwrap();
        assert_eq!(status, expected, "{said}");
        unconfigure(&cluster, VALIDATING, "w").await;
    }
    // Nobody listens there.
    let unreachable = json!({"clientConfig": {"url": "https://127.0.0.1:1/x"}});
    configure(&cluster, VALIDATING, "w", vec![hook.webhook("unreachable", unreachable)]).await;
    assert_eq!(create(&cluster, "b").await.0, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn validating_webhooks_are_asked_at_once() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let webhooks = ["together-1", "together-2"].map(|path| hook.webhook(path, json!({"timeoutSeconds": 20})));
    configure(&cluster, VALIDATING, "w", webhooks.to_vec()).await;
    // Each answers only once the other is asked.
    let (status, said) = create(&cluster, "a").await;
    assert_eq!(status, 201, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_selected_is_asked_about() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let refusing = |more: Value| hook.webhook("deny", more);
    for (more, expected) in [
        (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}), 403),
        (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}), 201),
        (json!({"objectSelector": {"matchLabels": {"a": "b"}}}), 201),
        (json!({"matchConditions": [{"name": "c", "expression": "object.metadata.name != 'a'"}]}), 201),
        (
            json!({"matchConditions": [{"name": "c", "expression": "request.userInfo.username == 'kubernetes-admin'"}]}),
            403,
        ),
        (
            json!({"matchConditions": [{"name": "c", "expression": "authorizer.group('').resource('secrets').check('get').allowed()"}]}),
            403,
        ),
        (json!({"matchConditions": [{"name": "c", "expression": "object.nope"}]}), 403),
        (
            json!({"matchConditions": [{"name": "c", "expression": "object.nope"}], "failurePolicy": "Ignore"}),
            201,
        ),
    ] {
        configure(&cluster, VALIDATING, "w", vec![refusing(more.clone())]).await;
        let (status, said) = create(&cluster, "a").await;
        assert_eq!(status, expected, "{more}: {said}");
        unconfigure(&cluster, VALIDATING, "w").await;
        cluster.request("DELETE", &format!("{CONFIG_MAPS}/a"), &Value::Null).await;
    }
    // What configures admission is never asked about.
    let everything = json!({"rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]});
    configure(&cluster, VALIDATING, "w", vec![refusing(everything)]).await;
    unconfigure(&cluster, VALIDATING, "w").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_shows_what_it_is_about() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let rules = json!([
        {"operations": ["UPDATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]},
        {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"]},
        {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/binding", "pods/eviction"]},
        {"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]},
    ]);
    let webhook = hook.webhook("deny", json!({"rules": rules}));
    assert_eq!(create(&cluster, "a").await.0, 201);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(cluster.request("POST", pods, &pod).await.0, 201);
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(cluster.request("POST", deployments, &deployment).await.0, 201);
    configure(&cluster, VALIDATING, "w", vec![webhook]).await;

    let map = format!("{CONFIG_MAPS}/a");
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    for (method, path, body) in [
        ("PATCH", map.clone(), json!({"data": {"k": "v"}})),
        ("DELETE", map, Value::Null),
        ("GET", format!("{pods}/p/exec?command=ls&command=-l&stdout=true"), Value::Null),
        ("POST", format!("{pods}/p/binding"), binding),
        ("POST", format!("{pods}/p/eviction"), json!({"metadata": {"name": "p"}})),
        ("PATCH", format!("{deployments}/d/scale"), json!({"spec": {"replicas": 3}})),
    ] {
        let (status, said) = cluster.request(method, &path, &body).await;
        assert_eq!(status, 403, "{method} {path}: {said}");
    }
    let batches = "/apis/crest.dev/v1alpha1/namespaces/default/bindingbatches";
    let batch = json!({"spec": {"bindings": [{"metadata": {"name": "p"}, "target": {"name": "n"}}]}});
    let (status, said) = cluster.request("POST", batches, &batch).await;
    assert_eq!((status, &said["status"]["refused"][0]["code"]), (201, &json!(403)), "{said}");

    let mut asked = hook.asked("deny");
    let batched = asked.pop().unwrap();
    let of = |asked: &Value| json!([asked["kind"], asked["resource"], asked["subResource"], asked["name"]]);
    assert_eq!(of(&batched), of(&asked[3]), "a binding of a batch is a binding");
    let [update, delete, exec, binding, eviction, scale] = asked.as_slice() else { panic!("{asked:#?}") };
    assert_eq!((&update["object"]["data"]["k"], &update["oldObject"]["data"]), (&json!("v"), &Value::Null));
    assert_eq!(update["options"]["kind"], "PatchOptions");
    assert_eq!((&delete["object"], &delete["oldObject"]["metadata"]["name"]), (&Value::Null, &json!("a")));
    assert_eq!(delete["options"]["kind"], "DeleteOptions");
    assert_eq!((&exec["operation"], &exec["subResource"]), (&json!("CONNECT"), &json!("exec")));
    assert_eq!(
        exec["object"],
        json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdout": true, "command": ["ls", "-l"]})
    );
    assert_eq!(
        (&binding["kind"]["kind"], &binding["object"]["target"]["name"]),
        (&json!("Binding"), &json!("n"))
    );
    assert_eq!(eviction["kind"], json!({"group": "policy", "version": "v1", "kind": "Eviction"}));
    assert_eq!(
        (&scale["object"]["kind"], &scale["object"]["spec"]["replicas"]),
        (&json!("Scale"), &json!(3))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_asks_only_who_bears_it() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let dry = format!("{CONFIG_MAPS}?dryRun=All");
    configure(&cluster, VALIDATING, "w", vec![hook.webhook("allow", json!({"sideEffects": "NoneOnDryRun"}))])
        .await;
    assert_eq!(cluster.request("POST", &dry, &config_map("a")).await.0, 201);
    assert_eq!(hook.asked("allow")[0]["dryRun"], true);
    let body = json!({"webhooks": [hook.webhook("allow", json!({"sideEffects": "Some"}))]});
    let path = format!("{CONFIGURATIONS}/validatingwebhookconfigurations/w");
    let (status, said) = cluster.request("PATCH", &path, &body).await;
    assert_eq!(status, 422, "{said}");
}

/// How Services with Pods are resolved is tested beside the caller; Pods are not on the loopback.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_may_be_a_service() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let port = hook.program.address.port();
    let service = json!({"namespace": "default", "name": "hook", "path": "/deny", "port": port});
    let client = json!({"service": service, "caBundle": hook.program.bundle});
    configure(&cluster, VALIDATING, "w", vec![hook.webhook("deny", json!({"clientConfig": client}))]).await;
    let (status, said) = create(&cluster, "a").await;
    assert_eq!(status, 500, "there is no such Service: {said}");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    let (status, said) = cluster.request("POST", "/api/v1/namespaces/default/services", &service).await;
    assert_eq!(status, 201, "{said}");
    assert_eq!(create(&cluster, "a").await.0, 403);
}

/// What is only answered, and a namespace's end, are asked about as well.
#[tokio::test]
async fn reviews_and_finalizers_are_asked_about() {
    let (cluster, hook) = (Cluster::start().await, Hook::start().await);
    let rules = |groups: Value, operation: &str, resources: Value| {
        json!({"rules": [{"operations": [operation], "apiGroups": groups, "apiVersions": ["*"],
            "resources": resources}]})
    };
    let groups = json!(["authorization.k8s.io", "authentication.k8s.io"]);
    let all = hook.webhook("warn", rules(groups.clone(), "CREATE", json!(["*"])));
    let deny = hook.webhook("deny", rules(groups, "CREATE", json!(["selfsubjectreviews"])));
    configure(&cluster, "ValidatingWebhook", "reviews", vec![all, deny]).await;

    let access = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let (status, said) = cluster.request("POST", path, &access).await;
    assert_eq!((status, &said["status"]["allowed"]), (201, &json!(true)), "{said}");
    assert_eq!(hook.asked("warn")[0]["object"]["spec"], access["spec"]);
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    assert_eq!(cluster.request("POST", path, &json!({})).await.0, 403);

    let finalize = hook.webhook("deny", rules(json!([""]), "UPDATE", json!(["namespaces/finalize"])));
    configure(&cluster, "ValidatingWebhook", "finalizers", vec![finalize]).await;
    let namespace = json!({"metadata": {"name": "going"}, "spec": {"finalizers": ["kubernetes"]}});
    assert_eq!(cluster.request("POST", "/api/v1/namespaces", &namespace).await.0, 201);
    let path = "/api/v1/namespaces/going/finalize";
    let bare = json!({"metadata": {"name": "going"}, "spec": {"finalizers": []}});
    assert_eq!(cluster.request("PUT", path, &bare).await.0, 403);
    unconfigure(&cluster, "ValidatingWebhook", "finalizers").await;
    // A namespace that nobody has deleted keeps its finalizer.
    assert_eq!(cluster.request("DELETE", "/api/v1/namespaces/going", &Value::Null).await.0, 200);
    assert_eq!(cluster.request("PUT", path, &bare).await.0, 200);
    assert_eq!(cluster.request("GET", "/api/v1/namespaces/going", &Value::Null).await.0, 404);
}
