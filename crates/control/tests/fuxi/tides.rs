//! Nodes that a tide has: workers there end with what they run, or fit into what is left.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use model::dagjob::JobPhase;
use model::tide::{MarkState, TIDE_MARK, TideMark};
use serde_json::json;

use crate::cluster::Cluster;
use crate::task;

async fn mark(cluster: &Cluster, node: &str, mark: Option<(MarkState, u32)>) {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let mark = mark.map(|(state, percent)| TideMark::new("t", state, percent).to_annotation());
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { TIDE_MARK: mark } } }));
    nodes.patch(node, &PatchParams::default(), &patch).await.unwrap();
}

/// How many instances began on a node.
fn n_begun(cluster: &Cluster, node: &str) -> usize {
    let ran = cluster.read("ran");
    ran.lines().filter(|line| *line == node).count()
}

pub(crate) async fn a_node_that_a_tide_has_is_drained_and_comes_back() {
    let mut cluster = Cluster::start().await;
    let script = "echo $NODE >> $OUT/ran; until [ -e $OUT/go ]; do sleep 0.05; done";
    cluster.create_job("flowing", json!([task("only", 40, script, &[])])).await;
    let running = |n: u32| {
        move |status: &model::dagjob::DagJobStatus| {
            status.tasks.get("only").is_some_and(|task| task.running == n)
        }
    };
    cluster.wait_for("flowing", running(4)).await;

    // Announced: nothing changes for who is there. Another node takes what comes.
    mark(&cluster, "here", Some((MarkState::Announced, 100))).await;
    cluster.node.add("there").await;
    cluster.wait_for("flowing", running(8)).await;
    assert_eq!((n_begun(&cluster, "here"), n_begun(&cluster, "there")), (4, 4));

    // Drained, also by a master that did not see it coming: what runs may end, and nothing follows it there.
    // Nor does who ended it before that master heard of it.
    cluster.kill_master();
    mark(&cluster, "here", Some((MarkState::Draining, 100))).await;
    cluster.write("go", "");
    cluster.start_master();
    let status = cluster.wait_for("flowing", |status| status.completion_time.is_some()).await;
    assert_eq!((status.phase, status.tasks["only"].failed_attempts), (JobPhase::Succeeded, 0), "{status:?}");
    let n_here = n_begun(&cluster, "here");
    assert_eq!(n_here, 4, "instances began on a host that is drained");
    assert!(status.tasks["only"].took_millis.is_some_and(|took| took.max > 0), "{status:?}");
    cluster.wait_for_no_pods().await;

    // Of what is handed over in part, the rest is batch's: two of four places. And all of it once the tide is over.
    for (left, n_places) in [(Some((MarkState::HandedOver, 50)), 2), (None, 4)] {
        std::fs::remove_file(cluster.path("go")).unwrap();
        mark(&cluster, "there", Some((MarkState::HandedOver, 100))).await;
        mark(&cluster, "here", left).await;
        let name = format!("with-{n_places}");
        let before = n_begun(&cluster, "here");
        cluster.create_job(&name, json!([task("only", 12, script, &[])])).await;
        cluster.wait_for(&name, running(n_places)).await;
        assert_eq!(n_begun(&cluster, "here") - before, usize::try_from(n_places).unwrap());
        cluster.write("go", "");
        cluster.wait_for(&name, |status| status.completion_time.is_some()).await;
        cluster.wait_for_no_pods().await;
    }
    assert_eq!(n_begun(&cluster, "there"), 40 - n_here, "what `here` did not run, and nothing since");
}
