//! The search from nothing: machines chosen, a first placement made, then rounds of annealing on several threads.
//!
//! ```text
//!   split ──► fill ──► shuffle machines ──► one part per thread: anneal ──► merge ──► until told to stop ──► name items
//!                        ▲                                                    │
//!                        └────────────────────────────────────────────────────┘
//! ```
//!
//! Threads share nothing within a round, so that the result depends on the seed, the number of threads and of rounds
//! alone.

use super::anneal::Annealer;
use super::construct;
use super::evaluate::Objective;
use super::host::Host;
use super::opening;
use super::problem::{AppId, MachineId, Placement, Problem, Tie};
use super::random::Random;
use super::tables::{Tables, narrow};

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Machines are divided anew among so many threads in each round.
    pub threads: usize,
    /// Of all that is left to chance.
    pub seed: u64,
}

/// Steps of a round per item, all threads together.
const STEPS_PER_ITEM: usize = 32;

/// Temperatures at the beginning and the end, in shares of the objective's larger weight: at the first, a step that
/// fills a machine by a few cores too many is about as likely as not; at the last hardly any worse step is taken.
const HOT: f64 = 0.003;
const COLD: f64 = 0.000_05;

/// Places all items anew, but for those that may not move: they stay where `current` says.
///
/// `progress` is asked before every round, with the number of rounds so far and the cost: what share of the search is
/// behind, 1 being its end. The temperature follows it. A result that depends on the seed alone counts rounds; one
/// that must be there in time looks at a clock.
///
/// An item stays unplaced where no room was found.
pub fn optimise(
    problem: &Problem,
    objective: &Objective,
    current: &[Option<MachineId>],
    settings: Settings,
    mut progress: impl FnMut(u64, f64) -> f64,
) -> Placement {
    let tables = Tables::new(problem, objective);
    let mut search = Search::new(problem, (objective, &tables), current, settings);
    let weight = objective.scale.max(objective.open);
    let mut rounds = 0;
    loop {
        let done = progress(rounds, search.cost());
        if done >= 1.0 {
            return search.named(problem, current);
        }
        let temperature = weight * HOT * (COLD / HOT).powf(done.max(0.0));
        search.round(narrow(temperature));
        rounds += 1;
    }
}

struct Search<'a> {
    tables: &'a Tables,
    settings: Settings,
    steps: usize,
    random: Random,
    hosts: Vec<Host>,
    idle: Vec<Host>,
    /// What found no room yet.
    left: Vec<AppId>,
}

impl<'a> Search<'a> {
    fn new(
        problem: &Problem,
        (objective, tables): (&Objective, &'a Tables),
        current: &[Option<MachineId>],
        settings: Settings,
    ) -> Self {
        let mut random = Random::new(settings.seed);
        let mut free: Vec<AppId> =
            problem.items().iter().filter(|item| item.tie == Tie::Free).map(|item| item.app).collect();
        let fixed = fixed(problem, current);
        let is_pinned = |(_, tie): &(AppId, Tie)| *tie == Tie::Pinned;
        let needed: Vec<bool> = fixed.iter().map(|fixed| fixed.iter().any(is_pinned)).collect();
        let (used, idle) = opening::split(problem, objective, &needed);
        let host = |id: MachineId| Host::new(tables, id, &fixed[id.at()]);
        let (mut hosts, mut idle): (Vec<_>, Vec<_>) =
            (used.into_iter().map(host).collect(), idle.into_iter().map(host).collect());
        construct::largest_first(tables, &mut free);
        let left = construct::fill(tables, (&mut hosts, &mut idle), free, &mut random);
        let steps = problem.items().len().saturating_mul(STEPS_PER_ITEM) / settings.threads.max(1);
        Self { tables, settings, steps, random, hosts, idle, left }
    }

    fn cost(&self) -> f64 {
        self.hosts.iter().map(|host| f64::from(host.cost)).sum()
    }

    fn round(&mut self, temperature: f32) {
        let threads = self.settings.threads.max(1);
        self.idle.extend(self.hosts.extract_if(.., |host| !host.is_used()));
        self.random.shuffle(&mut self.hosts);
        self.random.shuffle(&mut self.idle);
        let (mut hosts, mut idle) = (std::mem::take(&mut self.hosts), std::mem::take(&mut self.idle));
        let parts: Vec<Annealer<'_>> = (0..threads)
            .rev()
            .map(|thread| Annealer {
                tables: self.tables,
                hosts: hosts.split_off(hosts.len() * thread / (thread + 1)),
                idle: idle.split_off(idle.len() * thread / (thread + 1)),
                random: self.random.fork(),
            })
            .collect();
        for part in run(parts, self.steps, temperature) {
            self.hosts.extend(part.hosts);
            self.idle.extend(part.idle);
        }
        for host in &mut self.hosts {
            host.refresh(self.tables);
        }
        let left = std::mem::take(&mut self.left);
        self.left = construct::fill(self.tables, (&mut self.hosts, &mut self.idle), left, &mut self.random);
    }

    /// Which item is where. Those of an app are alike: whoever can stay does.
    fn named(&self, problem: &Problem, current: &[Option<MachineId>]) -> Placement {
        let mut wanted = std::collections::BTreeMap::<(AppId, MachineId), usize>::new();
        for host in &self.hosts {
            for app in host.movable() {
                *wanted.entry((*app, host.id)).or_default() += 1;
            }
        }
        let mut placement = current.to_vec();
        let mut to_go = Vec::new();
        for (at, item) in problem.items().iter().enumerate().filter(|(_, item)| item.tie == Tie::Free) {
            let here = current[at].and_then(|machine| wanted.get_mut(&(item.app, machine)));
            match here.filter(|wanted| **wanted > 0) {
                Some(wanted) => *wanted -= 1,
                None => to_go.push((item.app, at)),
            }
        }
        let mut places = std::collections::BTreeMap::<AppId, Vec<MachineId>>::new();
        for ((app, machine), count) in wanted {
            places.entry(app).or_default().extend(std::iter::repeat_n(machine, count));
        }
        for (app, at) in to_go {
            placement[at] = places.get_mut(&app).and_then(Vec::pop);
        }
        placement
    }
}

/// What stays on each machine.
pub(super) fn fixed(problem: &Problem, current: &[Option<MachineId>]) -> Vec<Vec<(AppId, Tie)>> {
    let mut fixed = vec![Vec::new(); problem.machines().len()];
    for (item, machine) in problem.items().iter().zip(current).filter(|(item, _)| item.tie != Tie::Free) {
        if let Some(machine) = machine {
            fixed[machine.at()].push((item.app, item.tie));
        }
    }
    fixed
}

fn run(parts: Vec<Annealer<'_>>, steps: usize, temperature: f32) -> Vec<Annealer<'_>> {
    std::thread::scope(|scope| {
        let anneal = |mut part| {
            Annealer::run(&mut part, steps, temperature);
            part
        };
        let threads: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || anneal(part))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("annealing has no panics"));
        joined.collect()
    })
}
