//! Starting, asking, stopping: idempotent, and without a trace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cluster::{Cluster, run};

/// Everything on this host that carries the instance's name.
fn traces(instance: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = |program: &str, arguments: &[&str]| run(Command::new(program).args(arguments), "").stdout;
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(instance)).map(|line| format!("mount {line}")));
    let links = fs::read_dir("/sys/class/net").unwrap().flatten();
    let links = links.map(|entry| entry.file_name().to_string_lossy().into_owned());
    found.extend(links.filter(|name| name.starts_with(instance)).map(|name| format!("interface {name}")));
    let tables = lines("nft", &["list", "tables"]);
    found.extend(
        tables
            .lines()
            .filter(|line| line.contains(&instance.replace('-', "_")))
            .map(|line| format!("nftables {line}")),
    );
    // On v1 each controller has its own tree; on v2 the first folder is the only tree.
    let trees = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    for tree in trees.chain([PathBuf::from("/sys/fs/cgroup")]) {
        let groups = [instance.to_owned(), format!("{instance}-batch")].map(|name| tree.join(name));
        found.extend(
            groups.iter().filter(|group| group.exists()).map(|group| format!("cgroup {}", group.display())),
        );
    }
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = fs::read(process.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&format!("/{instance}/")) || line.contains(&format!(" {instance} ")) {
            found.push(format!("process {line}"));
        }
    }
    if Path::new("/run").join(instance).exists() {
        found.push(format!("folder /run/{instance}"));
    }
    found
}

/// The sum of what is offered to batch is told, and each service in it.
fn explains_its_offer(cluster: &Cluster) {
    let kubeconfig = cluster.state_dir().join("kubeconfig");
    let explain = |more: &[&str]| {
        let said = cluster
            .crest(&[&["explain", "node", "--kubeconfig", kubeconfig.to_str().unwrap()], more].concat());
        assert_eq!(said.code, 0, "{said:?}");
        said.stdout
    };
    cluster.until("the Pod was measured", |_| {
        let told: serde_json::Value = serde_json::from_str(&explain(&["--output", "json"])).unwrap();
        let pod = told["online"].as_array().unwrap().iter().find(|pod| pod["name"] == "p");
        pod.is_some_and(|pod| pod["app"] == "default/p" && pod["memory"]["measured"].is_u64())
    });
    let table = explain(&[]);
    assert!(table.contains("= possible for batch") && table.contains("default/p "), "{table}");
    assert!(table.contains("no ColocationPolicy selects the node"), "{table}");
    cluster.apply(
        "{apiVersion: crest.dev/v1alpha1, kind: ColocationPolicy, metadata: {name: gentle}, \
         spec: {cpu: {marginPercent: 37}, squeeze: {waitPercent: 11}}}",
    );
    cluster.until("the policy is in force", |_| {
        let table = explain(&[]);
        let line = |name: &str| table.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
        table.contains("by ColocationPolicy gentle")
            && line("cpu.marginPercent").contains("37  by the policy")
            && line("squeeze.waitPercent").contains("11  by the policy")
            && !line("memory.marginPercent").contains("by the policy")
    });
    cluster.ok(&["delete", "cpol", "gentle"]);
    cluster.until("the policy is gone", |_| explain(&[]).contains("no ColocationPolicy selects the node"));
}

#[test]
fn up_is_idempotent_and_down_leaves_no_trace() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let again = cluster.crest(&["up"]);
    assert!(again.code == 0 && again.stdout.contains("runs already"), "{again:?}");
    let status = cluster.crest(&["status", "-o", "json"]);
    assert!(status.stdout.contains("\"state\": \"ready\""), "{status:?}");

    cluster.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {volumes: [{name: m, emptyDir: {medium: Memory}}], \
         containers: [{name: c, image: 'busybox:test', command: [sleep, '1000'], \
         volumeMounts: [{name: m, mountPath: /m}]}]}}",
    );
    cluster.ok(&["wait", "--for=condition=Ready", "pod/p", "--timeout=60s"]);
    assert!(!traces(&cluster.instance).is_empty(), "a running cluster can be seen");
    explains_its_offer(&cluster);

    let down = cluster.crest(&["down", "--grace-seconds", "1"]);
    assert_eq!(down.code, 0, "{down:?}");
    assert_eq!(traces(&cluster.instance), Vec::<String>::new());
    assert_eq!(cluster.crest(&["down"]).code, 0, "down of what is down is fine");
    assert_ne!(cluster.crest(&["status"]).code, 0);

    // Objects and images stayed: the Pod comes back.
    assert_eq!(cluster.crest(&["up"]).code, 0);
    cluster.ok(&["wait", "--for=condition=Ready", "pod/p", "--timeout=60s"]);
}
