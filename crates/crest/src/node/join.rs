//! `crest node join`: the container engine and the agent alone, as a node of a cluster that runs elsewhere.
//!
//! ```text
//!   first time: authority by hash ──► client certificate by token ──► agent ──► serving certificate ──► agent anew
//!   ever after: agent with what lies on disk; both certificates are renewed well before they end
//! ```
//! Certificates are taken up by starting the agent anew in this process: what runs in containers runs on.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use agent::identity::{Identity, Purpose, until_renewal};
use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::{JoinOptions, discovery};
use crate::daemon::InstanceLock;
use crate::run::roles::{engine_config, node_name, start, start_fallible};
use crate::run::{prepare_folders, until_signalled};
use crate::settings::Settings;

/// A machine on its way into a cluster.
struct Joining {
    settings: Settings,
    identity: Identity,
    server: String,
    authority: PathBuf,
}

pub(super) fn join(settings: &Settings, options: &JoinOptions) -> anyhow::Result<()> {
    options.logging.init()?;
    anyhow::ensure!(rustix::process::geteuid().is_root(), "{}", crate::preflight::NEEDS_ROOT);
    prepare_folders(settings)?;
    let _lock = InstanceLock::take(&settings.run_dir())?;
    crate::runtime::serving(2)?.block_on(serve(settings, options))
}

async fn serve(settings: &Settings, options: &JoinOptions) -> anyhow::Result<()> {
    let joining = Joining::begin(settings, options).await?;
    joining.enrol(options).await?;
    let token = CancellationToken::new();
    let engine = pouch::Engine::build(engine_config(settings)?).await?;
    let engine = start_fallible("pouch", &token, |token| async move { engine.run(token).await });
    let agent = {
        let rounds = token.clone();
        start("agent", &token, |_| async move {
            if let Err(error) = joining.rounds(rounds).await {
                tracing::error!(error = %format!("{error:#}"), "This node cannot go on");
            }
        })
    };
    tokio::select! {
        () = until_signalled() => tracing::info!("Stopping: asked by a signal; containers run on"),
        () = token.cancelled() => {}
        () = crate::allocator::stay_small() => {}
    }
    token.cancel();
    // A role that panicked has logged it.
    let _ended = tokio::join!(engine, agent);
    Ok(())
}

impl Joining {
    /// Comes to know the server, from what is given or from what lies on disk.
    async fn begin(settings: &Settings, options: &JoinOptions) -> anyhow::Result<Self> {
        let folder = settings.pki_dir();
        fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        let authority = folder.join("cluster-ca.crt");
        let known = settings.state_dir().join("server");
        let server = match &options.server {
            Some(server) => server.clone(),
            None => fs::read_to_string(&known).context(
                "this machine has joined no cluster yet; run `crest token create` where the cluster runs, and here \
                 what it prints",
            )?,
        };
        if !authority.exists() {
            let hash = options.ca_cert_hash.as_deref();
            let hash = hash.context("without --ca-cert-hash anybody could pose as the cluster")?;
            let pem = discovery::authority(&server, hash).await?;
            api::authority::write_secret(&authority, pem.as_bytes())?;
        }
        fs::write(&known, &server).with_context(|| format!("cannot write `{}`", known.display()))?;
        let node = options.node_name.clone().map_or_else(node_name, Ok)?;
        let identity = Identity { folder, node };
        Ok(Self { settings: settings.clone(), identity, server, authority })
    }

    /// Gets the certificate by which the agent speaks, if there is none that holds.
    async fn enrol(&self, options: &JoinOptions) -> anyhow::Result<()> {
        let held = self.identity.validity(&Purpose::Client);
        if held.is_some_and(|validity| validity.holds(kit::clock::wall())) {
            return Ok(());
        }
        let token = options.token.clone().context(
            "this machine has no certificate that holds; run `crest token create` where the cluster runs, and here \
             what it prints",
        )?;
        let client =
            self.client(kube::config::AuthInfo { token: Some(token.into()), ..Default::default() })?;
        self.identity.request(&client, &Purpose::Client).await.context("cannot join")?;
        Ok(())
    }

    /// Runs the agent, and anew with new certificates, until `token` is cancelled.
    async fn rounds(self, token: CancellationToken) -> anyhow::Result<()> {
        let serving = Purpose::Serving(vec![IpAddr::from(self.settings.address)]);
        while !token.is_cancelled() {
            let client = self.own_client()?;
            let round = token.child_token();
            let agent = agent::Agent::build(self.agent_config(client.clone(), &serving)?).await?;
            let agent = kit::task::spawn("agent", agent.run(round.clone()));
            let renewed = token.run_until_cancelled(self.next(&client, &serving)).await;
            round.cancel();
            // An agent that panicked has logged it; the next round starts another.
            let _ended = agent.await;
            if let Some(Err(error)) = renewed {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Resolves when there are certificates that the agent should take up.
    async fn next(&self, client: &kube::Client, serving: &Purpose) -> anyhow::Result<()> {
        let now = kit::clock::wall();
        let (spoken, served) = (self.identity.validity(&Purpose::Client), self.identity.validity(serving));
        let Some(served) = served.filter(|validity| validity.holds(now)) else {
            self.identity.request(client, serving).await?;
            return Ok(());
        };
        let held: Vec<_> = spoken.into_iter().chain([served]).collect();
        tokio::time::sleep(until_renewal(&held, now)).await;
        self.identity.request(client, &Purpose::Client).await?;
        self.identity.request(client, serving).await?;
        tracing::info!(node = self.identity.node, "Certificates renewed");
        Ok(())
    }

    fn own_client(&self) -> anyhow::Result<kube::Client> {
        let pair = self.identity.paths(&Purpose::Client);
        let path = |path: &std::path::Path| Some(path.display().to_string());
        self.client(kube::config::AuthInfo {
            client_certificate: path(&pair.certificate),
            client_key: path(&pair.key),
            ..Default::default()
        })
    }

    fn client(&self, who: kube::config::AuthInfo) -> anyhow::Result<kube::Client> {
        let mut config =
            kube::Config::new(self.server.parse().context("the server's address cannot be read")?);
        let roots = kit::tls::certificates(&self.authority)?;
        config.root_cert = Some(roots.iter().map(|root| root.to_vec()).collect());
        config.auth_info = who;
        Ok(kube::Client::try_from(config)?)
    }

    fn agent_config(&self, client: kube::Client, serving: &Purpose) -> anyhow::Result<agent::Config> {
        let settings = &self.settings;
        let pair = self.identity.serving_pair(serving)?;
        Ok(agent::Config {
            node_name: self.identity.node.clone(),
            node_ip: IpAddr::from(settings.address),
            client,
            cri_socket: settings.cri_socket(),
            kubelet_listen: settings.kubelet_address(),
            kubelet_pair: pair,
            client_authority: self.authority.clone(),
            root: settings.state_dir(),
            run_dir: settings.run_dir(),
            cgroup_root: settings.instance.clone(),
            max_pods: 250,
            labels: std::collections::BTreeMap::new(),
            arbiter: agent::Arbiter::default(),
            workers: Some(settings.worker_dir()),
        })
    }
}
