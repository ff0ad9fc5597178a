//! A server that is killed while it moves pods goes on when it is back: none is lost, none is moved twice, and the budget
//! is kept all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use model::rebalance_policy::{
    RebalanceMove, RebalancePhase, RebalancePolicy, RebalancePolicyStatus, SUCCESSOR_OF,
};
use serde_json::json;
use tempfile::TempDir;

use super::{Server, until};

const REPLICAS: usize = 8;
/// How long a pod takes until it is ready, so that moves are under way for a while.
const STARTING: Duration = Duration::from_millis(300);

/// What was seen of pods, however short.
#[derive(Default)]
struct Seen {
    /// Of each pod by its uid, the one whose place it takes.
    successors: BTreeMap<String, Option<String>>,
    fewest_ready: Option<usize>,
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|each| each.type_ == "Ready");
    pod.metadata.deletion_timestamp.is_none() && ready.any(|each| each.status == "True")
}

/// Plays all kubelets at once, and watches, until it is told to end. A server that is away is asked again.
async fn play_kubelets(pods: Api<Pod>, ended: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut begun: BTreeMap<String, std::time::Instant> = BTreeMap::new();
    while !ended.load(Ordering::SeqCst) {
        // Nothing tells of a server that is back; a moment spares the machine.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Ok(listed) = pods.list(&ListParams::default()).await else { continue };
        let n_ready = listed.items.iter().filter(|pod| is_ready(pod)).count();
        if n_ready == REPLICAS || seen.fewest_ready.is_some() {
            seen.fewest_ready = Some(seen.fewest_ready.unwrap_or(n_ready).min(n_ready));
        }
        for pod in listed.items {
            let (name, uid) = (pod.metadata.name.clone().unwrap(), pod.metadata.uid.clone().unwrap());
            let before = pod.metadata.labels.as_ref().and_then(|labels| labels.get(SUCCESSOR_OF)).cloned();
            seen.successors.insert(uid.clone(), before);
            if pod.spec.as_ref().unwrap().node_name.is_none() {
                continue;
            }
            if pod.metadata.deletion_timestamp.is_some() {
                let _asked_again = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
            } else if !is_ready(&pod)
                && begun.entry(uid).or_insert_with(std::time::Instant::now).elapsed() > STARTING
            {
                let time = jiff::Timestamp::now().to_string();
                let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": time});
                let status = json!({"status": {"phase": "Running", "conditions": [ready]}});
                let _asked_again =
                    pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await;
            }
        }
    }
    seen
}

async fn create<K>(api: &Api<K>, object: serde_json::Value)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object).unwrap();
    until("the namespace takes it", async || api.create(&PostParams::default(), &object).await.ok()).await;
}

async fn deploy(client: &kube::Client) {
    let amounts = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    for name in ["a", "b", "c", "d"] {
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"capacity": amounts, "allocatable": amounts,
                "conditions": [{"type": "Ready", "status": "True"}]}});
        create(&Api::<Node>::all(client.clone()), node).await;
    }
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m"}}});
    let spec = json!({"replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}}, "template": {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}});
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    create(&deployments, json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let budget = json!({"minAvailable": REPLICAS, "selector": {"matchLabels": {"app": "web"}}});
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(client.clone());
    create(&budgets, json!({"metadata": {"name": "web"}, "spec": budget})).await;
    until("all are up", async || {
        let status = deployments.get("web").await.ok()?.status?;
        (status.available_replicas == i32::try_from(REPLICAS).ok()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_while_it_moves_pods_goes_on() {
    let directory = TempDir::new().unwrap();
    let arguments = ["--controllers", "*,-node-lifecycle", "--log", "warn"];
    let mut server = Server::new(directory.path().join("state"), &arguments);
    let client = server.start().await;
    let ended = Arc::new(AtomicBool::new(false));
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let kubelets = tokio::spawn(play_kubelets(pods.clone(), Arc::clone(&ended)));
    deploy(&client).await;
    let policies = Api::<RebalancePolicy>::all(client.clone());
    let spec = json!({"goal": "FreeMachines", "intervalSeconds": 1, "leaveAloneSeconds": 0, "maxMovesAtOnce": 2,
        "moveTimeoutSeconds": 60, "namespaces": ["default"]});
    create(
        &policies,
        json!({"apiVersion": "crest.dev/v1alpha1", "kind": "RebalancePolicy",
        "metadata": {"name": "tidy"}, "spec": spec}),
    )
    .await;
    let status = async || policies.get("tidy").await.ok()?.status;

    // In the first round, in the middle of its moves, and once more when some are done.
    let under_way = |status: &RebalancePolicyStatus| !status.round.is_empty();
    let begun = until("moves begin", async || status().await.filter(under_way)).await;
    assert_eq!(begun.moved, 0);
    server.kill();
    server.start().await;
    until("they go on", async || status().await.filter(|status| status.moved > 0 && under_way(status))).await;
    server.kill();
    server.start().await;
    let done = until("all is as planned", async || {
        let is_done = |status: &RebalancePolicyStatus| {
            status.phase == RebalancePhase::Idle
                && status.plan.as_ref().is_some_and(|plan| plan.moves == 0)
                && status.round.is_empty()
        };
        status().await.filter(is_done)
    })
    .await;
    ended.store(true, Ordering::SeqCst);
    let seen = kubelets.await.unwrap();

    assert_eq!(done.failed, 0, "{:?}", done.ended);
    let moved: Vec<&RebalanceMove> = done.ended.iter().collect();
    assert_eq!(moved.len(), done.moved as usize);
    let uids: BTreeSet<&String> = moved.iter().map(|each| &each.uid).collect();
    assert_eq!(uids.len(), moved.len(), "a pod was moved twice: {moved:?}");
    let successors: Vec<&String> = seen.successors.values().flatten().collect();
    assert_eq!(successors.len(), moved.len(), "each was replaced once: {successors:?}");
    let again = successors.iter().find(|uid| seen.successors.get(**uid).is_some_and(Option::is_some));
    assert_eq!(again, None, "a successor was moved on");
    assert_eq!(seen.fewest_ready, Some(REPLICAS), "the budget was broken");
    let left = pods.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(left.iter().filter(|pod| is_ready(pod)).count(), REPLICAS);
    assert_eq!(left.len(), REPLICAS, "none is lost, and none is there twice");
    let nodes: BTreeSet<&String> =
        left.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_ref()).collect();
    assert_eq!(nodes.len(), 2, "two machines are free: {nodes:?}");
}
