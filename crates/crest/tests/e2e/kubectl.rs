//! What users do with kubectl, with the version on the path and with an older and a newer one.

use super::cluster::{Cluster, fetch_kubectl, run};

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: server
          image: busybox:test
          command: [sh, -c, "echo serving $GREETING; exec httpd -f -p 8080 -h /"]
          env: [{name: GREETING, valueFrom: {configMapKeyRef: {name: words, key: greeting}}}]
          ports: [{containerPort: 8080}]
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
          resources: {requests: {cpu: 50m, memory: 16Mi}}
"#;

#[test]
fn the_kubectl_on_the_path() {
    let Some(cluster) = Cluster::start() else { return };
    walk(&cluster);
}

#[test]
fn an_older_kubectl() {
    with_version("1.27");
}

#[test]
fn a_newer_kubectl() {
    with_version("1.33");
}

fn with_version(version: &str) {
    let Some(program) = fetch_kubectl(version) else { return };
    let Some(mut cluster) = Cluster::start() else { return };
    cluster.with_kubectl(&program);
    walk(&cluster);
}

/// One walk through what a user does on the first day.
fn walk(cluster: &Cluster) {
    cluster.with_busybox();
    look_around(cluster);
    deploy(cluster);
    look_at_pods(cluster);
    change(cluster);
    small_objects(cluster);
    job(cluster);
    remove(cluster);
}

fn look_around(cluster: &Cluster) {
    assert!(cluster.ok(&["version"]).contains("Server Version"));
    let resources = cluster.ok(&["api-resources"]);
    for kind in ["pods", "deployments", "dagjobs", "leases", "priorityclasses"] {
        assert!(resources.contains(kind), "{kind} in {resources}");
    }
    assert!(resources.lines().any(|line| line.contains("dagjobs") && line.contains("dj")), "{resources}");
    let nodes = cluster.ok(&["get", "nodes", "-o", "wide"]);
    assert!(nodes.contains("Ready") && nodes.contains("INTERNAL-IP"), "{nodes}");
    assert!(cluster.ok(&["describe", "nodes"]).contains("kubernetes.io/batch-cpu"));
    assert!(cluster.ok(&["get", "ns"]).contains("kube-system"));
    assert!(cluster.ok(&["explain", "deployment.spec.strategy"]).contains("RollingUpdate"));
    assert!(cluster.ok(&["explain", "dagjob.spec.tasks"]).contains("instances"));
}

fn deploy(cluster: &Cluster) {
    cluster.ok(&["create", "configmap", "words", "--from-literal=greeting=hello"]);
    cluster.apply(WEB);
    cluster.ok(&["wait", "--for=condition=Available", "deployment/web", "--timeout=60s"]);
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert!(cluster.apply(WEB).contains("unchanged"));
    let deployments = cluster.ok(&["get", "deployments", "-A"]);
    assert!(deployments.contains("2/2"), "{deployments}");
}

fn first_pod(cluster: &Cluster) -> String {
    cluster.ok(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"])
}

fn look_at_pods(cluster: &Cluster) {
    let pod = first_pod(cluster);
    let wide = cluster.ok(&["get", "pods", "-o", "wide"]);
    assert!(wide.contains("1/1") && wide.contains("Running") && wide.contains("10."), "{wide}");
    assert!(cluster.ok(&["get", "pods", "-o", "yaml"]).contains("podIP:"));
    assert!(cluster.ok(&["get", "pods", "--field-selector", "status.phase=Pending"]).is_empty());
    assert!(cluster.ok(&["logs", &pod]).contains("serving hello"));
    assert!(cluster.ok(&["logs", "deployment/web", "--tail=1"]).contains("serving hello"));
    let describe = cluster.ok(&["describe", "pod", &pod]);
    assert!(describe.contains("Scheduled") && describe.contains("Started"), "{describe}");
    assert_eq!(cluster.ok(&["exec", &pod, "--", "hostname"]).trim(), pod);
    let fed = cluster.kubectl_fed(&["exec", "-i", &pod, "--", "cat"], "through and back\n");
    assert_eq!((fed.stdout.as_str(), fed.code), ("through and back\n", 0), "{fed:?}");
    assert_eq!(cluster.kubectl(&["exec", &pod, "--", "sh", "-c", "exit 7"]).code, 7);
    assert!(cluster.ok(&["events"]).contains("Started"));
}

fn change(cluster: &Cluster) {
    cluster.ok(&["scale", "deployment/web", "--replicas=3"]);
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    cluster.ok(&["label", "deployment/web", "tier=front"]);
    assert!(cluster.ok(&["get", "deployments", "-l", "tier=front"]).contains("3/3"));
    let mut edit = cluster.kubectl_command(&["edit", "deployment/web"]);
    let edited = run(edit.env("EDITOR", "sed -i s/replicas:.3/replicas:\\ 1/"), "");
    assert_eq!(edited.code, 0, "{edited:?}");
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert_eq!(cluster.ok(&["get", "deployment/web", "-o", "jsonpath={.spec.replicas}"]), "1");
}

fn small_objects(cluster: &Cluster) {
    cluster.ok(&["create", "secret", "generic", "key", "--from-literal=word=open"]);
    assert!(!cluster.ok(&["describe", "secret", "key"]).contains("open"));
    cluster.ok(&["create", "namespace", "other"]);
    cluster.ok(&["-n", "other", "create", "serviceaccount", "robot"]);
    assert!(cluster.ok(&["get", "serviceaccounts", "-A"]).contains("robot"));
    cluster.ok(&["expose", "deployment/web", "--port=80", "--target-port=8080"]);
    assert!(cluster.ok(&["get", "services"]).contains("10.96."));
    assert!(cluster.ok(&["get", "priorityclasses"]).contains("crest-batch"));
}

fn job(cluster: &Cluster) {
    cluster.apply(
        "{apiVersion: batch/v1, kind: Job, metadata: {name: once}, spec: {completions: 2, template: {spec: \
         {restartPolicy: Never, containers: [{name: c, image: 'busybox:test', command: [echo, done]}]}}}}",
    );
    cluster.ok(&["wait", "--for=condition=Complete", "job/once", "--timeout=60s"]);
    assert!(cluster.ok(&["get", "jobs"]).contains("2/2"));
    assert!(cluster.ok(&["logs", "job/once"]).contains("done"));
}

fn remove(cluster: &Cluster) {
    cluster.ok(&["delete", "deployment", "web", "--timeout=60s"]);
    cluster.until("the Deployment's Pods are gone", |cluster| {
        cluster.ok(&["get", "pods", "-l", "app=web", "-o", "name"]).is_empty()
    });
    cluster.ok(&["delete", "namespace", "other", "--timeout=60s"]);
    assert!(cluster.kubectl(&["get", "namespace", "other"]).stderr.contains("NotFound"));
}
