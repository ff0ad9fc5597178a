//! `crest scheduler`: Sigma beside the scheduler of a Kubernetes that is there already, with nothing else of Crest.
//!
//! ```text
//!   Pods that name it ──watch──► Sigma ──one binding each──► the cluster's own API server
//! ```
//! What it may do there is `deploy/scheduler.yaml`.

use anyhow::Context;
use clap::Args;
use control::leader::Election;
use control::sigma::LoadPolicy;
use tokio_util::sync::CancellationToken;

use crate::cli::LogOptions;
use crate::explain::{ClusterOptions, config};
use crate::run::roles::{Cluster, node_name, start};
use crate::run::until_signalled;
use crate::runtime;
use crate::settings::Settings;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubectl apply -f deploy/scheduler.yaml\n  \
                        crest scheduler --kubeconfig scheduler.kubeconfig\n\n\
                        Pods are its own when they say `schedulerName: crest`.")]
pub(crate) struct SchedulerOptions {
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// What pods call it in `spec.schedulerName`; also the name of its lease
    #[arg(long, default_value = "crest", value_parser = parse_name)]
    scheduler_name: String,
    /// Work at once instead of when elected; for the only copy
    #[arg(long)]
    no_leader_election: bool,
    /// Decides between nodes that are equally good
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_parser = parse_load, num_args = 0..=1, default_missing_value = "", help = LOAD_HELP)]
    load_aware: Option<LoadPolicy>,
}

pub(crate) const LOAD_HELP: &str = "Look at what nodes use, as `metrics.k8s.io` tells it: none takes more Pods that uses \
                                    this much, in percent, and cool ones are better [default: cpu=65,memory=95]";

/// `cpu=PERCENT,memory=PERCENT`; what is left out is by default.
pub(crate) fn parse_load(text: &str) -> Result<LoadPolicy, String> {
    let mut policy = LoadPolicy::default();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let percent = |text: &str| text.parse().ok().filter(|percent| (1..=100).contains(percent));
        let limit = match word.split_once('=').map(|(name, text)| (name, percent(text))) {
            Some(("cpu", Some(percent))) => (&mut policy.cpu_percent, percent),
            Some(("memory", Some(percent))) => (&mut policy.memory_percent, percent),
            _ => return Err(format!("`{word}` is none of `cpu=1..100` and `memory=1..100`")),
        };
        *limit.0 = limit.1;
    }
    Ok(policy)
}

fn parse_name(text: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = text.chars().all(is_fine) && text.starts_with(is_end) && text.ends_with(is_end);
    (is_name && text.len() <= 253)
        .then(|| text.to_owned())
        .ok_or_else(|| format!("`{text}` is no name of a lease: small letters, digits, `-` and `.`"))
}

pub(crate) fn scheduler(settings: &Settings, options: &SchedulerOptions) -> anyhow::Result<()> {
    options.log.init()?;
    kit::tls::install_default_provider();
    runtime::of_all_cores()?.block_on(serve(settings, options))
}

async fn serve(settings: &Settings, options: &SchedulerOptions) -> anyhow::Result<()> {
    let client = client(settings, &options.cluster).await?;
    let version = client.apiserver_version().await.context("the cluster's API server does not answer")?;
    let token = CancellationToken::new();
    let name = options.scheduler_name.clone();
    let config =
        control::sigma::Config { scheduler_name: name.clone(), seed: options.seed, load: options.load_aware };
    let of_work = client.clone();
    let work = move |token| control::schedule(of_work.clone(), config.clone(), token);
    let role = if options.no_leader_election {
        start("sigma", &token, work)
    } else {
        // Two copies on one host must not take each other for themselves.
        let identity = format!("{}_{}", node_name()?, std::process::id());
        let election = Election { client, lease: name.clone(), identity };
        start("sigma", &token, |token| election.run(token, work))
    };
    tracing::info!(kubernetes = version.git_version, schedulerName = name, "Crest's scheduler runs");
    tokio::select! {
        () = until_signalled() => tracing::info!("Stopping: asked by a signal"),
        () = token.cancelled() => {}
    }
    token.cancel();
    Cluster::new(vec![role]).ended().await;
    Ok(())
}

/// In a Pod, with what its service account may do; elsewhere by the rules of kubectl.
pub(crate) async fn client(settings: &Settings, options: &ClusterOptions) -> anyhow::Result<kube::Client> {
    let is_in_cluster = options.is_default() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let config = if is_in_cluster {
        kube::Config::incluster().context("the service account of this pod cannot be used")?
    } else {
        config(settings, options).await?
    };
    Ok(kube::Client::try_from(config)?)
}

#[cfg(test)]
mod tests {
    use super::{LoadPolicy, parse_load, parse_name};

    #[test]
    fn thresholds_are_percents() {
        let policy = |cpu_percent, memory_percent| Ok(LoadPolicy { cpu_percent, memory_percent });
        assert_eq!(parse_load(""), policy(65, 95));
        assert_eq!(parse_load("cpu=80"), policy(80, 95));
        assert_eq!(parse_load("memory=50,cpu=100"), policy(100, 50));
        for wrong in ["cpu", "cpu=0", "cpu=101", "disk=1", "cpu=x"] {
            assert!(parse_load(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_those_of_leases() {
        for name in ["crest", "crest-2", "a.b", "0"] {
            assert_eq!(parse_name(name).as_deref(), Ok(name));
        }
        for wrong in ["", "Crest", "-a", "a.", "a_b", &"a".repeat(254)] {
            assert!(parse_name(wrong).is_err(), "{wrong}");
        }
    }
}
