//! Shares by table.

use serde_json::{Value, json};

use super::*;

fn pod(containers: &Value) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": { "containers": containers } }))
        .unwrap()
}

#[test]
fn a_pod_is_the_sum_of_its_containers() {
    let limited =
        json!({ "requests": { "cpu": "100m", "memory": "1Mi" }, "limits": { "cpu": "1", "memory": "2Mi" } });
    let share =
        of_pod(&pod(&json!([{ "name": "a", "resources": limited }, { "name": "b", "resources": limited }])));
    let expected = Share {
        cpu: MilliCpu(200),
        memory: Bytes(2 << 20),
        cpu_limit: Some(MilliCpu(2000)),
        memory_limit: Some(Bytes(4 << 20)),
    };
    assert_eq!(share, expected);
    let share = of_pod(&pod(&json!([{ "name": "a", "resources": limited }, { "name": "b" }])));
    assert_eq!((share.cpu_limit, share.memory_limit), (None, None));
}

#[test]
fn sidecars_run_beside_the_others_and_init_containers_before_them() {
    let container = |cpu: &str, memory: &str, policy: Option<&str>| {
        let amounts = json!({ "cpu": cpu, "memory": memory });
        json!({ "name": "c", "restartPolicy": policy, "resources": { "requests": amounts, "limits": amounts } })
    };
    let check = |inits: &[Value], (cpu, mebibytes): (u64, u64)| {
        let pod = json!({ "metadata": { "name": "p" }, "spec": {
            "initContainers": inits, "containers": [container("1", "1Gi", None)] } });
        let share = of_pod(&serde_json::from_value(pod).unwrap());
        let (cpu, memory) = (MilliCpu(cpu), Bytes(mebibytes << 20));
        assert_eq!(share, Share { cpu, memory, cpu_limit: Some(cpu), memory_limit: Some(memory) });
    };
    let (sidecar, small) = (container("500m", "512Mi", Some("Always")), container("600m", "256Mi", None));
    check(&[], (1000, 1024));
    check(std::slice::from_ref(&small), (1000, 1024));
    check(std::slice::from_ref(&sidecar), (1500, 1536));
    check(&[sidecar.clone(), small.clone()], (1500, 1536));
    // One that needs much beside a sidecar that was started before it, and alone before another.
    check(&[sidecar.clone(), container("3", "2Gi", None)], (3500, 2560));
    check(&[container("3", "2Gi", None), sidecar], (3000, 2048));
}

#[test]
fn what_a_whole_pod_says_stands_above_its_containers_and_overhead_comes_on_top() {
    let check = |whole: &Value, container: &Value, expected: [Option<u64>; 4], class: &str| {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "resources": whole,
            "containers": [{ "name": "a", "resources": container }, { "name": "b" }],
            "overhead": { "cpu": "250m", "memory": "64Mi" } } });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let share = of_pod(&pod);
        let mebibytes = |bytes: Bytes| bytes.0 >> 20;
        let found = [
            Some(share.cpu.0),
            share.cpu_limit.map(|cpu| cpu.0),
            Some(mebibytes(share.memory)),
            share.memory_limit.map(mebibytes),
        ];
        assert_eq!(found, expected, "{whole}");
        assert_eq!(crate::pods::status::qos_class(pod.spec.as_ref().unwrap()), class, "{whole}");
        pod
    };
    let all = json!({ "cpu": "4", "memory": "8Gi" });
    let small = json!({ "requests": { "cpu": "1", "memory": "1Gi" } });
    let both = json!({ "requests": all, "limits": all });
    let whole = [Some(4250), Some(4250), Some(8256), Some(8256)];
    let pod = check(&both, &json!({}), whole, "Guaranteed");
    assert_eq!(linux(&pod, &pod.spec.as_ref().unwrap().containers[0], 16 << 30, -997).oom_score_adj, -997);
    check(&both, &small, whole, "Guaranteed");
    check(&json!({ "limits": all }), &json!({}), whole, "Guaranteed");
    check(&json!({ "limits": all }), &small, [Some(1250), Some(4250), Some(1088), Some(8256)], "Guaranteed");
    check(&json!({ "requests": all }), &small, [Some(4250), None, Some(8256), None], "Burstable");
    check(&json!({}), &small, [Some(1250), None, Some(1088), None], "Burstable");
    check(&Value::Null, &json!({}), [Some(250), None, Some(64), None], "BestEffort");
    // A container that asks for nothing has a part of what its Pod asks for beyond the others.
    let pod = check(&json!({ "requests": all }), &small, [Some(4250), None, Some(8256), None], "Burstable");
    let scores = pod.spec.as_ref().unwrap().containers.iter();
    let scores: Vec<i64> = scores.map(|each| linux(&pod, each, 16 << 30, -997).oom_score_adj).collect();
    assert_eq!(scores, [719, 782]);
}

#[test]
fn what_is_lent_counts_and_not_what_a_namespace_adds() {
    let mixed = json!({ "requests": { "kubernetes.io/mid-cpu": "4000", "cpu": "100m", "memory": "64Mi" },
        "limits": { "kubernetes.io/mid-cpu": "4000", "cpu": "500m", "memory": "512Mi" } });
    let share = of_pod(&pod(&json!([{ "name": "a", "resources": mixed }])));
    assert_eq!((share.cpu, share.cpu_limit), (MilliCpu(4000), Some(MilliCpu(4000))));
    assert_eq!((share.memory, share.memory_limit), (Bytes(64 << 20), Some(Bytes(512 << 20))));
}

#[test]
fn batch_counts_in_its_own_resources() {
    let batch = json!({ "requests": { "kubernetes.io/batch-cpu": "500", "kubernetes.io/batch-memory": "64Mi" },
        "limits": { "kubernetes.io/batch-memory": "128Mi" } });
    let pod = pod(&json!([{ "name": "a", "resources": batch }]));
    let share = of_pod(&pod);
    assert_eq!((share.cpu, share.cpu_limit), (MilliCpu(500), None));
    assert_eq!((share.memory, share.memory_limit), (Bytes(64 << 20), Some(Bytes(128 << 20))));
    let linux = linux(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30, -997);
    assert_eq!((linux.cpu_shares, linux.cpu_quota, linux.oom_score_adj), (512, 0, 1000));
    assert_eq!(knobs(&pod).len(), 3);
}

#[test]
fn the_mid_tier_counts_in_its_own_resources_and_weighs_less() {
    let mid = json!({ "requests": { "kubernetes.io/mid-cpu": "1000", "kubernetes.io/mid-memory": "64Mi" },
        "limits": { "kubernetes.io/mid-cpu": "1000", "kubernetes.io/mid-memory": "64Mi" } });
    let pod = pod(&json!([{ "name": "a", "resources": mid }]));
    let (cpu, memory) = (MilliCpu(1000), Bytes(64 << 20));
    assert_eq!(of_pod(&pod), Share { cpu, memory, cpu_limit: Some(cpu), memory_limit: Some(memory) });
    assert_eq!(knobs(&pod)[..2], [Knob::Weight(MilliCpu(250)), Knob::Quota(Some(cpu))]);
    assert_eq!((by_kubelet(&pod).cpu, promised_memory(&pod)), (MilliCpu(0), Bytes(0)));
    let linux = linux(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30, -997);
    assert_eq!((linux.memory_limit_in_bytes, linux.oom_score_adj), (64 << 20, 990));
}

#[test]
fn a_worker_outlives_its_instance_and_has_so_many_processes() {
    let batch = json!({ "limits": { "kubernetes.io/batch-memory": "128Mi" } });
    let mut pod = pod(&json!([{ "name": "a", "resources": batch }]));
    pod.metadata.labels = Some([(names::JOB_LABEL.to_owned(), "words".to_owned())].into());
    let linux = linux(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30, -997);
    assert_eq!(linux.oom_score_adj, 0);
    assert_eq!(knobs(&pod)[3..], [Knob::Tasks(1024)]);
}

#[test]
fn the_kernel_ends_first_what_asked_for_little() {
    let score = |resources: Value, lowest| {
        let pod = pod(&json!([{ "name": "a", "resources": resources }]));
        linux(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30, lowest).oom_score_adj
    };
    // The mid tier, which has 990, goes before services that ask for little or nothing.
    assert_eq!(score(json!({}), -997), 989);
    assert_eq!(score(json!({ "requests": { "memory": "1Mi" } }), -997), 989);
    assert_eq!(score(json!({ "requests": { "memory": "512Mi" } }), -997), 500);
    assert_eq!(score(json!({ "limits": { "cpu": "1", "memory": "1Mi" } }), -997), -997);
    assert_eq!(score(json!({ "limits": { "cpu": "1", "memory": "1Mi" } }), 0), 0);
}
