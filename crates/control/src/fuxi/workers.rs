//! Workers: their Pods, their connections, and what is owed to them.

mod patience;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fuxi::blame::Fault;
use fuxi::grants::{Event as LedgerEvent, GrantId};
use fuxi::job::{Decision, Event};
use fuxi::protocol::{FromMaster, Program, spans};
use fuxi::{TaskIdx, WorkerId};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use model::names;

use super::jobs::{JobUid, Stage};
use super::master::Master;
use super::server::{Admission, Connection, ConnectionId, Greeting, Knock, Said, Share};
use super::{Input, lists, pod, status};
use crate::key::ObjectKey;
use crate::owner::controller_uid;
use crate::pods;
use crate::record::Note;

/// The longest pause before another worker is made after some that never said hello.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// All workers whose Pods have not ended.
#[derive(Debug, Default)]
pub(super) struct Workers {
    by_id: BTreeMap<WorkerId, Worker>,
    by_pod: BTreeMap<ObjectKey, WorkerId>,
    by_grant: BTreeMap<GrantId, WorkerId>,
    by_connection: HashMap<ConnectionId, WorkerId>,
    /// Nodes with workers that are not ready, and since when this master knows.
    cut_off: BTreeMap<String, Duration>,
    last: u64,
}

#[derive(Debug)]
struct Worker {
    pod: ObjectKey,
    job: JobUid,
    task: TaskIdx,
    grant: GrantId,
    node: String,
    contact: Contact,
    stopping: bool,
    /// Why its container does not start, as last told.
    obstacle: Option<String>,
}

/// Of a worker that was forgotten, what it takes to find it again.
#[derive(Debug)]
pub(super) struct Forgotten {
    pub(super) pod: ObjectKey,
    task: TaskIdx,
    node: String,
    /// It has spoken, so that its Pod is there, and it may run something.
    has_come: bool,
}

#[derive(Debug)]
enum Contact {
    /// Its Pod was made.
    Expected {
        since: Duration,
    },
    Connected(Connection),
    Silent {
        since: Duration,
    },
}

impl Workers {
    fn add(&mut self, worker: Worker) -> WorkerId {
        self.last += 1;
        let id = WorkerId(self.last);
        self.by_pod.insert(worker.pod.clone(), id);
        self.by_grant.insert(worker.grant, id);
        self.by_id.insert(id, worker);
        id
    }

    fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        let worker = self.by_id.remove(&id)?;
        self.by_pod.remove(&worker.pod);
        self.by_grant.remove(&worker.grant);
        if let Contact::Connected(connection) = &worker.contact {
            self.by_connection.remove(&connection.id);
        }
        Some(worker)
    }

    /// Gives a worker a connection in place of the one that it had.
    fn connect(&mut self, id: WorkerId, connection: Connection) {
        let Some(worker) = self.by_id.get_mut(&id) else { return };
        self.by_connection.insert(connection.id, id);
        if let Contact::Connected(before) =
            std::mem::replace(&mut worker.contact, Contact::Connected(connection))
        {
            self.by_connection.remove(&before.id);
        }
    }

    fn send(&self, id: WorkerId, message: FromMaster) {
        if let Some(Contact::Connected(connection)) = self.by_id.get(&id).map(|worker| &worker.contact) {
            connection.send(message);
        }
    }

    /// Tells all workers of a task anew what its instances are.
    pub(super) fn tell_program(&self, uid: &JobUid, task: TaskIdx, program: &Program) {
        for id in self.select(|worker| worker.job == *uid && worker.task == task) {
            self.send(id, FromMaster::Program(program.clone()));
        }
    }

    fn select(&self, is_meant: impl Fn(&Worker) -> bool) -> Vec<WorkerId> {
        self.by_id.iter().filter(|(_, worker)| is_meant(worker)).map(|(id, _)| *id).collect()
    }

    pub(super) fn of_job(&self, uid: &JobUid) -> Vec<WorkerId> {
        self.select(|worker| worker.job == *uid)
    }

    pub(super) fn on_node(&self, node: &str) -> Vec<WorkerId> {
        self.select(|worker| worker.node == node)
    }

    pub(super) fn node_of(&self, id: WorkerId) -> Option<&str> {
        Some(&self.by_id.get(&id)?.node)
    }

    pub(super) fn job_of(&self, id: WorkerId) -> Option<JobUid> {
        Some(self.by_id.get(&id)?.job.clone())
    }

    pub(super) fn with_grant(&self, grant: GrantId) -> Option<(WorkerId, JobUid)> {
        let id = self.by_grant.get(&grant)?;
        Some((*id, self.by_id.get(id)?.job.clone()))
    }

    fn is_any_connected(&self, uid: &JobUid, task: TaskIdx) -> bool {
        let mut of_task = self.by_id.values().filter(|worker| worker.job == *uid && worker.task == task);
        of_task.any(|worker| matches!(worker.contact, Contact::Connected(_)))
    }

    /// The grants that a task holds, with their Nodes.
    pub(super) fn grants(&self, uid: &JobUid, task: TaskIdx) -> Vec<(GrantId, String)> {
        let held = self.by_id.values().filter(|worker| worker.job == *uid && worker.task == task);
        held.map(|worker| (worker.grant, worker.node.clone())).collect()
    }
}

impl Master {
    /// After a start: the Pods that already work for a job.
    pub(super) fn find_workers(&mut self, uid: &JobUid) {
        let mut next_grant = self.ledger.last_grant().0;
        for pod in self.watched.pods.controlled_by(&uid.0) {
            let Some(job) = self.jobs.get(uid) else { return };
            let name = pod.metadata.labels.as_ref().and_then(|labels| labels.get(names::TASK_LABEL));
            let task = job.spec.tasks.iter().position(|task| Some(&task.name) == name).map(TaskIdx);
            let (Some(task), false) = (task, pods::has_ended(&pod)) else { continue };
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            next_grant += 1;
            self.find_worker(uid, (task, GrantId(next_grant)), (ObjectKey::of(&*pod), node));
        }
        self.sync_all(uid);
    }

    fn find_worker(
        &mut self,
        uid: &JobUid,
        (task, grant): (TaskIdx, GrantId),
        (pod, node): (ObjectKey, String),
    ) {
        let machine = self.machines.id(&node);
        let worker = self.workers.add(Worker {
            pod,
            job: uid.clone(),
            task,
            grant,
            node,
            contact: Contact::Silent { since: self.now() },
            stopping: false,
            obstacle: None,
        });
        self.tell(uid, Event::Found { worker, task, machine });
    }

    /// Tells the ledger what the job's tasks hold.
    fn sync_all(&mut self, uid: &JobUid) {
        let units: Vec<_> = self
            .jobs
            .get(uid)
            .into_iter()
            .flat_map(|job| job.tasks.iter().map(|task| task.asks.unit()))
            .collect();
        for unit in units {
            self.sync(unit);
        }
    }

    /// Makes a worker on a granted place.
    pub(super) fn start_worker(&mut self, uid: &JobUid, task: TaskIdx, (grant, node): (GrantId, String)) {
        let machine = self.machines.id(&node);
        let job = self.jobs.get(uid).filter(|job| job.stage == Stage::Active);
        let (Some(job), Some(folder)) = (job, self.machines.folder(machine)) else {
            self.tell_ledger(LedgerEvent::Return { grant });
            return;
        };
        let definition = &job.spec.tasks[task.0];
        let name = pod::name(&job.raw, definition);
        let object = pod::worker(&job.raw, &job.spec, definition, (&name, &node), folder);
        let key = ObjectKey::new(&job.key.namespace, &name);
        tracing::debug!(worker = %key, node = %node, "Worker is made");
        let worker = Worker {
            pod: key.clone(),
            job: uid.clone(),
            task,
            grant,
            node,
            contact: Contact::Expected { since: self.now() },
            stopping: false,
            obstacle: None,
        };
        let worker = self.workers.add(worker);
        self.tell(uid, Event::Created { worker, task, machine });
        let api: Api<Pod> = Api::namespaced(self.config.client.clone(), &key.namespace);
        let inputs = self.inputs.clone();
        kit::task::spawn("create-worker", async move {
            let result = api.create(&PostParams::default(), &object).await.map(drop);
            // The loop is ending if it does not listen.
            let _ending = inputs.send(Input::Created(worker, result));
        });
    }

    pub(super) fn on_created(&mut self, id: WorkerId, result: Result<(), kube::Error>) {
        let Some(worker) = self.workers.by_id.get(&id) else { return };
        match result {
            Ok(()) if worker.stopping => {
                let pod = worker.pod.clone();
                self.delete_pod(&pod);
            }
            Ok(()) => {}
            Err(error) => {
                let message = match &error {
                    kube::Error::Api(status) => status.message.clone(),
                    other => kit::Chain(other).to_string(),
                };
                tracing::warn!(worker = %worker.pod, error = %message, "Worker was not created");
                if let Some(job) = self.jobs.get(&worker.job) {
                    self.recorder.note(&job.raw, Note::warning("FailedCreate", message.clone()));
                }
                self.lose_worker(id, message, Fault::Nobody);
            }
        }
    }

    pub(super) fn on_pod(&mut self, key: &ObjectKey) {
        let pod = self.watched.pods.get(key);
        let worker = self.workers.by_pod.get(key).copied();
        match (pod, worker) {
            (None, Some(worker)) => {
                self.lose_worker(worker, "its Pod was deleted".to_owned(), Fault::Nobody);
            }
            (None, None) => drop(self.kept.remove(key)),
            (Some(pod), Some(worker)) if pods::has_ended(&pod) => {
                self.keep(key, &pod);
                self.lose_worker(worker, why_ended(&pod), whose_fault(&pod));
            }
            (Some(pod), Some(worker)) => {
                if pod.metadata.deletion_timestamp.is_some()
                    && let Some(job) = self.workers.by_id.get(&worker).map(|worker| worker.job.clone())
                {
                    self.tell(&job, Event::Drain { worker });
                }
                self.tell_obstacle(worker, &pod);
            }
            (Some(pod), None) if pods::has_ended(&pod) => self.keep(key, &pod),
            // Made for a job that is over, or by a master that died before it could say so.
            (Some(_), None) => self.delete_pod(key),
        }
    }

    /// Keeps an ended Pod for its logs as long as its job says.
    fn keep(&mut self, key: &ObjectKey, pod: &Pod) {
        let owner = controller_uid(&pod.metadata).unwrap_or_default();
        let jobs = self.watched.jobs.in_namespace(&key.namespace);
        let seconds = jobs.iter().find(|job| job.uid() == owner).map_or(0, |job| job.keep_workers_seconds());
        if pod.metadata.deletion_timestamp.is_none() {
            let due = self.now() + Duration::from_secs(seconds);
            self.kept.entry(key.clone()).or_insert(due);
        }
    }

    /// Forgets a worker, which may be found again: its connection ends.
    pub(super) fn forget_worker(&mut self, id: WorkerId) -> Option<Forgotten> {
        let worker = self.workers.remove(id)?;
        self.tell_ledger(LedgerEvent::Return { grant: worker.grant });
        let has_come = !matches!(worker.contact, Contact::Expected { .. });
        Some(Forgotten { pod: worker.pod, task: worker.task, node: worker.node, has_come })
    }

    /// Those that were forgotten and whose Pods the watch has not told of yet: who has spoken may run something. Were they
    /// not waited for, that would be given to others, too.
    pub(super) fn find_forgotten(&mut self, uid: &JobUid, forgotten: Vec<Forgotten>) {
        if !self.jobs.contains_key(uid) {
            return;
        }
        let unheard = |each: &Forgotten| each.has_come && self.watched.pods.get(&each.pod).is_none();
        let unheard: Vec<Forgotten> = forgotten.into_iter().filter(unheard).collect();
        let next = self.ledger.last_grant().0 + 1;
        for (grant, Forgotten { pod, task, node, .. }) in (next..).zip(unheard) {
            self.find_worker(uid, (task, GrantId(grant)), (pod, node));
        }
        self.sync_all(uid);
    }

    /// A worker that does not exist any more: its place is free, and what it ran is tried again.
    pub(super) fn lose_worker(&mut self, id: WorkerId, reason: String, fault: Fault) {
        let Some(worker) = self.workers.remove(id) else { return };
        let now = self.now();
        if let Some(job) = self.jobs.get_mut(&worker.job)
            && !worker.stopping
        {
            tracing::info!(worker = %worker.pod, reason, "Worker lost");
            let entry = &mut job.tasks[worker.task.0];
            // Where others work, it is not the task.
            if matches!(worker.contact, Contact::Expected { .. })
                && !self.workers.is_any_connected(&worker.job, worker.task)
            {
                let pause = Duration::from_secs(1 << entry.failures.min(6)).min(LONGEST_PAUSE);
                entry.failures += 1;
                entry.not_before = now + pause;
            }
            let message = format!("Worker {} is lost: {reason}", worker.pod.name);
            self.recorder.note(&job.raw, Note::warning("WorkerLost", message));
        }
        self.tell(&worker.job, Event::Gone { worker: id, reason, fault });
        self.tell_ledger(LedgerEvent::Return { grant: worker.grant });
        self.forget_if_over(&worker.job);
    }

    /// Lets in who proves to be a worker that is known.
    pub(super) fn on_knock(&mut self, knock: Knock) {
        let key = knock.worker.split_once('/').map(|(namespace, name)| ObjectKey::new(namespace, name));
        let id = key.and_then(|key| self.workers.by_pod.get(&key).copied());
        let job = id.and_then(|id| self.jobs.get_mut(&self.workers.by_id.get(&id)?.job));
        let (Some(id), Some(job)) = (id, job) else {
            // Who has gone meanwhile needs no answer, here and below.
            let _gone = knock.reply.send(Admission::Stop);
            return;
        };
        match &job.token {
            None => job.early.push(knock),
            Some(token) if is_same(token, &knock.token) => {
                let _gone = knock.reply.send(Admission::As(id));
            }
            Some(_) => {
                tracing::warn!(worker = %knock.worker, "Worker was turned away: its token is wrong");
            }
        }
    }

    pub(super) fn on_hello(&mut self, id: WorkerId, connection: Connection, greeting: Greeting) {
        // Forgotten since it knocked: its connection ends, and when it knocks again it hears why, or is another.
        let Some(worker) = self.workers.by_id.get(&id) else { return };
        let (uid, task) = (worker.job.clone(), worker.task);
        let Some(job) = self.jobs.get_mut(&uid) else { return };
        let entry = &mut job.tasks[task.0];
        entry.failures = 0;
        if entry.obstacle.take().is_some() {
            self.dirty.insert(uid.clone());
        }
        if job.core.phase() == model::dagjob::JobPhase::Pending {
            self.recorder.note(&job.raw, Note::normal("Started", "The first worker has begun"));
        }
        connection.send(FromMaster::Program(lists::program(job, task, job.core.count(task))));
        self.workers.connect(id, connection);
        let Greeting { mut hello, mut results, visit } = greeting;
        let lists = lists::lists_in(&mut results);
        // Until its list is kept, the attempt has not ended.
        hello.held.extend(lists.iter().map(|result| result.attempt));
        self.drain_if_tide_has_it(id);
        self.tell(&uid, Event::Hello { worker: id, held: hello.held, results, full: hello.full });
        self.keep_lists(&uid, (task, id), lists, &visit);
    }

    pub(super) fn on_said(&mut self, connection: ConnectionId, said: Said, share: Share) {
        let Some(worker) = self.workers.by_connection.get(&connection).copied() else { return };
        let Some(Worker { job, task, .. }) = self.workers.by_id.get(&worker) else { return };
        let (uid, task) = (job.clone(), *task);
        match said {
            Said::Results(mut results) => {
                let lists = lists::lists_in(&mut results);
                self.tell(&uid, Event::Results { worker, results });
                self.keep_lists(&uid, (task, worker), lists, &share);
            }
            Said::Returned(attempts) => self.tell(&uid, Event::Returned { worker, attempts }),
            Said::Command { attempt, runs } => self.tell(&uid, Event::Command { worker, attempt, runs }),
        }
    }

    pub(super) fn on_closed(&mut self, connection: ConnectionId) {
        // Others were replaced, or never let in.
        let Some(id) = self.workers.by_connection.remove(&connection) else { return };
        let since = self.now();
        if let Some(worker) = self.workers.by_id.get_mut(&id) {
            worker.contact = Contact::Silent { since };
            let uid = worker.job.clone();
            self.tell(&uid, Event::Disconnected { worker: id });
        }
    }

    /// Does what a job's engine owes a worker.
    pub(super) fn owe(&mut self, decision: Decision) {
        match decision {
            Decision::Assign { worker, task, attempts } => {
                let job = self.workers.by_id.get(&worker).and_then(|worker| self.jobs.get(&worker.job));
                let inputs = job.and_then(|job| job.tasks[task.0].inputs.as_ref());
                for message in lists::assignments(&attempts, inputs) {
                    self.workers.send(worker, message);
                }
            }
            Decision::Recall { worker } => self.workers.send(worker, FromMaster::Recall),
            Decision::Ack { worker, mut attempts } => {
                attempts.sort_unstable();
                self.workers.send(worker, FromMaster::Ack { attempts: spans(&attempts) });
            }
            Decision::Stop { worker } => self.stop_worker(worker),
        }
    }

    /// Lets a worker go. Its Pod is deleted at once, unless it is to be kept for its logs and can end by itself.
    pub(super) fn stop_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.by_id.get_mut(&id) else { return };
        worker.stopping = true;
        let is_connected = matches!(worker.contact, Contact::Connected(_));
        let (pod, uid) = (worker.pod.clone(), worker.job.clone());
        self.workers.send(id, FromMaster::Stop);
        let job = self.jobs.get(&uid);
        let is_kept =
            job.is_some_and(|job| job.stage != Stage::Deleted && job.raw.keep_workers_seconds() > 0);
        if !(is_kept && is_connected) {
            self.delete_pod(&pod);
        }
    }

    pub(super) fn delete_pod(&self, key: &ObjectKey) {
        let api: Api<Pod> = Api::namespaced(self.config.client.clone(), &key.namespace);
        let key = key.clone();
        let parameters = DeleteParams {
            grace_period_seconds: u32::try_from(pod::GRACE_SECONDS).ok(),
            ..DeleteParams::background()
        };
        kit::task::spawn("delete-worker", async move {
            match api.delete(&key.name, &parameters).await {
                Err(error) if !status::is_code(&error, 404) => {
                    tracing::warn!(worker = %key, error = %kit::Chain(&error), "Worker's Pod was not deleted");
                }
                _ => {}
            }
        });
    }
}

fn why_ended(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    if let Some(reason) = status.reason {
        return format!("{reason}: {}", status.message.unwrap_or_default());
    }
    let containers = status.container_statuses.unwrap_or_default();
    let ended = containers.into_iter().find_map(|container| container.state?.terminated);
    ended.map_or_else(
        || "its Pod ended".to_owned(),
        |ended| format!("it ended with exit code {} ({})", ended.exit_code, ended.reason.unwrap_or_default()),
    )
}

/// Whose fault it is that a Pod has ended: who was evicted or deleted, or ended well, was told to go.
fn whose_fault(pod: &Pod) -> Fault {
    let status = pod.status.as_ref();
    let states = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let mut ended = states.filter_map(|container| container.state.as_ref()?.terminated.as_ref());
    let was_told = pod.metadata.deletion_timestamp.is_some()
        || status.is_some_and(|status| status.reason.is_some())
        || ended.any(|ended| ended.exit_code == 0);
    if was_told { Fault::Nobody } else { Fault::Machine }
}

/// Compares two secrets without telling by the time it takes where they differ.
fn is_same(ours: &str, theirs: &str) -> bool {
    let differences = ours.bytes().zip(theirs.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    ours.len() == theirs.len() && differences == 0
}
