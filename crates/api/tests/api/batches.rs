//! Many bindings, or Pods that make room, by one request: each stands for itself, and nobody may do by a batch what they may not do alone.

use serde_json::{Value, json};

use crate::harness::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";
const BATCHES: &str = "/apis/crest.dev/v1alpha1/namespaces/default/bindingbatches";

fn binding(pod: &str, node: &str) -> Value {
    json!({"metadata": {"name": pod}, "target": {"kind": "Node", "name": node}})
}

fn batch(bindings: Vec<Value>) -> Value {
    json!({"apiVersion": "crest.dev/v1alpha1", "kind": "BindingBatch", "spec": {"bindings": bindings}})
}

async fn create_pods(cluster: &Cluster, names: &[&str]) {
    for name in names {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        assert_eq!(cluster.request("POST", PODS, &pod).await.0, 201);
    }
}

async fn node_of(cluster: &Cluster, pod: &str) -> Value {
    cluster.request("GET", &format!("{PODS}/{pod}"), &Value::Null).await.1["spec"]["nodeName"].clone()
}

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";

fn rule(group: &str, resource: &str, verb: &str) -> Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
}

/// Gives the user `s` a role.
async fn grant(cluster: &Cluster, rules: &[Value]) {
    let role = json!({"metadata": {"name": "r"}, "rules": rules});
    assert_eq!(cluster.request("POST", &format!("{ROLES}/roles"), &role).await.0, 201);
    let granted = json!({"metadata": {"name": "r"},
        "subjects": [{"kind": "User", "name": "s", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}});
    assert_eq!(cluster.request("POST", &format!("{ROLES}/rolebindings"), &granted).await.0, 201);
}

/// The role has these rules from now on.
async fn change(cluster: &Cluster, rules: &[Value]) {
    let more = json!({"rules": rules});
    assert_eq!(cluster.request("PATCH", &format!("{ROLES}/roles/r"), &more).await.0, 200);
}

#[tokio::test]
async fn each_binding_of_a_batch_stands_for_itself() {
    let cluster = Cluster::start().await;
    create_pods(&cluster, &["a", "b", "c"]).await;
    let mut stranger = binding("c", "n1");
    stranger["metadata"]["uid"] = "other".into();
    let bindings = vec![
        binding("a", "n1"),
        binding("missing", "n1"),
        binding("b", "n2"),
        binding("a", "n2"),
        binding("c", ""),
        binding("", "n1"),
        stranger,
    ];
    let (status, answer) = cluster.request("POST", BATCHES, &batch(bindings)).await;
    assert_eq!((status, &answer["status"]["bound"]), (201, &json!(2)), "{answer}");
    let refused = answer["status"]["refused"].as_array().unwrap();
    let refused: Vec<_> =
        refused.iter().map(|each| (&each["index"], &each["code"], &each["reason"])).collect();
    let expected = json!([
        [1, 404, "NotFound"],
        [3, 409, "Conflict"],
        [4, 500, ""],
        [5, 400, "BadRequest"],
        [6, 409, "Conflict"]
    ]);
    assert_eq!(json!(refused), expected, "{answer}");
    assert_eq!([node_of(&cluster, "a").await, node_of(&cluster, "b").await], [json!("n1"), json!("n2")]);
    assert_eq!(node_of(&cluster, "c").await, Value::Null);
}

#[tokio::test]
async fn a_dry_run_binds_nobody() {
    let cluster = Cluster::start().await;
    create_pods(&cluster, &["a"]).await;
    let path = format!("{BATCHES}?dryRun=All");
    let (status, answer) = cluster.request("POST", &path, &batch(vec![binding("a", "n1")])).await;
    assert_eq!((status, &answer["status"]["bound"]), (201, &json!(1)), "{answer}");
    assert_eq!(node_of(&cluster, "a").await, Value::Null);
}

#[tokio::test]
async fn a_batch_that_is_none_is_refused() {
    let cluster = Cluster::start().await;
    for (body, said) in [
        (json!({"spec": {}}), "spec.bindings: Required value: a list"),
        (json!({"spec": {"bindings": "a"}}), "spec.bindings: Required value: a list"),
        (batch(vec![binding("a", "n"); 1025]), "spec.bindings: Too many: 1025"),
    ] {
        let (status, answer) = cluster.request("POST", BATCHES, &body).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(status >= 400 && message.starts_with(said), "{status} {answer}");
    }
    assert_eq!(cluster.request("GET", BATCHES, &Value::Null).await.0, 405);
}

#[tokio::test]
async fn who_may_not_bind_may_not_bind_by_batches() {
    let cluster = Cluster::start().await;
    create_pods(&cluster, &["a"]).await;
    let mut rules = vec![rule("crest.dev", "bindingbatches", "create")];
    grant(&cluster, &rules).await;

    let body = batch(vec![binding("a", "n1")]).to_string().into_bytes();
    let headers = [("content-type", "application/json"), ("impersonate-user", "s")];
    let (status, answer) = cluster.send("POST", BATCHES, &headers, body.clone()).await;
    assert_eq!((status, &answer["details"]["kind"]), (403, &json!("pods")), "{answer}");
    assert_eq!(node_of(&cluster, "a").await, Value::Null);

    rules.push(rule("", "pods/binding", "create"));
    change(&cluster, &rules).await;
    let (status, answer) = cluster.send("POST", BATCHES, &headers, body).await;
    assert_eq!((status, &answer["status"]["bound"]), (201, &json!(1)), "{answer}");
}

const PREEMPTIONS: &str = "/apis/crest.dev/v1alpha1/namespaces/default/preemptionbatches";

fn victims(victims: &[(&str, &str)]) -> Value {
    let victim = |(name, uid): &(&str, &str)| json!({"name": name, "uid": uid, "message": "why"});
    json!({"spec": {"victims": victims.iter().map(victim).collect::<Vec<_>>()}})
}

async fn uid_of(cluster: &Cluster, pod: &str) -> String {
    let (_, pod) = cluster.request("GET", &format!("{PODS}/{pod}"), &Value::Null).await;
    pod["metadata"]["uid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_victim_is_marked_and_deleted_for_itself() {
    let cluster = Cluster::start().await;
    create_pods(&cluster, &["a", "b", "c"]).await;
    // With a node, it is its agent's to say when it has stopped.
    cluster.request("POST", BATCHES, &batch(vec![binding("a", "n1")])).await;
    let [a, b] = [uid_of(&cluster, "a").await, uid_of(&cluster, "b").await];
    let asked = victims(&[("a", &a), ("missing", "u"), ("b", &b), ("c", "other"), ("c", "")]);
    let dry = format!("{PREEMPTIONS}?dryRun=All");
    let (_, answer) = cluster.request("POST", &dry, &asked).await;
    assert_eq!(answer["status"]["preempted"], 2);
    let (status, answer) = cluster.request("POST", PREEMPTIONS, &asked).await;
    assert_eq!((status, &answer["status"]["preempted"]), (201, &json!(2)), "{answer}");
    let refused = answer["status"]["refused"].as_array().unwrap();
    let refused: Vec<_> = refused.iter().map(|each| (&each["index"], &each["code"])).collect();
    assert_eq!(json!(refused), json!([[1, 404], [3, 409], [4, 400]]), "{answer}");
    let (_, marked) = cluster.request("GET", &format!("{PODS}/a"), &Value::Null).await;
    let condition = marked["status"]["conditions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        json!([condition["type"], condition["status"], condition["reason"], condition["message"]]),
        json!(["DisruptionTarget", "True", "PreemptionByScheduler", "why"])
    );
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let owned = marked["metadata"]["managedFields"].as_array().unwrap();
    let marks = |owner: &Value| owner["fieldsV1"].to_string().contains("DisruptionTarget");
    assert!(owned.iter().any(|owner| owner["subresource"] == "status" && marks(owner)), "{owned:?}");
    assert_eq!(cluster.request("GET", &format!("{PODS}/b"), &Value::Null).await.0, 404);
    let (_, spared) = cluster.request("GET", &format!("{PODS}/c"), &Value::Null).await;
    assert_eq!(spared["metadata"]["deletionTimestamp"], Value::Null);
}

#[tokio::test]
async fn who_may_not_delete_may_not_preempt() {
    let cluster = Cluster::start().await;
    create_pods(&cluster, &["a"]).await;
    let uid = uid_of(&cluster, "a").await;
    let mut rules = vec![rule("crest.dev", "preemptionbatches", "create")];
    grant(&cluster, &rules).await;
    let body = victims(&[("a", &uid)]).to_string().into_bytes();
    let headers = [("content-type", "application/json"), ("impersonate-user", "s")];
    for more in [rule("", "pods/status", "patch"), rule("", "pods", "delete")] {
        assert_eq!(cluster.send("POST", PREEMPTIONS, &headers, body.clone()).await.0, 403);
        rules.push(more);
        change(&cluster, &rules).await;
    }
    let (status, answer) = cluster.send("POST", PREEMPTIONS, &headers, body).await;
    assert_eq!((status, &answer["status"]["preempted"]), (201, &json!(1)), "{answer}");
}
