//! What a placement costs and which limits it breaks, written for reading: the judge of every result.
//!
//! It shares no arithmetic with the search. Sums are made anew in `f64`, the exponential is the library's.

use std::collections::BTreeMap;

use super::problem::{AppId, ItemId, MachineId, Problem, Rule, Tie};

/// What is to be made small.
///
/// A used machine costs `open`, and at each point in time `scale * (exp(u - threshold) - 1)` for the share `u` of its
/// CPU in use above the threshold, likewise of its memory; the mean over all points counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// A used machine's own cost.
    pub open: f64,
    /// Weight of what is above the thresholds.
    pub scale: f64,
    /// Share of CPU that costs nothing.
    pub cpu_threshold: f64,
    /// Share of memory that costs nothing.
    pub memory_threshold: f64,
}

impl Objective {
    /// As few machines as possible, none of them above these shares where it can be helped.
    pub const fn machines(cpu_threshold: f64, memory_threshold: f64) -> Self {
        Self { open: 1.0, scale: 10.0, cpu_threshold, memory_threshold }
    }

    /// As little as possible above these shares, whatever machines it takes.
    pub const fn hot_spots(cpu_threshold: f64, memory_threshold: f64) -> Self {
        Self { open: 0.0, ..Self::machines(cpu_threshold, memory_threshold) }
    }

    /// The published cost of the 2018 Tianchi scheduling contest.
    pub const fn tianchi() -> Self {
        Self { open: 1.0, scale: 10.0, cpu_threshold: 0.5, memory_threshold: 1.0 }
    }
}

/// A limit that a placement breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// More CPU is used than there is, at some point.
    Cpu(MachineId),
    /// More memory is used than there is, at some point.
    Memory(MachineId),
    /// More is used than there is of the count at this place.
    Count(MachineId, usize),
    /// More of an app than a rule allows.
    Rule(MachineId, Rule),
    /// An item is where its app may not be.
    Forbidden(MachineId, ItemId),
    /// An item has no machine.
    Unplaced(ItemId),
}

/// What a placement is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// By the objective.
    pub cost: f64,
    /// Machines that hold more than residents.
    pub used: Vec<MachineId>,
    /// Machines above a threshold at some point.
    pub hot: Vec<MachineId>,
    /// Everything that is broken, by machine.
    pub violations: Vec<Violation>,
}

/// Rounding of sums: a machine is not overfull by this share of itself.
pub(super) const ROUNDING: f64 = 1e-9;

/// Judges `placement`, which has a place for every item of `problem`.
pub fn evaluate(problem: &Problem, objective: &Objective, placement: &[Option<MachineId>]) -> Evaluation {
    let mut held = vec![Vec::new(); problem.machines().len()];
    let mut violations = Vec::new();
    for (machine, id) in placement.iter().zip(0..) {
        match machine {
            Some(machine) => held[machine.at()].push(ItemId(id)),
            None => violations.push(Violation::Unplaced(ItemId(id))),
        }
    }
    let mut rules = BTreeMap::<AppId, Vec<Rule>>::new();
    for rule in problem.rules() {
        rules.entry(rule.beside).or_default().push(*rule);
    }
    let evaluation = Evaluation { cost: 0.0, used: Vec::new(), hot: Vec::new(), violations };
    let mut judge = Judge { problem, objective, rules, evaluation };
    for (items, id) in held.iter().zip(0..).filter(|(items, _)| !items.is_empty()) {
        judge.use_over_time(MachineId(id), items);
        judge.limits(MachineId(id), items);
    }
    judge.evaluation
}

struct Judge<'a> {
    problem: &'a Problem,
    objective: &'a Objective,
    /// By whose presence limits.
    rules: BTreeMap<AppId, Vec<Rule>>,
    evaluation: Evaluation,
}

impl Judge<'_> {
    fn use_over_time(&mut self, id: MachineId, items: &[ItemId]) {
        let (problem, objective) = (self.problem, self.objective);
        let machine = &problem.machines()[id.at()];
        let mut cost_of_points = 0.0;
        let mut highest = (0.0f64, 0.0f64);
        for point in 0..problem.points() {
            let cpu = items.iter().map(|item| problem.app(*item).cpu[point]).sum();
            let memory = items.iter().map(|item| problem.app(*item).memory[point]).sum();
            let (cpu, memory) = (share(cpu, machine.cpu), share(memory, machine.memory));
            for above in [cpu - objective.cpu_threshold, memory - objective.memory_threshold] {
                cost_of_points += objective.scale * (above.max(0.0).exp() - 1.0);
            }
            highest = (highest.0.max(cpu), highest.1.max(memory));
        }
        self.evaluation.cost += cost_of_points / problem.points() as f64;
        if items.iter().any(|item| problem.items()[item.at()].tie != Tie::Resident) {
            self.evaluation.used.push(id);
            self.evaluation.cost += objective.open;
        }
        if highest.0 > objective.cpu_threshold || highest.1 > objective.memory_threshold {
            self.evaluation.hot.push(id);
        }
        if highest.0 > 1.0 + ROUNDING {
            self.evaluation.violations.push(Violation::Cpu(id));
        }
        if highest.1 > 1.0 + ROUNDING {
            self.evaluation.violations.push(Violation::Memory(id));
        }
    }

    fn limits(&mut self, id: MachineId, items: &[ItemId]) {
        let problem = self.problem;
        for (place, capacity) in problem.machines()[id.at()].counts.iter().enumerate() {
            let used: u64 = items.iter().map(|item| problem.app(*item).counts[place]).sum();
            if used > *capacity {
                self.evaluation.violations.push(Violation::Count(id, place));
            }
        }
        for item in items {
            if problem.app(*item).machines.as_ref().is_some_and(|allowed| !allowed.contains(&id)) {
                self.evaluation.violations.push(Violation::Forbidden(id, *item));
            }
        }
        let mut instances = BTreeMap::<AppId, u32>::new();
        for item in items {
            *instances.entry(problem.items()[item.at()].app).or_default() += 1;
        }
        for rule in instances.keys().filter_map(|app| self.rules.get(app)).flatten() {
            let itself = u32::from(rule.app == rule.beside);
            if instances.get(&rule.app).is_some_and(|count| count - itself > rule.at_most) {
                self.evaluation.violations.push(Violation::Rule(id, *rule));
            }
        }
    }
}

/// The share of `capacity` that `used` is; of nothing, anything is too much.
fn share(used: f64, capacity: f64) -> f64 {
    if used == 0.0 { 0.0 } else { used / capacity }
}
