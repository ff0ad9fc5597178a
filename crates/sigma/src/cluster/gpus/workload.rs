//! What pods to come will ask for, and what of a node's GPUs they are expected to find unusable.
//!
//! The measure is that of fragmentation gradient descent (Weng and others, ATC 2023). For one class of pods, a node's
//! fragments are all that is free of its GPUs if the node cannot run such a pod, and else what is free of those GPUs
//! that have too little left for it. A node's expected fragments are the mean of that over the classes.
//!
//! Classes without GPUs are left out: to them all of a node's free GPUs are fragments, before and after, so that they
//! shift every node alike.

use std::collections::BTreeMap;

use crate::gpu::GpuRequest;

use super::Beside;

/// Weights of all classes together. Fragments in milli, times weight, are then in thousandths of a millionth.
const WHOLE_WEIGHT: u64 = 1_000_000;
/// Brings that to millionths of a GPU.
const PER_MILLIONTH: i64 = 1_000;
/// A look at the pods anew is worth its price when this share of them has changed.
const CHANGED_SHARE: u64 = 4;
const FIRST_LOOK: u64 = 16;

/// Pods that are alike in what matters for GPUs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) request: GpuRequest,
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
}

/// What is free on a node.
#[derive(Clone, Debug)]
pub(crate) struct Room<'a> {
    /// Milli of each GPU.
    pub(crate) free: Vec<u32>,
    pub(crate) model: &'a str,
    pub(crate) beside: Beside,
}

/// The classes of pods to come and their weights.
#[derive(Debug, Default)]
pub(crate) struct Workload {
    groups: Vec<Group>,
    is_given: bool,
    /// The pods that are there, by class.
    present: BTreeMap<Class, u64>,
    n_changes: u64,
}

/// Classes that ask for the same of GPUs and differ in CPU and memory only.
#[derive(Debug)]
struct Group {
    request: GpuRequest,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    cpu: u64,
    memory: u64,
    weight: u64,
}

impl Workload {
    pub(crate) fn note(&mut self, class: &Class) {
        self.n_changes += 1;
        match self.present.get_mut(class) {
            Some(count) => *count += 1,
            None => drop(self.present.insert(class.clone(), 1)),
        }
    }

    pub(crate) fn forget(&mut self, class: &Class) {
        self.n_changes += 1;
        let Some(count) = self.present.get_mut(class) else { return };
        *count -= 1;
        if *count == 0 {
            self.present.remove(class);
        }
    }

    pub(crate) fn set(&mut self, parts: impl Iterator<Item = (Class, u64)>) {
        self.is_given = true;
        let mut sums = BTreeMap::new();
        for (class, part) in parts {
            *sums.entry(class).or_default() += part;
        }
        self.weigh(sums);
    }

    pub(crate) fn learn(&mut self) -> bool {
        let n_pods: u64 = self.present.values().sum();
        let is_due = !self.is_given && self.n_changes >= FIRST_LOOK.max(n_pods / CHANGED_SHARE);
        if is_due {
            self.n_changes = 0;
            self.weigh(self.present.clone());
        }
        is_due
    }

    fn weigh(&mut self, parts: BTreeMap<Class, u64>) {
        let total = u128::from(parts.values().sum::<u64>()).max(1);
        let mut groups: BTreeMap<GpuRequest, Vec<Member>> = BTreeMap::new();
        for (Class { request, cpu, memory }, count) in parts {
            let weight = u128::from(count) * u128::from(WHOLE_WEIGHT) / total;
            let weight = u64::try_from(weight).unwrap_or(WHOLE_WEIGHT);
            groups.entry(request).or_default().push(Member { cpu, memory, weight });
        }
        let group = |(request, members)| Group { request, members };
        self.groups = groups.into_iter().map(group).collect();
    }

    /// The expected fragments of a node, in millionths of a GPU, but for a part that is the same whatever is taken.
    pub(crate) fn fragments(&self, room: &Room<'_>) -> i64 {
        let usable: u64 = self.groups.iter().map(|group| group.usable(room)).sum();
        let weights: u64 = self.groups.iter().map(Group::weight).sum();
        let free: u64 = room.free.iter().map(|&free| u64::from(free)).sum();
        // At most 256,000 milli of weight a million: far from the edge of an i64.
        (free * weights - usable).cast_signed() / PER_MILLIONTH
    }
}

impl Group {
    fn weight(&self) -> u64 {
        self.members.iter().map(|member| member.weight).sum()
    }

    /// What is free of GPUs that pods of this group could use, times the weight of those that the node can run.
    fn usable(&self, room: &Room<'_>) -> u64 {
        if !self.request.models.is_empty() && !self.request.models.contains(room.model) {
            return 0;
        }
        let least = self.request.ask.milli_each();
        let (mut count, mut sum) = (0, 0);
        for &free in room.free.iter().filter(|&&free| free >= least) {
            count += 1;
            sum += u64::from(free);
        }
        if count < self.request.ask.count() {
            return 0;
        }
        let fits = |member: &&Member| member.cpu <= room.beside.cpu && member.memory <= room.beside.memory;
        sum * self.members.iter().filter(fits).map(|member| member.weight).sum::<u64>()
    }
}
