//! `crest node`: this machine as a node of somebody's cluster, and the nodes of this machine's cluster.

mod discovery;
mod join;
mod members;

use clap::{Args, Subcommand};

use crate::cli::LogOptions;
use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// Run this machine as a node of a cluster; `crest token create` prints the whole command
    Join(JoinOptions),
    /// List the nodes of the cluster
    #[command(alias = "ls")]
    List,
    /// Move the Pods of a node away, then forget it; on the machine itself, `crest down --purge` clears up
    #[command(alias = "rm")]
    Remove(RemoveOptions),
}

#[derive(Debug, Args)]
pub(crate) struct JoinOptions {
    /// Address of the cluster's API, for example `https://10.0.0.1:6443`; known from the second time on
    pub(super) server: Option<String>,
    /// A bootstrap token; needed the first time
    #[arg(long, env = "CREST_JOIN_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
    /// Hash of the key of the cluster's authority, `sha256:...`; needed the first time
    #[arg(long)]
    pub(super) ca_cert_hash: Option<String>,
    /// Name of the node; by default that of the host
    #[arg(long)]
    pub(super) node_name: Option<String>,
    #[command(flatten)]
    pub(super) logging: LogOptions,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveOptions {
    pub(super) name: String,
    /// Give up when Pods are still there after this many seconds
    #[arg(long, default_value_t = 120)]
    pub(super) timeout_seconds: u64,
    /// Forget the node at once, with all that runs on it
    #[arg(long)]
    pub(super) force: bool,
}

pub(crate) fn execute(settings: &Settings, verb: NodeVerb) -> anyhow::Result<()> {
    kit::tls::install_default_provider();
    match verb {
        NodeVerb::Join(options) => join::join(settings, &options),
        NodeVerb::List => members::list(settings),
        NodeVerb::Remove(options) => members::remove(settings, &options),
    }
}
