//! Jobs over their whole life.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::harness::{Cluster, PATIENCE};

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
    let mut seen = BTreeSet::new();
    while !has("Complete")(cluster.api::<Job>().get_opt("j").await.unwrap().as_ref()) {
        sweep(&cluster, &mut seen).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sweep(&cluster, &mut seen).await;
    assert_eq!(seen.len(), 6, "no pod was made a second time");
    let done = cluster.api::<Job>().get("j").await.unwrap();
    assert_eq!(done.status.unwrap().succeeded, Some(6));
}

/// Takes away whatever has ended, and sees which pods there were.
async fn sweep(cluster: &Cluster, seen: &mut BTreeSet<String>) {
    for pod in cluster.api::<Pod>().list(&ListParams::default()).await.unwrap() {
        seen.extend(pod.metadata.uid.clone());
        if control::pods::has_ended(&pod) && pod.metadata.deletion_timestamp.is_none() {
            // It may be gone by an earlier look.
            let _gone = cluster.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_well_counts_once_however_often_the_controllers_are_killed() {
    let cluster = Cluster::start_server(false).await;
    let mut controllers = cluster.mortal_controllers();
    cluster.add_node("a", "4").await;
    cluster.create::<Job>(job("j", json!({ "completions": 24, "parallelism": 4 }))).await;
    let mut seen = BTreeSet::new();
    for life in 0_u64..60 {
        if has("Complete")(cluster.api::<Job>().get_opt("j").await.unwrap().as_ref()) {
            break;
        }
        // Ever longer lives: some end before a pod is counted, some between one step of its count and the next.
        let end = tokio::time::Instant::now() + Duration::from_millis(60 + 23 * life);
        while tokio::time::Instant::now() < end {
            sweep(&cluster, &mut seen).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(controllers);
        // Pods that end now are taken away while nobody counts.
        tokio::time::sleep(Duration::from_millis(30)).await;
        sweep(&cluster, &mut seen).await;
        controllers = cluster.mortal_controllers();
    }
    assert_eq!(seen.len(), 24, "no pod was made a second time");
    let done = cluster.api::<Job>().get("j").await.unwrap().status.unwrap();
    assert_eq!((done.succeeded, done.failed), (Some(24), None));
    // Nothing holds what is left.
    sweep(&cluster, &mut seen).await;
    let none = async {
        while !cluster.api::<Pod>().list(&ListParams::default()).await.unwrap().items.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, none).await.expect("nothing holds the pods of a Job that has ended");
    drop(controllers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_go_with_their_job_whatever_they_do_and_stay_free_without_it() {
    let cluster = Cluster::start().await;
    let pods = || async { cluster.api::<Pod>().list(&ListParams::default()).await.unwrap().items };
    let until = |wanted: &'static dyn Fn(&[Pod]) -> bool| async move {
        let waiting = async {
            while !wanted(&pods().await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the pods become as they should");
    };
    // No node: these are never placed.
    for (name, how) in [("back", DeleteParams::background()), ("fore", DeleteParams::foreground())] {
        cluster.create::<Job>(job(name, json!({ "completions": 3, "parallelism": 3 }))).await;
        until(&|pods| pods.len() == 3).await;
        cluster.api::<Job>().delete(name, &how).await.unwrap();
        until(&<[Pod]>::is_empty).await;
    }
    cluster.create::<Job>(job("left", json!({}))).await;
    until(&|pods| pods.len() == 1).await;
    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    cluster.api::<Job>().delete("left", &orphan).await.unwrap();
    until(&|pods| pods.len() == 1 && pods[0].finalizers().is_empty()).await;
    cluster.api::<Pod>().delete(&pods().await[0].name_any(), &DeleteParams::default()).await.unwrap();
    until(&<[Pod]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_told_to_go_goes_and_another_takes_its_place() {
    let cluster = Cluster::start().await;
    cluster.create::<Job>(job("j", json!({ "backoffLimit": 0 }))).await;
    let mut seen = BTreeSet::new();
    let first_two = async {
        while seen.len() < 3 {
            for pod in cluster.api::<Pod>().list(&ListParams::default()).await.unwrap() {
                seen.extend(pod.metadata.uid.clone());
                let _gone = cluster.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default()).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, first_two).await.expect("pods that never began are replaced");
    cluster.add_node("a", "4").await;
    let done = cluster.until("j", has("Complete")).await.unwrap().status.unwrap();
    assert_eq!((done.succeeded, done.failed), (Some(1), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_failed_says_so_once_its_pods_are_gone() {
    let cluster = Cluster::start().await;
    cluster.create::<Job>(job("j", json!({ "activeDeadlineSeconds": 1, "parallelism": 2 }))).await;
    let done = cluster.until("j", has("Failed")).await.unwrap().status.unwrap();
    assert_eq!((done.active, done.terminating), (None, Some(0)));
    let reasons: Vec<_> =
        done.conditions.unwrap().into_iter().map(|each| (each.type_, each.reason)).collect();
    let reason = || Some("DeadlineExceeded".to_owned());
    assert_eq!(reasons, [("FailureTarget".to_owned(), reason()), ("Failed".to_owned(), reason())]);
}
