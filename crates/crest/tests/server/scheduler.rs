//! `crest scheduler` beside a Kubernetes of which it knows nothing but the API, with the rights of `deploy/scheduler.yaml`
//! and no more.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod, ServiceAccount};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, Kubeconfig};
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Server, text, until};

/// Ends with the test.
struct Scheduler(Child);

impl Scheduler {
    fn start(kubeconfig: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crest"));
        command.args(["scheduler", "--log", "warn", "--kubeconfig", text(kubeconfig)]);
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Everything of the manifest but the Deployment, whose part the test takes.
async fn apply_rights(client: &kube::Client) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/scheduler.yaml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    for document in serde_yaml_ng::Deserializer::from_str(&manifest) {
        let object = DynamicObject::deserialize(document).unwrap();
        let types = object.types.clone().unwrap();
        if types.kind == "Deployment" {
            continue;
        }
        let kind = GroupVersionKind::try_from(&types).unwrap();
        let (kind, _) = kube::discovery::pinned_kind(client, &kind).await.unwrap();
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
            None => Api::all_with(client.clone(), &kind),
        };
        let name = object.metadata.name.clone().unwrap();
        api.patch(&name, &PatchParams::apply("test"), &Patch::Apply(&object)).await.unwrap();
    }
}

/// A kubeconfig with a token of a service account.
pub(super) async fn kubeconfig(
    server: &Server,
    client: &kube::Client,
    (namespace, account): (&str, &str),
) -> PathBuf {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
    let mut config = Kubeconfig::read_from(server.folder.join("kubeconfig")).unwrap();
    let token = answer.status.unwrap().token.unwrap();
    config.auth_infos[0].auth_info = Some(AuthInfo { token: Some(token.into()), ..AuthInfo::default() });
    let path = server.folder.join(format!("{account}.kubeconfig"));
    std::fs::write(&path, serde_yaml_ng::to_string(&config).unwrap()).unwrap();
    path
}

fn node(name: &str) -> Node {
    let amounts = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    serde_json::from_value(json!({"metadata": {"name": name},
        "status": {"capacity": amounts, "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}]}}))
    .unwrap()
}

fn pod(name: &str, cpu: &str, more: &Value) -> Pod {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"schedulerName": "crest",
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
    for (key, value) in more.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_of_another_kubernetes() {
    let directory = TempDir::new().unwrap();
    let arguments = ["--controllers", "*,-sigma,-node-lifecycle", "--log", "warn"];
    let mut server = Server::new(directory.path().join("state"), &arguments);
    let client = server.start().await;
    apply_rights(&client).await;
    let kubeconfig = kubeconfig(&server, &client, ("crest-system", "crest-scheduler")).await;
    let mut first = Scheduler::start(&kubeconfig);

    let (nodes, pods) = (Api::<Node>::all(client.clone()), Api::<Pod>::default_namespaced(client.clone()));
    let usual = PostParams::default();
    for name in ["a", "b", "c"] {
        nodes.create(&usual, &node(name)).await.unwrap();
    }
    let nothing = json!({});
    for number in 0..12 {
        until("the namespace has its account", async || {
            pods.create(&usual, &pod(&format!("p-{number}"), "1", &nothing)).await.ok()
        })
        .await;
    }
    let placed = until("all are placed", async || {
        let pods = pods.list(&ListParams::default()).await.ok()?.items;
        pods.iter().map(node_of).collect::<Option<Vec<_>>>()
    })
    .await;
    for name in ["a", "b", "c"] {
        assert_eq!(placed.iter().filter(|node| *node == name).count(), 4, "each node is full: {placed:?}");
    }

    // Another's Pod is left alone; one that fits nowhere is told why.
    pods.create(&usual, &pod("another", "1m", &json!({"schedulerName": "default-scheduler"}))).await.unwrap();
    pods.create(&usual, &pod("waits", "1", &nothing)).await.unwrap();
    until("it says why it waits", async || {
        let waiting = pods.get("waits").await.ok()?;
        let conditions = waiting.status?.conditions?;
        conditions.into_iter().find(|condition| condition.reason.as_deref() == Some("Unschedulable"))
    })
    .await;
    let events = Api::<Event>::default_namespaced(client.clone());
    until("an event tells it, too", async || {
        let events = events.list(&ListParams::default().fields("reason=FailedScheduling")).await.ok()?;
        let of_crest =
            |event: &Event| event.source.as_ref()?.component.as_deref().map(|name| name == "crest");
        events.items.iter().any(|event| of_crest(event) == Some(true)).then_some(())
    })
    .await;

    // The leader dies without a word; the copy beside it goes on, and has a lesser Pod give way.
    let _second = Scheduler::start(&kubeconfig);
    first.kill();
    let class: PriorityClass =
        serde_json::from_value(json!({"metadata": {"name": "high"}, "value": 1000})).unwrap();
    Api::<PriorityClass>::all(client.clone()).create(&usual, &class).await.unwrap();
    pods.create(&usual, &pod("urgent", "1", &json!({"priorityClassName": "high"}))).await.unwrap();
    until("the important one is placed", async || node_of(&pods.get("urgent").await.ok()?)).await;
    let left = pods.list(&ListParams::default()).await.unwrap().items;
    let small = left.iter().filter(|pod| pod.metadata.name.as_ref().unwrap().starts_with("p-")).count();
    assert_eq!(small, 11, "one went for it");
    assert_eq!(node_of(&pods.get("another").await.unwrap()), None);
    let lease = Api::<Lease>::namespaced(client, "kube-system").get("crest").await.unwrap();
    assert!(lease.spec.unwrap().lease_transitions.unwrap() > 0);
}
