//! Bad input: a precise refusal, nothing half-applied, the cluster goes on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::cluster::{Cluster, free_port, run, yaml};

/// A manifest that must be refused with a message that contains all of these.
fn check(cluster: &Cluster, manifest: &str, parts: &[&str]) {
    let said = cluster.kubectl_fed(&["apply", "-f", "-"], &yaml(manifest));
    assert_ne!(said.code, 0, "accepted: {manifest}");
    for part in parts {
        assert!(said.stderr.contains(part), "`{part}` in: {}", said.stderr);
    }
}

#[test]
fn manifests_that_are_wrong() {
    let Some(cluster) = Cluster::start() else { return };
    let pod = |spec: &str| format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {spec}}}");
    check(&cluster, &pod("{containers: [{name: c, image: i, imagge: x}]}"), &["imagge"]);
    check(&cluster, &pod("{containers: {}}"), &["containers"]);
    let nothing = "{apiVersion: v1, kind: Nothing, metadata: {name: nothing}}";
    let said = cluster.kubectl_fed(&["apply", "--validate=false", "-f", "-"], &yaml(nothing));
    assert!(said.code != 0 && said.stderr.contains("no matches for kind \"Nothing\""), "{}", said.stderr);
    check(&cluster, &pod("{containers: []}"), &["spec.containers", "Required"]);
    check(&cluster, &pod("{containers: [{name: C_C, image: i}]}"), &["spec.containers[0].name"]);
    check(&cluster, &pod("{containers: [{name: c, image: i, resources: {limits: {cpu: lots}}}]}"), &["cpu"]);
    assert!(cluster.ok(&["get", "pods"]).is_empty(), "nothing was half-applied");
}

fn dag_job(tasks: &str) -> String {
    format!(
        "{{apiVersion: crest.dev/v1alpha1, kind: DagJob, metadata: {{name: j}}, spec: {{tasks: {tasks}}}}}"
    )
}

#[test]
fn batch_jobs_that_cannot_run() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let task = |rest: &str| format!("{{image: 'busybox:test', command: ['true'], {rest}}}");
    let cycle = format!(
        "[{}, {}]",
        task("name: a, instances: 1, dependsOn: [b]"),
        task("name: b, instances: 1, dependsOn: [a]")
    );
    check(&cluster, &dag_job(&cycle), &["spec.tasks", "a -> b -> a"]);
    let dangling = format!("[{}]", task("name: a, instances: 1, dependsOn: [x]"));
    check(&cluster, &dag_job(&dangling), &["spec.tasks[0].dependsOn[0]", "x"]);
    check(&cluster, &dag_job(&format!("[{}]", task("name: a, instances: 0"))), &["spec.tasks[0].instances"]);
    check(&cluster, &dag_job("[]"), &["spec.tasks"]);

    let absent = "[{name: a, instances: 2, maxAttempts: 2, image: 'busybox:test', command: [/no/such/program], resources: {cpu: 100m, memory: 16Mi}}]";
    cluster.apply(&dag_job(absent));
    cluster.ok(&["wait", "--for=condition=Failed", "dagjob/j", "--timeout=60s"]);
    let status = cluster.ok(&["get", "dagjob", "j", "-o", "yaml"]);
    assert!(status.contains("/no/such/program"), "{status}");

    cluster.apply(
        &dag_job("[{name: a, instances: 1, image: 'localhost:1/none:1', command: ['true'], resources: {cpu: 100m, memory: 16Mi}}]")
            .replace("name: j}", "name: k}"),
    );
    cluster.until("the owner is told why no worker starts", |cluster| {
        let events = ["get", "events", "--field-selector", "involvedObject.name=k,reason=WorkerWaiting"];
        cluster.ok(&events).contains("localhost:1/none:1")
    });
}

#[test]
fn garbage_on_the_port() {
    let Some(cluster) = Cluster::start() else { return };
    let server = cluster.ok(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let address = server.trim_start_matches("https://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&[0xff; 4096]).unwrap();
    let mut rest = Vec::new();
    // It may be told off by a TLS alert or simply be cut off.
    let _ended = stream.read_to_end(&mut rest);
    let big = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: big}}, data: {{k: {}}}}}",
        "x".repeat(5 << 20)
    );
    let said = cluster.kubectl_fed(&["create", "-f", "-"], &yaml(&big));
    assert!(said.code != 0 && said.stderr.contains("RequestEntityTooLarge"), "{}", said.stderr);
    assert!(cluster.ok(&["get", "nodes"]).contains("Ready"), "the cluster goes on");
}

#[test]
fn a_port_in_use_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let instance = format!("tp{}", std::process::id() % 100_000);
    let other = free_port().to_string();
    let place = ["up", "--instance", &instance, "--api-port", &port, "--kubelet-port", &other];
    let said = run(Command::new(env!("CARGO_BIN_EXE_crest")).args(place), "");
    let expected = if rustix::process::geteuid().is_root() { port.as_str() } else { "sudo" };
    assert!(said.code == 1 && said.stderr.contains(expected), "{said:?}");
}
