//! Priority and fairness as clients meet it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::Limits;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use kube::Api;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::harness::Cluster;

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Answer {
    status: u16,
    body: Value,
    retry_after: Option<String>,
    level: String,
}

impl Cluster {
    async fn send_as(&self, user: &str, method: &str, path: &str, body: &Value) -> Answer {
        let request = http::Request::builder().method(method).uri(path).header("impersonate-user", user);
        let request = request.header("content-type", "application/json");
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (head, body) = self.client.send(request.body(bytes.into()).unwrap()).await.unwrap().into_parts();
        let bytes = body.collect_bytes().await.unwrap();
        let header = |name: &str| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
        let (status, retry_after) = (head.status.as_u16(), header("retry-after"));
        let level = header("x-kubernetes-pf-prioritylevel-uid").unwrap();
        Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null), retry_after, level }
    }

    /// A level with so many shares that borrows nothing, and a schema that leads `users` to it. Answers the level's uid
    /// once the server goes by it.
    async fn with_level(&self, users: &[&str], shares: u32, response: Value) -> String {
        let level = json!({"metadata": {"name": "tight"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "borrowingLimitPercent": 0, "limitResponse": response}}});
        let (status, level) =
            self.request("POST", &format!("{GROUP}/prioritylevelconfigurations"), &level).await;
        assert_eq!(status, 201, "{level}");
        let subject = |kind: &str, user: &&str| json!({"kind": kind, "user": {"name": user}});
        let subjects: Vec<Value> = users.iter().map(|user| subject("User", user)).collect();
        let schema = json!({"metadata": {"name": "tight"}, "spec": {"matchingPrecedence": 50,
            "priorityLevelConfiguration": {"name": "tight"}, "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": subjects, "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"],
                "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}});
        let (status, schema) = self.request("POST", &format!("{GROUP}/flowschemas"), &schema).await;
        assert_eq!(status, 201, "{schema}");
        self.until_told("tight", "Found").await;
        let named =
            |user: &&str| json!({"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"});
        let binding = json!({"metadata": {"name": "tight"}, "subjects": users.iter().map(named).collect::<Vec<_>>(),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        assert_eq!(self.request("POST", bindings, &binding).await.0, 201);
        level["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    fn schemas(&self) -> Api<FlowSchema> {
        Api::all(self.client.clone())
    }

    /// Waits until a schema says why its level is there or not, which it does once the server goes by it.
    async fn until_told(&self, schema: &str, reason: &str) {
        let is_told = |schema: Option<&FlowSchema>| {
            let status = schema.and_then(|schema| schema.status.as_ref());
            let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.any(|condition| condition.reason.as_deref() == Some(reason))
        };
        self.until(schema, is_told).await;
    }

    async fn until(&self, schema: &str, condition: impl Fn(Option<&FlowSchema>) -> bool) {
        let met = await_condition(self.schemas(), schema, condition);
        tokio::time::timeout(Duration::from_secs(20), met).await.expect("it never happened").unwrap();
    }
}

#[tokio::test]
async fn a_level_without_seats_refuses_its_clients_and_nobody_else() {
    let cluster = Cluster::start().await;
    let level = cluster.with_level(&["loud"], 0, json!({"type": "Reject"})).await;
    let refused = cluster.send_as("loud", "GET", MAPS, &Value::Null).await;
    assert_eq!((refused.status, refused.retry_after.as_deref()), (429, Some("1")));
    assert_eq!(refused.level, level);
    let told = ["reason", "status", "kind"].map(|field| refused.body[field].as_str().unwrap());
    assert_eq!(told, ["TooManyRequests", "Failure", "Status"]);
    assert_eq!(refused.body["details"]["retryAfterSeconds"], 1);
    // Others are at other levels, and health is asked at none.
    let other = cluster.send_as("quiet", "GET", MAPS, &Value::Null).await;
    assert!(other.status == 403 && other.level != level && !other.level.is_empty());
    assert_eq!(cluster.send_as("loud", "GET", "/healthz", &Value::Null).await.status, 200);
    // Without its schema the client is one of many again; without its level a schema leads nowhere.
    assert_eq!(
        cluster
            .request("DELETE", &format!("{GROUP}/prioritylevelconfigurations/tight"), &Value::Null)
            .await
            .0,
        200
    );
    cluster.until_told("tight", "NotFound").await;
    let free = cluster.send_as("loud", "GET", MAPS, &Value::Null).await;
    assert_eq!((free.status, free.level), (200, other.level));
}

#[tokio::test]
async fn who_waits_too_long_is_told_to_come_again() {
    let limits = Limits { request_timeout: Duration::from_secs(2), ..Limits::default() };
    let cluster = Cluster::start_within(limits).await;
    cluster
        .with_level(
            &["loud"],
            0,
            json!({"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 2}}),
        )
        .await;
    let ask = || cluster.send_as("loud", "GET", MAPS, &Value::Null);
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    assert_eq!([one.status, two.status, three.status], [429; 3]);
    // Whoever has less time than that is told when it is over.
    let hasty = cluster.send_as("loud", "GET", &format!("{MAPS}?timeout=50ms"), &Value::Null).await;
    assert_eq!((hasty.status, hasty.body["reason"].as_str()), (504, Some("Timeout")));
}

#[tokio::test]
async fn the_objects_of_every_cluster_come_back() {
    let cluster = Cluster::start().await;
    let path = |name: &str| format!("{GROUP}/flowschemas/{name}");
    let (_, list) = cluster.request("GET", &format!("{GROUP}/flowschemas"), &Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 13);
    let spec = json!({"spec": {"matchingPrecedence": 77}});
    for name in ["catch-all", "global-default"] {
        let (_, old) = cluster.request("GET", &path(name), &Value::Null).await;
        assert_eq!(old["status"]["conditions"][0]["status"], "False", "{old}");
        let wanted = i32::try_from(old["spec"]["matchingPrecedence"].as_i64().unwrap()).unwrap();
        assert_eq!(cluster.request("PATCH", &path(name), &spec).await.0, 200);
        let is_mended = |schema: Option<&FlowSchema>| {
            let spec = schema.and_then(|schema| schema.spec.as_ref());
            spec.and_then(|spec| spec.matching_precedence) == Some(wanted)
        };
        cluster.until(name, is_mended).await;
        let uid = old["metadata"]["uid"].as_str().unwrap();
        assert_eq!(cluster.request("DELETE", &path(name), &Value::Null).await.0, 200);
        cluster
            .until(name, |schema| {
                schema.is_some_and(|schema| schema.metadata.uid.as_deref().is_some_and(|new| new != uid))
            })
            .await;
    }
    // Whoever says so may have their own.
    let own = json!({"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}, "spec": {"matchingPrecedence": 77}});
    assert_eq!(cluster.request("PATCH", &path("global-default"), &own).await.0, 200);
    assert_eq!(cluster.request("DELETE", &path("probes"), &Value::Null).await.0, 200);
    cluster.until("probes", |schema| schema.is_some()).await;
    let (_, kept) = cluster.request("GET", &path("global-default"), &Value::Null).await;
    assert_eq!(kept["spec"]["matchingPrecedence"], 77);
}

/// One client has all seats busy all the time; another one is served next whenever it asks.
#[tokio::test]
async fn a_loud_client_does_not_starve_a_quiet_one() {
    let cluster = Arc::new(Cluster::start().await);
    let queuing = json!({"queues": 64, "handSize": 4, "queueLengthLimit": 50});
    cluster.with_level(&["loud", "quiet"], 1, json!({"type": "Queue", "queuing": queuing})).await;
    let done = Arc::new(AtomicUsize::new(0));
    let mut loud = tokio::task::JoinSet::new();
    for lane in 0..60 {
        let (cluster, done) = (Arc::clone(&cluster), Arc::clone(&done));
        loud.spawn(async move {
            for number in 0.. {
                let map = json!({"metadata": {"name": format!("loud-{lane}-{number}")}});
                let answer = cluster.send_as("loud", "POST", MAPS, &map).await;
                assert_eq!(answer.status, 201, "{}", answer.body);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut waits = Vec::new();
    for number in 0..40 {
        while done.load(Ordering::Relaxed) < 100 {
            tokio::task::yield_now().await;
        }
        let before = done.load(Ordering::Relaxed);
        let map = json!({"metadata": {"name": format!("quiet-{number}")}});
        assert_eq!(cluster.send_as("quiet", "POST", MAPS, &map).await.status, 201);
        waits.push(done.load(Ordering::Relaxed) - before);
    }
    waits.sort_unstable();
    // There are three seats, and sixty requests that came before.
    assert!(waits[20] <= 9 && waits[36] <= 30, "{waits:?}");
}

#[tokio::test]
async fn a_watch_leaves_its_seat() {
    let cluster = Cluster::start_within(Limits { max_in_flight: 8, ..Limits::default() }).await;
    let queuing = json!({"queues": 1, "handSize": 1, "queueLengthLimit": 5});
    cluster.with_level(&["watcher"], 1, json!({"type": "Queue", "queuing": queuing})).await;
    let watch = || {
        let path = format!("{MAPS}?watch=true&resourceVersion=1");
        let request = http::Request::get(path).header("impersonate-user", "watcher");
        cluster.client.send(request.body(Vec::new().into()).unwrap())
    };
    let mut open = Vec::new();
    for _ in 0..10 {
        let response =
            tokio::time::timeout(Duration::from_secs(10), watch()).await.expect("no seat").unwrap();
        open.push(response);
    }
    let get = cluster.send_as("watcher", "GET", MAPS, &Value::Null);
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), get).await.expect("no seat").status, 200);
}
