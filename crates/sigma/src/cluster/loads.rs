//! What nodes use by measure, and what pods that were placed since will use by estimate.

use crate::load::{LoadPolicy, Usage};
use crate::pod::Pod;
use crate::reason::Reason;
use crate::resources::{CPU, MEMORY};

use super::{CPU_COLUMN, Cluster, MEMORY_COLUMN, Row};

/// Pods use less than they ask for: so many percent of processors and of memory.
const SHARES: [u64; 2] = [85, 70];
/// What a pod is taken to use that asks for nothing: milli-cores and bytes.
const UNASKED: [u64; 2] = [250, 200 << 20];
/// Use is kept in so many steps of what a node offers, so that small changes change no score.
const STEPS: u128 = 64;

/// Processors in milli, and memory in bytes.
pub(crate) type Pair = [u128; 2];

/// The use of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    policy: Option<LoadPolicy>,
    rows: Vec<RowLoad>,
    n_measured: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RowLoad {
    measured: Option<Pair>,
    /// Of pods that were placed after what was measured.
    estimated: Pair,
}

impl Loads {
    pub(super) fn is_on(&self) -> bool {
        self.policy.is_some()
    }

    /// Whether nodes are told apart by their use at all.
    pub(crate) fn is_known(&self) -> bool {
        self.policy.is_some() && self.n_measured > 0
    }

    pub(super) fn reset(&mut self, row: Row) {
        if self.rows.len() <= row {
            self.rows.resize(row + 1, RowLoad::default());
        }
        self.n_measured -= usize::from(self.rows[row].measured.is_some());
        self.rows[row] = RowLoad::default();
    }

    pub(super) fn add(&mut self, row: Row, pod: &Pod) {
        for (sum, part) in self.rows[row].estimated.iter_mut().zip(estimate(pod)) {
            *sum += part;
        }
    }

    pub(super) fn subtract(&mut self, row: Row, pod: &Pod) {
        for (sum, part) in self.rows[row].estimated.iter_mut().zip(estimate(pod)) {
            *sum = sum.saturating_sub(part);
        }
    }
}

/// What a pod will use.
pub(crate) fn estimate(pod: &Pod) -> Pair {
    [(CPU, 0), (MEMORY, 1)].map(|(name, place)| {
        let asked = pod.requests.get(name).copied().filter(|&amount| amount > 0);
        asked
            .map_or(u128::from(UNASKED[place]), |amount| u128::from(amount) * u128::from(SHARES[place]) / 100)
    })
}

impl Cluster {
    /// From which use on nodes take no more pods; `None` does not look at use.
    pub fn set_load_policy(&mut self, policy: Option<LoadPolicy>) {
        if self.loads.policy != policy {
            self.loads.policy = policy;
            self.structure += 1;
        }
    }

    /// What a node was measured to use (`None`: not lately). Pods that the engine placed up to `arrival` are part of it,
    /// see [`Cluster::last_arrival`]. True when a node that was hot is not any more.
    pub fn set_usage(&mut self, node: &str, usage: Option<Usage>, arrival: u64) -> bool {
        let Some(row) = self.row(node).filter(|_| self.loads.is_on()) else { return false };
        let (was_hot, before) = (self.hot(row).is_some(), self.loads.rows[row].clone());
        let offered = self.offered(row);
        let round = |amount: u64, offered: u128| {
            let step = (offered / STEPS).max(1);
            u128::from(amount).div_ceil(step) * step
        };
        let measured = usage.map(|Usage { cpu, memory }| [round(cpu, offered[0]), round(memory, offered[1])]);
        if usage.is_some() {
            self.measure_pods(row, arrival);
        }
        let loads = &mut self.loads;
        let (is_known, was_known) = (measured.is_some(), before.measured.is_some());
        loads.n_measured = loads.n_measured + usize::from(is_known) - usize::from(was_known);
        loads.rows[row].measured = measured;
        if loads.n_measured == usize::from(is_known) && is_known != was_known {
            // The first or the last: use begins or ceases to matter, on every node.
            self.structure += 1;
        }
        if self.loads.rows[row] != before {
            self.changes.touch(row, self.hosts.len());
        }
        was_hot && self.hot(row).is_none()
    }

    pub(super) fn forget_usage(&mut self, row: Row) {
        let known = self.loads.rows[row].measured.take();
        self.loads.n_measured -= usize::from(known.is_some());
    }

    /// How many pods have come so far.
    pub fn last_arrival(&self) -> u64 {
        self.n_arrivals
    }

    /// Pods of the row are estimated no more that are part of what was measured.
    fn measure_pods(&mut self, row: Row, arrival: u64) {
        if self.loads.rows[row].estimated == Pair::default() {
            return;
        }
        for id in &self.hosts[row].pods {
            let Some(placed) = self.pods.get_mut(id) else { continue };
            if placed.is_estimated && placed.arrival <= arrival {
                placed.is_estimated = false;
                self.loads.subtract(row, &self.templates.get(placed.template).pod);
            }
        }
    }

    fn offered(&self, row: Row) -> Pair {
        [CPU_COLUMN, MEMORY_COLUMN].map(|column| u128::from(self.resources.columns[column].allocatable(row)))
    }

    /// Which resource a node uses too much of to take one pod more.
    fn hot(&self, row: Row) -> Option<&'static str> {
        let policy = self.loads.policy?;
        let load = self.loads.rows.get(row)?;
        let measured = load.measured?;
        let offered = self.offered(row);
        let limits = [(CPU, policy.cpu_percent), (MEMORY, policy.memory_percent)];
        let mut limits = limits.into_iter().enumerate();
        let (_, (name, _)) = limits.find(|&(place, (_, percent))| {
            (measured[place] + load.estimated[place]) * 100 >= offered[place] * u128::from(percent)
        })?;
        Some(name)
    }

    /// Whether a node is cool enough. A pod that has to be on every node goes there whatever that uses.
    pub(crate) fn check_load(&self, row: Row, pod: &Pod) -> Result<(), Reason> {
        if !self.loads.is_known() || pod.ignores_load {
            return Ok(());
        }
        self.hot(row).map_or(Ok(()), |name| Err(Reason::HighLoad(name.to_owned())))
    }

    /// How cool the node would be with the pod, of `full`. Where nothing was measured lately, all is estimated.
    pub(crate) fn coolness(&self, row: Row, pod: &Pod, full: u64) -> u64 {
        if !self.loads.is_known() {
            return 0;
        }
        let load = &self.loads.rows[row];
        let by_request = |place: usize, column: usize| {
            self.resources.columns[column].used(row) * u128::from(SHARES[place]) / 100
        };
        let known = load.measured.map(|measured| [0, 1].map(|place| measured[place] + load.estimated[place]));
        let used = known.unwrap_or_else(|| [by_request(0, CPU_COLUMN), by_request(1, MEMORY_COLUMN)]);
        let (more, offered) = (estimate(pod), self.offered(row));
        let cool = |place: usize| {
            let free = offered[place].saturating_sub(used[place] + more[place]);
            (free * u128::from(full)).checked_div(offered[place]).unwrap_or(0)
        };
        u64::try_from(u128::midpoint(cool(0), cool(1))).unwrap_or(full)
    }
}
