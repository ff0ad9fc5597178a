//! Nodes that have no folder for workers, as those beside a kubelet: no worker is made there until they have one.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use model::names::WORKER_FOLDER;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::task;

/// Four hold here, and more than four only with the other node.
const SCRIPT: &str =
    "echo $CREST_JOB $NODE >> $OUT/ran; until [ -e $OUT/go-$CREST_JOB ]; do sleep 0.05; done";

async fn set_folder(cluster: &Cluster, node: &str, folder: Value) {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { WORKER_FOLDER: folder } } }));
    nodes.patch(node, &PatchParams::default(), &patch).await.unwrap();
}

pub(crate) async fn workers_are_made_where_they_have_a_folder() {
    let mut cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let folder = nodes.get("here").await.unwrap().metadata.annotations.unwrap()[WORKER_FOLDER].clone();
    // The master is told of both before it is told of a job.
    cluster.kill_master();
    set_folder(&cluster, "here", Value::Null).await;
    cluster.node.add("there").await;
    cluster.start_master();
    cluster.create_job("first", json!([task("only", 4, SCRIPT, &[])])).await;
    let four_run =
        |status: &model::dagjob::DagJobStatus| status.tasks.get("only").is_some_and(|task| task.running == 4);
    cluster.wait_for("first", four_run).await;
    assert_eq!(cluster.read("ran"), "first there\n".repeat(4));
    // There is no room left but here.
    cluster.create_job("second", json!([task("only", 4, SCRIPT, &[])])).await;
    set_folder(&cluster, "here", folder.into()).await;
    cluster.wait_for("second", four_run).await;
    assert_eq!(cluster.read("ran").lines().filter(|line| *line == "second here").count(), 4);
    for job in ["first", "second"] {
        cluster.write(&format!("go-{job}"), "");
        cluster.wait_for(job, |status| status.completion_time.is_some()).await;
    }
}
