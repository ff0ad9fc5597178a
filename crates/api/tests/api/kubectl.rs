//! Stock `kubectl` over TLS. Without it on the PATH these tests say so and pass.

use crate::harness::Cluster;

const MANIFEST: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
";

/// Runs a command that must succeed, and returns what it prints.
async fn run(cluster: &Cluster, arguments: &[&str], input: &str) -> Option<String> {
    let output = cluster.kubectl(arguments, input).await?;
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "kubectl {arguments:?}: {errors}{out}");
    Some(out.into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_gets_changes_and_deletes() {
    let cluster = Cluster::start().await;
    let Some(applied) = run(&cluster, &["apply", "-f", "-"], MANIFEST).await else {
        println!("skipped: kubectl is not installed");
        return;
    };
    assert_eq!(applied, "configmap/settings created\ndeployment.apps/web created\n");
    let kubectl = async |arguments: &[&str]| run(&cluster, arguments, MANIFEST).await.unwrap();
    assert_eq!(
        kubectl(&["apply", "-f", "-"]).await,
        "configmap/settings unchanged\ndeployment.apps/web unchanged\n"
    );
    assert!(kubectl(&["get", "deployments"]).await.contains("web"));
    assert_eq!(kubectl(&["scale", "deployment/web", "--replicas=5"]).await, "deployment.apps/web scaled\n");
    assert_eq!(kubectl(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]).await, "5");
    kubectl(&["label", "configmap", "settings", "a=b"]).await;
    assert!(kubectl(&["get", "cm", "-l", "a=b", "-o", "name"]).await.contains("configmap/settings"));
    // A typed create is sent as protobuf.
    kubectl(&["create", "configmap", "typed", "--from-literal=k=v"]).await;
    assert_eq!(kubectl(&["get", "cm", "typed", "-o", "jsonpath={.data.k}"]).await, "v");
    assert!(kubectl(&["describe", "deployment", "web"]).await.contains("nginx"));
    assert!(kubectl(&["api-resources"]).await.contains("dagjobs"));
    kubectl(&["delete", "-f", "-"]).await;
    assert_eq!(kubectl(&["get", "deployments", "-o", "name"]).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_tells_what_is_wrong_with_a_manifest() {
    let cluster = Cluster::start().await;
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndta: {k: v}\n";
    let Some(output) = cluster.kubectl(&["apply", "-f", "-"], manifest).await else {
        println!("skipped: kubectl is not installed");
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("unknown field \"dta\""), "{errors}");
}
