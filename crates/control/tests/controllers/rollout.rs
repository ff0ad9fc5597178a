//! Deployments and ReplicaSets over their whole life.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{Cluster, pod};

fn workload(name: &str, replicas: i32) -> Value {
    let container = json!({ "name": "c", "image": "nginx:1.25" });
    json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [container] } },
        },
    })
}

/// Rolled out to `replicas` of its current generation, as `kubectl rollout status` sees it.
fn is_rolled_out(replicas: i32) -> impl Fn(Option<&Deployment>) -> bool {
    move |deployment| {
        let Some(deployment) = deployment else { return false };
        let Some(status) = &deployment.status else { return false };
        let has = |kind: &str, reason: &str| {
            status.conditions.iter().flatten().any(|condition| {
                condition.type_ == kind
                    && condition.status == "True"
                    && condition.reason.as_deref() == Some(reason)
            })
        };
        status.observed_generation == deployment.metadata.generation
            && status.replicas == Some(replicas)
            && status.updated_replicas == Some(replicas)
            && status.available_replicas == Some(replicas)
            && has("Available", "MinimumReplicasAvailable")
            && has("Progressing", "NewReplicaSetAvailable")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_updates_undoes_and_goes() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    cluster.create::<Deployment>(workload("web", 3)).await;
    cluster.until("web", is_rolled_out(3)).await;

    let patch = |grace: i32| json!({ "spec": { "template": { "spec": { "terminationGracePeriodSeconds": grace } } } });
    let deployments = cluster.api::<Deployment>();
    for (grace, revision) in [(5, "2"), (30, "3")] {
        // 30 s is the default: the first template again, as `kubectl rollout undo` sends it.
        deployments.patch("web", &PatchParams::default(), &Patch::Merge(patch(grace))).await.unwrap();
        let rolled_out = is_rolled_out(3);
        let at_revision = |deployment: Option<&Deployment>| {
            let annotations = deployment.and_then(|each| each.metadata.annotations.as_ref());
            let known = annotations.and_then(|all| all.get("deployment.kubernetes.io/revision"));
            known.is_some_and(|known| known == revision) && rolled_out(deployment)
        };
        cluster.until("web", at_revision).await;
    }
    let sets = cluster.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap();
    assert_eq!(sets.items.len(), 2, "undo uses the first set again");

    let scale = json!({ "spec": { "replicas": 1 } });
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
    cluster.until("web", is_rolled_out(1)).await;

    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    cluster.until("web", |deployment: Option<&Deployment>| deployment.is_none()).await;
    assert_eq!(cluster.api::<ReplicaSet>().list(&ListParams::default()).await.unwrap().items.len(), 0);
    assert_eq!(cluster.api::<Pod>().list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_adopts_an_orphan_and_leaves_it_behind_when_asked() {
    let cluster = Cluster::start().await;
    let mut orphan = pod("orphan", "100m");
    orphan["metadata"]["labels"] = json!({ "app": "r" });
    cluster.create::<Pod>(orphan).await;
    // A set that comes before the orphan is seen makes a pod of its own, and then has one too many.
    let is_seen = |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref()).is_some_and(|status| status.conditions.is_some())
    };
    cluster.until("orphan", is_seen).await;
    cluster.create::<ReplicaSet>(workload("r", 1)).await;
    let is_owned =
        |pod: Option<&Pod>| pod.is_some_and(|pod| control::owner::controller(&pod.metadata).is_some());
    cluster.until("orphan", is_owned).await;
    cluster.api::<ReplicaSet>().delete("r", &DeleteParams::orphan()).await.unwrap();
    cluster.until("r", |set: Option<&ReplicaSet>| set.is_none()).await;
    cluster.until("orphan", move |pod: Option<&Pod>| pod.is_some() && !is_owned(pod)).await;
    assert_eq!(cluster.api::<Pod>().list(&ListParams::default()).await.unwrap().items.len(), 1);
}
