//! Tides over several nodes: those that cost batch least are handed over in time, and all of it is taken back.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use model::tide::{MarkState, RESIZE_MARK, Tide, TideMark, TideOutcome, TidePhase, TideStatus};
use serde_json::{Value, json};

use crate::harness::{Cluster, until};

/// Nodes that offer batch something; `empty` keeps services away.
async fn three_nodes(cluster: &Cluster) {
    for name in ["busy", "empty", "precious"] {
        cluster.add_node(name, "4").await;
        let offer = json!({ "kubernetes.io/batch-cpu": "4000", "kubernetes.io/batch-memory": "8Gi" });
        let status = json!({ "status": { "capacity": offer, "allocatable": offer } });
        let nodes = cluster.all::<Node>();
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
    let away = json!({ "spec": { "taints": [{ "key": "pool", "value": "batch", "effect": "NoSchedule" }] } });
    cluster.all::<Node>().patch("empty", &PatchParams::default(), &Patch::Merge(away)).await.unwrap();
    add_batch(cluster, "cheap", "busy", "crest-free").await;
    add_batch(cluster, "dear", "precious", "crest-batch").await;
}

async fn add_batch(cluster: &Cluster, name: &str, node: &str, priority: &str) {
    let resources = json!({ "kubernetes.io/batch-cpu": "1000", "kubernetes.io/batch-memory": "1Gi" });
    let resources = json!({ "requests": resources, "limits": resources });
    let pod = json!({ "metadata": { "name": name }, "spec": {
        "nodeName": node, "schedulerName": "fuxi", "priorityClassName": priority,
        "containers": [{ "name": "c", "image": "i", "resources": resources }] } });
    cluster.create::<Pod>(pod).await;
}

/// A tide that takes two of them for some seconds, as soon as may be.
async fn begin(cluster: &Cluster, seconds: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let from = now + SignedDuration::from_secs(12);
    let window =
        json!({ "from": from.to_string(), "to": (from + SignedDuration::from_secs(seconds)).to_string() });
    let tide = json!({ "metadata": { "name": "t" }, "spec": {
        "hosts": "60%", "leadSeconds": 10, "graceSeconds": 0, "windows": [window],
        "taint": { "key": "pool", "value": "batch", "effect": "NoSchedule" } } });
    let tide: Tide = serde_json::from_value(with_type(tide)).unwrap();
    cluster.all().create(&PostParams::default(), &tide).await.unwrap();
    from
}

fn with_type(mut tide: Value) -> Value {
    (tide["apiVersion"], tide["kind"]) = ("crest.dev/v1alpha1".into(), "Tide".into());
    tide
}

async fn until_status(cluster: &Cluster, holds: impl Fn(&TideStatus) -> bool) -> TideStatus {
    let is = |tide: Option<&Tide>| tide.and_then(|tide| tide.status.as_ref()).is_some_and(&holds);
    until(cluster.all::<Tide>(), "t", is).await.unwrap().status.unwrap()
}

async fn marks(cluster: &Cluster) -> Vec<(String, MarkState)> {
    let nodes = cluster.all::<Node>().list(&ListParams::default()).await.unwrap().items;
    let mark = |node: &Node| TideMark::of(Some(node.annotations())).map(|mark| mark.state);
    nodes.iter().filter_map(|node| Some((node.name_any(), mark(node)?))).collect()
}

async fn n_taints(cluster: &Cluster) -> usize {
    let node = cluster.all::<Node>().get("empty").await.unwrap();
    node.spec.and_then(|spec| spec.taints).map_or(0, |taints| taints.len())
}

async fn is_there(cluster: &Cluster, pod: &str) -> bool {
    cluster.api::<Pod>().get_opt(pod).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_cost_least_are_handed_over_in_time_and_come_back() {
    let cluster = Cluster::start().await;
    three_nodes(&cluster).await;
    let from = begin(&cluster, 6).await;
    let announced = until_status(&cluster, |status| !status.hosts.is_empty()).await;
    let taken: BTreeSet<&str> = announced.hosts.iter().map(|host| host.node.as_str()).collect();
    assert_eq!(taken, ["busy", "empty"].into(), "{announced:?}");
    let handed = until_status(&cluster, |status| status.phase == TidePhase::HandedOver).await;
    assert!(handed.free.as_ref().is_some_and(|free| free.0 <= from), "{handed:?}");
    assert_eq!((is_there(&cluster, "cheap").await, is_there(&cluster, "dear").await), (false, true));
    let after = until_status(&cluster, |status| status.phase == TidePhase::Calm).await;
    assert_eq!((after.past[0].outcome, marks(&cluster).await), (TideOutcome::Met, Vec::new()), "{after:?}");
    assert_eq!(n_taints(&cluster).await, 1, "what kept services away is back");
    let events = cluster.api::<Event>();
    let told = async {
        let all = ["Announced", "HandedOver", "Returned", "TideComes"];
        loop {
            let events = events.list(&ListParams::default()).await.unwrap().items;
            let reasons: BTreeSet<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
            if all.iter().all(|reason| reasons.contains(reason)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("events tell of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tide_that_is_undone_or_deleted_leaves_nothing_behind() {
    let cluster = Cluster::start().await;
    three_nodes(&cluster).await;
    begin(&cluster, 600).await;
    until_status(&cluster, |status| status.phase == TidePhase::HandedOver).await;
    assert_eq!(marks(&cluster).await.len(), 2);
    assert_eq!(n_taints(&cluster).await, 0, "services may come");
    // Batch that comes past those who grant places goes when it is seen, not when the tide looks again.
    add_batch(&cluster, "stray", "busy", "crest-batch").await;
    let gone = until(cluster.api::<Pod>(), "stray", |pod: Option<&Pod>| pod.is_none());
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("it is told at once");
    let suspended = Patch::Merge(json!({ "spec": { "suspend": true } }));
    cluster.all::<Tide>().patch("t", &PatchParams::default(), &suspended).await.unwrap();
    let undone = until_status(&cluster, |status| status.phase == TidePhase::Calm).await;
    assert_eq!((undone.past[0].outcome, marks(&cluster).await), (TideOutcome::Undone, Vec::new()));
    assert_eq!(n_taints(&cluster).await, 1);

    let again = Patch::Merge(json!({ "spec": { "suspend": false } }));
    cluster.all::<Tide>().patch("t", &PatchParams::default(), &again).await.unwrap();
    until_status(&cluster, |status| status.phase == TidePhase::HandedOver).await;
    cluster.all::<Tide>().delete("t", &DeleteParams::default()).await.unwrap();
    let is_free =
        |node: Option<&Node>| node.is_some_and(|node| TideMark::of(Some(node.annotations())).is_none());
    for name in ["busy", "empty", "precious"] {
        until(cluster.all::<Node>(), name, is_free).await;
    }
    assert_eq!(n_taints(&cluster).await, 1);
}

/// The server keeps all of it, and its owner hears why nothing comes yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tide_that_predicts_says_that_it_has_to_learn_first() {
    let cluster = Cluster::start().await;
    let spec = json!({ "hosts": "60%", "prediction": { "minDays": 3, "minHosts": 2, "marginPercent": 20 } });
    let tide: Tide =
        serde_json::from_value(with_type(json!({ "metadata": { "name": "t" }, "spec": spec }))).unwrap();
    let stored: Tide = cluster.all().create(&PostParams::default(), &tide).await.unwrap();
    assert_eq!(stored.spec, tide.spec);
    let status = until_status(&cluster, |status| status.prediction.is_some()).await;
    let message = status.prediction.unwrap().message;
    assert_eq!(message, "nothing is predicted yet: 0 of 3 days were watched");
}

/// Two tides reach for the same hosts: none is in both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_in_one_tide_at_a_time() {
    let cluster = Cluster::start().await;
    three_nodes(&cluster).await;
    begin(&cluster, 600).await;
    let mut other = cluster.all::<Tide>().get("t").await.unwrap();
    other.metadata = serde_json::from_value(json!({ "name": "other" })).unwrap();
    other.status = None;
    cluster.all().create(&PostParams::default(), &other).await.unwrap();
    let is_handed_over = |node: Option<&Node>| {
        let mark = node.and_then(|node| TideMark::of(Some(node.annotations())));
        mark.is_some_and(|mark| mark.state == MarkState::HandedOver)
    };
    for name in ["busy", "empty", "precious"] {
        until(cluster.all::<Node>(), name, is_handed_over).await;
    }
    // Whichever was first has two of them; the other has what is left, and says that it is too little.
    let mut held = Vec::new();
    for name in ["t", "other"] {
        let has_missed = |tide: Option<&Tide>| {
            let conditions = tide.and_then(|tide| tide.status.as_ref()).map(|status| &status.conditions);
            let late = |each: &Condition| {
                ["AtRisk", "Missed"].contains(&each.type_.as_str()) && each.status == "True"
            };
            conditions.is_some_and(|conditions| conditions.iter().any(late))
        };
        let tide = cluster.all::<Tide>().get(name).await.unwrap();
        let hosts = tide.status.map(|status| status.hosts).unwrap_or_default();
        if hosts.len() < 2 {
            until(cluster.all::<Tide>(), name, has_missed).await;
        }
        held.extend(hosts.into_iter().map(|host| host.node));
    }
    held.sort();
    assert_eq!(held, ["busy", "empty", "precious"]);
}

/// What a service asks for, and whether its Pod says that a tide has resized it.
fn size(pod: &Pod) -> (String, String, bool) {
    let resources = pod.spec.as_ref().unwrap().containers[0].resources.clone().unwrap();
    let cpu = |amounts: Option<std::collections::BTreeMap<String, _>>| -> String {
        amounts.and_then(|amounts| amounts.get("cpu").cloned()).map_or(String::new(), |Quantity(text)| text)
    };
    (cpu(resources.requests), cpu(resources.limits), pod.annotations().contains_key(RESIZE_MARK))
}

async fn until_size(cluster: &Cluster, pod: &str, cpu: (&str, &str, bool)) {
    let expected = (cpu.0.to_owned(), cpu.1.to_owned(), cpu.2);
    until(cluster.api::<Pod>(), pod, |pod: Option<&Pod>| pod.is_some_and(|pod| size(pod) == expected)).await;
}

async fn add_service(cluster: &Cluster, name: &str, cpu: &str) {
    let resources =
        json!({ "requests": { "cpu": cpu, "memory": "64Mi" }, "limits": { "cpu": "3", "memory": "64Mi" } });
    let pod = json!({ "metadata": { "name": name, "labels": { "app": "web" } }, "spec": {
        "nodeName": "busy", "containers": [{ "name": "c", "image": "i", "resources": resources }] } });
    cluster.create::<Pod>(pod).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_grow_on_hosts_that_are_theirs_and_get_their_size_back() {
    let cluster = Cluster::start().await;
    three_nodes(&cluster).await;
    add_service(&cluster, "web", "0.5").await;
    begin(&cluster, 600).await;
    let resize = json!([{ "namespaces": ["default"], "selector": { "matchLabels": { "app": "web" } }, "cpuPercent": 200 }]);
    let asked = |resize: &Value| Patch::Merge(json!({ "spec": { "resize": resize } }));
    cluster.all::<Tide>().patch("t", &PatchParams::default(), &asked(&resize)).await.unwrap();
    until_size(&cluster, "web", ("1", "6", true)).await;
    // One that comes later is resized when it is seen; for one that asks for too much there is no room.
    add_service(&cluster, "late", "100m").await;
    until_size(&cluster, "late", ("200m", "6", true)).await;
    add_service(&cluster, "large", "2500m").await;
    let status = until_status(&cluster, |status| {
        status.resize.as_ref().is_some_and(|resize| resize.infeasible == 1 && resize.resized == 2)
    })
    .await;
    let message = status.resize.unwrap().message;
    assert_eq!(message, "Pod `default/large`: its host is too small for it");
    let suspended = Patch::Merge(json!({ "spec": { "suspend": true } }));
    cluster.all::<Tide>().patch("t", &PatchParams::default(), &suspended).await.unwrap();
    until_size(&cluster, "web", ("500m", "3", false)).await;
    until_size(&cluster, "late", ("100m", "3", false)).await;

    // What a Tide that is gone has left behind is put back.
    let again = Patch::Merge(json!({ "spec": { "suspend": false } }));
    cluster.all::<Tide>().patch("t", &PatchParams::default(), &again).await.unwrap();
    until_size(&cluster, "web", ("1", "6", true)).await;
    cluster.all::<Tide>().delete("t", &DeleteParams::default()).await.unwrap();
    until_size(&cluster, "web", ("500m", "3", false)).await;
}
