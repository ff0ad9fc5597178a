//! `crest sim place --tianchi`: the optimiser on the contest's input, for so long or so many rounds.

use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use sigma::optimise::Settings;
use sim::contest::{self, ContestReport, Verdict};
use sim::import::tianchi;

use super::{MOST_NAMED, Search};

pub(super) fn placed(folder: &Path, seed: u64, search: &Search) -> anyhow::Result<ContestReport> {
    let input = tianchi::read(folder)?;
    // Drawn on standard error, and only for a person.
    let bar = ProgressBar::new_spinner();
    let (begun, limit) = (kit::clock::monotonic(), Duration::from_secs(search.seconds));
    let report = contest::run(&input, Settings { threads: search.threads, seed }, |done| {
        bar.set_message(format!("{done} rounds of search"));
        bar.tick();
        match search.rounds {
            Some(rounds) => done as f64 / rounds as f64,
            None => begun.elapsed().as_secs_f64() / limit.as_secs_f64(),
        }
    });
    bar.finish_and_clear();
    Ok(report)
}

pub(super) fn text(report: &ContestReport) -> String {
    let ContestReport { seed, machines, instances, rounds, before, after, .. } = report;
    let mut lines =
        vec![format!("{instances} instances, {machines} machines, {rounds} rounds of search (seed {seed})")];
    lines.extend(before.iter().flat_map(|before| judged("as the input has them", before)));
    lines.extend(judged("placed anew", after));
    lines.join("\n") + "\n"
}

fn judged(what: &str, verdict: &Verdict) -> Vec<String> {
    let Verdict { cost, used_machines, violations } = verdict;
    let broken = match violations.len() {
        0 => "no rule violated".to_owned(),
        count => format!("{count} rules violated:"),
    };
    let mut lines = vec![format!("{what}: cost {cost:.2}, {used_machines} machines in use, {broken}")];
    lines.extend(violations.iter().take(MOST_NAMED).map(|violation| format!("  {violation}")));
    if violations.len() > MOST_NAMED {
        lines.push(format!("  ... and {} more: --output json names all", violations.len() - MOST_NAMED));
    }
    lines
}
