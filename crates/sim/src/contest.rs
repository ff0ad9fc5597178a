//! The input of the 2018 Tianchi contest placed by the optimiser, and judged: what it costs, and which limits are broken.

#[cfg(test)]
mod tests;

use serde::Serialize;
use sigma::optimise::{Evaluation, MachineId, Objective, Settings, Violation, evaluate, optimise};
use sigma::report::Seat;

use crate::import::tianchi::{COUNTS, Tianchi};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContestReport {
    pub seed: u64,
    pub machines: usize,
    pub instances: usize,
    /// Rounds of search.
    pub rounds: u64,
    /// As the input has its instances, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Verdict>,
    pub after: Verdict,
    pub placed: Vec<Seat>,
}

/// What a placement is worth, by the published cost of the contest.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub cost: f64,
    pub used_machines: usize,
    /// Every limit that is broken, in words.
    pub violations: Vec<String>,
}

/// Places all instances anew. `progress` hears how many rounds are done, and says what share of the search is behind.
pub fn run(input: &Tianchi, settings: Settings, mut progress: impl FnMut(u64) -> f64) -> ContestReport {
    let (problem, objective) = (&input.problem, Objective::tianchi());
    let mut rounds = 0;
    let nowhere = vec![None; problem.items().len()];
    let seed = settings.seed;
    let placement = optimise(problem, &objective, &nowhere, settings, |done, _| {
        rounds = done;
        progress(done)
    });
    let judge = |placement: &[Option<MachineId>]| verdict(input, &evaluate(problem, &objective, placement));
    let is_anywhere = input.placement.iter().any(Option::is_some);
    let seats = input.instances.iter().zip(&placement).filter_map(|(instance, machine)| {
        let node = input.machine(machine.as_ref()?).to_owned();
        Some(Seat { pod: instance.clone(), node, gpus: String::new(), cpus: String::new() })
    });
    ContestReport {
        seed,
        machines: problem.machines().len(),
        instances: problem.items().len(),
        rounds,
        before: is_anywhere.then(|| judge(&input.placement)),
        placed: seats.collect(),
        after: judge(&placement),
    }
}

fn verdict(input: &Tianchi, evaluation: &Evaluation) -> Verdict {
    let violations = evaluation.violations.iter().map(|violation| told(input, violation)).collect();
    Verdict { cost: evaluation.cost, used_machines: evaluation.used.len(), violations }
}

fn told(input: &Tianchi, violation: &Violation) -> String {
    match violation {
        Violation::Cpu(machine) => format!("{}: more CPU is used than there is", input.machine(machine)),
        Violation::Memory(machine) => {
            format!("{}: more memory is used than there is", input.machine(machine))
        }
        Violation::Count(machine, place) => {
            let count = COUNTS.get(*place).copied().unwrap_or("a count");
            format!("{}: more of {count} is used than there is", input.machine(machine))
        }
        Violation::Rule(machine, rule) => format!(
            "{}: more than {} of {} beside {}",
            input.machine(machine),
            rule.at_most,
            input.app(rule.app),
            input.app(rule.beside)
        ),
        Violation::Forbidden(machine, item) => {
            format!("{}: {} may not be there", input.machine(machine), input.instance(*item))
        }
        Violation::Unplaced(item) => format!("{} has no machine", input.instance(*item)),
    }
}
