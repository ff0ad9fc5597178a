//! Workers that were waited for long enough: those that fell silent, those whose machine did, and those that cannot start
//! where others may.
//!
//! ```text
//!   expected ──its image is missing──► obstacle, told to the job's owner ──20 s──► lost; another is asked for elsewhere
//!      │ └──────────hello──────────► connected: the task has no obstacle
//!      └── nothing, for long ──► lost
//!   any ──its Node is not ready──► five minutes later ──► lost: what it ran is tried again elsewhere
//! ```
//! Who is lost with its machine may run on, out of reach. That harms nobody: outputs are moved to their place as a whole, an
//! instance counts once, and when its machine is heard again it is told to stop.
//!
//! Where it cannot start anywhere, it is looked for everywhere in turn, with longer and longer pauses, and the task's status
//! says why.

use std::collections::BTreeSet;
use std::time::Duration;

use fuxi::TaskIdx;
use fuxi::blame::Fault;
use fuxi::grants::MachineId;
use k8s_openapi::api::core::v1::Pod;

use super::super::jobs::JobEntry;
use super::super::machines::is_ready;
use super::super::master::Master;
use super::{Contact, Worker, WorkerId};
use crate::key::ObjectKey;
use crate::record::Note;

/// A worker whose Pod runs but that is silent for so long is replaced.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// A worker that something keeps from starting for so long is looked for elsewhere.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long the task gets no other worker there.
const STUCK_LIMIT: Duration = Duration::from_secs(300);

impl Master {
    /// Deletes the Pods of workers that were not heard of for long.
    pub(in super::super) fn give_up_the_silent(&mut self) {
        let now = self.now();
        let is_silent = |worker: &Worker| matches!(worker.contact, Contact::Silent { since } if now > since + SILENCE_LIMIT);
        for id in self.workers.select(is_silent) {
            if let Some(worker) = self.workers.by_id.get_mut(&id) {
                tracing::warn!(worker = %worker.pod, "Worker is silent: its Pod is deleted");
                // Not every second again.
                worker.contact = Contact::Silent { since: now };
                let pod = worker.pod.clone();
                self.delete_pod(&pod);
            }
        }
    }

    /// Gives up workers whose Node has not been ready for long, and those that should have come long ago.
    pub(in super::super) fn give_up_the_cut_off(&mut self) {
        let now = self.now();
        let nodes: BTreeSet<String> = self.workers.by_id.values().map(|worker| worker.node.clone()).collect();
        let is_cut_off = |node: &String| {
            self.watched.nodes.get(&ObjectKey::new("", node)).is_none_or(|node| !is_ready(&node))
        };
        let cut_off = nodes.into_iter().filter(is_cut_off);
        let before = std::mem::take(&mut self.workers.cut_off);
        let since = |node: &String| before.get(node).copied().unwrap_or(now);
        self.workers.cut_off =
            cut_off.map(|node| (since(&node), node)).map(|(at, node)| (node, at)).collect();
        let limit = self.config.cut_off_limit;
        let dead = self.workers.cut_off.iter().filter(|(_, since)| now >= **since + limit);
        let dead: BTreeSet<String> = dead.map(|(node, _)| node.clone()).collect();
        for id in self.workers.select(|worker| dead.contains(&worker.node)) {
            self.give_up(id, "its Node is not ready for too long");
        }
        let limit = self.config.expect_limit;
        let never_came =
            |worker: &Worker| matches!(worker.contact, Contact::Expected { since } if now >= since + limit);
        for id in self.workers.select(|worker| worker.obstacle.is_none() && never_came(worker)) {
            self.give_up(id, "it has never come");
        }
    }

    fn give_up(&mut self, id: WorkerId, reason: &str) {
        let Some(pod) = self.workers.by_id.get(&id).map(|worker| worker.pod.clone()) else { return };
        tracing::warn!(worker = %pod, reason, "Worker is given up");
        self.lose_worker(id, reason.to_owned(), Fault::Nobody);
        self.delete_pod(&pod);
    }

    /// Gives up workers that do not start on their machine, so that another one may get them: its image may be there.
    pub(in super::super) fn give_up_the_stuck(&mut self) {
        if self.n_open < 2 {
            return;
        }
        let now = self.now();
        let is_stuck = |worker: &Worker| {
            worker.obstacle.is_some()
                && matches!(worker.contact, Contact::Expected { since } if now > since + START_LIMIT)
        };
        for id in self.workers.select(is_stuck) {
            let Some(worker) = self.workers.by_id.get(&id) else { continue };
            let (pod, uid, task) = (worker.pod.clone(), worker.job.clone(), worker.task);
            let (obstacle, node) = (worker.obstacle.clone().unwrap_or_default(), worker.node.clone());
            let machine = self.machines.id(&node);
            if let Some(job) = self.jobs.get_mut(&uid) {
                job.tasks[task.0].stuck_at.insert(machine, now + STUCK_LIMIT);
            }
            self.lose_worker(id, format!("it does not start on {node}: {obstacle}"), Fault::Machine);
            self.delete_pod(&pod);
        }
    }

    /// Tells the job's owner why a worker does not start: its image cannot be pulled, for example.
    pub(super) fn tell_obstacle(&mut self, id: WorkerId, pod: &Pod) {
        let Some(worker) = self.workers.by_id.get_mut(&id) else { return };
        let obstacle = why_waiting(pod);
        if worker.obstacle == obstacle {
            return;
        }
        worker.obstacle.clone_from(&obstacle);
        let (uid, task, node) = (worker.job.clone(), worker.task, worker.node.clone());
        let name = worker.pod.name.clone();
        let is_any_connected = self.workers.is_any_connected(&uid, task);
        let (Some(obstacle), Some(job)) = (obstacle, self.jobs.get_mut(&uid)) else { return };
        if obstacle.contains(&super::pod::secret_name(&job.raw)) {
            // Somebody has deleted it. Those that come need the token that the others have.
            let uid = uid.clone();
            self.prepare(&uid);
        }
        let Some(job) = self.jobs.get_mut(&uid) else { return };
        let message = format!("Worker {name} does not start on {node}: {obstacle}");
        self.recorder.note(&job.raw, Note::warning("WorkerWaiting", message));
        if !is_any_connected {
            job.tasks[task.0].obstacle = Some(format!("its workers do not start; on {node}: {obstacle}"));
            self.dirty.insert(uid);
        }
    }
}

impl JobEntry {
    /// Where workers of a task could not start, of late; none, if that is everywhere.
    pub(in super::super) fn stuck_at(
        &mut self,
        task: TaskIdx,
        (n_usable, now): (u32, Duration),
    ) -> BTreeSet<MachineId> {
        let stuck_at = &mut self.tasks[task.0].stuck_at;
        stuck_at.retain(|_, until| *until > now);
        if stuck_at.len() >= n_usable as usize {
            stuck_at.clear();
        }
        stuck_at.keys().copied().collect()
    }
}

/// What keeps a container of the Pod from starting; `None` while it is only being prepared.
fn why_waiting(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_deref()?;
    let waiting = containers.iter().find_map(|container| container.state.as_ref()?.waiting.as_ref())?;
    match waiting.reason.as_deref()? {
        "ContainerCreating" | "PodInitializing" => None,
        reason => Some(format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default())),
    }
}
