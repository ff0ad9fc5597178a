//! What jobs say of machines, taken together: which get nothing new at all.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{CLUSTER_FORGIVEN_AFTER, CLUSTER_PERCENT, JOBS, VOTE_COUNTS_FOR, most};
use crate::grants::MachineId;

/// The votes of all jobs. `J` is the identity of a job.
#[derive(Clone, Debug)]
pub struct Cluster<J> {
    /// When each job spoke last.
    votes: BTreeMap<MachineId, BTreeMap<J, Duration>>,
    avoided: BTreeMap<MachineId, Verdict>,
}

/// Why, and for how long, nobody gets anything on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub n_jobs: usize,
    pub until: Duration,
}

/// A machine that is avoided from now on, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub machine: MachineId,
    pub verdict: Option<Verdict>,
}

impl<J> Default for Cluster<J> {
    fn default() -> Self {
        Self { votes: BTreeMap::new(), avoided: BTreeMap::new() }
    }
}

impl<J: Ord + Clone> Cluster<J> {
    /// A job avoids these machines now.
    pub fn vote(&mut self, job: &J, machines: impl IntoIterator<Item = MachineId>, now: Duration) {
        for machine in machines {
            self.votes.entry(machine).or_default().insert(job.clone(), now);
        }
    }

    /// What was decided before a restart.
    pub fn restore(&mut self, machine: MachineId, verdict: Verdict) {
        self.avoided.entry(machine).or_insert(verdict);
    }

    pub fn is_avoided(&self, machine: MachineId) -> bool {
        self.avoided.contains_key(&machine)
    }

    /// When the next machine is to be tried again.
    pub fn due(&self) -> Option<Duration> {
        self.avoided.values().map(|verdict| verdict.until).min()
    }

    /// What has changed by now, where there are so many machines.
    pub fn review(&mut self, n_machines: u32, now: Duration) -> Vec<Change> {
        for jobs in self.votes.values_mut() {
            jobs.retain(|_, at| now < *at + VOTE_COUNTS_FOR);
        }
        self.votes.retain(|_, jobs| !jobs.is_empty());
        let mut changes = Vec::new();
        for (machine, _) in self.avoided.extract_if(.., |_, verdict| verdict.until <= now) {
            // It begins anew, and so do those who spoke against it.
            self.votes.remove(&machine);
            changes.push(Change { machine, verdict: None });
        }
        for (machine, jobs) in &self.votes {
            let may_more = self.avoided.len() < most(n_machines, CLUSTER_PERCENT, 2);
            if jobs.len() >= JOBS && may_more && !self.avoided.contains_key(machine) {
                let verdict = Verdict { n_jobs: jobs.len(), until: now + CLUSTER_FORGIVEN_AFTER };
                self.avoided.insert(*machine, verdict);
                changes.push(Change { machine: *machine, verdict: Some(verdict) });
            }
        }
        changes
    }

    /// A machine left the cluster.
    pub fn forget(&mut self, machine: MachineId) {
        self.votes.remove(&machine);
        self.avoided.remove(&machine);
    }
}
