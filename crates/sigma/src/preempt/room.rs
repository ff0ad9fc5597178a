//! Whether a pod would find room on a row without some of the pods that are there.

use crate::cluster::{Cluster, Row, Template};
use crate::gpu::GpuAsk;
use crate::pod::{HostPort, Pod, PodId};

/// The room on a row while pods are taken away and put back in thought.
pub(super) struct Room<'a> {
    cluster: &'a Cluster,
    template: &'a Template,
    /// What is free of each resource that the pod asks for, by column, beyond what it asks.
    spare: Vec<(usize, i128)>,
    /// What is free of each GPU, in milli, where the pod asks for some.
    gpus: Option<(GpuAsk, Vec<i64>)>,
    /// Ports of the pod's that are held, and its claims that only one may use.
    n_conflicts: usize,
}

impl<'a> Room<'a> {
    /// `None` where the row lacks what the pod asks for altogether.
    pub(super) fn of(cluster: &'a Cluster, template: &'a Template, row: Row) -> Option<Self> {
        let spare = |&(column, amount): &(usize, u64)| {
            let column_of = &cluster.resources.columns[column];
            let used = i128::try_from(column_of.used(row)).ok()?;
            Some((column, i128::from(column_of.allocatable(row)) - used - i128::from(amount)))
        };
        let spare = template.demand.amounts.iter().map(spare).collect::<Option<Vec<_>>>()?;
        let gpus = match &template.pod.gpu {
            Some(request) => Some((request.ask, cluster.gpus.spare(row, request)?)),
            None => None,
        };
        let ports = &template.pod.host_ports;
        let is_taken = |held: &&HostPort| ports.iter().any(|port| held.conflicts(port));
        let n_conflicts = cluster.hosts[row].ports.iter().filter(is_taken).count()
            + cluster.volumes.claimed(&template.pod.volumes);
        Some(Self { cluster, template, spare, gpus, n_conflicts })
    }

    fn conflicts(&self, other: &Template) -> usize {
        let (pod, other) = (&self.template.pod, &other.pod);
        let is_taken = |held: &&HostPort| pod.host_ports.iter().any(|port| held.conflicts(port));
        other.host_ports.iter().filter(is_taken).count()
            + pod.volumes.exclusive.intersection(&other.volumes.exclusive).count()
    }

    fn shift(&mut self, id: &PodId, other: &Template, sign: i8) {
        for (column, spare) in &mut self.spare {
            let amounts = other.demand.amounts.iter();
            let amount: i128 =
                amounts.filter(|(id, _)| id == column).map(|(_, amount)| i128::from(*amount)).sum();
            *spare += i128::from(sign) * amount;
        }
        let (Some((_, spare)), Some(held)) = (&mut self.gpus, &other.pod.gpu) else { return };
        for index in self.cluster.gpus.held(id).iter() {
            if let Some(spare) = spare.get_mut(index) {
                *spare += i64::from(sign) * i64::from(held.ask.milli_each());
            }
        }
    }

    /// The other pod goes.
    pub(super) fn free(&mut self, id: &PodId, other: &Template) {
        self.shift(id, other, 1);
        self.n_conflicts = self.n_conflicts.saturating_sub(self.conflicts(other));
    }

    /// Whether the other pod may stay beside the new one.
    pub(super) fn take_back(&mut self, id: &PodId, other: &Template) -> bool {
        if self.conflicts(other) > 0 || self.is_disliked(other) {
            return false;
        }
        self.shift(id, other, -1);
        if self.is_enough() {
            return true;
        }
        self.shift(id, other, 1);
        false
    }

    /// Whether one of the two forbids the other to be near.
    fn is_disliked(&self, other: &Template) -> bool {
        let forbids = |one: &Pod, other: &Pod| {
            one.forbidden_pods.iter().any(|term| term.matches(other, &self.cluster.namespaces))
        };
        let (pod, other) = (&self.template.pod, &other.pod);
        forbids(pod, other) || forbids(other, pod)
    }

    pub(super) fn is_enough(&self) -> bool {
        self.n_conflicts == 0 && self.spare.iter().all(|&(_, spare)| spare >= 0) && self.has_gpus()
    }

    fn has_gpus(&self) -> bool {
        self.gpus.as_ref().is_none_or(|(ask, spare)| {
            spare.iter().filter(|&&spare| spare >= i64::from(ask.milli_each())).count() >= ask.count()
        })
    }
}
