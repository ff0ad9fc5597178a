//! Quotas and tasks that begin together, with real jobs.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use model::batch_quota::{BatchQuota, BatchQuotaStatus};
use model::dagjob::JobPhase;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::{numbers, task};

fn quotas(cluster: &Cluster) -> Api<BatchQuota> {
    Api::all(cluster.client.clone())
}

async fn make(cluster: &Cluster, name: &str, spec: Value) {
    let quota = json!({
        "apiVersion": "crest.dev/v1alpha1", "kind": "BatchQuota", "metadata": { "name": name }, "spec": spec,
    });
    quotas(cluster).create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
}

async fn change(cluster: &Cluster, name: &str, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    quotas(cluster).patch(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn wait_for(cluster: &Cluster, name: &str, wanted: impl Fn(&BatchQuotaStatus) -> bool) {
    let api = quotas(cluster);
    let is_so = async || api.get(name).await.unwrap().status.as_ref().is_some_and(&wanted);
    cluster.wait_until(is_so).await;
}

fn holds(status: &BatchQuotaStatus, type_: &str) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

fn workers(status: &BatchQuotaStatus) -> &str {
    status.used.get("workers").map_or("", |quantity| quantity.0.as_str())
}

pub(crate) async fn a_quota_bounds_its_jobs_and_says_what_they_use() {
    let mut cluster = Cluster::start().await;
    make(&cluster, "all", json!({ "max": { "workers": "3" } })).await;
    make(&cluster, "narrow", json!({ "parent": "all", "max": { "workers": 2 }, "namespaces": ["default"] }))
        .await;
    wait_for(&cluster, "narrow", |status| holds(status, "InForce") && holds(status, "Covered")).await;
    let script = "echo $CREST_INSTANCE_INDEX >> $OUT/ran; until [ -e $OUT/go ]; do sleep 0.02; done";
    let spec = json!({ "quota": "narrow", "tasks": [task("only", 6, script, &[])] });
    cluster.create("bound", spec).await;
    for quota in ["narrow", "all"] {
        wait_for(&cluster, quota, |status| workers(status) == "2").await;
    }
    // What it holds counts for the next master, too.
    cluster.kill_master();
    cluster.start_master();
    cluster.write("go", "");
    let status = cluster.wait_for("bound", |status| status.phase == JobPhase::Succeeded).await;
    assert_eq!(status.tasks["only"].finished, "0-5");
    assert_eq!(numbers(&cluster.read("ran")), (0..6).collect::<Vec<_>>());
    assert_eq!(cluster.node.most_at_once(), 2, "of four places");
    wait_for(&cluster, "all", |status| workers(status) == "0").await;
}

pub(crate) async fn a_job_waits_for_its_quota_and_hears_why() {
    let cluster = Cluster::start().await;
    let spec = json!({ "quota": "late", "tasks": [task("only", 1, "true", &[])] });
    cluster.create("early", spec).await;
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let told = |event: &Event| {
        event.reason.as_deref() == Some("QuotaUnusable")
            && event.message.as_deref().is_some_and(|message| message.contains("`late` is not there"))
    };
    cluster.wait_until(async || events.list(&ListParams::default()).await.unwrap().iter().any(told)).await;
    assert_eq!(cluster.node.most_at_once(), 0);
    make(&cluster, "late", json!({ "min": { "cpu": "64" } })).await;
    cluster.wait_for("early", |status| status.phase == JobPhase::Succeeded).await;
    // There are two cores.
    wait_for(&cluster, "late", |status| holds(status, "InForce") && !holds(status, "Covered")).await;
}

pub(crate) async fn a_faulty_quota_stands_as_it_did_also_after_a_restart() {
    let mut cluster = Cluster::start().await;
    make(&cluster, "a", json!({ "min": { "cpu": "1" }, "max": { "workers": "1" } })).await;
    wait_for(&cluster, "a", |status| holds(status, "InForce")).await;
    change(&cluster, "a", json!({ "parent": "gone", "max": { "workers": "4" } })).await;
    let stands = |status: &BatchQuotaStatus| {
        let fault = status.conditions.iter().find(|condition| condition.type_ == "InForce");
        fault.is_some_and(|fault| fault.status == "False" && fault.message.contains("`gone`"))
            && status.in_force.as_ref().is_some_and(|spec| spec.parent.is_none())
    };
    wait_for(&cluster, "a", stands).await;
    cluster.kill_master();
    cluster.start_master();
    let spec = json!({ "quota": "a", "tasks": [task("only", 3, "sleep 0.05", &[])] });
    cluster.create("held", spec).await;
    cluster.wait_for("held", |status| status.phase == JobPhase::Succeeded).await;
    assert_eq!(cluster.node.most_at_once(), 1, "its max is what it was");
    wait_for(&cluster, "a", stands).await;
    change(&cluster, "a", json!({ "parent": null })).await;
    wait_for(&cluster, "a", |status| holds(status, "InForce")).await;
}

pub(crate) async fn a_task_that_begins_together_waits_for_room_for_all() {
    let mut cluster = Cluster::start().await;
    let until = |file: &str| format!("until [ -e $OUT/{file} ]; do sleep 0.02; done");
    cluster.create_job("first", json!([task("only", 1, &until("go"), &[])])).await;
    cluster.wait_until(async || cluster.node.n_running() == 1).await;
    let mut together = task("ranks", 6, &until("end"), &[]);
    together["minParallelism"] = 4.into();
    cluster.create_job("gang", json!([together])).await;
    // A later job for which there is room goes first: the gang keeps nothing that it cannot use at once.
    cluster.create_job("small", json!([task("only", 2, "true", &[])])).await;
    cluster.wait_for("small", |status| status.phase == JobPhase::Succeeded).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let of_gang = async || {
        let pods = pods.list(&ListParams::default()).await.unwrap();
        pods.iter().filter(|pod| pod.name_any().starts_with("gang-")).count()
    };
    assert_eq!(of_gang().await, 0);
    cluster.write("go", "");
    cluster.wait_until(async || of_gang().await == 4).await;
    cluster.wait_for("gang", |status| status.tasks["ranks"].running == 4).await;
    // The next master finds it begun.
    cluster.kill_master();
    cluster.start_master();
    cluster.write("end", "");
    cluster.wait_for("gang", |status| status.phase == JobPhase::Succeeded).await;
}
