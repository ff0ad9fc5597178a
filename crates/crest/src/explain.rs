//! `crest explain` and `crest what-if`: the scheduler over a live cluster as it is listed, with the user's own rights.
//! Nothing is written, so both work against any Kubernetes.

mod node;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use control::sigma::rehearsal::Rehearsal;
use control::sigma::snapshot::Snapshot;
use control::sigma::{Config, LoadPolicy, app};
use kube::config::{KubeConfigOptions, Kubeconfig};
use model::names::{HOSTNAME_LABEL, SIGMA_SCHEDULER};
use sim::import::dump;

use crate::cli::Output;
use crate::scheduler::{LOAD_HELP, parse_load};
use crate::settings::Settings;
use crate::sim::{SOME_UNPLACED, answer, report_text};

#[derive(Debug, Subcommand)]
pub(crate) enum ExplainVerb {
    /// Say why a pod waits, and the smallest changes that would place it; or why it is on its node and not on another
    ///
    /// Of a pod that waits: how many nodes each reason rules out. Of one that has a node: the scores of the best nodes,
    /// part by part, as they would decide today if the pod were not there.
    #[command(
        after_help = "Examples:\n  crest explain pod web-0 -n shop\n  crest explain pod web-0 --output json"
    )]
    Pod(ExplainOptions),
    /// Say what a node offers batch, term by term, and how each service on it counts
    ///
    /// The node's agent is asked through the API server, which takes the right to get `nodes/proxy`.
    #[command(after_help = "Examples:\n  crest explain node\n  crest explain node host-1 --output json")]
    Node(NodeOptions),
}

/// Which cluster, by the rules of kubectl.
#[derive(Debug, Args)]
pub(crate) struct ClusterOptions {
    /// Kubeconfig to use; else $KUBECONFIG, ~/.kube/config, or this host's own instance
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long)]
    context: Option<String>,
    /// Namespace of what is named, or of objects that name none; else the context's
    #[arg(long, short)]
    namespace: Option<String>,
}

/// One object of a cluster, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct OneOptions {
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

impl ClusterOptions {
    /// The namespace that was named.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Whether no cluster was named.
    pub(crate) fn is_default(&self) -> bool {
        self.kubeconfig.is_none() && self.context.is_none()
    }
}

/// How the scheduler is run there.
#[derive(Debug, Args)]
struct EngineOptions {
    /// What its pods call the scheduler
    #[arg(long, value_name = "NAME", default_value = SIGMA_SCHEDULER)]
    scheduler_name: String,
    #[arg(long, value_parser = parse_load, num_args = 0..=1, default_missing_value = "", help = LOAD_HELP)]
    load_aware: Option<LoadPolicy>,
}

impl EngineOptions {
    fn config(&self, seed: u64) -> Config {
        Config { scheduler_name: self.scheduler_name.clone(), seed, load: self.load_aware }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    name: String,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(flatten)]
    engine: EngineOptions,
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct NodeOptions {
    /// By default the only one
    name: Option<String>,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Exits with 0 when every pod of the manifest would be placed, with 2 when some would not.
#[derive(Debug, Args)]
pub(crate) struct WhatIfOptions {
    /// Manifest in YAML or JSON: Pods, Deployments, StatefulSets, ReplicaSets, Jobs; repeat for more
    #[arg(long = "filename", short, value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// As if so many nodes more were there, as +20
    #[arg(long, value_name = "+N", default_value = "+0", value_parser = more_nodes)]
    nodes: usize,
    /// The node that further nodes are like; by default the first by name
    #[arg(long, value_name = "NODE")]
    like: Option<String>,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(flatten)]
    engine: EngineOptions,
    /// Decides between nodes that are equally good
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn more_nodes(text: &str) -> Result<usize, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits
        .parse()
        .ok()
        .filter(|&count| count <= 100_000)
        .ok_or_else(|| format!("`{text}` is not a number of nodes: write it as +20, at most +100000"))
}

pub(crate) fn explain(settings: &Settings, verb: ExplainVerb) -> anyhow::Result<ExitCode> {
    let options = match verb {
        ExplainVerb::Pod(options) => options,
        ExplainVerb::Node(options) => {
            node::explain(settings, &options)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let (snapshot, namespace) = list(settings, &options.cluster, &options.engine)?;
    let unread = snapshot.unread.clone();
    let mut rehearsal = Rehearsal::new(snapshot, &options.engine.config(1), kit::clock::monotonic());
    let told = rehearsal.explain(&namespace, &options.name).map(|told| told.without(&unread));
    let told = told.with_context(|| {
        format!(
            "there is no pod `{0}` in namespace `{namespace}` (kubectl get pods -n {namespace})",
            options.name
        )
    })?;
    answer(options.output, &told, text::told)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn what_if(settings: &Settings, options: &WhatIfOptions) -> anyhow::Result<ExitCode> {
    let (mut snapshot, namespace) = list(settings, &options.cluster, &options.engine)?;
    // Whoever waits already is not asked about, and would take room away.
    snapshot.drop_waiting();
    let mut n_pods = 0;
    for file in &options.files {
        for object in dump::objects(file)? {
            let pods = app::pods(object.value(), &namespace)
                .with_context(|| format!("cannot use `{}`", file.display()))?;
            n_pods += pods.len();
            match pods.is_empty() {
                true => {
                    object.read(|group, kind, object| snapshot.add_to(&namespace, group, kind, object))?
                }
                false => snapshot.pods.extend(pods),
            }
        }
    }
    anyhow::ensure!(n_pods > 0, "the manifests hold nothing that becomes a pod");
    add_nodes(&mut snapshot, options)?;
    snapshot.adopt_waiting(&options.engine.scheduler_name);
    let config = options.engine.config(options.seed);
    let mut rehearsal = Rehearsal::new(snapshot, &config, kit::clock::monotonic());
    let report = rehearsal.run();
    answer(options.output, &report, report_text)?;
    let Some(left) = report.unplaced.first() else { return Ok(ExitCode::SUCCESS) };
    // As the cluster would be with those that fit.
    let told = left.pod.split_once('/').and_then(|(namespace, name)| rehearsal.explain(namespace, name));
    if let (Output::Text, Some(told)) = (options.output, told) {
        answer(options.output, &told, text::told)?;
    }
    Ok(SOME_UNPLACED.into())
}

fn add_nodes(snapshot: &mut Snapshot, options: &WhatIfOptions) -> anyhow::Result<()> {
    if options.nodes == 0 {
        return Ok(());
    }
    let name = |node: &k8s_openapi::api::core::v1::Node| node.metadata.name.clone().unwrap_or_default();
    let wanted = |node: &&k8s_openapi::api::core::v1::Node| {
        options.like.as_ref().is_none_or(|like| *like == name(node))
    };
    let Some(like) = snapshot.nodes.iter().filter(wanted).min_by_key(|node| name(node)).cloned() else {
        match &options.like {
            Some(like) => {
                anyhow::bail!("there is no node `{like}` for others to be like (kubectl get nodes)")
            }
            None => anyhow::bail!("there is no node for others to be like: the cluster has none"),
        }
    };
    for index in 1..=options.nodes {
        let mut node = like.clone();
        let name = format!("{}-like-{index}", name(&like));
        if let Some(host) = node.metadata.labels.as_mut().and_then(|labels| labels.get_mut(HOSTNAME_LABEL)) {
            host.clone_from(&name);
        }
        node.metadata.name = Some(name);
        node.spec.get_or_insert_default().unschedulable = None;
        snapshot.nodes.push(node);
    }
    Ok(())
}

/// The cluster as it is now, and the namespace that is meant.
fn list(
    settings: &Settings,
    options: &ClusterOptions,
    engine: &EngineOptions,
) -> anyhow::Result<(Snapshot, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = config(settings, options).await?;
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config)?;
        let with_usage = engine.load_aware.is_some();
        Ok((Snapshot::list(&client, kit::clock::wall(), with_usage).await?, namespace))
    })
}

pub(crate) async fn config(settings: &Settings, options: &ClusterOptions) -> anyhow::Result<kube::Config> {
    let kubeconfig = match &options.kubeconfig {
        Some(path) => {
            Kubeconfig::read_from(path).with_context(|| format!("cannot use `{}`", path.display()))?
        }
        None => Kubeconfig::read().or_else(|_| Kubeconfig::read_from(settings.kubeconfig())).context(
            "no kubeconfig: name one by --kubeconfig or $KUBECONFIG, or start a cluster with `crest up`",
        )?,
    };
    let choice = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &choice).await?)
}
