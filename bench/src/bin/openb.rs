//! GPU allocation on Alibaba's published GPU cluster (openb): pods arrive in random order until they would fill 130% of
//! the GPUs; our engine beside Random and BestFit on the same arrivals, mean of ten seeds.
//! Usage: `openb [FOLDER] [CURVES.json]`. The folder defaults to `$CREST_DATA/openb`, or `../shared/data/openb`.
//!
//! Published for the default set (FGD, ATC 2023): FGD 95.39% allocated, BestFit 93.08%, Random 87.47%; fragmentation at
//! 80% and 90% arrived: FGD 29.9% and 50.0%, BestFit 41.5% and 74.1%, Random 74.6% and 96.7%.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sim::gpus::{BestFit, Curve, Engine, LAST_PERCENT, Policy, Random, Target, arrivals, run};
use sim::import::openb::{self, OpenbNode, OpenbPod};

const SEEDS: u64 = 10;
const THREADS: usize = 2;
const POLICIES: [&str; 4] = ["Random", "BestFit", "Crest, workload learnt", "Crest, workload given"];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = match arguments.next() {
        Some(folder) => PathBuf::from(folder),
        None if default_folder().exists() => default_folder(),
        None => {
            println!(
                "skipped: no `{}`; set CREST_DATA to the folder that holds it",
                default_folder().display()
            );
            return Ok(());
        }
    };
    let nodes = openb::nodes(&openb::node_list(&folder))?;
    let mut curves = BTreeMap::new();
    for variant in openb::VARIANTS {
        let pods = openb::pods(&openb::pod_list(&folder, variant))?;
        let of_variant = all_runs(&nodes, &pods)?;
        print_variant(variant, &of_variant);
        curves.insert(variant, summary(&of_variant));
    }
    if let Some(path) = arguments.next() {
        write(Path::new(&path), &json!({ "seeds": SEEDS, "nodes": nodes.len(), "variants": curves }))?;
    }
    Ok(())
}

fn default_folder() -> PathBuf {
    std::env::var_os("CREST_DATA")
        .map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from)
        .join("openb")
}

/// The curves of all seeds, by policy.
type Runs = BTreeMap<usize, Vec<Curve>>;

fn all_runs(nodes: &[OpenbNode], pods: &[OpenbPod]) -> anyhow::Result<Runs> {
    let target = Target::of(pods);
    let jobs: Vec<(u64, usize)> =
        (1..=SEEDS).flat_map(|seed| (0..POLICIES.len()).map(move |policy| (seed, policy))).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> anyhow::Result<()> {
        while let Some(&(seed, policy)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut placing: Box<dyn Policy> = match policy {
                0 => Box::new(Random::new(seed)),
                1 => Box::new(BestFit::new(nodes)),
                2 => Box::new(Engine::new(nodes, None, seed)),
                _ => Box::new(Engine::new(nodes, Some(&target), seed)),
            };
            let curve = run(nodes, &arrivals(nodes, pods, seed), &target, &mut *placing)?;
            done.lock().push((policy, seed, curve));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker returns its error"))
    })?;
    let mut done = done.into_inner();
    done.sort_by_key(|(policy, seed, _)| (*policy, *seed));
    let mut runs = Runs::new();
    for (policy, _, curve) in done {
        runs.entry(policy).or_default().push(curve);
    }
    Ok(runs)
}

fn print_variant(variant: &str, runs: &Runs) {
    println!("{variant} (seeds 1 to {SEEDS}):");
    for (policy, curves) in runs {
        println!(
            "  {:<23} {:.2}% of GPUs allocated at {LAST_PERCENT}% arrived; fragments {:.1}% at 80%, {:.1}% at 90%",
            POLICIES[*policy],
            allocated(curves, LAST_PERCENT),
            fragments(curves, 80),
            fragments(curves, 90),
        );
        let failures: Vec<String> =
            failures(curves).into_iter().map(|(class, mean)| format!("{class} {mean:.1}")).collect();
        println!("  {:<23} failed, per run: {}", "", failures.join(", "));
    }
}

fn allocated(curves: &[Curve], percent: u64) -> f64 {
    mean(curves.iter().filter_map(|curve| curve.at(percent)).map(|point| point.allocated))
}

fn fragments(curves: &[Curve], percent: u64) -> f64 {
    mean(curves.iter().filter_map(|curve| curve.at(percent)).map(|point| point.fragments))
}

fn failures(curves: &[Curve]) -> BTreeMap<&str, f64> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for (class, count) in curves.iter().flat_map(|curve| &curve.failures) {
        *sums.entry(class).or_default() += *count as f64 / curves.len() as f64;
    }
    sums
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The mean curve of each policy.
fn summary(runs: &Runs) -> Value {
    let of_policy = |(policy, curves): (&usize, &Vec<Curve>)| {
        let points: Vec<Value> = (5..=LAST_PERCENT)
            .step_by(5)
            .map(|percent| {
                json!({ "arrived": percent, "allocated": allocated(curves, percent),
                    "fragments": fragments(curves, percent) })
            })
            .collect();
        (POLICIES[*policy].to_owned(), json!({ "curve": points, "failures": failures(curves) }))
    };
    Value::Object(runs.iter().map(of_policy).collect())
}

fn write(path: &Path, document: &Value) -> anyhow::Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(document)?)
        .with_context(|| format!("cannot write `{}`", path.display()))
}
