//! Topologies of machines laid out as files, and who gets which CPUs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Pod;
use model::{CpuSet, CpuTopology};
use serde_json::{Value, json};

use super::{decide, topology};

/// A machine of lines such as `cpu 0 socket 0 core 0,4` and `node 0 0-3 65536`.
fn machine(online: &str, lines: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    };
    put("cpu/online", online);
    for line in lines.lines().map(str::trim) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["cpu", cpu, socket, siblings] => {
                put(&format!("cpu/cpu{cpu}/topology/physical_package_id"), socket);
                put(&format!("cpu/cpu{cpu}/topology/core_cpus_list"), siblings);
            }
            ["old", cpu, socket, siblings] => {
                put(&format!("cpu/cpu{cpu}/topology/physical_package_id"), socket);
                put(&format!("cpu/cpu{cpu}/topology/thread_siblings_list"), siblings);
            }
            ["node", node, cpus, kib] => {
                put(&format!("node/node{node}/cpulist"), cpus);
                let meminfo =
                    format!("\nNode {node} MemTotal:       {kib} kB\nNode {node} MemFree:        12 kB");
                put(&format!("node/node{node}/meminfo"), &meminfo);
            }
            ["file", path, text] => put(path, text),
            _ => {}
        }
    }
    dir
}

fn all() -> CpuSet {
    "0-8191".parse().unwrap()
}

fn check(online: &str, lines: &str, expected: Expect) {
    let dir = machine(online, lines);
    let told = topology::read(dir.path(), &all());
    expected.assert_eq(&told.map(|told| serde_json::to_string(&told).unwrap()).unwrap_or_default());
}

#[test]
fn one_socket_without_hyper_threads() {
    check(
        "0-3",
        "cpu 0 0 0\n cpu 1 0 1\n cpu 2 0 2\n cpu 3 0 3\n node 0 0-3 1024\n file node/online 0\n file node/has_cpu 0",
        expect![[r#"{"numa":[{"id":0,"socket":0,"memory":1048576,"cores":["0","1","2","3"]}]}"#]],
    );
}

#[test]
fn two_sockets_with_hyper_threads() {
    check(
        "0-7",
        "cpu 0 0 0,4\n cpu 1 0 1,5\n cpu 2 1 2,6\n cpu 3 1 3,7\n cpu 4 0 0,4\n cpu 5 0 1,5\n cpu 6 1 2,6\n cpu 7 1 3,7
         node 0 0-1,4-5 4\n node 1 2-3,6-7 8",
        expect![[
            r#"{"numa":[{"id":0,"socket":0,"memory":4096,"cores":["0,4","1,5"]},{"id":1,"socket":1,"memory":8192,"cores":["2,6","3,7"]}]}"#
        ]],
    );
}

#[test]
fn gaps_in_the_numbers_and_cpus_that_are_off() {
    // CPU 9 is off: its core is there with the other hyper-thread alone. Node 2 has memory only.
    check(
        "0,2,8,10-11",
        "cpu 0 0 0,8\n cpu 8 0 0,8\n old 2 3 2\n old 10 3 10-11\n old 11 3 10-11
         node 0 0,8-9 1\n node 2 \n node 12 2,10-11 2",
        expect![[
            r#"{"numa":[{"id":0,"socket":0,"memory":1024,"cores":["0,8"]},{"id":12,"socket":3,"memory":2048,"cores":["2","10-11"]}]}"#
        ]],
    );
    check(
        "0",
        "cpu 0 0 0-1\n node 0 0-1 1",
        expect![[r#"{"numa":[{"id":0,"socket":0,"memory":1024,"cores":["0"]}]}"#]],
    );
}

#[test]
fn kernels_that_tell_little() {
    check("0-1", "", expect![[r#"{"numa":[{"id":0,"socket":0,"cores":["0","1"]}]}"#]]);
    check("", "", expect![[""]]);
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(topology::read(nothing.path(), &all()), None);
    // Not all of the machine is ours.
    let dir = machine("0-3", "node 0 0-3 1");
    let told = topology::read(dir.path(), &"2-3".parse().unwrap()).unwrap();
    assert_eq!(told.cpus().to_string(), "2-3");
}

#[test]
fn this_host_has_cpus() {
    let told = topology::read(Path::new(super::SYSTEM), &all()).unwrap();
    assert!(!told.cpus().is_empty());
}

/// Two NUMA nodes with two CPUs each.
fn host() -> CpuTopology {
    serde_json::from_str(
        r#"{"numa":[{"id":0,"socket":0,"cores":["0","1"]},{"id":1,"socket":1,"cores":["2","3"]}]}"#,
    )
    .unwrap()
}

fn pod(uid: &str, cpu: &str, annotations: &[(&str, &str)]) -> Value {
    let annotations: BTreeMap<String, &str> =
        annotations.iter().map(|(name, value)| (format!("crest.dev/{name}"), *value)).collect();
    let amounts = json!({ "cpu": cpu, "memory": "1Gi" });
    json!({
        "metadata": { "name": uid, "uid": uid, "annotations": annotations, "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": amounts, "limits": amounts } }] },
    })
}

fn pinned(uid: &str, cpu: &str, cpus: &str) -> Value {
    pod(uid, cpu, &[("cpu-policy", "pinned"), ("cpu-set", cpus)])
}

fn plan(topology: Option<&CpuTopology>, pods: &[Value]) -> String {
    let pods: Vec<Arc<Pod>> =
        pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect();
    let plan = decide::plan(topology, &pods, &decide::Plan::default());
    let pinned = plan.pinned.iter().map(|(uid, place)| {
        let list = |set: &Option<CpuSet>| set.as_ref().map_or("any".to_owned(), ToString::to_string);
        format!("{uid}: {} memory {}", list(&place.cpus), list(&place.mems))
    });
    let refused = plan.refused.iter().map(|(uid, refusal)| format!("{uid}: {refusal}"));
    let shared = plan.shared.as_ref().map_or("all".to_owned(), ToString::to_string);
    pinned.chain(refused).chain([format!("shared: {shared}")]).collect::<Vec<_>>().join("\n")
}

#[test]
fn others_share_what_is_left() {
    let others = [pod("a", "1", &[]), pod("b", "500m", &[("cpu-set", "0")])];
    assert_eq!(plan(Some(&host()), &others), "shared: all");
    let single = pod("d", "1", &[("cpu-policy", "pinned"), ("cpu-set", "2"), ("numa-policy", "single")]);
    let pods = [pinned("c", "1", "0"), single, others[0].clone()];
    expect![[r#"
        c: 0 memory any
        d: 2 memory 1
        shared: 1,3"#]]
    .assert_eq(&plan(Some(&host()), &pods));
}

#[test]
fn who_has_cpus_keeps_them() {
    let pods = |values: &[Value]| -> Vec<Arc<Pod>> {
        values.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect()
    };
    let host = host();
    let first = decide::plan(Some(&host), &pods(&[pinned("z", "1", "1")]), &decide::Plan::default());
    let both = pods(&[pinned("a", "1", "1"), pinned("z", "1", "1")]);
    // Both were made in the same second, and by its uid `a` would be first.
    let second = decide::plan(Some(&host), &both, &first);
    assert_eq!(second.pinned, first.pinned);
    assert_eq!(second.refused.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn what_cannot_be_is_said_and_left_shared() {
    let mut early = pinned("z", "2", "0-1");
    early["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    let mut ended = pinned("ended", "1", "3");
    ended["status"] = json!({ "phase": "Succeeded" });
    let pods = [
        pinned("a", "1", "1"),
        early,
        ended,
        pinned("gone", "2", "2,7"),
        pinned("greedy", "2", "2-3"),
        pinned("number", "1", "2-3"),
        pinned("odd", "1", "two"),
        pod("nobody-chose", "1", &[("cpu-policy", "full-cores")]),
    ];
    expect![[r#"
        z: 0-1 memory any
        a: CPUs 1 belong to a Pod that came before
        gone: CPUs 7 are not online on this host
        greedy: nothing would be left for all others
        nobody-chose: no scheduler chose CPUs for it: the annotation crest.dev/cpu-set is missing
        number: it asks for 1000m of CPU, but its annotation crest.dev/cpu-set names 2 CPUs
        odd: its annotation crest.dev/cpu-set cannot be read
        shared: 2-3"#]]
    .assert_eq(&plan(Some(&host()), &pods));
    expect![[r#"
        a: this host cannot pin: its cgroups lack the cpuset controller, or it was not handed down
        shared: all"#]]
    .assert_eq(&plan(None, &pods[..1]));
}
