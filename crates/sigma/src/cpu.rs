//! Which CPUs of one node a pinned pod gets: on as few NUMA nodes as can be, whole cores before parts of cores, and
//! where it leaves least over. The same CPUs free, the same choice.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use model::cpu_topology::NumaNode;
use model::pinning::{CoreShape, NumaPolicy, Pinning};
use model::{CpuSet, CpuTopology};

/// CPUs that stay with those who are not pinned: the host's own processes have to run somewhere.
pub const LEAST_SHARED: usize = 1;

/// Why a node has no CPUs of its own for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Misfit {
    NoTopology,
    TooFewCpus,
    /// Not enough cores of which all hyper-threads are free.
    WholeCores,
    /// Cores have more hyper-threads than go into the number.
    UnevenCores,
    /// Not enough cores with a free hyper-thread.
    OwnCores,
    /// No single NUMA node has the CPUs.
    OneNumaNode,
    /// Those that have the CPUs lack memory.
    NumaMemory,
}

impl Misfit {
    /// Whether taking pods off the node could help.
    pub fn yields_to_eviction(self) -> bool {
        !matches!(self, Self::NoTopology | Self::UnevenCores)
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTopology => "node(s) didn't tell their CPU topology, which a pinned pod needs",
            Self::TooFewCpus => "node(s) didn't have enough CPUs that are not pinned yet",
            Self::WholeCores => "node(s) didn't have enough whole cores free",
            Self::UnevenCores => {
                "node(s) had cores with more hyper-threads than go into the pod's number of CPUs"
            }
            Self::OwnCores => "node(s) didn't have enough cores with a free hyper-thread",
            Self::OneNumaNode => "node(s) didn't have enough free CPUs on one NUMA node",
            Self::NumaMemory => "node(s) didn't have enough memory on the NUMA node with the free CPUs",
        })
    }
}

/// What a node has left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spare<'a> {
    pub(crate) topology: &'a CpuTopology,
    pub(crate) free: &'a CpuSet,
    /// Of each NUMA node, in the topology's order; `None` where it is not known how much there is.
    pub(crate) memory: &'a [Option<u64>],
}

/// CPUs for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) cpus: CpuSet,
    pub(crate) n_numa: usize,
    /// A core that was wholly free is only in part now.
    pub(crate) breaks_core: bool,
}

/// A core, and what of it is free.
type Core<'a> = (&'a CpuSet, CpuSet);

impl Spare<'_> {
    /// The CPUs that a pod gets which takes `memory` with it.
    pub(crate) fn choose(&self, pinning: Pinning, memory: u64) -> Result<Choice, Misfit> {
        let count = usize::from(pinning.count);
        if self.free.len() < count + LEAST_SHARED {
            return Err(Misfit::TooFewCpus);
        }
        let is_single = pinning.numa == NumaPolicy::Single;
        let has_memory = |place: usize| !is_single || self.memory[place].is_none_or(|free| free >= memory);
        let chosen = self.on_one(pinning.shape, count, has_memory);
        let chosen = chosen.or_else(|| if is_single { None } else { self.on_several(pinning.shape, count) });
        let Some((cpus, n_numa)) = chosen else {
            return Err(self.misfit(pinning, count));
        };
        let breaks_core = self.cores(None).any(|(core, free)| {
            let taken = free.common(&cpus);
            free == *core && !taken.is_empty() && taken != free
        });
        Ok(Choice { cpus, n_numa, breaks_core })
    }

    /// The NUMA node that is left with least.
    fn on_one(
        &self,
        shape: CoreShape,
        count: usize,
        may_be: impl Fn(usize) -> bool,
    ) -> Option<(CpuSet, usize)> {
        let places = (0..self.topology.numa().len()).filter(|&place| may_be(place));
        let options = places.filter_map(|place| {
            let cores: Vec<Core<'_>> = self.cores(Some(place)).collect();
            let left = usable(shape, &cores);
            Some((left, place, pick(shape, &cores, count)?))
        });
        options.min().map(|(_, _, cpus)| (cpus, 1))
    }

    /// As few NUMA nodes as have enough together, of one socket if that will do.
    fn on_several(&self, shape: CoreShape, count: usize) -> Option<(CpuSet, usize)> {
        let numa = self.topology.numa();
        let sockets: BTreeSet<u16> = numa.iter().map(|node| node.socket).collect();
        (2..=numa.len()).find_map(|n_numa| {
            let on = |is_meant: &dyn Fn(&NumaNode) -> bool| {
                let group = (0..numa.len()).filter(|&place| is_meant(&numa[place])).collect();
                self.narrowest(shape, count, (group, n_numa))
            };
            let on_socket = sockets.iter().filter_map(|&socket| on(&|node| node.socket == socket)).min();
            let chosen = on_socket.or_else(|| on(&|_| true));
            chosen.map(|(_, cpus)| (cpus, n_numa))
        })
    }

    /// The largest of a group of NUMA nodes, and for the rest the smallest that has it. Says what is left over as well.
    fn narrowest(
        &self,
        shape: CoreShape,
        count: usize,
        (group, n_numa): (Vec<usize>, usize),
    ) -> Option<(usize, CpuSet)> {
        let rate = |place: usize| (usable(shape, &self.cores(Some(place)).collect::<Vec<_>>()), place);
        let mut rated: Vec<(usize, usize)> = group.into_iter().map(rate).collect();
        rated.sort_by_key(|&(usable, place)| (Reverse(usable), place));
        if rated.len() < n_numa {
            return None;
        }
        let rest = rated.split_off(n_numa - 1);
        let taken: usize = rated.iter().map(|(usable, _)| usable).sum();
        let last = rest.into_iter().filter(|(usable, _)| taken + usable >= count).min()?;
        rated.push(last);
        let cores: Vec<Core<'_>> = rated.iter().flat_map(|&(_, place)| self.cores(Some(place))).collect();
        Some((taken + last.0 - count, pick(shape, &cores, count)?))
    }

    fn misfit(&self, pinning: Pinning, count: usize) -> Misfit {
        let is_short_of_memory = || self.on_one(pinning.shape, count, |_| true).is_some();
        let all: Vec<Core<'_>> = self.cores(None).collect();
        let emptied: Vec<Core<'_>> = all.iter().map(|&(core, _)| (core, core.clone())).collect();
        match pinning.shape {
            _ if is_short_of_memory() => Misfit::NumaMemory,
            shape if pick(shape, &all, count).is_some() => Misfit::OneNumaNode,
            CoreShape::Any => Misfit::TooFewCpus,
            CoreShape::Spread => Misfit::OwnCores,
            CoreShape::Full if pick(CoreShape::Full, &emptied, count).is_none() => Misfit::UnevenCores,
            CoreShape::Full => Misfit::WholeCores,
        }
    }

    /// The cores of a NUMA node, by its place, or of all.
    fn cores(&self, place: Option<usize>) -> impl Iterator<Item = Core<'_>> {
        let numa = self.topology.numa();
        let numa = place.map_or(numa, |place| &numa[place..=place]);
        numa.iter().flat_map(|node| &node.cores).map(|core| (core, core.common(self.free)))
    }
}

/// How many CPUs of a shape the cores could give at most.
fn usable(shape: CoreShape, cores: &[Core<'_>]) -> usize {
    let of_core = |(core, free): &Core<'_>| match shape {
        CoreShape::Any => free.len(),
        CoreShape::Full if free == *core => free.len(),
        CoreShape::Full => 0,
        CoreShape::Spread => usize::from(!free.is_empty()),
    };
    cores.iter().map(of_core).sum()
}

/// `count` CPUs of the cores, the first of equals.
fn pick(shape: CoreShape, cores: &[Core<'_>], count: usize) -> Option<CpuSet> {
    let (whole, parts): (Vec<&Core<'_>>, Vec<&Core<'_>>) =
        cores.iter().partition(|(core, free)| free == *core);
    let mut cpus = CpuSet::default();
    match shape {
        CoreShape::Spread => {
            // Cores that are broken already first, so that whole ones stay whole.
            let firsts = parts.into_iter().chain(whole).filter_map(|(_, free)| free.first());
            firsts.take(count).for_each(|cpu| cpus.insert(cpu));
        }
        CoreShape::Full => take_whole(&mut cpus, whole, count),
        CoreShape::Any => {
            take_whole(&mut cpus, whole.clone(), count);
            let mut parts: Vec<CpuSet> = parts.into_iter().map(|(_, free)| free.clone()).collect();
            parts.sort_by_key(CpuSet::len);
            let broken = whole.into_iter().map(|(_, free)| free.without(&cpus));
            let rest: Vec<usize> =
                parts.iter().chain(&broken.collect::<Vec<_>>()).flat_map(CpuSet::iter).collect();
            let missing = count.saturating_sub(cpus.len());
            rest.into_iter().take(missing).for_each(|cpu| cpus.insert(cpu));
        }
    }
    (cpus.len() == count).then_some(cpus)
}

/// As many whole cores as go into `count`. Those with more hyper-threads first: of sizes that divide each other, as sizes
/// of cores do, the smaller then fill up what is left.
fn take_whole(cpus: &mut CpuSet, mut whole: Vec<&Core<'_>>, count: usize) {
    whole.sort_by_key(|(core, _)| Reverse(core.len()));
    for (core, _) in whole {
        if cpus.len() + core.len() <= count {
            cpus.add(core);
        }
    }
}
