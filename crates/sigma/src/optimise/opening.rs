//! How many machines to use, before any item is placed: the answer for items that could be split like water.
//!
//! Machines are taken largest first, since the same load above the threshold costs less on a larger one. For each
//! number of them and each point in time the load is spread so that one more core costs the same everywhere, which is
//! the least that it can cost. More machines cost more by themselves, fewer are fuller; the best number is near that
//! of the real items, and the search opens and closes machines from there.

use super::evaluate::Objective;
use super::problem::{MachineId, Problem};

/// The machines to use, and then all others, largest first.
pub(super) fn split(
    problem: &Problem,
    objective: &Objective,
    needed: &[bool],
) -> (Vec<MachineId>, Vec<MachineId>) {
    let machines = problem.machines();
    let mut order: Vec<MachineId> = (0..).take(machines.len()).map(MachineId).collect();
    order.sort_by(|a, b| {
        let (left, right) = (&machines[a.at()], &machines[b.at()]);
        needed[b.at()].cmp(&needed[a.at()]).then(right.cpu.total_cmp(&left.cpu))
    });
    let least = needed.iter().filter(|needed| **needed).count().max(1);
    let flow = Flow { problem, objective, order: &order, load: load(problem) };
    let rest = order.split_off(flow.best(least).min(order.len()));
    (order, rest)
}

/// All items' CPU at each point.
fn load(problem: &Problem) -> Vec<f64> {
    let mut load = vec![0.0; problem.points()];
    for item in problem.items() {
        for (sum, cpu) in load.iter_mut().zip(&problem.apps()[item.app.at()].cpu) {
            *sum += cpu;
        }
    }
    load
}

struct Flow<'a> {
    problem: &'a Problem,
    objective: &'a Objective,
    order: &'a [MachineId],
    load: Vec<f64>,
}

impl Flow<'_> {
    /// The best number of machines, by looks at ever narrower steps: the cost falls, then rises.
    fn best(&self, least: usize) -> usize {
        let (mut low, mut high) = (least, self.order.len().max(least));
        while high - low > 2 {
            let third = (high - low) / 3;
            if self.cost(low + third) <= self.cost(high - third) {
                high -= third;
            } else {
                low += third;
            }
        }
        (low..=high).min_by(|a, b| self.cost(*a).total_cmp(&self.cost(*b))).unwrap_or(least)
    }

    fn cost(&self, used: usize) -> f64 {
        let used = &self.order[..used.min(self.order.len())];
        let mut kinds: Vec<(f64, f64)> = Vec::new();
        for machine in used {
            let cpu = self.problem.machines()[machine.at()].cpu;
            match kinds.last_mut().filter(|(kind, _)| *kind == cpu) {
                Some((_, count)) => *count += 1.0,
                None => kinds.push((cpu, 1.0)),
            }
        }
        let above: f64 = self.load.iter().map(|load| self.least_cost(&kinds, *load)).sum();
        self.objective.open * used.len() as f64 + self.objective.scale * above / self.load.len() as f64
    }

    /// The least sum of `exp(above) - 1` with which machines of these kinds carry `load`.
    fn least_cost(&self, kinds: &[(f64, f64)], load: f64) -> f64 {
        let threshold = self.objective.cpu_threshold;
        // Where a core costs 1/c more at the margin on every loaded machine, its share above the threshold is ln(cpu/c).
        let above = |cpu: f64, c: f64| (cpu / c).ln().max(0.0);
        let carried =
            |c: f64| kinds.iter().map(|(cpu, n)| n * cpu * (threshold + above(*cpu, c))).sum::<f64>();
        let largest = kinds.iter().map(|(cpu, _)| *cpu).fold(0.0, f64::max);
        if largest <= 0.0 || load <= carried(largest) {
            return 0.0;
        }
        // Down to all machines being twice as full as they can be.
        let (mut low, mut high) = (largest * (-2.0f64).exp(), largest);
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if carried(middle) >= load {
                low = middle;
            } else {
                high = middle;
            }
        }
        let spread: f64 = kinds.iter().map(|(cpu, n)| n * above(*cpu, low).exp_m1()).sum();
        // What does not fit at all must not look cheap.
        spread + (load - carried(low)).max(0.0)
    }
}
