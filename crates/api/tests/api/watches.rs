//! Watches: what reflectors rely on.

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{Cluster, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The first `count` events of a watch, each as `TYPE name` or `TYPE reason`.
async fn events(cluster: &Cluster, query: &str, accept: &str, count: usize) -> Vec<Value> {
    let request = http::Request::get(format!("{MAPS}?watch=true&{query}")).header("accept", accept);
    let lines = cluster.client.request_stream(request.body(Vec::new()).unwrap()).await.unwrap().lines();
    let events: Vec<String> = lines.take(count).try_collect().await.unwrap();
    events.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn summary(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| event["object"]["metadata"]["name"].as_str().unwrap_or("-").to_owned();
    events.iter().map(|event| format!("{} {}", event["type"].as_str().unwrap(), name(event))).collect()
}

async fn revision(cluster: &Cluster) -> String {
    let (_, list) = cluster.request("GET", MAPS, &Value::Null).await;
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn objects_come_into_a_selection_and_leave_it() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let start = revision(&cluster).await;
    maps.create(&PostParams::default(), &config_map("b")).await.unwrap();
    let label = async |value: &str| {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"sel": value}}}));
        maps.patch("b", &PatchParams::default(), &patch).await.unwrap()
    };
    label("y").await;
    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    maps.patch("b", &PatchParams::default(), &patch).await.unwrap();
    let left = label("n").await;
    label("y").await;
    maps.delete("b", &DeleteParams::default()).await.unwrap();
    let query = format!("resourceVersion={start}&labelSelector=sel%3Dy");
    let seen = events(&cluster, &query, "application/json", 5).await;
    assert_eq!(summary(&seen), ["ADDED b", "MODIFIED b", "DELETED b", "ADDED b", "DELETED b"]);
    // It is shown as it last stood in the selection, at the revision at which it left.
    assert_eq!(seen[2]["object"]["metadata"]["labels"]["sel"], "y");
    assert_eq!(seen[2]["object"]["metadata"]["resourceVersion"].as_str(), left.resource_version().as_deref());
}

#[tokio::test]
async fn a_watch_list_tells_the_state_and_marks_its_end() {
    let cluster = Cluster::start().await;
    cluster.config_maps().create(&PostParams::default(), &config_map("a")).await.unwrap();
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let seen = events(&cluster, query, "application/json", 2).await;
    assert_eq!(summary(&seen), ["ADDED a", "BOOKMARK -"]);
    assert_eq!(seen[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_watch_of_tables_says_its_columns_once() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.config_maps().create(&PostParams::default(), &config_map(name)).await.unwrap();
    }
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let seen = events(&cluster, "resourceVersion=0", accept, 2).await;
    assert_eq!(seen[0]["object"]["kind"], "Table");
    assert!(seen[0]["object"]["columnDefinitions"].is_array());
    assert_eq!(seen[1]["object"]["columnDefinitions"], Value::Null);
    assert_eq!(seen[1]["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test]
async fn a_watch_ends_at_its_timeout() {
    let cluster = Cluster::start().await;
    let seen = events(&cluster, "timeoutSeconds=1", "application/json", 9).await;
    assert_eq!(seen, Vec::<Value>::new());
}

/// Both ways in which kube-rs reflectors begin, and what they see then.
async fn check_reflector(config: watcher::Config) {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let mut seen = watcher(maps.clone(), config).boxed();
    let mut next = async || describe(seen.next().await.unwrap().unwrap());
    assert_eq!(next().await, "init");
    assert_eq!(next().await, "init a");
    assert_eq!(next().await, "init done");
    maps.create(&PostParams::default(), &config_map("b")).await.unwrap();
    assert_eq!(next().await, "apply b");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(next().await, "delete a");
}

fn describe(event: Event<ConfigMap>) -> String {
    match event {
        Event::Init => "init".to_owned(),
        Event::InitApply(map) => format!("init {}", map.name_any()),
        Event::InitDone => "init done".to_owned(),
        Event::Apply(map) => format!("apply {}", map.name_any()),
        Event::Delete(map) => format!("delete {}", map.name_any()),
    }
}

#[tokio::test]
async fn reflectors_list_and_watch() {
    check_reflector(watcher::Config::default().page_size(1)).await;
}

#[tokio::test]
async fn reflectors_stream_the_list() {
    check_reflector(watcher::Config::default().streaming_lists()).await;
}

#[tokio::test]
async fn a_watch_over_websocket_sends_a_message_for_each_event() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &config_map(name)).await.unwrap();
    }
    let mut request = format!("wss://localhost{MAPS}?watch=true").into_client_request().unwrap();
    request.headers_mut().insert("origin", "https://localhost".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(request, cluster.connect().await).await.unwrap();
    let mut next = async || -> Value {
        let message = socket.next().await.unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    };
    let mut seen = vec![next().await, next().await];
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    seen.push(next().await);
    assert_eq!(summary(&seen), ["ADDED a", "ADDED b", "DELETED a"]);
    // A handshake without a key is none.
    let headers = [("upgrade", "websocket"), ("connection", "Upgrade")];
    let (status, _) = cluster.send("GET", &format!("{MAPS}?watch=true"), &headers, Vec::new()).await;
    assert_eq!(status, 400);
}

/// Crest's own controllers, which never look at owners, are not told of them; what they write keeps them.
#[tokio::test]
async fn controllers_watch_without_owners_and_lose_none() {
    let cluster = Cluster::start().await;
    let made = cluster.config_maps().create(&PostParams::default(), &config_map("a")).await.unwrap();
    let all = watcher::Config::default().streaming_lists();
    let watched = async |client: kube::Client| {
        let maps: kube::Api<ConfigMap> = kube::Api::default_namespaced(client);
        let mut events = std::pin::pin!(watcher(maps, all.clone()));
        loop {
            if let Event::InitApply(map) = events.next().await.unwrap().unwrap()
                && map.name_any() == "a"
            {
                return map;
            }
        }
    };
    assert_eq!(watched(cluster.client.clone()).await, made);
    let mut bare = watched(cluster.controllers.clone()).await;
    assert_eq!(bare.metadata.managed_fields, None);
    assert_eq!((&bare.data, &bare.metadata.uid), (&made.data, &made.metadata.uid));

    bare.data.get_or_insert_default().insert("more".to_owned(), "x".to_owned());
    let maps: kube::Api<ConfigMap> = kube::Api::default_namespaced(cluster.controllers.clone());
    maps.replace("a", &PostParams::default(), &bare).await.unwrap();
    let managers = |map: &ConfigMap| {
        let entries = map.managed_fields().iter();
        entries.map(|entry| entry.manager.clone().unwrap_or_default()).collect::<Vec<_>>()
    };
    let now = cluster.config_maps().get("a").await.unwrap();
    assert!(managers(&made).iter().all(|manager| managers(&now).contains(manager)), "{:?}", managers(&now));
    assert_eq!(managers(&now).len(), managers(&made).len() + 1);
}
