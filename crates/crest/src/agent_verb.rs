//! `crest agent`: Level-0 on a node of a Kubernetes that is there already, beside its kubelet, with nothing else of Crest.
//!
//! ```text
//!   Pods of the node ──watch──► Level-0 ──► the kubelet's cgroups; batch's resources in the Node's status
//! ```
//! What it may do there is `deploy/agent.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use agent::beside::{Beside, Config, Endpoint};
use agent::cgroup::Driver;
use anyhow::Context;
use clap::{Args, ValueEnum};
use kit::tls::PairPaths;
use tokio_util::sync::CancellationToken;

use crate::bounds::BatchBounds;
use crate::cli::LogOptions;
use crate::daemon::InstanceLock;
use crate::explain::ClusterOptions;
use crate::preflight::NEEDS_ROOT;
use crate::run::roles::{Cluster, node_name, start};
use crate::run::until_signalled;
use crate::runtime;
use crate::scheduler::client;
use crate::settings::Settings;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubectl apply -f deploy/agent.yaml\n\n\
                        Pods are batch when they ask for `kubernetes.io/batch-cpu`, have the label `crest.dev/class: \
                        batch`, or Koordinator's `koordinator.sh/qosClass: BE`.")]
pub(crate) struct AgentOptions {
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Name of this host's Node; by default that of the host
    #[arg(long, env = "NODE_NAME")]
    node_name: Option<String>,
    /// The cgroup in which the kubelet has made its own: its setting `cgroupRoot`, as a path
    #[arg(long, default_value = "/", value_parser = parse_group)]
    cgroup_root: String,
    /// How the kubelet names cgroups: its setting `cgroupDriver`
    #[arg(long, value_enum, default_value_t = DriverOption::Auto)]
    cgroup_driver: DriverOption,
    /// Folder for what the agent learns of apps; batch's disk is the one on which it lies
    #[arg(long, default_value = "/var/lib/crest-agent")]
    state_directory: PathBuf,
    /// Tell Prometheus here what the agent sees and does, over TLS: `0.0.0.0:10270`. Who asks presents a token of the cluster,
    /// and needs the right to `get` the path
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Certificate for that; by default one that vouches for itself
    #[arg(long, value_name = "FILE", requires_all = ["metrics_key", "metrics_listen"])]
    metrics_certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "metrics_certificate")]
    metrics_key: Option<PathBuf>,
    #[command(flatten)]
    bounds: BatchBounds,
}

impl AgentOptions {
    fn metrics(&self) -> Option<Endpoint> {
        let pair = self.metrics_certificate.clone().zip(self.metrics_key.clone());
        let pair = pair.map(|(certificate, key)| PairPaths { certificate, key });
        Some(Endpoint { listen: self.metrics_listen?, pair })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DriverOption {
    /// Whichever is found
    Auto,
    Systemd,
    Cgroupfs,
}

impl DriverOption {
    fn driver(self) -> Option<Driver> {
        match self {
            Self::Auto => None,
            Self::Systemd => Some(Driver::Systemd),
            Self::Cgroupfs => Some(Driver::Cgroupfs),
        }
    }
}

/// A path below the hierarchy's root, without slashes at its ends.
fn parse_group(text: &str) -> Result<String, String> {
    let is_whole = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control());
    let path = text.trim_matches('/');
    if path.is_empty() || path.split('/').all(is_whole) {
        return Ok(path.to_owned());
    }
    Err(format!("`{text}` is no path of a cgroup: write it as `/a/b`, without `.`, `..` and empty parts"))
}

pub(crate) fn agent(settings: &Settings, options: &AgentOptions) -> anyhow::Result<()> {
    options.log.init()?;
    anyhow::ensure!(rustix::process::geteuid().is_root(), "{NEEDS_ROOT}");
    anyhow::ensure!(
        !options.bounds.has_egress(),
        "--batch-egress cannot be kept beside a kubelet, where pods have their network from its plugin: give pods the \
         annotation kubernetes.io/egress-bandwidth, which the CNI plugin `bandwidth` reads"
    );
    let folder = &options.state_directory;
    let _lock = InstanceLock::take(folder)
        .with_context(|| format!("two agents would fight over one host: `{}` is in use", folder.display()))?;
    kit::tls::install_default_provider();
    runtime::serving(2)?.block_on(serve(settings, options))
}

async fn serve(settings: &Settings, options: &AgentOptions) -> anyhow::Result<()> {
    let client = client(settings, &options.cluster).await?;
    let mut arbiter = agent::Arbiter::default();
    options.bounds.apply(&mut arbiter.hands);
    let config = Config {
        node_name: options.node_name.clone().map_or_else(node_name, Ok)?,
        client,
        cgroup_root: options.cgroup_root.clone(),
        driver: options.cgroup_driver.driver(),
        root: options.state_directory.clone(),
        arbiter,
        metrics: options.metrics(),
    };
    let (node, token) = (config.node_name.clone(), CancellationToken::new());
    let beside = Beside::build(config).await?;
    tracing::info!(node, group = beside.pods_group(), "Crest's agent runs beside the kubelet");
    let role = start("agent", &token, |token| beside.run(token));
    tokio::select! {
        () = until_signalled() => tracing::info!("Stopping: asked by a signal; the kubelet's cgroups get back what they had"),
        () = token.cancelled() => {}
        () = crate::allocator::stay_small() => {}
    }
    token.cancel();
    Cluster::new(vec![role]).ended().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse_group;

    #[test]
    fn groups_are_paths() {
        let check = |text: &str, expected: &str| assert_eq!(parse_group(text).as_deref(), Ok(expected));
        check("/", "");
        check("", "");
        check("/a/b.slice/", "a/b.slice");
        for wrong in ["/a//b", "..", "/a/../b", "./a", "a\nb"] {
            assert!(parse_group(wrong).is_err(), "{wrong}");
        }
    }
}
