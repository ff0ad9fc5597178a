//! A whole server on a free port of the loopback, over a store in a temporary directory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use api::authority::{Authority, Holder};
use api::{Config, Limits, Server, User};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kit::tls::PairPaths;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use store::embedded::{Embedded, Options};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A running server. It stops when this is dropped.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// As which Crest's own controllers come.
    pub(crate) controllers: Client,
    pub(crate) authority: Authority,
    address: SocketAddr,
    directory: TempDir,
    token: CancellationToken,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(&directory.path().join("store"), Options::default()).unwrap();
        Self::start_on(store, directory).await
    }

    /// A server that takes little at once.
    pub(crate) async fn start_within(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(&directory.path().join("store"), Options::default()).unwrap();
        Self::start_as(store, directory, (limits, None)).await
    }

    /// A server that writes down what `policy` says, as lines in [`Self::audit_log`].
    pub(crate) async fn start_audited(policy: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(&directory.path().join("store"), Options::default()).unwrap();
        Self::start_as(store, directory, (Limits::default(), Some(policy))).await
    }

    /// A server on `store`, with its certificates in `directory`.
    pub(crate) async fn start_on(store: Arc<dyn store::Store>, directory: TempDir) -> Self {
        Self::start_as(store, directory, (Limits::default(), None)).await
    }

    async fn start_as(
        store: Arc<dyn store::Store>,
        directory: TempDir,
        (limits, audit_policy): (Limits, Option<&str>),
    ) -> Self {
        let now = jiff::Timestamp::now();
        let authority = Authority::build(&directory.path().join("pki"), now).unwrap();
        let service = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
        let certificate = |name: &str, holder: &Holder| authority.certificate(name, holder, now).unwrap();
        let serving = certificate("server", &Holder::api_server([], [LOOPBACK], service));
        let admin = certificate("admin", &Holder::client("kubernetes-admin", "system:masters"));
        let config = Config {
            listen: SocketAddr::new(LOOPBACK, 0),
            advertised: None,
            service_cidr: "10.96.0.0/16".to_owned(),
            serving,
            kubelet_client: admin.clone(),
            authority: authority.certificate_path(),
            authenticator: api::authentication::Authenticator::default(),
            has_agents: false,
            security: security(&authority, audit_policy.map(|policy| audit(directory.path(), policy))),
            limits,
        };
        let server = Server::build(config, store).await.unwrap();
        let address = server.address();
        let url = format!("https://{address}");
        let kubeconfig = authority.kubeconfig(&url, "admin", &admin).unwrap();
        std::fs::write(directory.path().join("kubeconfig"), kubeconfig).unwrap();
        let client = server.client(&User::new("kubernetes-admin", ["system:masters"]));
        let controllers = server.client(&User::component("controllers"));
        let token = CancellationToken::new();
        kit::task::spawn("api", server.run(token.clone()));
        // No controller runs here that would make the account of the namespace's Pods; another server on the same
        // store may have done so.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
        accounts
            .entry("default")
            .await
            .unwrap()
            .or_insert(|| account)
            .commit(&PostParams::default())
            .await
            .unwrap();
        Self { client, controllers, authority, address, directory, token }
    }

    /// Where a server that was started with a policy writes down who does what.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.directory.path().join("audit.log")
    }

    /// Tells the server to stop.
    pub(crate) fn stop(&self) {
        self.token.cancel();
    }

    pub(crate) fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// A request as it is, answered as it is.
    pub(crate) async fn request(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let content_type =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, path, &[("content-type", content_type)], body).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (u16, Value) {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.send(request.body(body.into()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A client as another process has it: by TLS, as the administrator.
    pub(crate) async fn remote_client(&self) -> Client {
        let kubeconfig =
            kube::config::Kubeconfig::read_from(self.directory.path().join("kubeconfig")).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// A connection to the server's socket, as the administrator.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let certificate = self.directory.path().join("pki/admin.crt");
        let pair = PairPaths { key: certificate.with_extension("key"), certificate };
        let config = kit::tls::client(Some(&pair), &self.authority.certificate_path()).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        TlsConnector::from(config).connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }

    /// `kubectl` with the administrator's configuration, or `None` where it is not installed.
    pub(crate) async fn kubectl(&self, arguments: &[&str], input: &str) -> Option<Output> {
        use tokio::io::AsyncWriteExt;
        let mut command = tokio::process::Command::new(kubectl_path()?);
        command.args(arguments).env("KUBECONFIG", self.directory.path().join("kubeconfig"));
        command.env("HOME", self.directory.path()).kill_on_drop(true);
        command.stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        Some(child.wait_with_output().await.unwrap())
    }

    /// A Python program that speaks to the server as the administrator.
    pub(crate) async fn python(&self, program: &Path, arguments: &[&str], files: &[PathBuf]) -> Output {
        let pki = self.directory.path().join("pki");
        let mut command = tokio::process::Command::new("python3");
        command.arg(program).arg("--url").arg(format!("https://{}", self.address));
        command.arg("--ca").arg(self.authority.certificate_path());
        command.arg("--cert").arg(pki.join("admin.crt")).arg("--key").arg(pki.join("admin.key"));
        command.args(arguments).args(files).kill_on_drop(true).output().await.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

fn audit(directory: &Path, policy: &str) -> api::AuditConfig {
    let path = directory.join("audit-policy.yaml");
    std::fs::write(&path, policy).unwrap();
    api::AuditConfig { log: Some(directory.join("audit.log")), policy: Some(path) }
}

fn security(authority: &Authority, audit: Option<api::AuditConfig>) -> api::SecurityConfig {
    api::SecurityConfig {
        audit: audit.unwrap_or_default(),
        signing_keys: authority.service_account_keys().unwrap(),
        encryption_key: Some(authority.encryption_key().unwrap()),
        ..api::SecurityConfig::default()
    }
}

fn kubectl_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("kubectl")).find(|path| path.is_file())
}

pub(crate) fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "v"}})).unwrap()
}
