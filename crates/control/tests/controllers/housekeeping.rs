//! Namespaces, service accounts, garbage, silent nodes.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::harness::{Cluster, ROOT_CA, pod, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_furnished_emptied_and_let_go() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    let namespaces: Api<Namespace> = cluster.all();
    let team = serde_json::from_value(json!({ "metadata": { "name": "team" } })).unwrap();
    namespaces.create(&PostParams::default(), &team).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "team");
    until(accounts, "default", |account: Option<&ServiceAccount>| account.is_some()).await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "team");
    let is_certificate = |map: Option<&ConfigMap>| {
        let data = map.and_then(|map| map.data.as_ref());
        data.is_some_and(|data| data["ca.crt"] == ROOT_CA)
    };
    until(maps, "kube-root-ca.crt", is_certificate).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "team");
    let running = serde_json::from_value(pod("p", "100m")).unwrap();
    pods.create(&PostParams::default(), &running).await.unwrap();
    let is_running = |pod: Option<&Pod>| pod.is_some_and(|pod| control::pods::phase(pod) == "Running");
    until(pods, "p", is_running).await;
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    until(namespaces, "team", |namespace: Option<&Namespace>| namespace.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependents_of_nobody_and_of_the_deleted_are_collected() {
    let cluster = Cluster::start().await;
    let owner = cluster.create::<ConfigMap>(json!({ "metadata": { "name": "owner" } })).await;
    let child = |name: &str, uid: &str| {
        let reference = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid });
        json!({ "metadata": { "name": name, "ownerReferences": [reference] } })
    };
    let nobody = "11111111-2222-3333-4444-555555555555";
    cluster.create::<ConfigMap>(child("lost", nobody)).await;
    cluster.create::<ConfigMap>(child("kept", owner.metadata.uid.as_deref().unwrap())).await;
    cluster.until("lost", |map: Option<&ConfigMap>| map.is_none()).await;
    assert!(cluster.api::<ConfigMap>().get_opt("kept").await.unwrap().is_some());
    cluster.api::<ConfigMap>().delete("owner", &DeleteParams::background()).await.unwrap();
    cluster.until("kept", |map: Option<&ConfigMap>| map.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ready_node_loses_its_taint() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    let is_clean = |node: Option<&Node>| {
        let taints = node.and_then(|node| node.spec.as_ref()?.taints.as_ref());
        node.is_some() && taints.is_none_or(Vec::is_empty)
    };
    until(cluster.all::<Node>(), "a", is_clean).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_bootstrap_tokens_are_deleted() {
    let cluster = Cluster::start().await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    let token = |name: &str, expiration: String| {
        serde_json::from_value(json!({
            "metadata": { "name": name }, "type": "bootstrap.kubernetes.io/token",
            "stringData": { "token-id": "abcdef", "token-secret": "0123456789abcdef", "expiration": expiration },
        }))
        .unwrap()
    };
    let in_seconds = |seconds: i64| {
        let time = kit::clock::wall() + jiff::SignedDuration::from_secs(seconds);
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    for (name, seconds) in [("old", -60), ("soon", 2), ("young", 3600)] {
        secrets.create(&PostParams::default(), &token(name, in_seconds(seconds))).await.unwrap();
    }
    for name in ["old", "soon"] {
        until(secrets.clone(), name, |secret: Option<&Secret>| secret.is_none()).await;
    }
    assert!(secrets.get_opt("young").await.unwrap().is_some());
}
