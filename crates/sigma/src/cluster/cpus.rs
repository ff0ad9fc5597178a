//! CPUs of pinned pods over all nodes: which are whose, and what that leaves.
//!
//! Only rows that have told a topology, or hold a pinned pod, have anything here; whoever is not pinned is never asked
//! about.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::pinning::{NumaPolicy, Pinning, PinningError};
use model::{CpuSet, CpuTopology};

use crate::cpu::{Choice, Misfit, Spare};
use crate::pod::{Pod, PodId};
use crate::reason::Reason;
use crate::resources::MEMORY;
use crate::view::FULL;

use super::{Cluster, Row};

/// The CPUs of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Cpus {
    rows: Vec<Option<Box<CpuRow>>>,
    /// Where the pinned pods are.
    row_of: HashMap<PodId, Row>,
}

/// The CPUs of one node.
#[derive(Debug, Default)]
struct CpuRow {
    topology: Option<Arc<CpuTopology>>,
    pinned: BTreeMap<PodId, Held>,
    /// Follows from the above, as does the memory of each NUMA node.
    free: CpuSet,
    memory: Vec<Option<u64>>,
}

/// What a pinned pod has. Nothing where others bound it to a node without saying which CPUs it has.
#[derive(Debug)]
struct Held {
    cpus: CpuSet,
    /// What it takes of its NUMA node, where it is kept to one.
    memory: u64,
}

impl Cpus {
    /// Makes `row` a row without CPUs, and without anyone holding one.
    pub(super) fn reset(&mut self, row: Row) {
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, || None);
        }
        self.rows[row] = None;
    }

    /// Whether anything is different now.
    pub(super) fn set(&mut self, row: Row, topology: Option<&Arc<CpuTopology>>) -> bool {
        if self.rows[row].as_ref().and_then(|known| known.topology.as_ref()) == topology {
            return false;
        }
        let known = self.rows[row].get_or_insert_default();
        known.topology = topology.cloned();
        known.reckon();
        true
    }

    /// The pod comes to `row` and gets the CPUs that [`Cpus::choose`] names; none where there are too few.
    pub(super) fn attach(&mut self, id: &PodId, row: Row, pod: &Pod) {
        let cpus = self.choose(row, pod).map(|choice| choice.cpus).unwrap_or_default();
        let memory = if is_kept_to_one(pod) { memory(pod) } else { 0 };
        let known = self.rows[row].get_or_insert_default();
        known.pinned.insert(id.clone(), Held { cpus, memory });
        known.reckon();
        self.row_of.insert(id.clone(), row);
    }

    /// The pod is known to have exactly these, whatever [`Cpus::attach`] supposed. Its row, where that is news.
    fn correct(&mut self, id: &PodId, cpus: &CpuSet) -> Option<Row> {
        let row = *self.row_of.get(id)?;
        let known = self.rows[row].as_mut()?;
        let held = known.pinned.get_mut(id).filter(|held| held.cpus != *cpus)?;
        held.cpus.clone_from(cpus);
        known.reckon();
        Some(row)
    }

    pub(super) fn release(&mut self, id: &PodId) {
        let row = self.row_of.remove(id);
        let Some(known) = row.and_then(|row| self.rows[row].as_mut()) else { return };
        known.pinned.remove(id);
        known.reckon();
    }

    pub(crate) fn held(&self, id: &PodId) -> CpuSet {
        let row = self.row_of.get(id).and_then(|&row| self.rows[row].as_ref());
        row.and_then(|known| known.pinned.get(id)).map(|held| held.cpus.clone()).unwrap_or_default()
    }

    /// Whether the CPUs of `row` can take the pod now; if not, why.
    pub(crate) fn check(&self, row: Row, pod: &Pod) -> Result<(), Reason> {
        self.rate(row, pod).map(drop)
    }

    /// How good the CPUs are that the pod would get on `row`, up to [`FULL`]; nothing to one that is not pinned.
    #[inline]
    pub(crate) fn rate(&self, row: Row, pod: &Pod) -> Result<u64, Reason> {
        // Asked for every row of every pod: it must be part of its caller.
        match &pod.pinning {
            None => Ok(0),
            Some(asked) => self.rate_pinned(row, pod, asked),
        }
    }

    fn rate_pinned(&self, row: Row, pod: &Pod, asked: &Result<Pinning, PinningError>) -> Result<u64, Reason> {
        if let Err(error) = asked {
            return Err(Reason::Unpinnable(error.clone()));
        }
        self.choose(row, pod).map(|choice| quality(&choice)).map_err(Reason::Pinning)
    }

    fn choose(&self, row: Row, pod: &Pod) -> Result<Choice, Misfit> {
        let known = self.rows[row].as_ref().and_then(|known| Some((known, known.topology.as_ref()?)));
        let (Some((known, topology)), Some(Ok(pinning))) = (known, &pod.pinning) else {
            return Err(Misfit::NoTopology);
        };
        let spare = Spare { topology, free: &known.free, memory: &known.memory };
        spare.choose(*pinning, memory(pod))
    }
}

impl CpuRow {
    /// Reckons what is free from scratch: two pods may have been told to have the same CPUs, and CPUs may be gone.
    fn reckon(&mut self) {
        let Some(topology) = &self.topology else { return };
        self.free = topology.cpus();
        self.pinned.values().for_each(|held| self.free.subtract(&held.cpus));
        let left = |node: &model::cpu_topology::NumaNode| {
            let cpus = node.cpus();
            let here =
                self.pinned.values().filter(|held| held.cpus.first().is_some_and(|cpu| cpus.contains(cpu)));
            let taken = here.fold(0_u64, |sum, held| sum.saturating_add(held.memory));
            node.memory.map(|memory| memory.saturating_sub(taken))
        };
        self.memory = topology.numa().iter().map(left).collect();
    }
}

/// One NUMA node before two, two before three; and of equals those who leave whole cores whole.
fn quality(choice: &Choice) -> u64 {
    let whole = FULL / choice.n_numa.max(1) as u64;
    if choice.breaks_core { whole - whole / 8 } else { whole }
}

fn is_kept_to_one(pod: &Pod) -> bool {
    matches!(&pod.pinning, Some(Ok(pinning)) if pinning.numa == NumaPolicy::Single)
}

fn memory(pod: &Pod) -> u64 {
    pod.requests.get(MEMORY).copied().unwrap_or(0)
}

impl Cluster {
    /// The pod is known to have exactly these CPUs of its node: its annotation says so, or that it has none.
    pub fn hold_cpus(&mut self, pod: &PodId, cpus: &CpuSet) {
        if let Some(row) = self.cpus.correct(pod, cpus) {
            self.changes.touch(row, self.hosts.len());
        }
    }

    /// The CPUs that a pinned pod has.
    pub fn cpus_of(&self, pod: &PodId) -> CpuSet {
        self.cpus.held(pod)
    }

    /// The CPUs of a node that nobody is pinned to; `None` where it told no topology.
    pub fn free_cpus(&self, node: &str) -> Option<CpuSet> {
        let known = self.cpus.rows[self.row(node)?].as_ref()?;
        known.topology.as_ref().map(|_| known.free.clone())
    }
}
