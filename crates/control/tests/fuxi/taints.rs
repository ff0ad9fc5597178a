//! Nodes with taints: for those jobs and Pods only that tolerate them.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use model::dagjob::JobPhase;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::task;

const SCRIPT: &str = "echo $CREST_JOB $NODE >> $OUT/ran; sleep 0.05";

async fn taint(cluster: &Cluster, node: &str, taints: Value) {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let patch = Patch::Merge(json!({ "spec": { "taints": taints } }));
    nodes.patch(node, &PatchParams::default(), &patch).await.unwrap();
}

/// Where the instances of a job ran.
fn nodes_of(cluster: &Cluster, job: &str) -> std::collections::BTreeSet<String> {
    let ran = cluster.read("ran");
    ran.lines().filter_map(|line| line.strip_prefix(&format!("{job} "))).map(str::to_owned).collect()
}

fn tolerant(script: &str, instances: u32) -> Value {
    let tolerations = json!([{ "key": "gpu", "operator": "Exists", "effect": "NoSchedule" }]);
    json!({ "tolerations": tolerations, "tasks": [task("only", instances, script, &[])] })
}

pub(crate) async fn a_tainted_node_is_for_those_who_tolerate_it() {
    let cluster = Cluster::start().await;
    cluster.node.add("there").await;
    taint(&cluster, "there", json!([{ "key": "gpu", "value": "big", "effect": "NoSchedule" }])).await;
    // Nobody tolerates it; then one does, beside one that does not.
    for (plain, other) in [("before", None), ("beside", Some("tolerant")), ("after", None)] {
        if let Some(other) = other {
            cluster.create(other, tolerant(SCRIPT, 60)).await;
        }
        cluster.create_job(plain, json!([task("only", 60, SCRIPT, &[])])).await;
        for job in [Some(plain), other].into_iter().flatten() {
            let status = cluster.wait_for(job, |status| status.completion_time.is_some()).await;
            assert_eq!(status.phase, JobPhase::Succeeded, "{job}: {status:?}");
        }
        assert_eq!(nodes_of(&cluster, plain), ["here".to_owned()].into(), "{plain}");
        cluster.wait_for_no_pods().await;
    }
    assert!(nodes_of(&cluster, "tolerant").contains("there"));

    // A taint that expels lets instances end, and nothing new begins there.
    taint(&cluster, "here", json!([{ "key": "out", "effect": "NoSchedule" }])).await;
    let script = "echo $CREST_JOB $NODE >> $OUT/ran; until [ -e $OUT/go ]; do sleep 0.05; done";
    cluster.create("expelled", tolerant(script, 12)).await;
    cluster
        .wait_for("expelled", |status| status.tasks.get("only").is_some_and(|task| task.running >= 4))
        .await;
    assert_eq!(nodes_of(&cluster, "expelled"), ["there".to_owned()].into());
    let gpu = json!({ "key": "gpu", "value": "big", "effect": "NoSchedule" });
    taint(&cluster, "there", json!([gpu, { "key": "fire", "effect": "NoExecute" }])).await;
    taint(&cluster, "here", json!([])).await;
    cluster.write("go", "");
    let status = cluster.wait_for("expelled", |status| status.completion_time.is_some()).await;
    assert_eq!((status.phase, status.tasks["only"].failed_attempts), (JobPhase::Succeeded, 0), "{status:?}");
    let ran = cluster.read("ran");
    let there = ran.lines().filter(|line| *line == "expelled there").count();
    assert!((4..=5).contains(&there), "what ran there ended there, and no more: {ran}");
    cluster.wait_for_no_pods().await;
}
