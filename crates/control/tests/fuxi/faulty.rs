//! Several Nodes, of which one spoils what runs there.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, NodeCondition};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use model::dagjob::{DagJobStatus, JobPhase};
use model::names::BATCH_AVOIDED;
use serde_json::json;

use crate::cluster::Cluster;
use crate::task;

/// Fails on the Node `there` and nowhere else.
const SCRIPT: &str = "echo $NODE >> $OUT/ran; sleep 0.05; [ $NODE != there ]";

async fn nodes(cluster: &Cluster, names: &[&str]) {
    for name in names {
        cluster.node.add(name).await;
    }
}

async fn has_event(cluster: &Cluster, reason: &str, kind: &str) -> bool {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let is_it = |event: &Event| {
        event.reason.as_deref() == Some(reason) && event.involved_object.kind.as_deref() == Some(kind)
    };
    events.list(&ListParams::default()).await.unwrap().items.iter().any(is_it)
}

async fn condition(cluster: &Cluster, node: &str) -> Option<NodeCondition> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let status = nodes.get(node).await.unwrap().status.unwrap();
    status.conditions.unwrap().into_iter().find(|each| each.type_ == BATCH_AVOIDED)
}

pub(crate) async fn a_node_where_a_task_fails_is_avoided_by_it() {
    let cluster = Cluster::start().await;
    nodes(&cluster, &["there"]).await;
    cluster.create_job("j", json!([task("only", 60, SCRIPT, &[])])).await;
    let status = cluster
        .wait_for("j", |status| status.phase != JobPhase::Running && status.phase != JobPhase::Pending)
        .await;
    assert_eq!(status.phase, JobPhase::Succeeded, "{status:?}");
    let task = &status.tasks["only"];
    assert_eq!((task.finished.as_str(), &*task.avoided_nodes), ("0-59", &["there".to_owned()][..]));
    assert!(task.failed_attempts <= 12, "four workers were there: {task:?}");
    let n_there = cluster.read("ran").lines().filter(|node| *node == "there").count();
    assert_eq!(n_there, task.failed_attempts as usize);
    cluster.wait_until(async || has_event(&cluster, "NodeAvoided", "DagJob").await).await;
    assert!(condition(&cluster, "there").await.is_none(), "one job alone closes nothing");
    cluster.wait_for_no_pods().await;
}

pub(crate) async fn a_node_where_several_jobs_fail_is_closed_also_after_a_restart() {
    let mut cluster = Cluster::start().await;
    nodes(&cluster, &["there", "third"]).await;
    for name in ["a", "b", "c"] {
        cluster.create_job(name, json!([task("only", 80, SCRIPT, &[])])).await;
        let status = cluster.wait_for(name, |status| status.completion_time.is_some()).await;
        assert_eq!((status.phase, status.tasks["only"].avoided_nodes.len()), (JobPhase::Succeeded, 1));
        cluster.wait_for_no_pods().await;
    }
    cluster.wait_until(async || condition(&cluster, "there").await.is_some()).await;
    let told = condition(&cluster, "there").await.unwrap();
    assert_eq!(told.status, "True");
    assert!(
        told.message.as_ref().unwrap().starts_with("3 jobs found it faulty: no new batch workers until ")
    );
    assert!(told.last_transition_time.is_some());
    cluster.wait_until(async || has_event(&cluster, BATCH_AVOIDED, "Node").await).await;
    for name in ["d", "e"] {
        cluster.write("ran", "");
        cluster.create_job(name, json!([task("only", 80, SCRIPT, &[])])).await;
        let status = cluster.wait_for(name, |status| status.completion_time.is_some()).await;
        assert_eq!((status.phase, status.tasks["only"].failed_attempts), (JobPhase::Succeeded, 0));
        assert!(!cluster.read("ran").contains("there"));
        assert_eq!(condition(&cluster, "there").await, Some(told.clone()));
        cluster.wait_for_no_pods().await;
        cluster.kill_master();
        cluster.start_master();
    }
}

pub(crate) async fn a_backup_begins_on_another_node() {
    let cluster = Cluster::start().await;
    nodes(&cluster, &["there"]).await;
    let script = "echo $CREST_INSTANCE_INDEX/$CREST_INSTANCE_ATTEMPT $NODE >> $OUT/ran; \
                  [ $CREST_INSTANCE_INDEX/$CREST_INSTANCE_ATTEMPT != 7/1 ] || sleep 1000";
    let mut task = task("only", 20, script, &[]);
    task["backup"] = true.into();
    cluster.create_job("late", json!([task])).await;
    let status = cluster.wait_for("late", |status| status.completion_time.is_some()).await;
    assert_eq!((status.phase, status.tasks["only"].backups), (JobPhase::Succeeded, 1));
    let ran = cluster.read("ran");
    let place =
        |attempt: &str| ran.lines().find_map(|line| line.strip_prefix(attempt)).unwrap().trim().to_owned();
    assert_ne!(place("7/1 "), place("7/2 "), "{ran}");
    cluster.wait_for_no_pods().await;
}

pub(crate) async fn a_worker_that_cannot_start_is_looked_for_elsewhere() {
    let cluster = Cluster::start().await;
    nodes(&cluster, &["there", "third"]).await;
    for name in ["here", "there", "third"] {
        cluster.node.set_bare(name, true);
    }
    let mut task = task("only", 4, "echo $NODE >> $OUT/ran", &[]);
    task["parallelism"] = 1.into();
    cluster.create_job("j", json!([task])).await;
    // It can start nowhere, and the job says so.
    let status = cluster
        .wait_for("j", |status| status.tasks.get("only").is_some_and(|task| task.obstacle.is_some()))
        .await;
    let obstacle = status.tasks["only"].obstacle.clone().unwrap();
    assert!(obstacle.starts_with("its workers do not start; on "), "{obstacle}");
    assert!(obstacle.ends_with(": ErrImagePull: there is no image tools"), "{obstacle}");
    let first = obstacle.split_whitespace().nth(6).unwrap().trim_end_matches(':').to_owned();
    // It is looked for on another Node, which the status names then; and found on the third.
    let is_another = |status: &DagJobStatus| {
        status.tasks["only"].obstacle.as_ref().is_some_and(|obstacle| !obstacle.contains(&first))
    };
    let status = cluster.wait_for("j", is_another).await;
    let second = status.tasks["only"].obstacle.clone().unwrap();
    let third = ["here", "there", "third"]
        .into_iter()
        .find(|name| *name != first && !second.contains(&format!(" {name}:")));
    cluster.node.set_bare(third.unwrap(), false);
    let status = cluster.wait_for("j", |status| status.completion_time.is_some()).await;
    assert_eq!((status.phase, status.tasks["only"].failed_attempts), (JobPhase::Succeeded, 0));
    assert_eq!(status.tasks["only"].obstacle, None);
    assert!(cluster.read("ran").lines().all(|node| Some(node) == third));
    assert!(
        has_event(&cluster, "WorkerWaiting", "DagJob").await
            && has_event(&cluster, "WorkerLost", "DagJob").await
    );
    cluster.wait_for_no_pods().await;
}

pub(crate) async fn a_worker_that_never_comes_is_given_up() {
    let mut cluster = Cluster::start().await;
    cluster.kill_master();
    cluster.expect_limit = Duration::from_secs(2);
    cluster.start_master();
    cluster.node.set_mute(true);
    let mut task = task("only", 4, "echo $CREST_INSTANCE_INDEX >> $OUT/ran", &[]);
    task["parallelism"] = 1.into();
    cluster.create_job("j", json!([task])).await;
    cluster.wait_until(async || has_event(&cluster, "WorkerLost", "DagJob").await).await;
    cluster.node.set_mute(false);
    let status = cluster.wait_for("j", |status| status.completion_time.is_some()).await;
    assert_eq!((status.phase, status.tasks["only"].failed_attempts), (JobPhase::Succeeded, 0));
    assert_eq!(cluster.read("ran").lines().count(), 4);
    // Neither does one stay that was made in vain.
    cluster.wait_for_no_pods().await;
}

/// A machine without power says nothing any more, and its Pods stay in the store as they were.
pub(crate) async fn what_a_dead_node_holds_is_run_elsewhere() {
    let cluster = Cluster::start().await;
    nodes(&cluster, &["there"]).await;
    let script =
        "echo $NODE >> $OUT/ran; [ $NODE != there ] || sleep 1000; until [ -e $OUT/go ]; do sleep 0.05; done";
    cluster.create_job("j", json!([task("only", 8, script, &[])])).await;
    cluster.wait_for("j", |status| status.tasks.get("only").is_some_and(|task| task.running == 8)).await;
    let conditions = json!({ "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] } });
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.patch_status("there", &PatchParams::default(), &Patch::Merge(conditions)).await.unwrap();
    cluster.write("go", "");
    let status = cluster.wait_for("j", |status| status.phase == JobPhase::Succeeded).await;
    assert_eq!((status.tasks["only"].finished.as_str(), status.tasks["only"].failed_attempts), ("0-7", 4));
    let last = status.tasks["only"].last_failure.clone().unwrap();
    assert!(last.ends_with("lost its worker: its Node is not ready for too long"), "{last}");
    cluster.wait_for_no_pods().await;
}
