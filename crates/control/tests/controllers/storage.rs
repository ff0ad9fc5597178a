//! Pods and their volumes, from the claim to the node.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Resource;
use kube::api::{Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::harness::{Cluster, pod};

impl Cluster {
    async fn create_for_all<K>(&self, object: Value)
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.all::<K>().create(&PostParams::default(), &object).await.unwrap();
    }
}

fn using(name: &str, claim: &str) -> Value {
    let mut pod = pod(name, "100m");
    pod["spec"]["volumes"] = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": claim } }]);
    pod
}

fn claim(name: &str, class: &str, mode: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "storageClassName": class, "accessModes": [mode],
        "resources": { "requests": { "storage": "1Gi" } } } })
}

/// A volume that a driver attaches.
fn volume(name: &str, mode: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "storageClassName": "disks", "accessModes": [mode],
        "capacity": { "storage": "1Gi" }, "csi": { "driver": "example.com", "volumeHandle": name } } })
}

fn is_bound(pod: Option<&Pod>) -> bool {
    pod.is_some_and(|pod| control::pods::node_name(pod).is_some())
}

fn is_told(message: &'static str) -> impl Fn(Option<&Pod>) -> bool {
    move |pod| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref()).into_iter().flatten();
        let mut messages = conditions.into_iter().filter_map(|each| each.message.as_deref());
        messages.any(|told| told == message)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_waits_for_its_claim_and_a_node_attaches_no_more_than_it_can() {
    use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    let driver = json!({ "name": "example.com", "nodeID": "a", "allocatable": { "count": 1 } });
    cluster
        .create_for_all::<CSINode>(json!({ "metadata": { "name": "a" }, "spec": { "drivers": [driver] } }))
        .await;
    cluster
        .create_for_all::<StorageClass>(json!({ "metadata": { "name": "disks" },
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate" }))
        .await;
    cluster.create::<Pod>(using("p", "c")).await;
    let missing = r#"0/1 nodes are available: persistentvolumeclaim "c" not found."#;
    cluster.until("p", is_told(missing)).await;
    cluster.create::<PersistentVolumeClaim>(claim("c", "disks", "ReadWriteOncePod")).await;
    let unbound = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
    cluster.until("p", is_told(unbound)).await;
    cluster.create_for_all::<PersistentVolume>(volume("v", "ReadWriteOncePod")).await;
    cluster.until("p", is_bound).await;

    cluster.create::<Pod>(using("q", "c")).await;
    let taken = "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and \
                 ReadWriteOncePod access mode.";
    cluster.until("q", is_told(taken)).await;
    cluster.create_for_all::<PersistentVolume>(volume("w", "ReadWriteOnce")).await;
    cluster.create::<PersistentVolumeClaim>(claim("d", "disks", "ReadWriteOnce")).await;
    cluster.create::<Pod>(using("r", "d")).await;
    cluster.until("r", is_told("0/1 nodes are available: 1 node(s) exceed max volume count.")).await;
    cluster.add_node("b", "4").await;
    let bound = cluster.until("r", is_bound).await.unwrap();
    assert_eq!(control::pods::node_name(&bound), Some("b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_asked_for_where_its_pod_goes() {
    use k8s_openapi::api::storage::v1::StorageClass;
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.add_node(name, "4").await;
    }
    let on_b = json!({ "key": "kubernetes.io/hostname", "values": ["b"] });
    cluster
        .create_for_all::<StorageClass>(json!({ "metadata": { "name": "made" }, "provisioner": "example.com",
            "volumeBindingMode": "WaitForFirstConsumer",
            "allowedTopologies": [{ "matchLabelExpressions": [on_b] }] }))
        .await;
    cluster.create::<PersistentVolumeClaim>(claim("c", "made", "ReadWriteOnce")).await;
    cluster.create::<Pod>(using("p", "c")).await;
    let is_asked_for = |claim: Option<&PersistentVolumeClaim>| {
        let annotations = claim.and_then(|claim| claim.metadata.annotations.as_ref());
        let node = annotations.and_then(|all| all.get("volume.kubernetes.io/selected-node"));
        node.is_some_and(|node| node == "b")
    };
    cluster.until("c", is_asked_for).await;
    // Whoever makes volumes cannot make it there: the pod is placed anew.
    let refused = json!({ "metadata": { "annotations": { "volume.kubernetes.io/selected-node": null } } });
    let claims = cluster.api::<PersistentVolumeClaim>();
    claims.patch("c", &PatchParams::default(), &Patch::Merge(refused)).await.unwrap();
    cluster.until("c", is_asked_for).await;
    let pod = cluster.api::<Pod>().get("p").await.unwrap();
    assert!(!is_bound(Some(&pod)), "it waits until its volume is there");
    let uid = claims.get("c").await.unwrap().metadata.uid;
    cluster
        .create_for_all::<PersistentVolume>(json!({ "metadata": { "name": "made-for-c" }, "spec": {
            "storageClassName": "made", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" },
            "csi": { "driver": "example.com", "volumeHandle": "h" },
            "claimRef": { "namespace": "default", "name": "c", "uid": uid } } }))
        .await;
    let bound = cluster.until("p", is_bound).await.unwrap();
    assert_eq!(control::pods::node_name(&bound), Some("b"));
}

/// A volume that only the node of this name reaches.
fn local(name: &str, node: &str, size: &str) -> Value {
    let here = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] });
    json!({ "metadata": { "name": name }, "spec": {
        "storageClassName": "local", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": size },
        "local": { "path": "/disk" },
        "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [here] }] } } } })
}

async fn of_local_disks(cluster: &Cluster) {
    use k8s_openapi::api::storage::v1::StorageClass;
    let class = json!({ "metadata": { "name": "local" }, "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer" });
    cluster.create_for_all::<StorageClass>(class).await;
}

async fn until_phase(cluster: &Cluster, claim: &str, phase: &'static str) {
    let is = move |claim: Option<&PersistentVolumeClaim>| {
        claim.and_then(|claim| claim.status.as_ref()?.phase.as_deref()) == Some(phase)
    };
    cluster.until(claim, is).await;
}

/// Both are placed in one step, though the one disk can be only one's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pods_that_come_at_once_do_not_count_on_one_volume() {
    let cluster = Cluster::start().await;
    of_local_disks(&cluster).await;
    cluster.create_for_all::<PersistentVolume>(local("on-a", "a", "2Gi")).await;
    for name in ["p", "q"] {
        cluster.create::<PersistentVolumeClaim>(claim(name, "local", "ReadWriteOnce")).await;
        cluster.create::<Pod>(using(name, name)).await;
    }
    for name in ["a", "b"] {
        cluster.add_node(name, "4").await;
    }
    let is_told =
        is_told("0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.");
    let (first, second) = tokio::select! {
        _ = cluster.until("p", &is_told) => ("q", "p"),
        _ = cluster.until("q", &is_told) => ("p", "q"),
    };
    let bound = cluster.until(first, is_bound).await.unwrap();
    assert_eq!(control::pods::node_name(&bound), Some("a"));
    until_phase(&cluster, first, "Bound").await;
    assert!(!is_bound(Some(&cluster.api::<Pod>().get(second).await.unwrap())));

    // The smaller one would do for both, wherever they are.
    cluster.create_for_all::<PersistentVolume>(local("on-b", "b", "1Gi")).await;
    let bound = cluster.until(second, is_bound).await.unwrap();
    assert_eq!(control::pods::node_name(&bound), Some("b"));
    until_phase(&cluster, second, "Bound").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_pods_gets_a_volume_where_it_is() {
    let cluster = Cluster::start().await;
    of_local_disks(&cluster).await;
    let nodes = ["a", "b", "c"];
    for number in 0..6 {
        let (name, size) = (format!("v{number}"), format!("{}Gi", 1 + number % 2));
        cluster.create_for_all::<PersistentVolume>(local(&name, nodes[number % 3], &size)).await;
        cluster.create::<PersistentVolumeClaim>(claim(&format!("p{number}"), "local", "ReadWriteOnce")).await;
        cluster.create::<Pod>(using(&format!("p{number}"), &format!("p{number}"))).await;
    }
    for name in nodes {
        cluster.add_node(name, "4").await;
    }
    for number in 0..6 {
        let name = format!("p{number}");
        let pod = cluster.until(&name, is_bound).await.unwrap();
        until_phase(&cluster, &name, "Bound").await;
        let claim = cluster.api::<PersistentVolumeClaim>().get(&name).await.unwrap();
        let volume: usize = claim.spec.unwrap().volume_name.unwrap()[1..].parse().unwrap();
        assert_eq!(control::pods::node_name(&pod), Some(nodes[volume % 3]), "{name} is where its volume is");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_brings_its_claim_with_it_and_takes_it_away() {
    use kube::api::DeleteParams;
    let cluster = Cluster::start().await;
    of_local_disks(&cluster).await;
    cluster.add_node("a", "4").await;
    cluster.create_for_all::<PersistentVolume>(local("on-a", "a", "2Gi")).await;
    let mut scratch = pod("p", "100m");
    let template = json!({ "metadata": { "labels": { "of": "p" } }, "spec": claim("", "local", "ReadWriteOnce")["spec"] });
    scratch["spec"]["volumes"] = json!([{ "name": "v", "ephemeral": { "volumeClaimTemplate": template } }]);
    cluster.create::<PersistentVolumeClaim>(claim("q-v", "local", "ReadWriteOnce")).await;
    let mut other = scratch.clone();
    other["metadata"]["name"] = json!("q");
    // A claim of that name is there, but is not the pod's.
    cluster.create::<Pod>(other).await;
    cluster
        .until(
            "q",
            is_told(r#"0/1 nodes are available: persistentvolumeclaim "q-v" was not made for this pod."#),
        )
        .await;
    cluster.create::<Pod>(scratch).await;
    cluster.until("p", is_bound).await;
    until_phase(&cluster, "p-v", "Bound").await;
    let made = cluster.api::<PersistentVolumeClaim>().get("p-v").await.unwrap();
    assert_eq!(made.metadata.labels.unwrap()["of"], "p");
    cluster.api::<Pod>().delete("p", &DeleteParams::default()).await.unwrap();
    cluster.until("p-v", |claim: Option<&PersistentVolumeClaim>| claim.is_none()).await;
}

/// Both would rather be where only one of them finds a volume.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_has_volumes_for_all_or_none() {
    use model::pod_group::PodGroup;
    let cluster = Cluster::start().await;
    of_local_disks(&cluster).await;
    cluster.create_for_all::<PersistentVolume>(local("on-a", "a", "1Gi")).await;
    for name in ["a", "b"] {
        cluster.add_node(name, "4").await;
    }
    let near_a = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": ["a"] });
    for name in ["p", "q"] {
        cluster.create::<PersistentVolumeClaim>(claim(name, "local", "ReadWriteOnce")).await;
        let mut member = using(name, name);
        member["metadata"]["labels"] = json!({ "crest.dev/pod-group": "g" });
        member["spec"]["affinity"] = json!({ "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
            { "weight": 100, "preference": { "matchExpressions": [near_a] } }] } });
        cluster.create::<Pod>(member).await;
    }
    cluster.create::<PodGroup>(json!({ "metadata": { "name": "g" }, "spec": { "minMember": 2 } })).await;
    let waits = "gang g: 1 of 2 fit: 0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.";
    cluster.until("p", is_told(waits)).await;
    for name in ["p", "q"] {
        assert!(!is_bound(Some(&cluster.api::<Pod>().get(name).await.unwrap())), "{name} is bound alone");
    }
    cluster.create_for_all::<PersistentVolume>(local("on-b", "b", "2Gi")).await;
    let mut nodes = Vec::new();
    for name in ["p", "q"] {
        let pod = cluster.until(name, is_bound).await.unwrap();
        nodes.push(control::pods::node_name(&pod).unwrap().to_owned());
        until_phase(&cluster, name, "Bound").await;
    }
    nodes.sort();
    assert_eq!(nodes, ["a", "b"]);
}
