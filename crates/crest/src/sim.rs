//! `crest sim`: recorded clusters and recorded work, read from files and given to the very engines of the live system.

mod batch;
mod tianchi;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use control::sigma::Config;
use control::sigma::rehearsal::Rehearsal;
use control::sigma::snapshot::Snapshot;
use indicatif::{ProgressBar, ProgressStyle};
use model::names::SIGMA_SCHEDULER;
use serde::Serialize;
use sigma::report::Report;
use sim::Scene;
use sim::import::{dump, openb};
use sim::placement;

use crate::cli::Output;

/// Some pods found no place: not an error of the command, but what a script wants to know.
pub(crate) const SOME_UNPLACED: u8 = 2;
/// In the text, so many pods of those that were not placed are named.
const MOST_NAMED: usize = 10;

#[derive(Debug, Subcommand)]
pub(crate) enum SimVerb {
    /// Place all pods that wait in a recorded cluster; say what was placed, what was not, and why
    ///
    /// Exits with 0 when every pod was placed, with 2 when some were not, with 1 when the input cannot be used.
    #[command(after_help = "Examples:\n  \
        kubectl get nodes,pods,namespaces -A -o json > cluster.json\n  \
        crest sim place --dump cluster.json --dump app.yaml\n  \
        crest sim place --openb ../data/openb --variant gpushare40 --output json\n  \
        crest sim place --tianchi ../data/tianchi2018-prelim-b --seconds 600")]
    Place(PlaceOptions),
    /// Run recorded batch jobs under virtual time, by the live system's own job masters and ledger; say how long they took
    ///
    /// Workers start as fast as real ones and instances run as long as was recorded. Completion times stand beside the
    /// critical path of each job, which is what it needs on machines without limit. The same input and seed give the same
    /// report. Exits with 0 when every job succeeded, with 2 when some did not, with 1 when the input cannot be used.
    #[command(after_help = batch::EXAMPLES)]
    Batch(batch::BatchOptions),
}

#[derive(Debug, Args)]
pub(crate) struct PlaceOptions {
    #[command(flatten)]
    source: Source,
    /// Which list of pods of the openb data set
    #[arg(long, default_value = openb::VARIANTS[0], value_parser = openb::VARIANTS, conflicts_with_all = ["dumps", "tianchi"])]
    variant: String,
    #[command(flatten)]
    search: Search,
    /// Decides between nodes that are equally good; the same seed gives the same plan
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How long to look for better places, where the optimiser does.
#[derive(Debug, Args)]
struct Search {
    /// Search so long, for --tianchi
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..), requires = "tianchi")]
    seconds: u64,
    /// Search so many rounds instead: then the seed alone decides what comes out
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "seconds", requires = "tianchi")]
    rounds: Option<u64>,
    /// Threads that search
    #[arg(long, default_value_t = 2, value_parser = parse_threads, requires = "tianchi")]
    threads: usize,
}

fn parse_threads(text: &str) -> Result<usize, String> {
    let threads = text.parse().ok().filter(|threads| (1..=256).contains(threads));
    threads.ok_or_else(|| format!("`{text}` is no number of threads from 1 to 256"))
}

/// Where the cluster comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Folder of Alibaba's GPU cluster data set of 2023 (openb_node_list_gpu_node.csv and openb_pod_list_*.csv)
    #[arg(long, value_name = "DIR")]
    openb: Option<PathBuf>,
    /// Folder of the input of the 2018 Tianchi scheduling contest (app_resources.csv and three more, or packed as .csv.xz)
    #[arg(long, value_name = "DIR")]
    tianchi: Option<PathBuf>,
    /// File with nodes, pods and namespaces in JSON or YAML, as `kubectl get ... -A -o json` prints them; repeat for
    /// more
    #[arg(long = "dump", value_name = "FILE", num_args = 1..)]
    dumps: Vec<PathBuf>,
}

pub(crate) fn execute(verb: SimVerb) -> anyhow::Result<ExitCode> {
    match verb {
        SimVerb::Place(options) => place(&options),
        SimVerb::Batch(options) => batch::execute(&options),
    }
}

fn place(options: &PlaceOptions) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &options.source.tianchi {
        let report = tianchi::placed(folder, options.seed, &options.search)?;
        answer(options.output, &report, tianchi::text)?;
        let is_sound = report.after.violations.is_empty();
        return Ok(if is_sound { ExitCode::SUCCESS } else { SOME_UNPLACED.into() });
    }
    let report = match &options.source.openb {
        Some(folder) => placed(&openb::scene(folder, &options.variant)?, options.seed)?,
        None => of_dumps(&options.source.dumps, options.seed)?,
    };
    answer(options.output, &report, report_text)?;
    Ok(if report.unplaced.is_empty() { ExitCode::SUCCESS } else { SOME_UNPLACED.into() })
}

/// Prints an answer. Who reads no further, as `head` does, has what they wanted.
pub(crate) fn answer<T: Serialize>(output: Output, value: &T, text: fn(&T) -> String) -> anyhow::Result<()> {
    let shown = match output {
        Output::Json => serde_json::to_string_pretty(value)? + "\n",
        Output::Text => text(value),
    };
    match std::io::stdout().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot print the answer"),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn placed(scene: &Scene, seed: u64) -> anyhow::Result<Report> {
    // Drawn on standard error, and only for a person.
    let bar = ProgressBar::new(scene.pending.len() as u64);
    bar.set_style(ProgressStyle::with_template("placing {wide_bar} {pos}/{len} pods, {eta} left")?);
    let report = placement::run(scene, seed, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    Ok(report)
}

/// What a live cluster was dumped to, placed by its scheduler.
fn of_dumps(files: &[PathBuf], seed: u64) -> anyhow::Result<Report> {
    let mut snapshot = Snapshot::default();
    for file in files {
        for object in dump::objects(file)? {
            object.read(|group, kind, object| snapshot.add_to("default", group, kind, object))?;
        }
    }
    anyhow::ensure!(
        !snapshot.nodes.is_empty(),
        "there are no nodes to place pods on: dump them as well (kubectl get nodes,pods,namespaces -A -o json)"
    );
    snapshot.adopt_waiting(SIGMA_SCHEDULER);
    let config = Config { scheduler_name: SIGMA_SCHEDULER.to_owned(), seed, load: None };
    Ok(Rehearsal::new(snapshot, &config, kit::clock::monotonic()).run())
}

pub(crate) fn report_text(report: &Report) -> String {
    let (n_placed, n_unplaced) = (report.placed.len(), report.unplaced.len());
    let mut lines = vec![format!(
        "{} nodes, {} pods there before; {n_placed} of {} waiting pods placed (seed {})",
        report.nodes,
        report.bound_before,
        n_placed + n_unplaced,
        report.seed
    )];
    for (name, each) in &report.utilisation {
        lines.push(format!("  {name}: {:.1}% in use", each.percent()));
    }
    if n_unplaced > 0 {
        lines.push(format!("{n_unplaced} pods not placed, by the reason that ruled out most nodes:"));
        let mut reasons: Vec<_> = report.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        lines.extend(reasons.iter().map(|(reason, count)| format!("  {count:>6}  {reason}")));
        let named = report.unplaced.iter().take(MOST_NAMED);
        lines.extend(named.map(|left| format!("{}: {}", left.pod, left.message)));
    }
    if n_unplaced > MOST_NAMED {
        lines.push(format!("... and {} more: --output json names all", n_unplaced - MOST_NAMED));
    }
    let preempting = report.preempting.iter().take(MOST_NAMED);
    lines.extend(preempting.map(|each| {
        format!("{}: node {} once these have gone: {}", each.pod, each.node, each.victims.join(", "))
    }));
    lines.join("\n") + "\n"
}
