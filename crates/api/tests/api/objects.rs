//! Writes: identity, conflicts, finalizers, grace, dry runs, refusals.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::{Cluster, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn reason(answer: &Value) -> &str {
    answer["reason"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_stale_write_is_refused_and_a_fresh_one_is_not() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let first = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    assert!(first.uid().is_some() && first.creation_timestamp().is_some());
    let second = maps.replace("a", &PostParams::default(), &with_data(&first, "2")).await.unwrap();
    let error = maps.replace("a", &PostParams::default(), &with_data(&first, "3")).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"));
    maps.replace("a", &PostParams::default(), &with_data(&second, "3")).await.unwrap();
    let error = maps.create(&PostParams::default(), &config_map("a")).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists"));
}

fn with_data(map: &ConfigMap, value: &str) -> ConfigMap {
    ConfigMap { data: Some([("k".to_owned(), value.to_owned())].into()), ..map.clone() }
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_no_revision() {
    let cluster = Cluster::start().await;
    let maps = cluster.config_maps();
    let first = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"k": "v"}}));
    let second = maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(first.resource_version(), second.resource_version());
}

#[tokio::test]
async fn finalizers_hold_a_deleted_object_until_the_last_is_gone() {
    let cluster = Cluster::start().await;
    let body = json!({"metadata": {"name": "f", "finalizers": ["x.io/f"]}});
    assert_eq!(cluster.request("POST", MAPS, &body).await.0, 201);
    let path = format!("{MAPS}/f");
    let (status, marked) = cluster.request("DELETE", &path, &Value::Null).await;
    assert_eq!((status, marked["metadata"]["deletionGracePeriodSeconds"].as_i64()), (200, Some(0)));
    let (status, answer) = cluster.request("POST", MAPS, &json!({"metadata": {"name": "f"}})).await;
    assert_eq!((status, reason(&answer)), (409, "AlreadyExists"));
    let more = json!({"metadata": {"finalizers": ["x.io/f", "x.io/g"]}});
    assert_eq!(cluster.request("PATCH", &path, &more).await.0, 422);
    assert_eq!(cluster.request("PATCH", &path, &json!({"metadata": {"finalizers": null}})).await.0, 200);
    assert_eq!(cluster.request("GET", &path, &Value::Null).await.0, 404);
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
}

#[tokio::test]
async fn a_pod_is_bound_once_and_goes_when_its_agent_says_so() {
    let cluster = Cluster::start().await;
    let (status, created) = cluster.request("POST", PODS, &pod("p")).await;
    assert_eq!((status, created["status"]["phase"].as_str()), (201, Some("Pending")), "{created}");
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n1"}});
    let path = format!("{PODS}/p/binding");
    assert_eq!(cluster.request("POST", &path, &binding).await.0, 201);
    assert_eq!(cluster.request("POST", &path, &binding).await.0, 409);
    let pods: Api<Pod> = Api::default_namespaced(cluster.client.clone());
    let bound = pods.get("p").await.unwrap();
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("n1"));
    assert!(
        bound.status.unwrap().conditions.unwrap().iter().any(|condition| condition.type_ == "PodScheduled")
    );
    pods.delete("p", &DeleteParams::default()).await.unwrap();
    let going = pods.get("p").await.unwrap();
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
    // Nobody runs an unscheduled Pod, so nobody needs time.
    assert_eq!(cluster.request("POST", PODS, &pod("q")).await.0, 201);
    pods.delete("q", &DeleteParams::default()).await.unwrap();
    assert!(pods.get_opt("q").await.unwrap().is_none());
}

#[tokio::test]
async fn a_status_and_a_spec_are_written_apart() {
    let cluster = Cluster::start().await;
    let all = "/apis/apps/v1/namespaces/default/deployments";
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let (status, created) = cluster.request("POST", all, &body).await;
    assert_eq!((status, created["metadata"]["generation"].as_i64()), (201, Some(1)), "{created}");
    let path = format!("{all}/d");
    let both = json!({"spec": {"replicas": 3}, "status": {"replicas": 9}});
    let (_, changed) = cluster.request("PATCH", &path, &both).await;
    assert_eq!((&changed["spec"]["replicas"], &changed["status"]["replicas"]), (&json!(3), &Value::Null));
    assert_eq!(changed["metadata"]["generation"], 2);
    let (_, changed) = cluster.request("PATCH", &format!("{path}/status"), &both).await;
    assert_eq!((&changed["spec"]["replicas"], &changed["status"]["replicas"]), (&json!(3), &json!(9)));
    let scale = json!({"spec": {"replicas": 7}});
    let (_, scale) = cluster.request("PATCH", &format!("{path}/scale"), &scale).await;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(7)));
    assert_eq!(scale["status"]["selector"], "a=b");
}

#[tokio::test]
async fn a_namespace_takes_nothing_new_while_it_goes() {
    let cluster = Cluster::start().await;
    let namespaces = "/api/v1/namespaces";
    assert_eq!(cluster.request("POST", namespaces, &json!({"metadata": {"name": "n"}})).await.0, 201);
    let (_, marked) = cluster.request("DELETE", "/api/v1/namespaces/n", &Value::Null).await;
    assert_eq!(marked["status"]["phase"], "Terminating");
    let in_it = "/api/v1/namespaces/n/configmaps";
    let (status, refused) = cluster.request("POST", in_it, &json!({"metadata": {"name": "x"}})).await;
    assert_eq!(
        (status, refused["details"]["causes"][0]["reason"].as_str()),
        (403, Some("NamespaceTerminating"))
    );
    let finalized = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}, "spec": {}});
    assert_eq!(cluster.request("PUT", "/api/v1/namespaces/n/finalize", &finalized).await.0, 200);
    assert_eq!(cluster.request("GET", "/api/v1/namespaces/n", &Value::Null).await.0, 404);
    assert_eq!(cluster.request("POST", in_it, &json!({"metadata": {"name": "x"}})).await.0, 404);
    assert_eq!(cluster.request("DELETE", "/api/v1/namespaces/default", &Value::Null).await.0, 403);
}

#[tokio::test]
async fn an_apply_creates_and_then_takes_back_what_it_no_longer_says() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/a?fieldManager=test");
    let apply = async |body: &str| {
        let headers = [("content-type", "application/apply-patch+yaml")];
        cluster.send("PATCH", &path, &headers, body.as_bytes().to_vec()).await
    };
    let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    assert_eq!(apply(&format!("{head}data: {{k: v}}\n")).await.0, 201);
    let (status, merged) = apply(&format!("{head}data: {{l: w}}\n")).await;
    assert_eq!((status, &merged["data"]), (200, &json!({"l": "w"})));
    assert_eq!(apply(&head.replace("name: a", "name: b")).await.0, 400);
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let cluster = Cluster::start().await;
    let tried = format!("{MAPS}?dryRun=All");
    let (status, answer) =
        cluster.request("POST", &tried, &json!({"metadata": {"generateName": "a-"}})).await;
    assert_eq!(status, 201);
    assert_eq!(answer["metadata"]["name"].as_str().map(str::len), Some(7));
    let (_, list) = cluster.request("GET", MAPS, &Value::Null).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(0));
    assert_eq!(cluster.request("POST", &format!("{MAPS}?dryRun=Maybe"), &json!({})).await.0, 422);
}

#[tokio::test]
async fn rubbish_is_refused_with_a_status() {
    let cluster = Cluster::start().await;
    let json_type = [("content-type", "application/json")];
    for (method, path, headers, body, expected) in [
        ("POST", MAPS, &json_type[..], b"{\"a\":".to_vec(), 400),
        ("POST", MAPS, &json_type[..], vec![b'['; 20_000], 400),
        ("POST", MAPS, &json_type[..], vec![0xff; 100], 400),
        ("POST", MAPS, &json_type[..], vec![b'x'; 4 << 20], 413),
        ("POST", MAPS, &[("content-type", "text/plain")][..], b"{}".to_vec(), 415),
        ("GET", "/api/v1/nopes", &[][..], Vec::new(), 404),
        ("GET", MAPS, &[("accept", "text/html")][..], Vec::new(), 406),
        ("PUT", MAPS, &json_type[..], Vec::new(), 405),
        ("GET", "/api/v1/configmaps?limit=x", &[][..], Vec::new(), 400),
        ("GET", "/api/v1/configmaps?continue=rubbish", &[][..], Vec::new(), 400),
        ("GET", "/api/v1/configmaps?labelSelector=%3D%3D", &[][..], Vec::new(), 400),
        (
            "PATCH",
            &format!("{MAPS}/none"),
            &[("content-type", "application/merge-patch+json")][..],
            b"{}".to_vec(),
            404,
        ),
    ] {
        let (status, answer) = cluster.send(method, path, headers, body).await;
        assert_eq!(
            (status, answer["kind"].as_str()),
            (expected, Some("Status")),
            "{method} {path}: {answer}"
        );
    }
}
