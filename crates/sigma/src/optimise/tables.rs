//! The problem as the search reads it: rows of `f32` padded to whole vectors.

use super::evaluate::Objective;
use super::problem::{App, AppId, Machine, Problem};
use super::rules::Rules;

/// Numbers that one step of a vector loop takes.
pub(super) const LANES: usize = 8;

/// Neighbouring points of a curve.
pub(super) type Vector = [f32; LANES];

/// Rows are `f32`: a limit is met only with this much to spare, so that the exact judge agrees.
const SAFETY: f32 = 1.0 - 2e-6;

#[derive(Debug)]
pub(super) struct Tables {
    /// Vectors of a curve.
    pub stride: usize,
    pub counts: usize,
    pub open: f32,
    /// Per point.
    pub scale: f32,
    pub cpu_threshold: f32,
    pub memory_threshold: f32,
    pub apps: Vec<AppRow>,
    pub machines: Vec<MachineRow>,
    /// Curves of all apps: CPU, then memory.
    curves: Vec<Vector>,
    app_counts: Vec<u64>,
    pub rules: Rules,
}

#[derive(Debug)]
pub(super) struct AppRow {
    pub memory_peak: f32,
    pub memory_low: f32,
    /// The largest share that it takes of all there is of anything.
    pub size: f64,
}

#[derive(Debug)]
pub(super) struct MachineRow {
    pub cpu: f32,
    pub memory: f32,
    pub per_cpu: f32,
    pub per_memory: f32,
    pub counts: Vec<u64>,
}

impl Tables {
    pub(super) fn new(problem: &Problem, objective: &Objective) -> Self {
        let points = problem.points();
        let stride = points.div_ceil(LANES);
        let mut tables = Self {
            stride,
            counts: problem.machines().first().map_or(0, |machine| machine.counts.len()),
            open: narrow(objective.open),
            scale: narrow(objective.scale / points as f64),
            cpu_threshold: narrow(objective.cpu_threshold),
            memory_threshold: narrow(objective.memory_threshold),
            apps: Vec::new(),
            machines: problem.machines().iter().map(MachineRow::new).collect(),
            curves: Vec::with_capacity(problem.apps().len() * 2 * stride),
            app_counts: Vec::new(),
            rules: Rules::new(problem),
        };
        let total = total(problem);
        for app in problem.apps() {
            for curve in [&app.cpu, &app.memory] {
                tables.curves.extend(curve.chunks(LANES).map(vector));
            }
            tables.app_counts.extend(&app.counts);
            let (memory_low, memory_peak) = bounds(&app.memory);
            tables.apps.push(AppRow { memory_peak, memory_low, size: size(app, &total) });
        }
        tables
    }

    pub(super) fn cpu(&self, app: AppId) -> &[Vector] {
        &self.curves[app.at() * 2 * self.stride..][..self.stride]
    }

    pub(super) fn memory(&self, app: AppId) -> &[Vector] {
        &self.curves[(app.at() * 2 + 1) * self.stride..][..self.stride]
    }

    pub(super) fn counts(&self, app: AppId) -> &[u64] {
        &self.app_counts[app.at() * self.counts..][..self.counts]
    }
}

impl MachineRow {
    fn new(machine: &Machine) -> Self {
        let per = |capacity: f64| if capacity > 0.0 { narrow(1.0 / capacity) } else { f32::MAX };
        Self {
            cpu: narrow(machine.cpu) * SAFETY,
            memory: narrow(machine.memory) * SAFETY,
            per_cpu: per(machine.cpu),
            per_memory: per(machine.memory),
            counts: machine.counts.clone(),
        }
    }
}

/// The last vector of a curve may be part empty: nothing is used there, so it costs nothing.
fn vector(points: &[f64]) -> Vector {
    std::array::from_fn(|lane| points.get(lane).map_or(0.0, |value| narrow(*value)))
}

/// The nearest `f32`.
#[expect(clippy::cast_possible_truncation, reason = "the search reckons in f32; the judge does not")]
pub(super) fn narrow(number: f64) -> f32 {
    number as f32
}

fn bounds(curve: &[f64]) -> (f32, f32) {
    let low = curve.iter().copied().fold(f64::INFINITY, f64::min);
    let high = curve.iter().copied().fold(0.0, f64::max);
    (narrow(low), narrow(high))
}

/// All machines as one.
fn total(problem: &Problem) -> Vec<f64> {
    let mut total = Vec::new();
    for machine in problem.machines() {
        let amounts =
            [machine.cpu, machine.memory].into_iter().chain(machine.counts.iter().map(|n| *n as f64));
        total.resize(2 + machine.counts.len(), 0.0);
        total.iter_mut().zip(amounts).for_each(|(sum, amount)| *sum += amount);
    }
    total
}

fn size(app: &App, total: &[f64]) -> f64 {
    let peak = |curve: &[f64]| curve.iter().copied().fold(0.0, f64::max);
    let amounts = [peak(&app.cpu), peak(&app.memory)].into_iter().chain(app.counts.iter().map(|n| *n as f64));
    amounts.zip(total).map(|(amount, of)| if *of > 0.0 { amount / of } else { 0.0 }).fold(0.0, f64::max)
}
