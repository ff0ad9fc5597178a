//! A whole control plane over a store in a temporary directory, and a node that runs whatever is bound to it.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use api::authority::{Authority, Holder};
use api::{Config, Server, User};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::{Condition, await_condition};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::embedded::{Embedded, Options};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Long enough for a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const ROOT_CA: &str = "-----BEGIN CERTIFICATE-----";

/// A running control plane. It stops when this is dropped.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// A machine with a bootstrap token.
    pub(crate) joining: Client,
    authority: Authority,
    address: SocketAddr,
    token: CancellationToken,
    directory: TempDir,
}

/// Controllers on threads of their own.
pub(crate) struct Mortal(Option<Runtime>);

impl Drop for Mortal {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_without(&[]).await
    }

    /// A control plane that lacks some controllers.
    pub(crate) async fn start_without(controllers: &[&str]) -> Self {
        Self::start_as(controllers, false).await
    }

    /// As [`Cluster::start_without`]; with agents it serves what they measure.
    pub(crate) async fn start_as(controllers: &[&str], has_agents: bool) -> Self {
        let cluster = Self::start_server(has_agents).await;
        let controllers = cluster.controllers(controllers);
        kit::task::spawn("controllers", control::run(controllers, cluster.token()));
        cluster
    }

    /// The API without any controller.
    pub(crate) async fn start_server(has_agents: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now();
        let authority = Authority::build(&directory.path().join("pki"), now).unwrap();
        let service = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
        let certificate = |name: &str, holder: &Holder| authority.certificate(name, holder, now).unwrap();
        let config = Config {
            listen: SocketAddr::new(LOOPBACK, 0),
            advertised: None,
            service_cidr: "10.96.0.0/16".to_owned(),
            serving: certificate("server", &Holder::api_server([], [LOOPBACK], service)),
            kubelet_client: certificate("admin", &Holder::client("admin", "system:masters")),
            authority: authority.certificate_path(),
            authenticator: api::authentication::Authenticator::default(),
            has_agents,
            security: api::SecurityConfig::default(),
            limits: api::Limits::default(),
        };
        let store = Embedded::open(&directory.path().join("store"), Options::default()).unwrap();
        let server = Server::build(config, store as Arc<dyn store::Store>).await.unwrap();
        let address = server.address();
        let client = server.client(&User::new("admin", ["system:masters"]));
        let joining = server.client(&User::new("system:bootstrap:abcdef", ["system:bootstrappers"]));
        let token = CancellationToken::new();
        kit::task::spawn("server", server.run(token.clone()));
        Self { client, joining, authority, address, token, directory }
    }

    fn controllers(&self, without: &[&str]) -> control::Config {
        control::Config {
            client: self.client.clone(),
            root_ca_pem: ROOT_CA.to_owned(),
            signing: Some(signing(&self.authority)),
            seed: 7,
            load: None,
            without: without.iter().map(|&name| name.to_owned()).collect(),
            known: control::sigma::explainer::Known::default(),
        }
    }

    /// Controllers that can be killed wherever they are: by dropping what is returned.
    pub(crate) fn mortal_controllers(&self) -> Mortal {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _running = runtime.spawn(control::run(self.controllers(&[]), self.token()));
        Mortal(Some(runtime))
    }

    /// A Python program that speaks to the server as the administrator.
    pub(crate) async fn python(&self, program: &Path, arguments: &[&str]) -> Output {
        let pki = self.directory.path().join("pki");
        let mut command = tokio::process::Command::new("python3");
        command.arg(program).arg("--url").arg(format!("https://localhost:{}", self.address.port()));
        command.arg("--ca").arg(self.authority.certificate_path());
        command.arg("--cert").arg(pki.join("admin.crt")).arg("--key").arg(pki.join("admin.key"));
        command.args(arguments).kill_on_drop(true).output().await.unwrap()
    }

    /// A certificate of the cluster's own authority.
    pub(crate) fn certificate(&self, name: &str, holder: &Holder) -> kit::tls::PairPaths {
        self.authority.certificate(name, holder, jiff::Timestamp::now()).unwrap()
    }

    /// Ends with the control plane.
    pub(crate) fn token(&self) -> CancellationToken {
        self.token.child_token()
    }

    pub(crate) fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates an object in the `default` namespace.
    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + serde::Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// A ready node that runs what is bound to it: pods of Jobs end well, all others become ready.
    pub(crate) async fn add_node(&self, name: &str, cpu: &str) {
        let nodes: Api<Node> = self.all();
        let node = json!({ "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } } });
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        let resources = json!({ "cpu": cpu, "memory": "4Gi", "pods": "110" });
        let ready = json!({ "type": "Ready", "status": "True", "reason": "KubeletReady" });
        let status = json!({ "status": {
            "capacity": resources, "allocatable": resources, "conditions": [ready],
        }});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        // Every node comes with the taint of one that is not ready, which is taken off it once it is.
        let is_untainted = |node: Option<&Node>| {
            let spec = node.and_then(|node| node.spec.as_ref());
            spec.is_some_and(|spec| spec.taints.as_ref().is_none_or(Vec::is_empty))
        };
        until(nodes, name, is_untainted).await;
        let (client, node, token) = (self.client.clone(), name.to_owned(), self.token.clone());
        kit::task::spawn("kubelet", async move {
            let _stopped = token.run_until_cancelled(play_kubelet(client, node)).await;
        });
    }

    /// Waits until `condition` holds for the object of the `default` namespace.
    pub(crate) async fn until<K>(&self, name: &str, condition: impl Condition<K>) -> Option<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Send
            + DeserializeOwned
            + 'static,
    {
        until(self.api::<K>(), name, condition).await
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until<K>(api: Api<K>, name: &str, condition: impl Condition<K>) -> Option<K>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let waiting = await_condition(api.clone(), name, condition);
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(found) => found.unwrap(),
        Err(_) => panic!("waited in vain for {name}: {:?}", api.get_opt(name).await),
    }
}

/// The authority as the certificate controller is given it.
fn signing(authority: &Authority) -> Arc<control::certificate::SigningAuthority> {
    let [certificate, key] = [authority.certificate_path(), authority.key_path()]
        .map(|path| std::fs::read_to_string(path).unwrap());
    Arc::new(control::certificate::SigningAuthority::parse(&certificate, &key).unwrap())
}

async fn play_kubelet(client: Client, node: String) {
    let pods: Api<Pod> = Api::all(client.clone());
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = std::pin::pin!(watcher(pods, mine).default_backoff().applied_objects());
    while let Some(pod) = events.next().await {
        let Ok(pod) = pod else { continue };
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        let name = pod.name_any();
        if pod.metadata.deletion_timestamp.is_some() {
            let _gone = api.delete(&name, &DeleteParams::default().grace_period(0)).await;
        } else if control::pods::phase(&pod) == "Pending" {
            let is_batch = control::owner::controller(&pod.metadata).is_some_and(|owner| owner.kind == "Job");
            let status = if is_batch {
                json!({ "phase": "Succeeded" })
            } else {
                let time = jiff::Timestamp::now().to_string();
                let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": time });
                json!({ "phase": "Running", "conditions": [ready] })
            };
            let patch = Patch::Strategic(json!({ "status": status }));
            let _gone = api.patch_status(&name, &PatchParams::default(), &patch).await;
        }
    }
}

pub(crate) fn pod(name: &str, cpu: &str) -> Value {
    let resources = json!({ "requests": { "cpu": cpu } });
    json!({
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "nginx:1.25", "resources": resources }] },
    })
}
