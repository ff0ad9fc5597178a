//! `crest scheduler`: Sigma beside the scheduler of a Kubernetes that is there already, with nothing else of Crest.
//!
//! ```text
//!   Pods that name it ──watch──► Sigma ──one binding each──► the cluster's own API server
//! ```
//! What it may do there is `deploy/scheduler.yaml`.

use anyhow::Context;
use clap::Args;
use control::leader::Election;
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
    let config = control::sigma::Config { scheduler_name: name.clone(), seed: options.seed };
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
async fn client(settings: &Settings, options: &ClusterOptions) -> anyhow::Result<kube::Client> {
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
    use super::parse_name;

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
