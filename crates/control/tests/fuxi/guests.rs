//! Pods that others make for Fuxi to place.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use model::batch_quota::BatchQuota;
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn pods(cluster: &Cluster) -> Api<Pod> {
    Api::namespaced(cluster.client.clone(), "default")
}

async fn make(cluster: &Cluster, name: &str, change: impl FnOnce(&mut Value)) {
    let mut pod = json!({
        "metadata": { "name": name },
        "spec": {
            "schedulerName": "fuxi", "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": "500m" } } }],
        },
    });
    change(&mut pod);
    pods(cluster).create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
}

async fn n_placed(cluster: &Cluster) -> usize {
    let pods = pods(cluster).list(&ListParams::default()).await.unwrap();
    pods.iter().filter(|pod| pod.spec.as_ref().unwrap().node_name.is_some()).count()
}

async fn end(cluster: &Cluster, name: &str) {
    let patch = Patch::Merge(json!({ "status": { "phase": "Succeeded" } }));
    pods(cluster).patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn why(cluster: &Cluster, name: &str) -> String {
    let pod = pods(cluster).get(name).await.unwrap();
    let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
    let waits = conditions.into_iter().find(|each| each.type_ == "PodScheduled" && each.status == "False");
    waits.and_then(|condition| condition.message).unwrap_or_default()
}

fn in_quota(pod: &mut Value) {
    pod["metadata"]["labels"] = json!({ "crest.dev/quota": "q" });
}

pub(crate) async fn pods_of_others_share_the_room() {
    let mut cluster = Cluster::start().await;
    // Nobody named a scheduler, but batch's own resources.
    let own = json!({ "kubernetes.io/batch-cpu": "500", "kubernetes.io/batch-memory": "1Mi" });
    let containers = json!([{ "name": "c", "image": "i", "resources": { "requests": own } }]);
    let unnamed = |pod: &mut Value| {
        pod["spec"]["schedulerName"] = Value::Null;
        pod["spec"]["containers"] = containers;
    };
    make(&cluster, "p0", unnamed).await;
    for number in 1..6 {
        make(&cluster, &format!("p{number}"), |_| {}).await;
    }
    cluster.wait_until(async || n_placed(&cluster).await == 4).await;
    let waiting = || async {
        let pods = pods(&cluster).list(&ListParams::default()).await.unwrap();
        let waits = |pod: &&Pod| pod.spec.as_ref().unwrap().node_name.is_none();
        pods.iter().find(waits).map(ResourceExt::name_any).unwrap()
    };
    cluster
        .wait_until(async || {
            let name = waiting().await;
            why(&cluster, &name).await.contains("no Node leaves 500m CPU")
        })
        .await;
    // A worker has no room beside them, and gets the next that is free in its turn.
    cluster.create_job("job", json!([crate::task("only", 1, "true", &[])])).await;
    cluster.kill_master();
    cluster.start_master();
    for name in ["p0", "p1", "p2"] {
        end(&cluster, name).await;
    }
    cluster.wait_for("job", |status| status.phase == model::dagjob::JobPhase::Succeeded).await;
    cluster.wait_until(async || n_placed(&cluster).await == 6).await;
}

pub(crate) async fn pods_of_others_keep_to_their_selector_and_their_quota() {
    let cluster = Cluster::start().await;
    make(&cluster, "picky", |pod| pod["spec"]["nodeSelector"] = json!({ "disk": "ssd" })).await;
    make(&cluster, "bound", in_quota).await;
    cluster.wait_until(async || why(&cluster, "picky").await.contains("no Node has the labels")).await;
    cluster.wait_until(async || why(&cluster, "bound").await.contains("`q` is not there")).await;
    assert_eq!(n_placed(&cluster).await, 0);
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let label = Patch::Merge(json!({ "metadata": { "labels": { "disk": "ssd" } } }));
    nodes.patch("here", &PatchParams::default(), &label).await.unwrap();
    let quotas: Api<BatchQuota> = Api::all(cluster.client.clone());
    let quota = json!({ "metadata": { "name": "q" }, "spec": { "max": { "cpu": "750m" } } });
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    cluster.wait_until(async || n_placed(&cluster).await == 2).await;
    // One more is beyond the quota's max.
    make(&cluster, "beyond", in_quota).await;
    let used = async || {
        let status = quotas.get("q").await.unwrap().status.unwrap_or_default();
        status.used.get("cpu").map(|cpu| cpu.0.clone())
    };
    cluster.wait_until(async || used().await.as_deref() == Some("500m")).await;
    cluster.wait_until(async || why(&cluster, "beyond").await.contains("`q` allows no more")).await;
    assert_eq!(n_placed(&cluster).await, 2);
    end(&cluster, "bound").await;
    cluster.wait_until(async || n_placed(&cluster).await == 3).await;
}

pub(crate) async fn pods_of_others_go_when_their_machine_shrinks() {
    let cluster = Cluster::start().await;
    for number in 0..4 {
        make(&cluster, &format!("p{number}"), |_| {}).await;
    }
    cluster.wait_until(async || n_placed(&cluster).await == 4).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let shrunk = Patch::Merge(json!({ "status": { "allocatable": { "kubernetes.io/batch-cpu": "1000" } } }));
    nodes.patch_status("here", &PatchParams::default(), &shrunk).await.unwrap();
    cluster.wait_until(async || n_placed(&cluster).await == 2).await;
}
