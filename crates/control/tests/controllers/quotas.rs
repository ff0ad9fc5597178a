//! Elastic quotas from their objects to pods that go and come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client};
use model::elastic_quota::{EFFECTIVE, ElasticQuota, ElasticQuotaStatus};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{Cluster, pod, until};

async fn quota(cluster: &Cluster, name: &str, spec: Value) {
    let quota = json!({ "metadata": { "name": name }, "spec": spec });
    let quota: ElasticQuota = serde_json::from_value(quota).unwrap();
    cluster.all().create(&PostParams::default(), &quota).await.unwrap();
}

fn of(cluster: &Cluster, namespace: &str) -> Api<Pod> {
    Api::namespaced(cluster.client.clone(), namespace)
}

async fn create(cluster: &Cluster, namespace: &str, name: &str) {
    let pod: Pod = serde_json::from_value(pod(name, "1")).unwrap();
    of(cluster, namespace).create(&PostParams::default(), &pod).await.unwrap();
}

fn is_bound(pod: Option<&Pod>) -> bool {
    pod.is_some_and(|pod| control::pods::node_name(pod).is_some())
}

async fn bound(cluster: &Cluster, namespace: &str, name: &str) {
    until(of(cluster, namespace), name, is_bound).await;
}

/// Waits until the pod says that it waits for this reason.
async fn told(cluster: &Cluster, namespace: &str, name: &str, expected: &str) {
    let says = |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref()).into_iter().flatten();
        conditions.into_iter().any(|each| {
            each.reason.as_deref() == Some("Unschedulable") && each.message.as_deref() == Some(expected)
        })
    };
    until(of(cluster, namespace), name, says).await;
}

async fn stands(cluster: &Cluster, name: &str, holds: impl Fn(&ElasticQuotaStatus) -> bool) {
    let is = |quota: Option<&ElasticQuota>| quota.and_then(|quota| quota.status.as_ref()).is_some_and(&holds);
    until(cluster.all::<ElasticQuota>(), name, is).await;
}

/// How much of processors is used, and borrowed.
fn amounts(status: &ElasticQuotaStatus) -> [Option<&str>; 2] {
    [&status.used, &status.borrowed].map(|amounts| amounts.get("cpu").map(|amount| amount.0.as_str()))
}

async fn teams(names: &[&str]) -> Cluster {
    let cluster = Cluster::start().await;
    for name in names {
        let namespace = json!({ "metadata": { "name": name, "labels": { "team": name } } });
        let namespace: Namespace = serde_json::from_value(namespace).unwrap();
        cluster.all().create(&PostParams::default(), &namespace).await.unwrap();
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn teams_borrow_from_each_other_and_give_back() {
    let cluster = teams(&["a", "b"]).await;
    cluster.add_node("n", "4").await;
    quota(&cluster, "a", json!({ "namespaces": ["a"], "min": { "cpu": "2" }, "max": { "cpu": "3" } })).await;
    let selector = json!({ "matchLabels": { "team": "b" } });
    quota(&cluster, "b", json!({ "namespaceSelector": selector, "min": { "cpu": "2" } })).await;
    for name in ["b1", "b2", "b3", "b4"] {
        create(&cluster, "b", name).await;
        bound(&cluster, "b", name).await;
    }
    stands(&cluster, "b", |status| amounts(status) == [Some("4"), Some("2")]).await;

    // The youngest of the borrowers goes.
    create(&cluster, "a", "a1").await;
    bound(&cluster, "a", "a1").await;
    until(of(&cluster, "b"), "b4", |pod: Option<&Pod>| pod.is_none()).await;
    create(&cluster, "a", "a2").await;
    bound(&cluster, "a", "a2").await;
    stands(&cluster, "b", |status| amounts(status) == [Some("2"), None]).await;
    stands(&cluster, "a", |status| amounts(status) == [Some("2"), None]).await;

    create(&cluster, "a", "a3").await;
    let message = "quota a: cpu: 2 used and 1 asked for are more than its min of 2, and too little is left to \
        borrow: all quotas together use 4 of 4";
    told(&cluster, "a", "a3", message).await;
    of(&cluster, "b").delete("b1", &DeleteParams::default()).await.unwrap();
    bound(&cluster, "a", "a3").await;
    stands(&cluster, "a", |status| amounts(status) == [Some("3"), Some("1")]).await;

    create(&cluster, "a", "a4").await;
    let message = "quota a: cpu: 3 used and 1 asked for are more than its max of 3";
    told(&cluster, "a", "a4", message).await;
    of(&cluster, "b").delete("b2", &DeleteParams::default()).await.unwrap();
    let more = Patch::Merge(json!({ "spec": { "max": { "cpu": "4" } } }));
    cluster.all::<ElasticQuota>().patch("a", &PatchParams::default(), &more).await.unwrap();
    bound(&cluster, "a", "a4").await;
    stands(&cluster, "a", |status| status.observed_generation == Some(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_in_two_quotas_is_the_firsts_and_the_second_says_so() {
    let cluster = teams(&["a"]).await;
    quota(&cluster, "second", json!({ "namespaces": ["a", "c"], "max": { "pods": "1" } })).await;
    let effective = |expected: &'static str| {
        move |status: &ElasticQuotaStatus| {
            status.conditions.iter().any(|each| each.type_ == EFFECTIVE && each.status == expected)
        }
    };
    stands(&cluster, "second", effective("True")).await;
    quota(&cluster, "first", json!({ "namespaces": ["a"], "max": { "pods": "5" } })).await;
    stands(&cluster, "second", |status| {
        let message = "namespace a is quota first's: of several quotas the first by name counts";
        status.conditions.iter().any(|each| each.status == "False" && each.message == message)
    })
    .await;
    cluster.all::<ElasticQuota>().delete("first", &DeleteParams::default()).await.unwrap();
    stands(&cluster, "second", effective("True")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_quota_is_refused() {
    let cluster = Cluster::start().await;
    let faulty = json!({ "metadata": { "name": "a" },
        "spec": { "namespaces": ["a"], "min": { "cpu": "2" }, "max": { "cpu": "1", "memory": "-1" } } });
    let faulty: ElasticQuota = serde_json::from_value(faulty).unwrap();
    let refused = cluster.all().create(&PostParams::default(), &faulty).await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!(status.code, 422, "{status:?}");
    for field in ["spec.min[cpu]", "spec.max[memory]"] {
        assert!(status.message.contains(field), "{}", status.message);
    }
}

/// `client`, but of a server that answers every request about quotas with `code`, unless that is 0.
fn without_quotas(client: &Client, code: &Arc<AtomicU16>) -> Client {
    let (client, code) = (client.clone(), Arc::clone(code));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, code) = (client.clone(), code.load(Ordering::SeqCst));
        async move {
            if code == 0 || !request.uri().path().contains("elasticquotas") {
                return client.send(request).await;
            }
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": if code == 403 { "Forbidden" } else { "NotFound" }, "message": "no quotas here" });
            Ok(http::Response::builder()
                .status(code)
                .body(Body::from(status.to_string().into_bytes()))
                .unwrap())
        }
    });
    Client::new(service, "default")
}

async fn a_scheduler_places_without_quotas_and_heeds_them_once_it_can(code: u16) {
    let cluster = Cluster::start_without(&["sigma"]).await;
    cluster.add_node("n", "4").await;
    let code = Arc::new(AtomicU16::new(code));
    let config = control::sigma::Config {
        scheduler_name: model::names::SIGMA_SCHEDULER.to_owned(),
        seed: 1,
        load: None,
    };
    let token = CancellationToken::new();
    let _ends = token.clone().drop_guard();
    kit::task::spawn("scheduler", control::schedule(without_quotas(&cluster.client, &code), config, token));
    create(&cluster, "default", "first").await;
    bound(&cluster, "default", "first").await;

    quota(&cluster, "q", json!({ "namespaces": ["default"], "max": { "pods": "1" } })).await;
    code.store(0, Ordering::SeqCst);
    stands(&cluster, "q", |status| status.used.get("pods").is_some_and(|used| used.0 == "1")).await;
    create(&cluster, "default", "second").await;
    let message = "quota q: pods: 1 used and 1 asked for are more than its max of 1";
    told(&cluster, "default", "second", message).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_need_not_know_quotas() {
    a_scheduler_places_without_quotas_and_heeds_them_once_it_can(404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_need_not_have_the_right_to_read_quotas() {
    a_scheduler_places_without_quotas_and_heeds_them_once_it_can(403).await;
}
