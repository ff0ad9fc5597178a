//! A machine during the search: its load at every point, what it holds, and what a change of it would cost.

use super::problem::{AppId, MachineId, Tie};
use super::tables::{LANES, Tables, Vector};

#[derive(Clone, Debug)]
pub(super) struct Host {
    pub id: MachineId,
    /// What it costs as it is.
    pub cost: f32,
    /// One entry per instance; the first `fixed` of them stay.
    pub apps: Vec<AppId>,
    pub fixed: usize,
    /// Of those that stay, how many do not make it a used machine.
    residents: usize,
    memory_peak: f32,
    free: Vec<u64>,
    /// CPU, then memory.
    load: Box<[Vector]>,
}

/// What is taken from and given to a host at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    pub minus: Option<AppId>,
    pub plus: Option<AppId>,
}

impl Change {
    pub(super) fn more(plus: AppId) -> Self {
        Self { minus: None, plus: Some(plus) }
    }

    pub(super) fn less(minus: AppId) -> Self {
        Self { minus: Some(minus), plus: None }
    }

    pub(super) fn swap(minus: AppId, plus: AppId) -> Self {
        Self { minus: Some(minus), plus: Some(plus) }
    }
}

impl Host {
    /// A machine that holds only what stays there.
    pub(super) fn new(tables: &Tables, id: MachineId, fixed: &[(AppId, Tie)]) -> Self {
        let mut host = Self {
            id,
            cost: 0.0,
            apps: Vec::new(),
            fixed: fixed.len(),
            residents: fixed.iter().filter(|(_, tie)| *tie == Tie::Resident).count(),
            memory_peak: 0.0,
            free: tables.machines[id.at()].counts.clone(),
            load: vec![[0.0; LANES]; 2 * tables.stride].into(),
        };
        for (app, _) in fixed {
            host.make(tables, Change::more(*app), 0.0);
        }
        host.refresh(tables);
        host
    }

    pub(super) fn is_used(&self) -> bool {
        self.apps.len() > self.residents
    }

    /// Whether nothing but what may leave makes it a used machine.
    pub(super) fn can_close(&self) -> bool {
        self.fixed == self.residents
    }

    /// Takes away all that may leave.
    pub(super) fn clear(&mut self, tables: &Tables) {
        for app in self.apps.split_off(self.fixed) {
            self.give_back(tables, app);
        }
        self.refresh(tables);
    }

    /// The instances that may leave.
    pub(super) fn movable(&self) -> &[AppId] {
        &self.apps[self.fixed..]
    }

    /// How many of `app` it holds.
    pub(super) fn count(&self, app: AppId) -> u32 {
        self.apps.iter().map(|held| u32::from(*held == app)).sum()
    }

    /// What it costs beyond being used.
    pub(super) fn excess(&self, tables: &Tables) -> f32 {
        if self.is_used() { self.cost - tables.open } else { self.cost }
    }

    /// Whether limits of whole numbers, and quick looks at the others, let the change be.
    pub(super) fn may(&self, tables: &Tables, change: Change) -> bool {
        let Some(plus) = change.plus else { return true };
        let minus = change.minus.map(|minus| tables.counts(minus));
        let counted = tables
            .counts(plus)
            .iter()
            .enumerate()
            .all(|(place, wanted)| *wanted <= self.free[place] + minus.map_or(0, |minus| minus[place]));
        counted && tables.rules.reach(plus, self.id)
    }

    /// Whether the rules between apps let the change be.
    pub(super) fn rules_allow(&self, tables: &Tables, change: Change) -> bool {
        let Some(plus) = change.plus else { return true };
        let count = |app: AppId| self.count(app) - u32::from(change.minus == Some(app));
        tables.rules.allow(plus, count)
    }

    /// The cost after the change; `None` where CPU or memory would not do.
    pub(super) fn cost_after(&self, tables: &Tables, change: Change) -> Option<f32> {
        let machine = &tables.machines[self.id.at()];
        let (cpu, memory) = self.load.split_at(tables.stride);
        let held = self.apps.len() + usize::from(change.plus.is_some()) - usize::from(change.minus.is_some());
        let open = if held > self.residents { tables.open } else { 0.0 };
        let curve = Curve { load: cpu, per: machine.per_cpu, threshold: tables.cpu_threshold };
        let (excess, highest) =
            match (change.minus.map(|a| tables.cpu(a)), change.plus.map(|a| tables.cpu(a))) {
                (None, None) => curve.excess(|_, load| load),
                (Some(minus), None) => curve.excess(|at, load| less(load, &minus[at])),
                (None, Some(plus)) => curve.excess(|at, load| more(load, &plus[at])),
                (Some(minus), Some(plus)) => curve.excess(|at, load| more(less(load, &minus[at]), &plus[at])),
            };
        if change.plus.is_some() && highest > machine.cpu {
            return None;
        }
        let memory_cost = self.memory_after(tables, change, memory)?;
        Some(open + tables.scale * (excess + memory_cost))
    }

    fn memory_after(&self, tables: &Tables, change: Change, load: &[Vector]) -> Option<f32> {
        let machine = &tables.machines[self.id.at()];
        let free_of_cost = tables.memory_threshold >= 1.0;
        let plus = change.plus.map_or(0.0, |plus| tables.apps[plus.at()].memory_peak);
        let minus = change.minus.map_or(0.0, |minus| tables.apps[minus.at()].memory_low);
        if free_of_cost && (change.plus.is_none() || self.memory_peak + plus - minus <= machine.memory) {
            return Some(0.0);
        }
        let curve = Curve { load, per: machine.per_memory, threshold: tables.memory_threshold };
        let (minus, plus) = (change.minus.map(|a| tables.memory(a)), change.plus.map(|a| tables.memory(a)));
        let (excess, highest) = curve.excess(|at, mut load| {
            if let Some(minus) = minus {
                load = less(load, &minus[at]);
            }
            if let Some(plus) = plus {
                load = more(load, &plus[at]);
            }
            load
        });
        let fits = change.plus.is_none() || highest <= machine.memory;
        fits.then_some(if free_of_cost { 0.0 } else { excess })
    }

    /// Makes the change, whose cost is known.
    pub(super) fn make(&mut self, tables: &Tables, change: Change, cost: f32) {
        if let Some(minus) = change.minus {
            let place = self.apps[self.fixed..].iter().position(|held| *held == minus);
            let place = place.expect("only what is held and may move is taken");
            self.apps.swap_remove(self.fixed + place);
            self.give_back(tables, minus);
            self.shift(tables, minus, -1.0);
        }
        if let Some(plus) = change.plus {
            self.apps.push(plus);
            for (free, count) in self.free.iter_mut().zip(tables.counts(plus)) {
                *free = free.saturating_sub(*count);
            }
            self.shift(tables, plus, 1.0);
        }
        let memory = self.load[tables.stride..].as_flattened();
        self.memory_peak = memory.iter().copied().fold(0.0, f32::max);
        self.cost = cost;
    }

    fn give_back(&mut self, tables: &Tables, app: AppId) {
        for (free, count) in self.free.iter_mut().zip(tables.counts(app)) {
            *free += count;
        }
    }

    fn shift(&mut self, tables: &Tables, app: AppId, sign: f32) {
        let (cpu, memory) = self.load.split_at_mut(tables.stride);
        for (load, row) in [(cpu, tables.cpu(app)), (memory, tables.memory(app))] {
            for (load, value) in load.as_flattened_mut().iter_mut().zip(row.as_flattened()) {
                *load += sign * value;
            }
        }
    }

    /// Sums anew, so that rounding does not pile up over many changes.
    pub(super) fn refresh(&mut self, tables: &Tables) {
        self.load.fill([0.0; LANES]);
        for at in 0..self.apps.len() {
            self.shift(tables, self.apps[at], 1.0);
        }
        let memory = self.load[tables.stride..].as_flattened();
        self.memory_peak = memory.iter().copied().fold(0.0, f32::max);
        self.cost = self.cost_after(tables, Change::default()).unwrap_or(self.cost);
    }
}

#[inline(always)]
fn less(load: Vector, row: &Vector) -> Vector {
    std::array::from_fn(|lane| load[lane] - row[lane])
}

#[inline(always)]
fn more(load: Vector, row: &Vector) -> Vector {
    std::array::from_fn(|lane| load[lane] + row[lane])
}

struct Curve<'a> {
    load: &'a [Vector],
    per: f32,
    threshold: f32,
}

impl Curve<'_> {
    /// The sum of `exp(above) - 1` over all points, and the highest load.
    #[inline(always)]
    fn excess(&self, changed: impl Fn(usize, Vector) -> Vector) -> (f32, f32) {
        let mut sum = [0.0f32; LANES];
        let mut highest = [0.0f32; LANES];
        for (at, load) in self.load.iter().enumerate() {
            let load = changed(at, *load);
            for lane in 0..LANES {
                let above = load[lane] * self.per - self.threshold;
                let above = if above > 0.0 { above } else { 0.0 };
                sum[lane] += exp_less_one(above);
                highest[lane] = if load[lane] > highest[lane] { load[lane] } else { highest[lane] };
            }
        }
        (sum.iter().sum(), highest.iter().copied().fold(0.0, f32::max))
    }
}

/// `exp(x) - 1` to within 2e-6 for x in 0..=0.5, which is all that matters; branchless, so that it runs in vectors.
#[inline(always)]
fn exp_less_one(x: f32) -> f32 {
    let tail = 1.0 + x * (1.0 / 5.0) * (1.0 + x * (1.0 / 6.0));
    x * (1.0 + x * 0.5 * (1.0 + x * (1.0 / 3.0) * (1.0 + x * 0.25 * tail)))
}
