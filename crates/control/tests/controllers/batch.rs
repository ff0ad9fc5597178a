//! Jobs over their whole life.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::Cluster;

fn job(name: &str, mut spec: Value) -> Value {
    let container = json!({ "name": "c", "image": "x", "command": ["true"] });
    spec["template"] = json!({ "spec": { "restartPolicy": "Never", "containers": [container] } });
    json!({ "metadata": { "name": name }, "spec": spec })
}

fn has(kind: &'static str) -> impl Fn(Option<&Job>) -> bool {
    move |job| {
        let conditions = job.and_then(|job| job.status.as_ref()?.conditions.as_ref());
        conditions.into_iter().flatten().any(|each| each.type_ == kind && each.status == "True")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_completes_and_takes_its_pods_with_it() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    cluster.create::<Job>(job("j", json!({ "completions": 5, "parallelism": 2 }))).await;
    let done = cluster.until("j", has("Complete")).await.unwrap();
    assert_eq!(done.status.unwrap().succeeded, Some(5));
    assert_eq!(cluster.api::<Pod>().list(&ListParams::default()).await.unwrap().items.len(), 5);
    cluster.api::<Job>().delete("j", &DeleteParams::foreground()).await.unwrap();
    cluster.until("j", |job: Option<&Job>| job.is_none()).await;
    assert_eq!(cluster.api::<Pod>().list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_job_waits_and_an_indexed_one_counts_its_indexes() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    let spec = json!({ "completions": 3, "parallelism": 3, "completionMode": "Indexed", "suspend": true });
    cluster.create::<Job>(job("j", spec)).await;
    cluster.until("j", has("Suspended")).await;
    let resume = Patch::Merge(json!({ "spec": { "suspend": false } }));
    cluster.api::<Job>().patch("j", &PatchParams::default(), &resume).await.unwrap();
    let done = cluster.until("j", has("Complete")).await.unwrap();
    assert_eq!(done.status.unwrap().completed_indexes.as_deref(), Some("0-2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_job_goes_when_its_time_is_over() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    cluster.create::<Job>(job("j", json!({ "ttlSecondsAfterFinished": 0 }))).await;
    cluster.until("j", |job: Option<&Job>| job.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_well_still_counts_when_its_pod_is_taken_away() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    cluster.create::<Job>(job("j", json!({ "completions": 6, "parallelism": 2 }))).await;
    let mut seen = std::collections::BTreeSet::new();
    while !has("Complete")(cluster.api::<Job>().get_opt("j").await.unwrap().as_ref()) {
        for pod in cluster.api::<Pod>().list(&ListParams::default()).await.unwrap() {
            seen.extend(pod.metadata.uid);
            if pod.status.and_then(|status| status.phase).as_deref() == Some("Succeeded") {
                let name = pod.metadata.name.unwrap();
                // It may be gone by an earlier look.
                let _gone =
                    cluster.api::<Pod>().delete(&name, &DeleteParams::default().grace_period(0)).await;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for pod in cluster.api::<Pod>().list(&ListParams::default()).await.unwrap() {
        seen.extend(pod.metadata.uid);
    }
    assert_eq!(seen.len(), 6, "no pod was made a second time");
    let done = cluster.api::<Job>().get("j").await.unwrap();
    assert_eq!(done.status.unwrap().succeeded, Some(6));
}
