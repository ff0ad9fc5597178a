//! GPUs over all nodes: how much of each is held, by whom, and which of them a pod would get.
//!
//! Everything here is a function of one row and of the workload, which changes seldom ([`Gpus::learn`], [`Gpus::set_workload`]).

mod workload;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::gpu::{GPU, GpuAsk, GpuRequest, GpuSet, MOST_GPUS, NodeGpus, WHOLE_MILLI};
use crate::pod::{Pod, PodId};
use crate::reason::Reason;
use crate::resources::{CPU, MEMORY};

use super::Row;
pub(crate) use workload::{Class, Room, Workload};

/// One GPU left without its cores counts as this part of a fragment: the best of those tried on openb.
const IMBALANCE_SHARE: i64 = 50;
/// In millionths of a GPU; beyond any machine.
const MOST_IMBALANCE: u128 = 1_000_000_000;

/// What one pod asks, as far as GPUs are concerned: its request, and the CPU and memory it takes from beside them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) request: Option<&'a GpuRequest>,
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
}

impl<'a> Ask<'a> {
    pub(crate) fn of(pod: &'a Pod) -> Self {
        let amount = |name: &str| pod.requests.get(name).copied().unwrap_or(0);
        Self { request: pod.gpu.as_ref(), cpu: amount(CPU), memory: amount(MEMORY) }
    }
}

/// CPU and memory that are free on a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beside {
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
}

/// The GPUs of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Gpus {
    rows: Vec<GpuRow>,
    held: HashMap<PodId, Held>,
    workload: Workload,
    /// Over all nodes with GPUs: how many, and the cores that go with them.
    n_gpus: u64,
    cpu_milli: u128,
}

/// The GPUs of one node.
#[derive(Clone, Debug, Default)]
struct GpuRow {
    count: usize,
    /// What the node has, where it has GPUs.
    cpu_milli: u64,
    model: String,
    /// By index. Others may have bound more than there is, and to GPUs that are gone.
    used: Vec<u64>,
}

#[derive(Debug)]
struct Held {
    row: Row,
    class: Class,
    gpus: GpuSet,
}

impl Gpus {
    /// Whether there is any GPU: where there is none, nothing here needs to be asked.
    pub(crate) fn is_present(&self) -> bool {
        self.n_gpus > 0
    }

    /// Makes `row` a row without GPUs, and without anyone holding one.
    pub(crate) fn reset(&mut self, row: Row) {
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, GpuRow::default);
        }
        self.set(row, &NodeGpus::default(), 0);
        self.rows[row].used.clear();
    }

    /// What the node of `row` has of GPUs, and of CPU beside them. Whether anything is different now.
    pub(crate) fn set(&mut self, row: Row, gpus: &NodeGpus, cpu_milli: u64) -> bool {
        let count = usize::from(gpus.count.min(MOST_GPUS));
        let cpu_milli = if count > 0 { cpu_milli } else { 0 };
        let known = &mut self.rows[row];
        if (known.count, known.cpu_milli, &known.model) == (count, cpu_milli, &gpus.model) {
            return false;
        }
        self.n_gpus = self.n_gpus - known.count as u64 + count as u64;
        self.cpu_milli = self.cpu_milli - u128::from(known.cpu_milli) + u128::from(cpu_milli);
        (known.count, known.cpu_milli) = (count, cpu_milli);
        known.model.clone_from(&gpus.model);
        true
    }

    /// The pod comes to `row`, of which `beside` was free before it: it holds the GPUs that [`Gpus::choose`] names.
    pub(crate) fn attach(&mut self, id: &PodId, row: Row, ask: Ask<'_>, beside: Beside) {
        let Some(request) = ask.request else { return };
        let gpus = self.choose(row, ask, beside).unwrap_or_else(|| self.rows[row].guess(request.ask));
        let class = Class { request: request.clone(), cpu: ask.cpu, memory: ask.memory };
        self.workload.note(&class);
        self.take(id, Held { row, class, gpus });
    }

    /// The pod is known to hold exactly these GPUs, whatever [`Gpus::attach`] supposed.
    pub(crate) fn correct(&mut self, id: &PodId, gpus: &GpuSet) {
        let Some(held) = self.held.remove(id) else { return };
        self.give_back(&held);
        self.take(id, Held { gpus: gpus.clone(), ..held });
    }

    /// The pod goes.
    pub(crate) fn release(&mut self, id: &PodId) {
        let Some(held) = self.held.remove(id) else { return };
        self.workload.forget(&held.class);
        self.give_back(&held);
    }

    /// The GPUs that the pod holds.
    pub(crate) fn held(&self, id: &PodId) -> GpuSet {
        self.held.get(id).map(|held| held.gpus.clone()).unwrap_or_default()
    }

    /// What is free of each GPU of a row, in milli.
    pub(crate) fn free(&self, row: Row) -> Vec<u32> {
        self.rows[row].free()
    }

    /// What is free of each GPU of a row, in milli: less than nothing where more was bound than there is. `None` where a pod
    /// with this request could not hold any of them.
    pub(crate) fn spare(&self, row: Row, request: &GpuRequest) -> Option<Vec<i64>> {
        let known = &self.rows[row];
        let used =
            |index: usize| known.used.get(index).map_or(0, |&used| i64::try_from(used).unwrap_or(i64::MAX));
        let spare = || (0..known.count).map(|index| i64::from(WHOLE_MILLI) - used(index)).collect();
        known.suits(request).then(spare)
    }

    /// Whether the GPUs of `row` can take the pod now; if not, why.
    pub(crate) fn check(&self, row: Row, request: Option<&GpuRequest>) -> Result<(), Reason> {
        let Some(request) = request else { return Ok(()) };
        let known = &self.rows[row];
        if !known.suits(request) {
            return Err(Reason::GpuModel);
        }
        let (count, each) = (request.ask.count(), request.ask.milli_each());
        let free = known.free();
        let n_roomy = free.iter().filter(|&&free| free >= each).count();
        let n_free: u64 = free.iter().map(|&free| u64::from(free)).sum();
        match n_roomy {
            _ if n_roomy >= count => Ok(()),
            _ if n_free >= u64::from(each) * count as u64 => Err(Reason::GpuFragments),
            _ => Err(Reason::Insufficient(GPU.to_owned())),
        }
    }

    /// The GPUs that the pod would get on `row`: those whose loss breaks least of what the workload could use.
    pub(crate) fn choose(&self, row: Row, ask: Ask<'_>, beside: Beside) -> Option<GpuSet> {
        self.best(row, ask, beside).map(|(gpus, _)| gpus)
    }

    /// By how much the pod would raise what the workload is expected to find unusable on `row`, in millionths of a
    /// GPU. Pods without GPUs raise it as well, where they take the CPU or memory that GPUs cannot be used without.
    pub(crate) fn growth(&self, row: Row, ask: Ask<'_>, beside: Beside) -> i64 {
        if self.rows[row].count == 0 {
            return 0;
        }
        self.best(row, ask, beside).map_or(0, |(_, growth)| growth)
    }

    /// How ill what would be left on `row` goes together, in millionths of a GPU: GPUs without cores, or cores without
    /// GPUs, are of little use to anyone, though no pod of the known classes may have missed them yet. As many cores go
    /// with a GPU as the nodes with GPUs have for each, taken together.
    pub(crate) fn imbalance(&self, row: Row, ask: Ask<'_>, beside: Beside) -> i64 {
        let free: u64 = self.rows[row].free().into_iter().map(u64::from).sum();
        let taken =
            ask.request.map_or(0, |request| u64::from(request.ask.milli_each()) * request.ask.count() as u64);
        let left = u128::from(free.saturating_sub(taken)) * 1_000;
        let cores = u128::from(beside.cpu.saturating_sub(ask.cpu));
        let gpus_for_cores = cores * 1_000_000 * u128::from(self.n_gpus) / self.cpu_milli.max(1);
        let imbalance = left.abs_diff(gpus_for_cores).min(MOST_IMBALANCE);
        i64::try_from(imbalance).unwrap_or(i64::MAX) / IMBALANCE_SHARE
    }

    fn best(&self, row: Row, ask: Ask<'_>, beside: Beside) -> Option<(GpuSet, i64)> {
        let known = &self.rows[row];
        let mut room = Room { free: known.free(), model: &known.model, beside };
        let before = self.workload.fragments(&room);
        room.beside = Beside {
            cpu: beside.cpu.saturating_sub(ask.cpu),
            memory: beside.memory.saturating_sub(ask.memory),
        };
        let Some(request) = ask.request else {
            return Some((GpuSet::default(), self.workload.fragments(&room) - before));
        };
        let each = request.ask.milli_each();
        let options = known.options(request.ask).into_iter();
        let rated = options.map(|gpus| {
            gpus.iter().for_each(|index| room.free[index] -= each);
            let growth = self.workload.fragments(&room) - before;
            gpus.iter().for_each(|index| room.free[index] += each);
            (gpus, growth)
        });
        // Of equals the first: the fullest GPU, and of those the lowest index.
        rated.min_by_key(|(_, growth)| *growth)
    }

    fn take(&mut self, id: &PodId, held: Held) {
        let each = u64::from(held.class.request.ask.milli_each());
        let used = &mut self.rows[held.row].used;
        for index in held.gpus.iter() {
            if used.len() <= index {
                used.resize(index + 1, 0);
            }
            used[index] += each;
        }
        self.held.insert(id.clone(), held);
    }

    fn give_back(&mut self, held: &Held) {
        let each = u64::from(held.class.request.ask.milli_each());
        held.gpus.iter().for_each(|index| self.rows[held.row].used[index] -= each);
    }

    /// What pods to come will ask for, in parts; from now on it is not learnt from the pods that are there.
    pub(crate) fn set_workload(&mut self, parts: impl Iterator<Item = (Class, u64)>) {
        self.workload.set(parts);
    }

    /// Looks anew at the pods that are there, where they have changed enough since the last look. Returns whether it
    /// did: then what was reckoned for rows has to be reckoned anew, although the rows have not changed.
    pub(crate) fn learn(&mut self) -> bool {
        self.workload.learn()
    }
}

impl GpuRow {
    /// Whether they are of a model that will do.
    fn suits(&self, request: &GpuRequest) -> bool {
        request.models.is_empty() || request.models.contains(&self.model)
    }

    fn free(&self) -> Vec<u32> {
        (0..self.count).map(|index| self.free_of(index)).collect()
    }

    fn free_of(&self, index: usize) -> u32 {
        let used = self.used.get(index).copied().unwrap_or(0);
        WHOLE_MILLI.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    /// The choices that differ: whole GPUs are alike, and so are GPUs that are equally full.
    fn options(&self, ask: GpuAsk) -> Vec<GpuSet> {
        let each = ask.milli_each();
        let mut roomy: Vec<(u32, usize)> = (0..self.count)
            .map(|index| (self.free_of(index), index))
            .filter(|(free, _)| *free >= each)
            .collect();
        if roomy.len() < ask.count() {
            return Vec::new();
        }
        match ask {
            GpuAsk::Whole(count) => vec![set(roomy.into_iter().take(usize::from(count)))],
            GpuAsk::Share(_) => {
                roomy.sort_unstable();
                roomy.dedup_by_key(|(free, _)| *free);
                roomy.into_iter().map(|gpu| set(std::iter::once(gpu))).collect()
            }
        }
    }

    /// Which GPUs somebody holds who was bound here by others although there is no room: the emptiest.
    fn guess(&self, ask: GpuAsk) -> GpuSet {
        let mut all: Vec<(u64, usize)> =
            (0..self.count).map(|index| (self.used.get(index).copied().unwrap_or(0), index)).collect();
        all.sort_unstable();
        GpuSet::new(all.into_iter().take(ask.count()).filter_map(|(_, index)| u16::try_from(index).ok()))
    }
}

fn set(gpus: impl Iterator<Item = (u32, usize)>) -> GpuSet {
    GpuSet::new(gpus.filter_map(|(_, index)| u16::try_from(index).ok()))
}
