//! Between the jobs and the ledger: asks go up, grants become workers, revokes drain them.

use fuxi::blame::Fault;
use fuxi::grants::{Decision, Event as LedgerEvent, GrantId, MachineId, UnitId};
use fuxi::job::Event;
use k8s_openapi::api::core::v1::Node;

use super::jobs::{JobUid, Stage};
use super::master::Master;
use super::tunnels;
use crate::key::ObjectKey;
use crate::record::Note;

impl Master {
    /// Brings what is asked of the ledger in line with what the jobs can use.
    pub(super) fn balance_all(&mut self) {
        self.muster_all();
        while let Some(uid) = self.unbalanced.pop_first() {
            if self.tell_faulty(&uid) {
                // Now, as there may be no tick after this job.
                self.look_after_machines();
            }
            for ask in self.asks(&uid) {
                self.tell_ledger(ask);
            }
        }
    }

    pub(super) fn asks(&mut self, uid: &JobUid) -> Vec<LedgerEvent> {
        let (now, n_open) = (self.now(), self.n_open);
        let may_use_quota = self.may_use_quota(uid);
        let Some(job) = self.jobs.get_mut(uid) else { return Vec::new() };
        let may_start = job.stage == Stage::Active && job.token.is_some() && may_use_quota;
        let mut asks = Vec::new();
        for task in job.core.tasks() {
            let mut avoided = job.core.avoided(task);
            avoided.extend(self.machines.untolerated(&job.tolerations));
            let n_usable = n_open.saturating_sub(u32::try_from(avoided.len()).unwrap_or(u32::MAX));
            avoided.extend(job.stuck_at(task, (n_usable, now)));
            let entry = &mut job.tasks[task.0];
            // Before what is asked, so that nothing of it is granted there.
            asks.extend(entry.asks.avoid(avoided));
            let may_start = may_start && now >= entry.not_before;
            let wanted = if may_start { job.core.n_missing_workers(task) } else { 0 };
            asks.extend(entry.asks.balance(wanted));
        }
        asks
    }

    /// Tells the jobs how many machines there are, where that has changed.
    pub(super) fn count_machines(&mut self) {
        let n_open = self.machines.n_open(|machine| self.faulty.is_avoided(machine));
        if n_open != self.n_open {
            self.n_open = n_open;
            let jobs: Vec<JobUid> = self.jobs.keys().cloned().collect();
            for uid in jobs {
                self.tell_n_machines(&uid);
            }
        }
    }

    /// Tells a job's owner which machines its tasks found faulty; whether that has changed.
    fn tell_faulty(&mut self, uid: &JobUid) -> bool {
        let (now, mut has_changed) = (self.now(), false);
        let Some(job) = self.jobs.get_mut(uid) else { return false };
        for task in job.core.tasks() {
            let faulty = job.core.faulty(task);
            let known = &mut job.tasks[task.0].faulty;
            if *faulty == *known {
                continue;
            }
            let name = &job.spec.tasks[task.0].name;
            for node in faulty.difference(known).filter_map(|machine| self.machines.name(*machine)) {
                let message = format!(
                    "Task {name} avoids node {node}: its instances fail or are late there, and not elsewhere"
                );
                tracing::info!(job = %job.key, task = %name, node, "Machine avoided");
                self.recorder.note(&job.raw, Note::warning("NodeAvoided", message));
            }
            known.clone_from(faulty);
            self.faulty.vote(uid, job.core.blamed(), now);
            has_changed = true;
        }
        has_changed
    }

    /// Lets the ledger take a step and acts on what it decides.
    pub(super) fn tell_ledger(&mut self, event: LedgerEvent) {
        let now = self.now();
        let decisions = self.ledger.step(event, now);
        self.quotas.touch(now);
        self.follow(decisions);
    }

    /// Acts on what the ledger has decided.
    pub(super) fn follow(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            match decision {
                Decision::Grant { grant, unit, machine } => self.granted(grant, unit, machine),
                Decision::Revoke { grant, .. } => self.revoked(grant),
                Decision::Resync { unit } => self.sync(unit),
            }
        }
    }

    fn granted(&mut self, grant: GrantId, unit: UnitId, machine: MachineId) {
        let node = self.machines.name(machine).map(str::to_owned);
        if let (true, Some(node)) = (self.guests.is_of_guest(unit), &node) {
            return self.guest_granted(grant, unit, node.clone());
        }
        let (Some((uid, task)), Some(node)) = (self.units.get(&unit).cloned(), node) else {
            self.tell_ledger(LedgerEvent::Return { grant });
            return;
        };
        if let Some(job) = self.jobs.get_mut(&uid) {
            job.tasks[task.0].asks.granted();
        }
        self.start_worker(&uid, task, (grant, node));
    }

    fn revoked(&mut self, grant: GrantId) {
        self.guest_revoked(grant);
        if let Some((worker, uid)) = self.workers.with_grant(grant) {
            tracing::info!(
                worker = worker.0,
                "Place revoked: its machine has become too small, or others have a better right to it"
            );
            self.tell(&uid, Event::Drain { worker });
        }
    }

    /// Tells the ledger all about a unit: what it wants and what it holds.
    pub(super) fn sync(&mut self, unit: UnitId) {
        let Some((uid, task)) = self.units.get(&unit).cloned() else { return self.sync_guest(unit) };
        let held = self.workers.grants(&uid, task);
        let held = held.into_iter().map(|(grant, node)| (grant, self.machines.id(&node))).collect();
        let Some(job) = self.jobs.get_mut(&uid) else { return };
        let truth = job.tasks[task.0].asks.sync(self.ledger.last_grant(), held);
        self.tell_ledger(truth);
    }

    /// Whether workers can be had on a Node, and from whom: its own socket is here, or its agent is asked.
    fn on_folder(&mut self, name: &str, node: Option<&Node>) -> bool {
        let is_home = self.config.home.as_deref() == Some(name);
        self.tunnels.follow(name, node.filter(|_| !is_home));
        let folder =
            node.and_then(
                |node| if is_home { Some(self.config.worker_dir.clone()) } else { tunnels::folder(node) },
            );
        let machine = self.machines.id(name);
        self.machines.note_folder(machine, folder)
    }

    pub(super) fn on_node(&mut self, key: &ObjectKey) {
        let node = self.watched.nodes.get(key);
        let is_selected_otherwise = self.machines.note(&key.name, node.as_deref());
        let machine = self.machines.id(&key.name);
        self.on_taints(&key.name, node.as_deref());
        let has_moved = self.on_folder(&key.name, node.as_deref());
        let event = match node {
            Some(node) => {
                self.tell_node(machine, &node);
                self.drain_for_tide(&key.name, &node);
                self.machines.event(&node, self.faulty.is_avoided(machine))
            }
            None => {
                for worker in self.workers.on_node(&key.name) {
                    let reason = format!("its Node `{}` is gone", key.name);
                    self.lose_worker(worker, reason, Fault::Nobody);
                }
                self.faulty.forget(machine);
                self.machines.remove(machine)
            }
        };
        self.tell_ledger(event);
        self.count_machines();
        if has_moved {
            let jobs: Vec<JobUid> = self.jobs.keys().cloned().collect();
            for uid in jobs {
                self.tell_n_machines(&uid);
            }
        }
        if is_selected_otherwise {
            self.place_guests_anew();
        }
    }
}
