//! The optimiser on the 2018 Tianchi contest's online part (preliminary set B), beside first-fit decreasing in the same
//! run and the best archived solution. Usage: `tianchi [SECONDS] [SEED]`; `CREST_DATA` is the folder of the input.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use sigma::optimise::{Objective, Parts, Placement, Problem, Settings, evaluate, first_fit, optimise};
use sim::import::tianchi;

const INPUT: &str = "tianchi2018-prelim-b";
/// Cost and machines of the best archived solution.
const ARCHIVED: (f64, usize) = (6090.3, 5024);
const THREADS: usize = 2;
/// Shares of the CPU that first-fit may fill.
const CAPS: [f64; 2] = [0.8, 1.0];

fn main() -> anyhow::Result<()> {
    let argument =
        |at: usize, default: u64| std::env::args().nth(at).map_or(Ok(default), |text| text.parse());
    let (seconds, seed) = (argument(1, 590)?, argument(2, 1)?);
    let data = std::env::var_os("CREST_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    let folder = data.join(INPUT);
    if !folder.exists() {
        println!("skipped: no `{}`; set CREST_DATA to the folder of the published inputs", folder.display());
        return Ok(());
    }
    let problem = tianchi::read(&folder)?.problem;
    println!("{INPUT}: {} items, {} machines, seed {seed}", problem.items().len(), problem.machines().len());
    let begun = kit::clock::monotonic();
    let limit = Duration::from_secs(seconds);
    let nowhere = vec![None; problem.items().len()];
    let settings = Settings { threads: THREADS, seed };
    let objective = Objective::tianchi();
    let mut rounds = 0;
    let placement = optimise(&problem, &objective, &nowhere, settings, |done, _| {
        rounds = done;
        begun.elapsed().as_secs_f64() / limit.as_secs_f64()
    });
    let elapsed = begun.elapsed().as_secs_f64();
    let found = evaluate(&problem, &objective, &placement);
    ensure!(found.violations.is_empty(), "a limit is broken: {:?}", found.violations.first());
    println!(
        "optimiser, {THREADS} threads, {elapsed:.0} s, {rounds} rounds: cost {:.2}, {} machines, no rule violated",
        found.cost,
        found.used.len()
    );
    let (archived, machines) = ARCHIVED;
    println!("best archived: cost {archived}, {machines} machines; ratio {:.4}", found.cost / archived);
    for cap in CAPS {
        let plain = evaluate(&problem, &objective, &first_fit_at(&problem, cap)?);
        println!(
            "first-fit decreasing to {:.0}% of CPU: cost {:.2}, {} machines, {} limits broken; ratio {:.3}",
            cap * 100.0,
            plain.cost,
            plain.used.len(),
            plain.violations.len(),
            found.cost / plain.cost
        );
    }
    Ok(())
}

fn first_fit_at(problem: &Problem, cap: f64) -> anyhow::Result<Placement> {
    let mut parts = Parts {
        points: problem.points(),
        machines: problem.machines().to_vec(),
        apps: problem.apps().to_vec(),
        items: problem.items().to_vec(),
        rules: problem.rules().to_vec(),
    };
    for machine in &mut parts.machines {
        machine.cpu *= cap;
    }
    let capped = Problem::try_new(parts)?;
    Ok(first_fit(&capped))
}
