//! Rules between apps and where an app may go, looked up by app.

use std::collections::BTreeMap;

use super::problem::{AppId, MachineId, Problem};

#[derive(Debug)]
pub(super) struct Rules {
    apps: Vec<OfApp>,
}

#[derive(Clone, Debug)]
struct OfApp {
    /// Most instances on one machine.
    most: u32,
    neighbours: Vec<Neighbour>,
    /// A bit per machine; empty: all.
    machines: Vec<u64>,
}

/// What an app's rules say of another one.
#[derive(Clone, Copy, Debug)]
struct Neighbour {
    other: AppId,
    /// Most of the app where `other` is.
    most_here: u32,
    /// Most of `other` where the app is.
    most_there: u32,
}

impl Rules {
    pub(super) fn new(problem: &Problem) -> Self {
        let mut apps: Vec<OfApp> = problem
            .apps()
            .iter()
            .map(|app| OfApp {
                most: u32::MAX,
                neighbours: Vec::new(),
                machines: bits(app.machines.as_deref(), problem.machines().len()),
            })
            .collect();
        for ((app, other), (most_here, most_there)) in pairs(problem) {
            let of_app = &mut apps[app.at()];
            if app == other {
                of_app.most = most_here.saturating_add(1);
            } else {
                of_app.neighbours.push(Neighbour { other, most_here, most_there });
            }
        }
        Self { apps }
    }

    /// Whether one more of `app` may go where `count` says how many of each app there are.
    pub(super) fn allow(&self, app: AppId, count: impl Fn(AppId) -> u32) -> bool {
        let of_app = &self.apps[app.at()];
        let with = count(app) + 1;
        with <= of_app.most
            && of_app.neighbours.iter().all(|neighbour| {
                let others = count(neighbour.other);
                others == 0 || (with <= neighbour.most_here && others <= neighbour.most_there)
            })
    }

    /// Whether `app` may go to `machine` at all.
    pub(super) fn reach(&self, app: AppId, machine: MachineId) -> bool {
        let machines = &self.apps[app.at()].machines;
        machines.is_empty() || machines[machine.at() / 64] >> (machine.at() % 64) & 1 == 1
    }
}

/// For each app and another that a rule names together: most of the first beside the second, and the reverse.
fn pairs(problem: &Problem) -> BTreeMap<(AppId, AppId), (u32, u32)> {
    let mut pairs = BTreeMap::new();
    for rule in problem.rules() {
        let (here, _) = pairs.entry((rule.app, rule.beside)).or_insert((u32::MAX, u32::MAX));
        *here = rule.at_most.min(*here);
        let (_, there) = pairs.entry((rule.beside, rule.app)).or_insert((u32::MAX, u32::MAX));
        *there = rule.at_most.min(*there);
    }
    pairs
}

fn bits(machines: Option<&[MachineId]>, of: usize) -> Vec<u64> {
    let Some(machines) = machines else { return Vec::new() };
    // One word at least: an app that may go nowhere is not one that may go anywhere.
    let mut bits = vec![0; of.div_ceil(64).max(1)];
    for machine in machines {
        bits[machine.at() / 64] |= 1 << (machine.at() % 64);
    }
    bits
}
