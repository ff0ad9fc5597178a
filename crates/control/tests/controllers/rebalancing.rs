//! Policies of the optimiser: pods move, one by one, and nobody misses them.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, PostParams};
use model::elastic_quota::ElasticQuota;
use model::rebalance_policy::{RebalancePhase, RebalancePolicy, RebalancePolicyStatus};
use model::reservation::Reservation;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::harness::{Cluster, pod, until};

fn template(app: &str, cpu: &str) -> Value {
    json!({ "metadata": { "labels": { "app": app } }, "spec": { "terminationGracePeriodSeconds": 0, "containers": [
        { "name": "c", "image": "nginx:1.25", "resources": { "requests": { "cpu": cpu } } }] } })
}

fn policy(more: Value) -> Value {
    let mut policy = json!({ "metadata": { "name": "tidy" },
        "spec": { "goal": "FreeMachines", "intervalSeconds": 1, "leaveAloneSeconds": 0, "namespaces": ["default"] } });
    for (name, value) in more.as_object().unwrap() {
        policy["spec"][name] = value.clone();
    }
    policy
}

async fn create_policy(cluster: &Cluster, more: Value) {
    let policy: RebalancePolicy = serde_json::from_value(policy(more)).unwrap();
    cluster.all().create(&PostParams::default(), &policy).await.unwrap();
}

async fn until_status(
    cluster: &Cluster,
    holds: impl Fn(&RebalancePolicyStatus) -> bool,
) -> RebalancePolicyStatus {
    let is = |policy: Option<&RebalancePolicy>| {
        policy.and_then(|policy| policy.status.as_ref()).is_some_and(&holds)
    };
    until(cluster.all::<RebalancePolicy>(), "tidy", is).await.unwrap().status.unwrap()
}

async fn pods(cluster: &Cluster, app: &str) -> Vec<Pod> {
    let labelled = ListParams::default().labels(&format!("app={app}"));
    cluster.api::<Pod>().list(&labelled).await.unwrap().items
}

fn nodes(pods: &[Pod]) -> BTreeSet<&str> {
    pods.iter().filter_map(control::pods::node_name).collect()
}

async fn has_two_ready(cluster: &Cluster) {
    let is_up = |web: Option<&Deployment>| {
        let status = web.and_then(|web| web.status.as_ref());
        status.is_some_and(|status| status.available_replicas == Some(2))
    };
    cluster.until("web", is_up).await;
}

/// Two nodes that take pods, as the scheduler knows.
async fn two_nodes(cluster: &Cluster) {
    for name in ["a", "b"] {
        cluster.add_node(name, "4").await;
        let mut probe = pod(name, "100m");
        probe["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": name });
        cluster.create::<Pod>(probe).await;
        cluster
            .until(name, |pod: Option<&Pod>| pod.is_some_and(|pod| control::pods::node_name(pod).is_some()))
            .await;
    }
    for name in ["a", "b"] {
        cluster.api::<Pod>().delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
        cluster.until(name, |pod: Option<&Pod>| pod.is_none()).await;
    }
}

async fn two_apart(cluster: &Cluster) {
    two_nodes(cluster).await;
    let spec = json!({ "replicas": 2, "selector": { "matchLabels": { "app": "web" } }, "template": template("web", "500m") });
    cluster.create::<Deployment>(json!({ "metadata": { "name": "web" }, "spec": spec })).await;
    has_two_ready(cluster).await;
    assert_eq!(nodes(&pods(cluster, "web").await).len(), 2, "pods of one owner keep apart");
}

/// Its budget never lets one go, and need not: there are three while one of them goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_up_elsewhere_before_it_goes_and_then_all_is_still() {
    let cluster = Cluster::start().await;
    two_apart(&cluster).await;
    let budget = json!({ "minAvailable": 2, "selector": { "matchLabels": { "app": "web" } } });
    cluster.create::<PodDisruptionBudget>(json!({ "metadata": { "name": "web" }, "spec": budget })).await;
    let is_counted = |budget: Option<&PodDisruptionBudget>| {
        let status = budget.and_then(|budget| budget.status.as_ref());
        status
            .is_some_and(|status| (status.current_healthy, status.disruptions_allowed) == (Some(2), Some(0)))
    };
    cluster.until("web", is_counted).await;
    create_policy(&cluster, json!({})).await;
    let status = until_status(&cluster, |status| status.moved == 1).await;
    assert_eq!(status.failed, 0);
    let ended = &status.ended[0];
    assert_eq!(ended.message, None, "went where it was to go");
    let before = status.plan.unwrap().made_at;
    // Further plans find nothing to do, though pods may move again at once.
    let later = until_status(&cluster, |status| {
        status.plan.as_ref().is_some_and(|plan| plan.made_at > before && plan.moves == 0)
    })
    .await;
    assert_eq!((later.moved, later.phase), (1, RebalancePhase::Idle));
    assert_eq!(later.conditions[0].reason, "NothingToGain");
    let pods = pods(&cluster, "web").await;
    assert_eq!(nodes(&pods), [ended.to.as_str()].into());
    assert_eq!(pods.len(), 2);
    assert!(cluster.api::<Reservation>().list(&ListParams::default()).await.unwrap().items.is_empty());
    let events = cluster.api::<Event>();
    let told = async {
        let is_told = |event: &Event| event.reason.as_deref() == Some("Moved");
        while !events.list(&ListParams::default()).await.unwrap().items.iter().any(is_told) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("no event tells of it");
}

/// Nothing is left of the quota for the pod that comes before the other goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_moved_within_a_full_quota() {
    let cluster = Cluster::start().await;
    two_apart(&cluster).await;
    let full = json!({ "namespaces": ["default"], "max": { "cpu": "1", "pods": "2" } });
    let quota = json!({ "metadata": { "name": "full" }, "spec": full });
    let quota: ElasticQuota = serde_json::from_value(quota).unwrap();
    cluster.all().create(&PostParams::default(), &quota).await.unwrap();
    let uses_all = |quota: Option<&ElasticQuota>| {
        let used = quota.and_then(|quota| quota.status.as_ref()).map(|status| &status.used);
        let is = |name, amount| used.and_then(|used| used.get(name)).is_some_and(|used| used.0 == amount);
        is("cpu", "1") && is("pods", "2")
    };
    until(cluster.all::<ElasticQuota>(), "full", uses_all).await;
    create_policy(&cluster, json!({})).await;
    let status = until_status(&cluster, |status| status.moved + status.failed == 1).await;
    assert_eq!((status.failed, &status.ended[0].message), (0, &None));
    assert_eq!(nodes(&pods(&cluster, "web").await), [status.ended[0].to.as_str()].into());
    until(cluster.all::<ElasticQuota>(), "full", uses_all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_a_stateful_set_goes_and_comes_back_where_room_is_held() {
    let cluster = Cluster::start().await;
    two_nodes(&cluster).await;
    let spec = json!({ "replicas": 2, "serviceName": "db", "selector": { "matchLabels": { "app": "db" } },
        "template": template("db", "1") });
    cluster.create::<StatefulSet>(json!({ "metadata": { "name": "db" }, "spec": spec })).await;
    let is_up = |set: Option<&StatefulSet>| {
        set.and_then(|set| set.status.as_ref()).is_some_and(|status| status.ready_replicas == Some(2))
    };
    cluster.until("db", is_up).await;
    create_policy(&cluster, json!({})).await;
    let status = until_status(&cluster, |status| status.moved == 1).await;
    assert_eq!(status.ended[0].message, None, "went where it was to go");
    assert_eq!(status.ended[0].successor.as_ref(), Some(&status.ended[0].pod));
    assert_eq!(nodes(&pods(&cluster, "db").await), [status.ended[0].to.as_str()].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_only_tells_and_who_is_not_to_move_does_not() {
    let cluster = Cluster::start().await;
    two_apart(&cluster).await;
    let before: BTreeSet<_> = pods(&cluster, "web").await.into_iter().map(|pod| pod.metadata.uid).collect();
    create_policy(&cluster, json!({ "dryRun": true })).await;
    let told = until_status(&cluster, |status| status.plan.is_some()).await;
    let plan = told.plan.unwrap();
    assert_eq!((plan.moves, plan.proposed.len(), told.begun.len()), (1, 1, 0));
    assert_eq!(told.conditions[0].reason, "DryRun");
    cluster.all::<RebalancePolicy>().delete("tidy", &DeleteParams::default()).await.unwrap();
    let api = cluster.api::<Pod>();
    let stay = json!({ "metadata": { "annotations": { "crest.dev/do-not-move": "true" } } });
    for pod in pods(&cluster, "web").await {
        let name = pod.metadata.name.unwrap();
        api.patch(&name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&stay)).await.unwrap();
    }
    create_policy(&cluster, json!({})).await;
    let held = until_status(&cluster, |status| {
        status.plan.as_ref().is_some_and(|plan| plan.held_pods.get("DoNotMove") == Some(&2))
    })
    .await;
    assert_eq!((held.plan.unwrap().moves, held.moved), (0, 0));
    let after: BTreeSet<_> = pods(&cluster, "web").await.into_iter().map(|pod| pod.metadata.uid).collect();
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_begun_for_a_policy_that_is_deleted_is_taken_back() {
    let cluster = Cluster::start().await;
    two_apart(&cluster).await;
    // One that nobody knows has marked it.
    let name = pods(&cluster, "web").await.remove(0).metadata.name.unwrap();
    let mark = json!({ "metadata": { "annotations": { "crest.dev/being-replaced": "gone" } } });
    let api = cluster.api::<Pod>();
    api.patch(&name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(&mark)).await.unwrap();
    let is_unmarked = |pod: Option<&Pod>| {
        pod.is_none_or(|pod| {
            pod.metadata.annotations.as_ref().is_none_or(|all| !all.contains_key("crest.dev/being-replaced"))
        })
    };
    cluster.until(&name, is_unmarked).await;
    has_two_ready(&cluster).await;
    let settled = async {
        while pods(&cluster, "web").await.iter().filter(|pod| control::pods::is_active(pod)).count() != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), settled).await.expect("is there twice");
}

/// No agent measures anything here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_measurements_a_policy_that_goes_by_them_waits() {
    let cluster = Cluster::start().await;
    two_apart(&cluster).await;
    create_policy(&cluster, json!({ "goal": "RemoveHotSpots", "by": "MeasuredUse" })).await;
    let status = until_status(&cluster, |status| !status.conditions.is_empty()).await;
    assert_eq!((status.conditions[0].reason.as_str(), status.begun.len()), ("NoMeasurements", 0));
}
