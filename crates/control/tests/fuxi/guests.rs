//! Pods that others make for Fuxi to place.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use model::batch_quota::BatchQuota;
use model::dagjob::{DagJob, JobPhase};
use model::pod_group::PodGroup;
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

async fn is_placed(cluster: &Cluster, name: &str) -> bool {
    pods(cluster).get(name).await.unwrap().spec.unwrap().node_name.is_some()
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

pub(crate) async fn pods_of_a_group_are_placed_together() {
    let mut cluster = Cluster::start().await;
    for name in ["a", "b"] {
        make(&cluster, name, |_| {}).await;
    }
    cluster.wait_until(async || n_placed(&cluster).await == 2).await;
    let in_group = |pod: &mut Value| pod["metadata"]["labels"] = json!({ "crest.dev/pod-group": "ranks" });
    make(&cluster, "r0", in_group).await;
    cluster.wait_until(async || why(&cluster, "r0").await.contains("no PodGroup `ranks`")).await;
    let groups: Api<PodGroup> = Api::namespaced(cluster.client.clone(), "default");
    let group = json!({ "metadata": { "name": "ranks" }, "spec": { "minMember": 3 } });
    groups.create(&PostParams::default(), &serde_json::from_value(group).unwrap()).await.unwrap();
    make(&cluster, "r1", in_group).await;
    cluster.wait_until(async || why(&cluster, "r0").await.contains("2 of 3 Pods")).await;
    make(&cluster, "r2", in_group).await;
    make(&cluster, "r3", in_group).await;
    // There is room for two of them.
    cluster.wait_until(async || why(&cluster, "r1").await.contains("no Node leaves")).await;
    assert_eq!(n_placed(&cluster).await, 2);
    // Who is on its way out belongs to it no more, and the next takes its turn.
    pods(&cluster).delete("r1", &DeleteParams::default()).await.unwrap();
    cluster.kill_master();
    cluster.start_master();
    end(&cluster, "a").await;
    cluster.wait_until(async || n_placed(&cluster).await == 5).await;
    for name in ["r0", "r2", "r3"] {
        end(&cluster, name).await;
    }
    // It has started: who comes later is placed for itself.
    make(&cluster, "r4", in_group).await;
    cluster.wait_until(async || is_placed(&cluster, "r4").await).await;
    // Until all of it is gone; then it begins anew.
    for name in ["r0", "r2", "r3", "r4"] {
        pods(&cluster).delete(name, &DeleteParams::default()).await.unwrap();
    }
    make(&cluster, "r5", in_group).await;
    cluster.wait_until(async || why(&cluster, "r5").await.contains("1 of 3 Pods")).await;
}

pub(crate) async fn a_group_that_has_gathered_its_room_starts_as_a_whole() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d"] {
        make(&cluster, name, |_| {}).await;
    }
    cluster.wait_until(async || n_placed(&cluster).await == 4).await;
    let groups: Api<PodGroup> = Api::namespaced(cluster.client.clone(), "default");
    let group = json!({ "metadata": { "name": "ranks" }, "spec": { "minMember": 3 } });
    groups.create(&PostParams::default(), &serde_json::from_value(group).unwrap()).await.unwrap();
    let in_group = |pod: &mut Value| pod["metadata"]["labels"] = json!({ "crest.dev/pod-group": "ranks" });
    for name in ["r0", "r1", "r2"] {
        make(&cluster, name, in_group).await;
    }
    // Whoever else waits would take each place as it comes free, but for the grace after which the group gathers.
    tokio::time::sleep(fuxi::REVOKE_GRACE + Duration::from_secs(2)).await;
    make(&cluster, "other", |_| {}).await;
    for name in ["a", "b", "c"] {
        end(&cluster, name).await;
    }
    cluster.wait_until(async || n_placed(&cluster).await == 7).await;
    assert!(!is_placed(&cluster, "other").await, "it took a place of the group's");
    end(&cluster, "d").await;
    cluster.wait_until(async || is_placed(&cluster, "other").await).await;
}

pub(crate) async fn what_names_no_quota_counts_for_that_of_its_namespace() {
    let cluster = Cluster::start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let label = Patch::Merge(json!({ "metadata": { "labels": { "crest.dev/quota": "q" } } }));
    namespaces.patch("default", &PatchParams::default(), &label).await.unwrap();
    let quotas: Api<BatchQuota> = Api::all(cluster.client.clone());
    let quota = json!({ "metadata": { "name": "q" }, "spec": { "max": { "workers": "1" } } });
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let unnamed = |pod: &mut Value| {
        pod["spec"]["schedulerName"] = Value::Null;
        pod["spec"]["priorityClassName"] = "crest-free".into();
    };
    make(&cluster, "first", unnamed).await;
    cluster.wait_until(async || n_placed(&cluster).await == 1).await;
    make(&cluster, "second", unnamed).await;
    cluster.wait_until(async || why(&cluster, "second").await.contains("`q` allows no more")).await;
    let first = pods(&cluster).get("first").await.unwrap();
    assert_eq!(first.labels()["crest.dev/quota"], "q");
    cluster.create_job("job", json!([crate::task("only", 1, "true", &[])])).await;
    let jobs: Api<DagJob> = Api::namespaced(cluster.client.clone(), "default");
    assert_eq!(jobs.get("job").await.unwrap().spec.quota.as_deref(), Some("q"));
    end(&cluster, "first").await;
    end(&cluster, "second").await;
    cluster.wait_for("job", |status| status.phase == JobPhase::Succeeded).await;
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

/// Whoever may not be deleted yet is deleted when it may be.
pub(crate) async fn a_pod_that_has_to_go_goes_in_the_end() {
    let cluster = Cluster::start().await;
    for number in 0..4 {
        make(&cluster, &format!("p{number}"), |_| {}).await;
    }
    cluster.wait_until(async || n_placed(&cluster).await == 4).await;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client.clone());
    let rule =
        json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["pods"] });
    let policy = json!({ "metadata": { "name": "stay" }, "spec": {
        "matchConstraints": { "resourceRules": [rule] }, "validations": [{ "expression": "false" }],
    }});
    let binding = json!({ "metadata": { "name": "stay" },
        "spec": { "policyName": "stay", "validationActions": ["Deny"] } });
    let how = PostParams::default();
    policies.create(&how, &serde_json::from_value(policy).unwrap()).await.unwrap();
    bindings.create(&how, &serde_json::from_value(binding).unwrap()).await.unwrap();
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    cluster.wait_until(async || pods(&cluster).delete("p0", &dry).await.is_err()).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let shrunk = Patch::Merge(json!({ "status": { "allocatable": { "kubernetes.io/batch-cpu": "1000" } } }));
    nodes.patch_status("here", &PatchParams::default(), &shrunk).await.unwrap();
    // Events say that it was tried.
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let is_told = |event: &Event| event.reason.as_deref() == Some("Preempted");
    cluster.wait_until(async || events.list(&ListParams::default()).await.unwrap().iter().any(is_told)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(n_placed(&cluster).await, 4);
    bindings.delete("stay", &DeleteParams::default()).await.unwrap();
    cluster.wait_until(async || n_placed(&cluster).await == 2).await;
}
