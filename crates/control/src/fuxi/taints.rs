//! Machines with taints: open to those who tolerate them, and closed as long as nobody does.
//!
//! ```text
//!   tainted ──a job or Pod tolerates it──► all others are told to avoid it ──► open
//!      ▲                                                                        │
//!      └───────────────── its taints change, or nobody does any more ◄──────────┘
//! ```
//! Whoever avoids a machine waits apart in the ledger, which costs; so nobody is told of machines that are closed anyway.

use std::collections::BTreeSet;

use fuxi::grants::{Event as LedgerEvent, MachineId, UnitId};
use fuxi::job::Event;
use k8s_openapi::api::core::v1::Node;
use sigma::node::{Effect, Taint};
use sigma::pod::Toleration;

use super::jobs::JobUid;
use super::machines::Machines;
use super::master::Master;
use crate::key::ObjectKey;

/// Taints that only repeat what the condition `Ready` says, later.
const OF_READINESS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// The taints of a Node that keep batch away.
fn taints(node: &Node) -> Vec<Taint> {
    let matters = |taint: &Taint| {
        taint.effect != Effect::PreferNoSchedule && !OF_READINESS.contains(&taint.key.as_str())
    };
    crate::sigma::node(node).taints.into_iter().filter(matters).collect()
}

fn tolerate<'a>(tolerations: &[Toleration], taints: impl IntoIterator<Item = &'a Taint>) -> bool {
    taints.into_iter().all(|taint| tolerations.iter().any(|each| each.tolerates(taint)))
}

impl Machines {
    /// Takes note of a Node's taints; if they have changed, it is closed until somebody is found to tolerate them.
    fn note_taints(&mut self, machine: MachineId, node: Option<&Node>) -> bool {
        let taints = node.map(taints).unwrap_or_default();
        let before = if taints.is_empty() {
            self.taints.remove(&machine)
        } else {
            self.taints.insert(machine, taints.clone())
        };
        let has_changed = before.unwrap_or_default() != taints;
        if has_changed {
            self.tolerated.remove(&machine);
        }
        has_changed
    }

    /// Whether there are closed machines for somebody who tolerates this.
    pub(super) fn may_open(&self, tolerations: &[Toleration]) -> bool {
        let mut closed = self.taints.iter().filter(|(machine, _)| !self.tolerated.contains(machine));
        closed.any(|(_, taints)| tolerate(tolerations, taints))
    }

    /// Machines that are open, though not to whoever tolerates no more than this.
    pub(super) fn untolerated(&self, tolerations: &[Toleration]) -> BTreeSet<MachineId> {
        let is_tolerated =
            |machine: &&MachineId| tolerate(tolerations, self.taints.get(machine).into_iter().flatten());
        self.tolerated
            .iter()
            .filter(|machine| !is_tolerated(machine))
            .copied()
            .chain(self.without_workers())
            .collect()
    }
}

impl Master {
    /// A Node's taints may be others now.
    pub(super) fn on_taints(&mut self, name: &str, node: Option<&Node>) {
        let machine = self.machines.id(name);
        if !self.machines.note_taints(machine, node) {
            return;
        }
        if let Some(node) = node {
            self.tell_machine(machine, node);
        }
        self.drain_expelled(name, machine);
        self.review_taints();
    }

    /// Workers end what they run where a new taint expels them.
    fn drain_expelled(&mut self, name: &str, machine: MachineId) {
        let taints = self.machines.taints.get(&machine).cloned().unwrap_or_default();
        let expelling: Vec<Taint> =
            taints.into_iter().filter(|taint| taint.effect == Effect::NoExecute).collect();
        for id in self.workers.on_node(name) {
            let Some(uid) = self.workers.job_of(id) else { continue };
            if self.jobs.get(&uid).is_some_and(|job| !tolerate(&job.tolerations, &expelling)) {
                self.tell(&uid, Event::Drain { worker: id });
            }
        }
    }

    /// Opens the machines whose taints somebody tolerates, after all others know to avoid them; and closes the rest.
    pub(super) fn review_taints(&mut self) {
        if self.machines.taints.is_empty() && self.machines.tolerated.is_empty() {
            return;
        }
        let of_jobs = self.jobs.values().filter(|job| job.is_active()).map(|job| job.tolerations.as_slice());
        let tolerating: Vec<&[Toleration]> = of_jobs.chain(self.guests.tolerations()).collect();
        let tolerated = self
            .machines
            .taints
            .iter()
            .filter(|(_, taints)| tolerating.iter().any(|tolerations| tolerate(tolerations, *taints)));
        let tolerated: BTreeSet<MachineId> = tolerated.map(|(machine, _)| *machine).collect();
        let before = std::mem::replace(&mut self.machines.tolerated, tolerated.clone());
        if before == tolerated {
            return;
        }
        let (closed, opened) = (&before - &tolerated, &tolerated - &before);
        self.tell_machines_again(&closed);
        let jobs: Vec<JobUid> = self.jobs.keys().cloned().collect();
        for uid in &jobs {
            for ask in self.asks(uid) {
                self.tell_ledger(ask);
            }
        }
        let units: Vec<UnitId> = self.guests.units().collect();
        for unit in units {
            let machines = self.avoided_by_guest(unit);
            self.tell_ledger(LedgerEvent::Avoid { unit, machines });
        }
        self.tell_machines_again(&opened);
        self.count_machines();
        for uid in jobs {
            self.tell_n_machines(&uid);
        }
    }

    /// Tells a job how many machines there are for it.
    pub(super) fn tell_n_machines(&mut self, uid: &JobUid) {
        let Some(job) = self.jobs.get(uid) else { return };
        let closed = self.machines.untolerated(&job.tolerations).len();
        let n_open = self.n_open.saturating_sub(u32::try_from(closed).unwrap_or(u32::MAX));
        self.tell(uid, Event::Machines(n_open));
    }

    fn tell_machines_again(&mut self, machines: &BTreeSet<MachineId>) {
        for machine in machines {
            let Some(key) = self.machines.name(*machine).map(|name| ObjectKey::new("", name)) else {
                continue;
            };
            if let Some(node) = self.watched.nodes.get(&key) {
                self.tell_machine(*machine, &node);
            }
        }
    }

    fn tell_machine(&mut self, machine: MachineId, node: &Node) {
        let event = self.machines.event(node, self.faulty.is_avoided(machine));
        self.tell_ledger(event);
    }
}
