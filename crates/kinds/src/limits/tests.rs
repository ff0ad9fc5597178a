//! Limit ranges, as tables.

use serde_json::{Value, json};

use super::{complete, faults_of_claim, faults_of_pod};

fn range() -> Value {
    json!({"spec": {"limits": [
        {"type": "Container", "default": {"cpu": "500m", "memory": "256Mi"},
            "defaultRequest": {"cpu": "100m", "memory": "256Mi"}, "min": {"cpu": "50m"}, "max": {"cpu": "1"},
            "maxLimitRequestRatio": {"cpu": "5"}},
        {"type": "Pod", "max": {"cpu": "2"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}, "min": {"storage": "100Mi"}},
    ]}})
}

fn pod(containers: &[Value]) -> Value {
    let containers: Vec<Value> = containers
        .iter()
        .enumerate()
        .map(|(index, resources)| json!({"name": format!("c{index}"), "resources": resources}))
        .collect();
    json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
}

#[test]
fn what_is_left_open_is_filled_in() {
    let mut pod = pod(&[json!({}), json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})]);
    complete(&range(), &mut pod);
    assert_eq!(
        pod["spec"]["containers"][0]["resources"],
        json!({"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}})
    );
    assert_eq!(pod["spec"]["containers"][1]["resources"]["limits"], json!({"cpu": "1", "memory": "256Mi"}));
    let note = pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"].as_str().unwrap();
    assert!(
        note.starts_with("LimitRanger plugin set: cpu, memory request for container c0; cpu, memory limit")
    );
}

fn check(containers: &[Value], expected: &[&str]) {
    assert_eq!(faults_of_pod(&range(), &pod(containers)), expected);
}

#[test]
fn bounds_of_containers_and_of_the_whole_pod() {
    let both = |request: &str, limit: &str| json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
    check(&[both("200m", "1")], &[]);
    check(&[both("500m", "2")], &["maximum cpu usage per Container is 1, but limit is 2"]);
    check(
        &[both("10m", "500m")],
        &[
            "minimum cpu usage per Container is 50m, but request is 10m",
            "cpu max limit to request ratio per Container is 5, but provided ratio is 50.000000",
        ],
    );
    check(
        &[both("1", "1"), both("1", "1"), both("1", "1")],
        &["maximum cpu usage per Pod is 2, but limit is 3"],
    );
    check(
        &[json!({})],
        &[
            "minimum cpu usage per Container is 50m.  No request is specified",
            "maximum cpu usage per Container is 1.  No limit is specified",
            "cpu max limit to request ratio per Container is 5, but no request is specified or request is 0",
            "maximum cpu usage per Pod is 2.  No limit is specified",
        ],
    );
}

#[test]
fn bounds_of_claims() {
    let check = |storage: &str, expected: &[&str]| {
        let claim = json!({"spec": {"resources": {"requests": {"storage": storage}}}});
        assert_eq!(faults_of_claim(&range(), &claim), expected);
    };
    check("1Gi", &[]);
    check("2Gi", &["maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"]);
    check("1Mi", &["minimum storage usage per PersistentVolumeClaim is 100Mi, but request is 1Mi"]);
}
