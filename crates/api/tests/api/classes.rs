//! Of which class Pods are: by profile, by their own words, and what is refused.

use serde_json::{Value, json};

use crate::harness::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn make(cluster: &Cluster, name: &str, labels: Value, spec: Value) -> (u16, Value) {
    let mut pod = json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1500m", "memory": "1Gi"}}}]}});
    for (field, value) in spec.as_object().unwrap() {
        pod["spec"][field] = value.clone();
    }
    cluster.request("POST", PODS, &pod).await
}

#[tokio::test]
async fn a_profile_makes_batch_of_what_knows_nothing_of_it() {
    let cluster = Cluster::start().await;
    let profile = json!({"metadata": {"name": "etl"}, "spec": {"class": "batch", "quota": "reports",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        "selector": {"matchLabels": {"app": "etl"}}}});
    let profiles = "/apis/crest.dev/v1alpha1/colocationprofiles";
    assert_eq!(cluster.request("POST", profiles, &profile).await.0, 201);

    let (code, pod) = make(&cluster, "a", json!({"app": "etl"}), json!({})).await;
    assert_eq!(code, 201, "{pod}");
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"app": "etl", "crest.dev/class": "batch", "crest.dev/quota": "reports"})
    );
    let spec = &pod["spec"];
    assert_eq!(
        (&spec["schedulerName"], &spec["priorityClassName"], &spec["priority"]),
        (&json!("fuxi"), &json!("crest-batch"), &json!(5000))
    );
    assert_eq!(spec["containers"][0]["resources"]["requests"]["kubernetes.io/batch-cpu"], "1500");

    let (_, pod) = make(&cluster, "b", json!({"app": "web"}), json!({})).await;
    assert_eq!(
        (&pod["metadata"]["labels"], &pod["spec"]["schedulerName"]),
        (&json!({"app": "web"}), &json!("default-scheduler"))
    );
    let (_, pod) =
        make(&cluster, "c", json!({"app": "etl", "koordinator.sh/qosClass": "LS"}), json!({})).await;
    assert_eq!(pod["metadata"]["labels"]["crest.dev/class"], "shared", "what it says itself stays");
}

#[tokio::test]
async fn who_asks_for_mid_resources_is_a_service_that_gives_way() {
    let cluster = Cluster::start().await;
    let amounts = json!({"kubernetes.io/mid-cpu": "500", "kubernetes.io/mid-memory": "64Mi"});
    let containers =
        json!([{"name": "c", "image": "i", "resources": {"requests": amounts, "limits": amounts}}]);
    let spec = |more: Value| {
        let mut spec = json!({"containers": containers});
        more.as_object().unwrap().iter().for_each(|(name, value)| spec[name] = value.clone());
        spec
    };
    let (code, pod) = make(&cluster, "a", json!({}), spec(json!({}))).await;
    assert_eq!((code, &pod["metadata"]["labels"]["crest.dev/class"]), (201, &json!("shared")), "{pod}");
    let told = [&pod["spec"]["schedulerName"], &pod["spec"]["priorityClassName"], &pod["spec"]["priority"]];
    assert_eq!(told, [&json!("default-scheduler"), &json!("crest-mid"), &json!(7000)]);
    assert_eq!(pod["spec"]["preemptionPolicy"], "Never", "who gives way takes nobody's place");
    let (code, said) =
        make(&cluster, "b", json!({}), spec(json!({"priorityClassName": "crest-online"}))).await;
    assert_eq!(code, 403, "{said}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_a_class_stays() {
    let cluster = Cluster::start().await;
    let best_effort = json!({"koordinator.sh/qosClass": "BE"});
    let (code, said) =
        make(&cluster, "a", best_effort.clone(), json!({"priorityClassName": "crest-online"})).await;
    assert_eq!(code, 403, "{said}");
    let message = said["message"].as_str().unwrap();
    assert!(message.contains("qosClass: BE and priority class crest-online cannot both be"), "{message}");
    let (code, said) = make(&cluster, "a", json!({"koordinator.sh/qosClass": "LSR"}), json!({})).await;
    assert_eq!((code, &said["reason"]), (422, &json!("Invalid")), "CPUs are pinned whole: {said}");

    let (code, said) =
        make(&cluster, "a", json!({}), json!({"schedulerName": "fuxi", "priorityClassName": "crest-online"}))
            .await;
    assert_eq!(code, 403, "{said}");

    let (code, pod) = make(&cluster, "a", best_effort, json!({})).await;
    assert_eq!((code, &pod["spec"]["schedulerName"]), (201, &json!("fuxi")));
    for (name, path) in [("crest.dev/quota", "a"), ("koordinator.sh/qosClass", "a/status")] {
        let patch = json!({"metadata": {"labels": {name: "other"}}});
        assert_eq!(cluster.request("PATCH", &format!("{PODS}/{path}"), &patch).await.0, 403, "{name}");
    }
    // Whoever writes the Pod without the label does not mean to change it.
    let patch = json!({"metadata": {"labels": {"crest.dev/class": null, "seen": "yes"}}});
    let (code, pod) = cluster.request("PATCH", &format!("{PODS}/a"), &patch).await;
    assert_eq!((code, &pod["metadata"]["labels"]["crest.dev/class"]), (200, &json!("batch")), "{pod}");
    let patch = json!({"metadata": {"labels": {"crest.dev/class": "shared"}}});
    let (code, said) = cluster.request("PATCH", &format!("{PODS}/a"), &patch).await;
    assert_eq!(code, 403, "{said}");
    assert!(said["message"].as_str().unwrap().contains("cannot change"), "{said}");
}
