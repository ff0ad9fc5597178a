//! Simulated annealing over a set of machines: moves and swaps of single instances, the odds of a worse step falling
//! with the temperature; now and then a whole machine is closed or opened.
//!
//! How much worse a step may be is drawn before it is tried, so that most steps end at the first of several looks,
//! from cheap to dear: whole numbers, the cost on one side, the cost on the other, rules.

use super::construct;
use super::host::{Change, Host};
use super::problem::AppId;
use super::random::Random;
use super::tables::Tables;

/// Of so many steps one is a move, the others are swaps: few machines have room for one more.
const MOVE_OF: usize = 4;

/// Steps between two tries to close or open a machine.
const STEPS_PER_CHANGE: usize = 20_000;

/// Instances looked at for each one that a newly opened machine takes.
const OFFERS: usize = 128;

pub(super) struct Annealer<'a> {
    pub tables: &'a Tables,
    /// Machines in use.
    pub hosts: Vec<Host>,
    /// Machines that are not.
    pub idle: Vec<Host>,
    pub random: Random,
}

impl Annealer<'_> {
    pub(super) fn run(&mut self, steps: usize, temperature: f32) {
        for step in 0..steps {
            if self.hosts.len() < 2 {
                return;
            }
            let worse = -temperature * self.random.share().ln();
            if step % STEPS_PER_CHANGE == STEPS_PER_CHANGE - 1 {
                self.try_close(worse);
                self.try_open(worse);
                continue;
            }
            let (from, to) = (self.random.below(self.hosts.len()), self.random.below(self.hosts.len()));
            let Some(app) = self.pick(from).filter(|_| from != to) else { continue };
            if self.random.below(MOVE_OF) == 0 {
                self.try_move((from, app), to, worse);
            } else if let Some(other) = self.pick(to).filter(|other| *other != app) {
                self.try_swap((from, app), (to, other), worse);
            }
        }
    }

    /// One of the instances that may leave.
    fn pick(&mut self, at: usize) -> Option<AppId> {
        let movable = self.hosts[at].movable();
        (!movable.is_empty()).then(|| movable[self.random.below(movable.len())])
    }

    fn try_move(&mut self, (from, app): (usize, AppId), to: usize, worse: f32) {
        let tables = self.tables;
        let (source, target) = (&self.hosts[from], &self.hosts[to]);
        let (give, take) = (Change::less(app), Change::more(app));
        // The last instance leaves when the machine is closed.
        if source.movable().len() == 1 || source.excess(tables) + worse < 0.0 || !target.may(tables, take) {
            return;
        }
        let Some(source_cost) = source.cost_after(tables, give) else { return };
        let most = target.cost + source.cost - source_cost + worse;
        let Some(target_cost) = target.cost_after(tables, take).filter(|cost| *cost <= most) else { return };
        if target.rules_allow(tables, take) {
            self.hosts[from].make(tables, give, source_cost);
            self.hosts[to].make(tables, take, target_cost);
        }
    }

    fn try_swap(&mut self, (from, app): (usize, AppId), (to, other): (usize, AppId), worse: f32) {
        let tables = self.tables;
        let (source, target) = (&self.hosts[from], &self.hosts[to]);
        let (give, take) = (Change::swap(app, other), Change::swap(other, app));
        if !source.may(tables, give) || !target.may(tables, take) {
            return;
        }
        // The target can win no more than what it costs beyond being used.
        let most = source.cost + target.excess(tables) + worse;
        let Some(source_cost) = source.cost_after(tables, give).filter(|cost| *cost <= most) else { return };
        let most = target.cost + source.cost - source_cost + worse;
        let Some(target_cost) = target.cost_after(tables, take).filter(|cost| *cost <= most) else { return };
        if source.rules_allow(tables, give) && target.rules_allow(tables, take) {
            self.hosts[from].make(tables, give, source_cost);
            self.hosts[to].make(tables, take, target_cost);
        }
    }

    /// Empties a machine into the others, if all of it costs at most `worse` more than the machine did.
    fn try_close(&mut self, worse: f32) {
        let at = self.random.below(self.hosts.len());
        if !self.hosts[at].can_close() {
            return;
        }
        let mut closing = self.hosts.swap_remove(at);
        let mut apps = closing.movable().to_vec();
        construct::largest_first(self.tables, &mut apps);
        let mut spent = -self.tables.open;
        let mut undo = Vec::new();
        for app in apps {
            let found = construct::cheapest_of_some(self.tables, &self.hosts, app, &mut self.random);
            let Some((to, cost)) = found.filter(|(to, cost)| spent + cost - self.hosts[*to].cost <= worse)
            else {
                self.take_back(undo);
                self.hosts.push(closing);
                return;
            };
            spent += cost - self.hosts[to].cost;
            undo.push((to, app, self.hosts[to].cost));
            self.hosts[to].make(self.tables, Change::more(app), cost);
        }
        closing.clear(self.tables);
        self.idle.push(closing);
    }

    fn take_back(&mut self, undo: Vec<(usize, AppId, f32)>) {
        for (at, app, cost) in undo.into_iter().rev() {
            self.hosts[at].make(self.tables, Change::less(app), cost);
        }
    }

    /// Opens a machine and lets it take, one after the other, the instances whose leave gains most, if all of them
    /// gain its cost but for `worse`.
    fn try_open(&mut self, worse: f32) {
        if self.idle.is_empty() {
            return;
        }
        let at = self.random.below(self.idle.len());
        let mut opened = self.idle.swap_remove(at);
        let mut spent = 0.0;
        let mut undo = Vec::new();
        while let Some((from, app, source_cost, cost)) = self.best_offer(&opened, undo.is_empty()) {
            spent += source_cost - self.hosts[from].cost + cost - opened.cost;
            undo.push((from, app, self.hosts[from].cost));
            self.hosts[from].make(self.tables, Change::less(app), source_cost);
            opened.make(self.tables, Change::more(app), cost);
        }
        if spent <= worse && opened.is_used() {
            self.hosts.push(opened);
            return;
        }
        for (at, app, cost) in undo.into_iter().rev() {
            self.hosts[at].make(self.tables, Change::more(app), cost);
        }
        opened.clear(self.tables);
        self.idle.push(opened);
    }

    /// Of some instances the one whose move to `opened` gains most, if any gains; the `first` may cost what opening
    /// does. With the costs of both machines after it.
    fn best_offer(&mut self, opened: &Host, first: bool) -> Option<(usize, AppId, f32, f32)> {
        let tables = self.tables;
        let mut best = None;
        let mut least = if first { tables.open } else { 0.0 };
        for _ in 0..OFFERS {
            let from = self.random.below(self.hosts.len());
            let Some(app) = self.pick(from) else { continue };
            let (source, take) = (&self.hosts[from], Change::more(app));
            if source.excess(tables) <= 0.0 || source.movable().len() == 1 || !opened.may(tables, take) {
                continue;
            }
            let Some(source_cost) = source.cost_after(tables, Change::less(app)) else { continue };
            let Some(cost) = opened.cost_after(tables, take) else { continue };
            let spent = source_cost - source.cost + cost - opened.cost;
            if spent < least && opened.rules_allow(tables, take) {
                least = spent;
                best = Some((from, app, source_cost, cost));
            }
        }
        best
    }
}
