//! `crest explain` and `crest what-if`: the engine over a live cluster as it is listed, with the user's own rights.
//! Nothing is written, so both work against any Kubernetes.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use control::sigma::app;
use control::sigma::listed::Listed;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, ListParams, ObjectList};
use kube::config::{KubeConfigOptions, Kubeconfig};
use model::interference_rule::InterferenceRule;
use model::reservation::Reservation;
use model::scheduling_policy::SchedulingPolicy;
use serde::Serialize;
use sigma::explain::{self, Explanation};
use sigma::{Pending, PodId};
use sim::import::dump;
use sim::placement;

use crate::cli::Output;
use crate::settings::Settings;
use crate::sim::{SOME_UNPLACED, answer, scene_of, text};

#[derive(Debug, Subcommand)]
pub(crate) enum ExplainVerb {
    /// Say why a pod waits: how many nodes each reason rules out, and the smallest changes that would place it
    #[command(after_help = "Example:\n  crest explain pod web-0 -n shop")]
    Pod(ExplainOptions),
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
    /// Namespace of the pod, or of objects that name none; else the context's
    #[arg(long, short)]
    namespace: Option<String>,
}

impl ClusterOptions {
    /// Whether no cluster was named.
    pub(crate) fn is_default(&self) -> bool {
        self.kubeconfig.is_none() && self.context.is_none()
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    name: String,
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
    let ExplainVerb::Pod(options) = verb;
    let (listed, namespace) = list(settings, &options.cluster)?;
    let id = PodId::new(&format!("{namespace}/{}", options.name));
    if let Some(bound) = listed.bound.iter().find(|bound| bound.id == id) {
        println!("pod {} runs on node {}: it waits for nothing", id.as_str(), bound.node);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(pending) = listed.pending.iter().find(|pending| pending.id == id).cloned() else {
        anyhow::bail!(
            "no pod `{}` in namespace `{namespace}` waits for a node or holds one: it is not there, has ended, is being \
             deleted, or is held back by a scheduling gate (kubectl get pod {} -n {namespace} -o yaml)",
            options.name,
            options.name
        );
    };
    let scene = scene_of(listed);
    let explanation = explain::pending(&mut scene.cluster(1), &scene.nodes, &pending.pod);
    answer(options.output, &Told { pod: id.as_str().to_owned(), explanation }, told)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn what_if(settings: &Settings, options: &WhatIfOptions) -> anyhow::Result<ExitCode> {
    let mut pending = Vec::new();
    let (mut listed, namespace) = list(settings, &options.cluster)?;
    for file in &options.files {
        for object in dump::objects(file)? {
            let pods = app::pods(&object.typed()?, &namespace)
                .with_context(|| format!("cannot use `{}`", file.display()))?;
            let mut alone = Listed::default();
            pods.iter().for_each(|pod| alone.add_pod(pod));
            pending.extend(alone.pending.into_iter().map(named_apart));
        }
    }
    anyhow::ensure!(!pending.is_empty(), "the manifests hold nothing that becomes a pod");
    add_nodes(&mut listed, options)?;
    listed.pending = pending;
    let mut scene = scene_of(listed);
    let report = placement::run(&scene, options.seed, |_| {});
    answer(options.output, &report, text)?;
    let Some(left) = report.unplaced.first() else { return Ok(ExitCode::SUCCESS) };
    if let (Output::Text, Some(first)) =
        (options.output, scene.pending.iter().position(|pending| pending.id.as_str() == left.pod))
    {
        // As the cluster would be with those that fit.
        let first = scene.pending.remove(first);
        let mut cluster = scene.cluster(options.seed);
        cluster.place(&scene.pending);
        let explanation = explain::pending(&mut cluster, &scene.nodes, &first.pod);
        answer(options.output, &Told { pod: left.pod.clone(), explanation }, told)?;
    }
    Ok(SOME_UNPLACED.into())
}

/// A pod of the manifest must not take the place of one of the same name that runs.
fn named_apart(pending: Pending) -> Pending {
    Pending { id: PodId::new(&format!("{} (new)", pending.id.as_str())), ..pending }
}

fn add_nodes(listed: &mut Listed, options: &WhatIfOptions) -> anyhow::Result<()> {
    if options.nodes == 0 {
        return Ok(());
    }
    let wanted = |node: &&sigma::node::Node| options.like.as_ref().is_none_or(|like| *like == node.name);
    let Some(like) = listed.nodes.iter().filter(wanted).min_by_key(|node| &node.name).cloned() else {
        match &options.like {
            Some(like) => {
                anyhow::bail!("there is no node `{like}` for others to be like (kubectl get nodes)")
            }
            None => anyhow::bail!("there is no node for others to be like: the cluster has none"),
        }
    };
    for index in 1..=options.nodes {
        let mut node = like.clone();
        node.name = format!("{}-like-{index}", like.name);
        node.unschedulable = false;
        if let Some(name) = node.labels.get_mut(model::names::HOSTNAME_LABEL) {
            name.clone_from(&node.name);
        }
        listed.nodes.push(node);
    }
    Ok(())
}

/// The cluster as it is now, and the namespace that is meant.
fn list(settings: &Settings, options: &ClusterOptions) -> anyhow::Result<(Listed, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = config(settings, options).await?;
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config)?;
        let everything = ListParams::default();
        let (nodes, pods, namespaces) = (
            Api::<Node>::all(client.clone()),
            Api::<Pod>::all(client.clone()),
            Api::<Namespace>::all(client.clone()),
        );
        let mut listed = Listed::default();
        let nodes = nodes.list(&everything).await.context("cannot list nodes")?;
        let pods = pods.list(&everything).await.context("cannot list pods of all namespaces")?;
        let namespaces = namespaces.list(&everything).await.context("cannot list namespaces")?;
        let rules = served(Api::<InterferenceRule>::all(client.clone()).list(&everything).await)?;
        let policies = served(Api::<SchedulingPolicy>::all(client.clone()).list(&everything).await)?;
        let reservations = served(Api::<Reservation>::all(client).list(&everything).await)?;
        rules.iter().for_each(|rule| listed.add_interference_rule(rule));
        policies.iter().for_each(|policy| listed.add_policy(policy));
        reservations.iter().for_each(|reservation| listed.add_reservation(reservation));
        nodes.items.iter().for_each(|node| listed.add_node(node));
        pods.items.iter().for_each(|pod| listed.add_pod(pod));
        namespaces.items.iter().for_each(|namespace| listed.add_namespace(namespace));
        Ok((listed, namespace))
    })
}

/// The objects of a kind that not every cluster serves, nor every user may read.
fn served<K: Clone>(listed: kube::Result<ObjectList<K>>) -> kube::Result<Vec<K>> {
    match listed {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
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

/// What is said of a pod.
#[derive(Debug, Serialize)]
struct Told {
    pod: String,
    #[serde(flatten)]
    explanation: Explanation,
}

fn told(told: &Told) -> String {
    let Explanation { n_nodes, n_feasible, reasons, changes } = &told.explanation;
    let pod = &told.pod;
    let mut lines = vec![match n_feasible {
        0 => format!("pod {pod}: none of {n_nodes} nodes would take it"),
        _ => format!("pod {pod}: {n_feasible} of {n_nodes} nodes would take it now"),
    }];
    lines.extend(reasons.iter().map(|count| format!("  {:>6}  {}", count.nodes, count.reason)));
    if !changes.is_empty() {
        lines.push("what would place it, the smallest change first:".to_owned());
    }
    for change in changes {
        let remedies: Vec<String> = change.remedies.iter().map(ToString::to_string).collect();
        let nodes = match change.n_nodes {
            1 => format!("node {}", change.node),
            count => format!("{count} nodes, such as {}", change.node),
        };
        lines.push(format!("  {}: {nodes}", remedies.join(", and ")));
    }
    lines.join("\n") + "\n"
}
