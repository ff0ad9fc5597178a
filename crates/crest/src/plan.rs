//! `crest plan rebalance`: which Pods to move so that whole nodes come free, or no node is too full. A dry run.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use control::rebalance::{Aim, Listed, Report};
use sigma::optimise::Objective;

use crate::settings::Settings;
use crate::status::{client, client_of};

#[derive(Debug, Subcommand)]
pub(crate) enum PlanVerb {
    /// Say which Pods to move, in which rounds, and what that gains; nothing is moved
    Rebalance(RebalanceOptions),
}

#[derive(Debug, Args)]
pub(crate) struct RebalanceOptions {
    /// Kubeconfig of the cluster; by default this host's own instance
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// What to gain: whole nodes that come free, or no node above the thresholds
    #[arg(long, value_enum, default_value_t = Goal::Machines)]
    objective: Goal,
    /// Moves in the whole plan at most
    #[arg(long, default_value_t = 50)]
    max_moves: usize,
    /// Moves in one round at most
    #[arg(long, default_value_t = 5)]
    max_parallel: usize,
    /// What a move must gain on average; a freed node counts 1
    #[arg(long, default_value_t = 0.05)]
    least_gain: f64,
    /// Share of a node's CPU above which it is too full
    #[arg(long, default_value_t = 0.8, value_parser = parse_share)]
    cpu_threshold: f64,
    /// Share of a node's memory above which it is too full
    #[arg(long, default_value_t = 0.9, value_parser = parse_share)]
    memory_threshold: f64,
    /// Look no longer than this for moves
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, short, value_enum, default_value_t = PlanOutput::Table)]
    output: PlanOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Goal {
    Machines,
    Hotspots,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PlanOutput {
    Table,
    Json,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share: Result<f64, _> = text.parse();
    share
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "a share lies between 0 and 1, as 0.8 does".to_owned())
}

pub(crate) fn execute(settings: &Settings, verb: PlanVerb) -> anyhow::Result<()> {
    let PlanVerb::Rebalance(options) = verb;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listed = runtime.block_on(listed(settings, &options))?;
    let (cpu, memory) = (options.cpu_threshold, options.memory_threshold);
    let aim = Aim {
        objective: match options.objective {
            Goal::Machines => Objective::machines(cpu, memory),
            Goal::Hotspots => Objective::hot_spots(cpu, memory),
        },
        at_once: options.max_parallel,
        in_all: options.max_moves,
        least_gain: options.least_gain,
    };
    let begun = kit::clock::monotonic();
    let limit = Duration::from_secs(options.seconds);
    let report = control::rebalance::plan(&listed, &aim, || begun.elapsed() >= limit)?;
    match options.output {
        PlanOutput::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        PlanOutput::Table => print!("{}", table(&report)),
    }
    Ok(())
}

async fn listed(settings: &Settings, options: &RebalanceOptions) -> anyhow::Result<Listed> {
    let client = match &options.kubeconfig {
        Some(path) => client_of(path).await?,
        None => client(settings).await?,
    };
    let listed = Listed::list(&client).await?;
    if !listed.unread.is_empty() {
        eprintln!("not looked at, as you may not list them: {}", listed.unread.join(", "));
    }
    Ok(listed)
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("a string takes all text");
    if report.moves == 0 {
        line("nothing to move: no move within the limits gains enough".to_owned());
    } else {
        line(format!("{:<6} {:<48} {:<24} {}", "ROUND", "POD", "FROM", "TO"));
    }
    for (number, round) in (1..).zip(&report.rounds) {
        for each in round {
            let pod = format!("{}/{}", each.namespace, each.pod);
            line(format!("{number:<6} {pod:<48} {:<24} {}", each.from, each.to));
        }
    }
    let (before, after) = (report.before, report.after);
    line(format!("nodes in use: {} now, {} then", before.used_nodes, after.used_nodes));
    line(format!("nodes above a threshold: {} now, {} then", before.hot_nodes, after.hot_nodes));
    for (what, nodes) in [("freed", &report.freed_nodes), ("cooled", &report.cooled_nodes)] {
        if !nodes.is_empty() {
            line(format!("{what}: {}", nodes.join(", ")));
        }
    }
    let held: usize = report.held_pods.values().sum();
    if held > 0 {
        let reasons = report.held_pods.iter().map(|(hold, count)| format!("{count} {}", hold.because()));
        line(format!("{held} Pods stay whatever it would gain: {}", reasons.collect::<Vec<_>>().join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use control::rebalance::{Hold, PodMove, Standing};
    use expect_test::expect;

    use super::*;

    fn standing(used_nodes: usize, hot_nodes: usize) -> Standing {
        Standing { cost: 0.0, used_nodes, hot_nodes }
    }

    #[test]
    fn a_plan_reads_as_a_table() {
        let pod = |pod: &str, from: &str| PodMove {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            from: from.to_owned(),
            to: "node-3".to_owned(),
            uid: String::new(),
        };
        let report = Report {
            moves: 2,
            rounds: vec![vec![pod("web-1", "node-1")], vec![pod("web-2", "node-2")]],
            freed_nodes: vec!["node-1".to_owned(), "node-2".to_owned()],
            cooled_nodes: Vec::new(),
            before: standing(3, 0),
            after: standing(1, 0),
            held_pods: BTreeMap::from([(Hold::OfTheNode, 3), (Hold::LocalVolume, 1)]),
            in_use: Vec::new(),
            hot: Vec::new(),
        };
        expect![[r#"
            ROUND  POD                                              FROM                     TO
            1      shop/web-1                                       node-1                   node-3
            2      shop/web-2                                       node-2                   node-3
            nodes in use: 3 now, 1 then
            nodes above a threshold: 0 now, 0 then
            freed: node-1, node-2
            4 Pods stay whatever it would gain: 3 of a node itself, 1 with data on their node
        "#]]
        .assert_eq(&table(&report));
    }

    #[test]
    fn no_plan_says_so() {
        let report = Report {
            moves: 0,
            rounds: Vec::new(),
            freed_nodes: Vec::new(),
            cooled_nodes: Vec::new(),
            before: standing(1, 0),
            after: standing(1, 0),
            held_pods: BTreeMap::new(),
            in_use: Vec::new(),
            hot: Vec::new(),
        };
        expect![[r#"
            nothing to move: no move within the limits gains enough
            nodes in use: 1 now, 1 then
            nodes above a threshold: 0 now, 0 then
        "#]]
        .assert_eq(&table(&report));
    }
}
