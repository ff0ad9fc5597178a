//! The roles of a one-machine cluster and what each is given. Each could run alone: all that they share is the API.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use api::authentication::{Authenticator, User};
use control::sigma::explainer::Known;
use kit::task::spawn;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::certificates::{self, Certificates};
use crate::cli::RunOptions;
use crate::explainer::Explainer;
use crate::settings::Settings;

/// Everything that runs, by role.
#[derive(Debug)]
pub(crate) struct Cluster {
    roles: Vec<JoinHandle<()>>,
}

impl Cluster {
    pub(crate) fn new(roles: Vec<JoinHandle<()>>) -> Self {
        Self { roles }
    }

    /// Opens the store, binds the sockets, starts all roles. An error here means that nothing was started.
    pub(super) async fn start(
        settings: &Settings,
        options: &RunOptions,
        token: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let node = node_name()?;
        let store =
            store::embedded::Embedded::open(&settings.store_file(), store::embedded::Options::default())?;
        let certificates = certificates::prepare(settings, &node)?;
        let mut config = api::Config { has_agents: true, ..api_config(settings, &certificates) };
        options.security.apply(&mut config.security);
        let server = api::Server::build(config, store).await?;
        let clients = Clients {
            agent: server.client(&User::node(&node)),
            controllers: server.client(&User::component("controllers")),
            fuxi: server.client(&User::component("fuxi")),
        };
        let engine = pouch::Engine::build(engine_config(settings)?).await?;
        let mut agent = agent_config(settings, &certificates, node.clone(), clients.agent);
        options.bounds.apply(&mut agent.arbiter.hands);
        let agent = agent::Agent::build(agent).await?;
        let control = control_config(&certificates, clients.controllers).await?;
        server.explain_by(Arc::new(Explainer { load: None, known: control.known.clone() }));
        let batch = control::fuxi::Config {
            home: Some(node.clone()),
            ..batch_config(&certificates, clients.fuxi, settings.worker_dir())
        };

        let roles = vec![
            start("api", token, |token| server.run(token)),
            start_fallible("pouch", token, |token| async move { engine.run(token).await }),
            start("agent", token, |token| agent.run(token)),
            start("control", token, |token| control::run(control, token)),
            start_fallible("fuxi", token, |token| control::fuxi::run(batch, token)),
            start("certificates", token, |token| {
                certificates::keep_current(settings.clone(), node, certificates, token)
            }),
        ];
        Ok(Self::new(roles))
    }

    /// Waits until every role has ended after the token was cancelled.
    pub(crate) async fn ended(self) {
        for role in self.roles {
            // A role that panicked has logged it; the others are waited for all the same.
            let _ended = role.await;
        }
    }
}

struct Clients {
    agent: kube::Client,
    controllers: kube::Client,
    fuxi: kube::Client,
}

/// Runs a role; when it ends, whatever the reason, the process ends: it is started again as a whole.
pub(crate) fn start<F>(
    name: &'static str,
    token: &CancellationToken,
    role: impl FnOnce(CancellationToken) -> F,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let running = role(token.clone());
    let everything = token.clone();
    spawn(name, async move {
        let ended = everything.drop_guard();
        running.await;
        drop(ended);
    })
}

pub(crate) fn start_fallible<F, E>(
    name: &'static str,
    token: &CancellationToken,
    role: impl FnOnce(CancellationToken) -> F,
) -> JoinHandle<()>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::error::Error + Send + 'static,
{
    start(name, token, |token| {
        let running = role(token);
        async move {
            if let Err(error) = running.await {
                tracing::error!(role = name, error = %kit::Chain(&error), "Role failed");
            }
        }
    })
}

pub(crate) fn node_name() -> anyhow::Result<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    // Kubernetes names nodes by DNS rules; a host may be named otherwise.
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    anyhow::ensure!(!name.is_empty(), "this host has no name: set one with `hostname`");
    Ok(name)
}

pub(crate) fn api_config(settings: &Settings, certificates: &Certificates) -> api::Config {
    api::Config {
        listen: settings.api_address(),
        advertised: None,
        service_cidr: settings.service_cidr.clone(),
        serving: certificates.api_server.clone(),
        kubelet_client: certificates.kubelet_client.clone(),
        authority: certificates.authority.clone(),
        authenticator: Authenticator::default(),
        has_agents: false,
        security: security(settings, certificates),
        limits: api::Limits::default(),
    }
}

/// The controllers are given the authority's key, which no other part but the maker of certificates reads.
pub(crate) async fn control_config(
    certificates: &Certificates,
    client: kube::Client,
) -> anyhow::Result<control::Config> {
    let root_ca_pem = tokio::fs::read_to_string(&certificates.authority).await?;
    let key = tokio::fs::read_to_string(&certificates.authority_key).await?;
    let signing = control::certificate::SigningAuthority::parse(&root_ca_pem, &key)
        .context("cannot sign requests for certificates")?;
    Ok(control::Config {
        client,
        root_ca_pem,
        signing: Some(Arc::new(signing)),
        seed: kit::clock::since_epoch().as_secs(),
        load: None,
        without: Vec::new(),
        known: Known::default(),
    })
}

/// The batch master asks agents for workers as the API server asks them for logs.
pub(crate) fn batch_config(
    certificates: &Certificates,
    client: kube::Client,
    worker_dir: PathBuf,
) -> control::fuxi::Config {
    let pair = certificates.kubelet_client.clone();
    let credentials = control::fuxi::Credentials { pair, authority: certificates.authority.clone() };
    control::fuxi::Config { credentials: Some(credentials), ..control::fuxi::Config::new(client, worker_dir) }
}

fn security(settings: &Settings, certificates: &Certificates) -> api::SecurityConfig {
    api::SecurityConfig {
        signing_keys: certificates.service_account_keys.clone(),
        encryption_key: Some(certificates.encryption_key.clone()),
        audit: api::AuditConfig { log: Some(settings.audit_log()), policy: None },
        ..api::SecurityConfig::default()
    }
}

pub(crate) fn engine_config(settings: &Settings) -> anyhow::Result<pouch::Config> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(pouch::Config {
        root: settings.pouch_dir(),
        run_dir: settings.run_dir().join("pouch"),
        socket: settings.cri_socket(),
        bridge: settings.bridge(),
        pod_cidr: settings.pod_cidr.clone(),
        nft_table: settings.nft_table(),
        mirrors: settings.registry_mirrors.clone(),
        shim: vec![program.into_os_string(), "shim".into()],
        cgroup_root: settings.instance.clone(),
    })
}

fn agent_config(
    settings: &Settings,
    certificates: &Certificates,
    node: String,
    client: kube::Client,
) -> agent::Config {
    agent::Config {
        node_name: node,
        node_ip: IpAddr::from(settings.address),
        client,
        cri_socket: settings.cri_socket(),
        kubelet_listen: settings.kubelet_address(),
        kubelet_pair: certificates.agent.clone(),
        client_authority: certificates.authority.clone(),
        root: settings.state_dir(),
        run_dir: settings.run_dir(),
        cgroup_root: settings.instance.clone(),
        max_pods: 250,
        labels: BTreeMap::new(),
        arbiter: agent::Arbiter::default(),
        // Their master is on this host.
        workers: None,
    }
}
