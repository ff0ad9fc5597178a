//! Servers on one etcd: what one writes the others serve, and etcd may go and come back.

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt};
use kube::api::PostParams;
use serde_json::{Value, json};
use store::conformance::EtcdServer;
use store::etcd::{Etcd, Options};

use crate::custom::{BOATS, DEFINITIONS, boat, boats};
use crate::harness::{Cluster, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The etcd under the servers, and its folder.
struct Peer {
    etcd: EtcdServer,
    _data: tempfile::TempDir,
}

/// So many servers on one etcd; `None` where there is no etcd.
async fn servers(count: usize) -> Option<(Vec<Cluster>, Peer)> {
    let data = tempfile::tempdir().unwrap();
    let etcd = EtcdServer::start(&data.path().join("data")).unwrap()?;
    let mut servers = Vec::new();
    for _ in 0..count {
        let options = Options { timeout: Duration::from_secs(3), ..Options::new([etcd.url()]) };
        let store = Etcd::connect(options).await.unwrap();
        servers.push(Cluster::start_on(store as Arc<dyn store::Store>, tempfile::tempdir().unwrap()).await);
    }
    Some((servers, Peer { etcd, _data: data }))
}

/// The names and types of the events of a watch, as they come.
async fn watch(server: &Cluster, revision: &str) -> impl futures::Stream<Item = String> + Unpin {
    let path = format!("{MAPS}?watch=true&resourceVersion={revision}");
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    let lines = server.client.request_stream(request).await.unwrap().lines();
    let events = lines.map(|line| {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        format!(
            "{} {}",
            event["type"].as_str().unwrap(),
            event["object"]["metadata"]["name"].as_str().unwrap()
        )
    });
    Box::pin(events)
}

async fn revision(server: &Cluster) -> String {
    let (_, list) = server.request("GET", MAPS, &Value::Null).await;
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_writes_the_others_serve_at_once() {
    let Some((servers, _etcd)) = servers(2).await else { return };
    let [first, second] = servers.as_slice() else { unreachable!() };
    let start = revision(first).await;
    let mut events = watch(second, &start).await;
    for name in ["a", "b", "c"] {
        let created = first.config_maps().create(&PostParams::default(), &config_map(name)).await.unwrap();
        // Whoever was told of a write finds it everywhere, by name, in lists and in lists of that age.
        assert_eq!(second.request("GET", &format!("{MAPS}/{name}"), &Value::Null).await.0, 200);
        let version = created.metadata.resource_version.unwrap();
        let fresh = format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=NotOlderThan");
        let (status, list) = second.request("GET", &fresh, &Value::Null).await;
        assert_eq!(status, 200, "{list}");
        assert!(list["items"].as_array().unwrap().iter().any(|item| item["metadata"]["name"] == name));
        assert_eq!(events.next().await.unwrap(), format!("ADDED {name}"));
    }
    let taken = second.request("POST", MAPS, &json!({"metadata": {"name": "a"}})).await;
    assert_eq!((taken.0, taken.1["reason"].as_str()), (409, Some("AlreadyExists")));
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_addresses_are_given_out_once_among_all_servers() {
    let Some((servers, _etcd)) = servers(2).await else { return };
    let services = "/api/v1/namespaces/default/services";
    let service = |name: String, address: Value| json!({"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
    let body = service("first".to_owned(), json!("10.96.7.7"));
    assert_eq!(servers[0].request("POST", services, &body).await.0, 201);
    let body = service("second".to_owned(), json!("10.96.7.7"));
    let (status, refused) = servers[1].request("POST", services, &body).await;
    assert_eq!(status, 422, "{refused}");
    // Deleted through the other server, it is free for all.
    assert_eq!(servers[1].request("DELETE", &format!("{services}/first"), &Value::Null).await.0, 200);
    assert_eq!(servers[0].request("POST", services, &body).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_requests_fail_cleanly_and_watches_wait() {
    let Some((servers, mut peer)) = servers(1).await else { return };
    let server = &servers[0];
    let start = revision(server).await;
    let mut events = watch(server, &start).await;
    server.config_maps().create(&PostParams::default(), &config_map("before")).await.unwrap();
    assert_eq!(events.next().await.unwrap(), "ADDED before");

    peer.etcd.kill();
    for (method, path, body) in [
        ("GET", format!("{MAPS}/before"), Value::Null),
        ("GET", MAPS.to_owned(), Value::Null),
        ("POST", MAPS.to_owned(), json!({"metadata": {"name": "during"}})),
        ("DELETE", format!("{MAPS}/before"), Value::Null),
    ] {
        let (status, answer) = server.request(method, &path, &body).await;
        let told = (status, answer["reason"].as_str(), answer["details"]["retryAfterSeconds"].as_u64());
        assert_eq!(told, (503, Some("ServiceUnavailable"), Some(1)), "{method} {path}: {answer}");
    }

    peer.etcd.resume().unwrap();
    // The client tries again, as it is told to.
    let create = async || server.request("POST", MAPS, &json!({"metadata": {"name": "after"}})).await.0;
    while !matches!(create().await, 201 | 409) {}
    assert_eq!(events.next().await.unwrap(), "ADDED after");
    let lines = watch(server, &start).await.take(2).collect::<Vec<_>>().await;
    assert_eq!(lines, ["ADDED before", "ADDED after"]);
}

/// Asks until the answer is as it should be. Servers hear of each other's definitions from etcd, in a moment.
async fn until(server: &Cluster, path: &str, is_right: impl Fn(u16, &Value) -> bool) -> Value {
    let asking = async {
        loop {
            let (status, body) = server.request("GET", path, &Value::Null).await;
            if is_right(status, &body) {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asking).await.expect("the other server does not hear of it")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_one_server_learns_the_others_know() {
    let Some((servers, _etcd)) = servers(2).await else { return };
    let [first, second] = servers.as_slice() else { unreachable!() };
    let spec = json!({"type": "object", "properties": {"color": {"type": "string"}}});
    assert_eq!(first.request("POST", DEFINITIONS, &boats(&spec, &json!({}))).await.0, 201);
    assert_eq!(first.request("POST", BOATS, &boat("a", &json!({"color": "red"}))).await.0, 201);
    let list = until(second, BOATS, |status, _| status == 200).await;
    assert_eq!(list["items"][0]["spec"], json!({"color": "red"}));
    assert_eq!(second.request("POST", BOATS, &boat("b", &json!({"color": "blue"}))).await.0, 201);
    assert_eq!(first.request("GET", &format!("{BOATS}/b"), &Value::Null).await.0, 200);

    // The schema changes through the second. Whichever server wrote an object, and whatever it knew by then, both serve
    // it by the schema of now as soon as they have heard of it.
    let spec = json!({"type": "object", "properties": {"sails": {"type": "integer", "default": 2}}});
    let versions = boats(&spec, &json!({}))["spec"]["versions"].take();
    let definition = format!("{DEFINITIONS}/boats.example.test");
    let patch = json!({"spec": {"versions": versions}});
    let (status, said) = second.request("PATCH", &definition, &patch).await;
    assert_eq!(status, 200, "{said}");
    let late = boat("c", &json!({"color": "green"}));
    assert_eq!(first.request("POST", BOATS, &late).await.0, 201);
    for server in [first, second] {
        let is_new = |_, list: &Value| {
            let items = list["items"].as_array();
            items.is_some_and(|items| items.iter().all(|item| item["spec"] == json!({"sails": 2})))
        };
        assert_eq!(until(server, BOATS, is_new).await["items"].as_array().map(Vec::len), Some(3));
        assert_eq!(until(server, &format!("{BOATS}/c"), |_, _| true).await["spec"], json!({"sails": 2}));
    }

    assert_eq!(second.request("DELETE", &definition, &Value::Null).await.0, 200);
    for server in [first, second] {
        until(server, &definition, |status, _| status == 404).await;
        until(server, BOATS, |status, _| status == 404).await;
    }
}

#[tokio::test]
async fn a_backup_is_for_administrators() {
    let cluster = Cluster::start().await;
    cluster.config_maps().create(&PostParams::default(), &config_map("kept")).await.unwrap();
    let request = |user: Option<&str>| {
        let mut request = http::Request::get("/crest/backup");
        if let Some(user) = user {
            request = request.header("impersonate-user", user);
        }
        request.body(Vec::new().into()).unwrap()
    };
    let answer = cluster.client.send(request(Some("somebody"))).await.unwrap();
    assert_eq!(answer.status().as_u16(), 403);
    let answer = cluster.client.send(request(None)).await.unwrap();
    let bytes = answer.into_body().collect_bytes().await.unwrap();
    let mut backup = store::backup::Reader::open(&*bytes).unwrap();
    let mut keys = Vec::new();
    while let Some(entry) = backup.next_entry().unwrap() {
        keys.push(entry.key.to_string());
    }
    assert!(keys.iter().any(|key| key.ends_with("/kept")), "{keys:?}");
}
