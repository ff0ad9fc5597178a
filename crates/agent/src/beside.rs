//! The agent beside a kubelet: Level-0 alone, on the tree that the kubelet has made. Pods are the kubelet's; of the Node only
//! what batch is offered is told, and what the kernel lacks.
//!
//! ```text
//!   Pods of the node ──watch──► registry ──► colocation, hands ──► the kubelet's cgroups
//!                                  │               │ offer
//!   who has to go ◄── eviction ────┘               └──► batch's resources in the Node's status
//!                       Prometheus ◄── metrics
//! ```

mod evictions;
mod metrics;
mod node;
mod pods;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use model::QosClass;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::evictions::Evictions;
pub use self::metrics::Endpoint;
use self::metrics::Told;
use self::node::Keeper;
use self::pods::Follower;
use crate::agent::{BuildError, mounts};
use crate::cgroup::{Driver, Groups};
use crate::colocation::{Colocation, Report, Reserved};
use crate::config::{Arbiter, HISTORIES, POLICY};
use crate::events::{self, Recorder, Writer};
use crate::hands::{self, Ground, Hands, InForce};
use crate::host::{self, meminfo};
use crate::identity::{Identity, Purpose};
use crate::node::Offer;
use crate::pinning::Pinner;
use crate::pods::Registry;
use crate::policy::{Policies, Rule};
use crate::signals::Sampler;

/// One agent on a host with a kubelet.
#[derive(Clone)]
pub struct Config {
    pub node_name: String,
    pub client: Client,
    /// The group in which the kubelet has made its own; empty for the hierarchy's root.
    pub cgroup_root: String,
    /// `None` is whichever is found.
    pub driver: Option<Driver>,
    /// What outlives a boot; batch's disk is the one on which this folder lies.
    pub root: PathBuf,
    pub arbiter: Arbiter,
    /// `None` tells nobody.
    pub metrics: Option<Endpoint>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node_name, client: _, cgroup_root, driver, root, arbiter: _, metrics } = self;
        f.debug_struct("Config")
            .field("node_name", node_name)
            .field("cgroup_root", cgroup_root)
            .field("driver", driver)
            .field("root", root)
            .field("metrics", metrics)
            .finish_non_exhaustive()
    }
}

/// Ready to run.
#[derive(Debug)]
pub struct Beside {
    config: Config,
    groups: Groups,
    ground: Ground,
    cgroup_version: &'static str,
    recorder: Recorder,
    writer: Writer,
    milli_cpu: u64,
    memory: u64,
    reports: watch::Sender<Report>,
    server: Option<(TcpListener, kit::serve::Options)>,
}

impl Beside {
    /// Looks at the host. Nothing runs yet, and nothing of the kubelet's has changed.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        let folder = config.root.clone();
        std::fs::create_dir_all(&folder).map_err(|source| BuildError::Directory { path: folder, source })?;
        let mounts = mounts().map_err(|source| BuildError::Mounts { source })?;
        let groups = Groups::of_kubelet(&mounts, &config.cgroup_root, config.driver)
            .ok_or_else(|| BuildError::NoKubelet { root: config.cgroup_root.clone() })?;
        let mut ground = hands::ground::probe(&groups, &mounts, &config.root)?;
        if !groups.backend().has_idle_class() {
            ground.missing.push(NO_IDLE_CLASS.to_owned());
        }
        let milli_cpu =
            host::online_cpus().map_err(|source| BuildError::Cpus { source })?.len() as u64 * 1000;
        let memory = meminfo("MemTotal").unwrap_or_default();
        let (recorder, writer) = events::recorder(config.client.clone(), config.node_name.clone());
        let (reports, _) = watch::channel(Report::default());
        let cgroup_version = mounts.version().as_str();
        let server = match &config.metrics {
            Some(endpoint) => Some(bind(endpoint, &config).await?),
            None => None,
        };
        Ok(Self {
            config,
            groups,
            ground,
            cgroup_version,
            recorder,
            writer,
            milli_cpu,
            memory,
            reports,
            server,
        })
    }

    /// The group of all Pods on this host.
    pub fn pods_group(&self) -> String {
        self.groups.class(QosClass::Online)
    }

    /// What Level-0 sees and does here.
    pub fn reports(&self) -> watch::Receiver<Report> {
        self.reports.subscribe()
    }

    /// Runs until `token` is cancelled; then everything says again what it said before.
    pub async fn run(self, token: CancellationToken) {
        let (offers, offered) = watch::channel(Offer::default());
        let (reservations, reserved) = watch::channel(Reserved::default());
        let (in_force, seen_in_force) = watch::channel(InForce::default());
        let registry = Registry::default();
        let pinner = Arc::new(Pinner::new(self.groups.clone(), self.recorder.clone()));
        let (rules, rule) = watch::channel(Arc::new(Rule::without_policy(self.config.arbiter.clone())));
        let policies = Policies {
            client: self.config.client.clone(),
            node_name: self.config.node_name.clone(),
            base: self.config.arbiter.clone(),
            rules,
            file: self.config.root.join(POLICY),
        };
        let keeper = Keeper {
            client: self.config.client.clone(),
            node: self.config.node_name.clone(),
            cgroup_version: self.cgroup_version,
            missing: self.ground.missing.clone(),
            offers: offered,
            reservations,
        };
        let colocation = Colocation {
            groups: self.groups.clone(),
            registry: registry.clone(),
            pinner: pinner.clone(),
            recorder: self.recorder.clone(),
            milli_cpu: self.milli_cpu,
            memory: self.memory,
            rules: rule.clone(),
            reserved,
            histories: self.config.root.join(HISTORIES),
            offers,
            reports: self.reports.clone(),
        };
        let told = Told {
            reports: self.reports.subscribe(),
            in_force: seen_in_force,
            sampler: Sampler::new(self.groups.clone(), registry.clone()),
        };
        let metrics = metrics::router(self.config.client.clone(), told);
        let serving = token.clone();
        let server = async move {
            if let Some((listener, options)) = self.server {
                kit::serve::serve(listener, metrics, options, serving).await;
            }
        };
        let hands = Hands {
            groups: self.groups,
            registry: registry.clone(),
            pinner: pinner.clone(),
            memory: self.memory,
            rules: rule,
            ground: self.ground,
            reports: self.reports.subscribe(),
            in_force,
        };
        let client = self.config.client;
        let follower = Follower::new(client.clone(), self.config.node_name, registry.clone(), pinner);
        tokio::join!(
            follower.run(token.clone()),
            Evictions::new(client, registry, self.recorder).run(token.clone()),
            keeper.run(token.clone()),
            policies.run(token.clone()),
            colocation.run(token.clone()),
            hands.run(token.clone()),
            self.writer.run(token.clone()),
            server,
        );
    }
}

/// Listens for those who ask for metrics.
async fn bind(
    endpoint: &Endpoint,
    config: &Config,
) -> Result<(TcpListener, kit::serve::Options), BuildError> {
    let address = endpoint.listen;
    let listening = TcpListener::bind(address).await;
    let listener = listening.map_err(|source| BuildError::Listen { address, source })?;
    let pair = match &endpoint.pair {
        Some(pair) => pair.clone(),
        None => {
            let identity = Identity { folder: config.root.join("pki"), node: config.node_name.clone() };
            identity.serving_pair(&Purpose::Serving(vec![address.ip()]))?
        }
    };
    let tls = kit::tls::server(&pair, None)?;
    Ok((listener, kit::serve::Options { tls: Some(tls), ..kit::serve::Options::default() }))
}

const NO_IDLE_CLASS: &str =
    "cpu.idle is missing: batch has the smallest weight instead, and shares it with what requests nothing";
