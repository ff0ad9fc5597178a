//! What one task knows of machines: where each of its instances failed, and which machines it avoids.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::machine::{Record, Seen, Standing, Sums};
use super::{PATIENCE, TASK_PERCENT, most};
use crate::grants::MachineId;

/// The account of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blame {
    records: BTreeMap<MachineId, Record>,
    sums: Sums,
    /// Where unfinished instances have failed, and when last.
    failed_at: BTreeMap<u32, BTreeMap<MachineId, Duration>>,
    avoided: BTreeSet<MachineId>,
}

impl Blame {
    pub(crate) fn succeeded(&mut self, index: u32, machine: MachineId) {
        self.failed_at.remove(&index);
        self.see(machine, Seen::Well);
    }

    /// An instance failed on a machine, or was lost with its worker.
    pub(crate) fn failed(&mut self, index: u32, machine: MachineId, now: Duration) {
        let places = self.failed_at.entry(index).or_default();
        places.insert(machine, now);
        if places.len() == 1 {
            self.see(machine, Seen::Failed(index));
            return;
        }
        // It is the instance.
        let places: Vec<MachineId> = places.keys().copied().collect();
        for place in places {
            self.change(place, |record| record.dismiss(index));
        }
    }

    /// An instance was late on a machine and ended well on another that began it later.
    pub(crate) fn outrun(&mut self, index: u32, machine: MachineId) {
        self.see(machine, Seen::Failed(index));
    }

    pub(crate) fn worker_lost(&mut self, machine: MachineId) {
        self.see(machine, Seen::WorkerLost);
    }

    fn see(&mut self, machine: MachineId, seen: Seen) {
        self.change(machine, |record| record.see(seen));
    }

    fn change(&mut self, machine: MachineId, change: impl FnOnce(&mut Record)) {
        let record = self.records.entry(machine).or_default();
        let before = record.sums;
        change(record);
        let Sums { failed, all } = self.sums.minus(before);
        self.sums = Sums { failed: failed + record.sums.failed, all: all + record.sums.all };
    }

    /// Decides anew which machines are avoided; whether that has changed. At most a share of them is: who was blamed first
    /// stays.
    pub(crate) fn review(&mut self, n_machines: u32, now: Duration) -> bool {
        if self.sums.failed == 0 && self.avoided.is_empty() {
            return false;
        }
        let before = self.avoided.clone();
        for machine in &before {
            // Where machines left, fewer may be avoided.
            let are_too_many = self.avoided.len() > most_avoided(n_machines);
            if are_too_many || self.records.get(machine).is_none_or(|record| record.is_forgiven(now)) {
                self.change(*machine, |record| record.begin(Standing::Trusted));
                self.avoided.remove(machine);
            }
        }
        let is_at_fault = |(machine, record): (&MachineId, &Record)| {
            let is_new = matches!(record.standing, Standing::Trusted) && record.sums.failed > 0;
            (is_new && record.is_at_fault(self.sums.minus(record.sums))).then_some(*machine)
        };
        let at_fault: Vec<MachineId> = self.records.iter().filter_map(is_at_fault).collect();
        for machine in at_fault {
            if self.avoided.len() < most_avoided(n_machines) {
                self.change(machine, |record| record.begin(Standing::Avoided { since: now, well: 0 }));
                self.avoided.insert(machine);
            }
        }
        self.avoided != before
    }

    pub(crate) fn avoided(&self) -> &BTreeSet<MachineId> {
        &self.avoided
    }

    /// Where an instance failed so short a time ago that it should be tried elsewhere.
    pub(crate) fn barred(&self, index: u32, now: Duration) -> impl Iterator<Item = MachineId> + '_ {
        let places = self.failed_at.get(&index);
        let last = places.and_then(|places| places.values().max());
        let is_recent = last.is_some_and(|last| now < *last + PATIENCE);
        places.into_iter().flat_map(|places| places.keys().copied()).filter(move |_| is_recent)
    }

    /// Whether no instance has failed anywhere of late, and no machine is avoided.
    pub(crate) fn is_clean(&self) -> bool {
        self.failed_at.is_empty() && self.avoided.is_empty()
    }
}

/// How many of so many machines a task may avoid: never all.
pub(crate) fn most_avoided(n_machines: u32) -> usize {
    most(n_machines, TASK_PERCENT, 1)
}
