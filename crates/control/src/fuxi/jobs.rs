//! Jobs as they come, change, end and go, and their statuses on the way to the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fuxi::asks::Asks;
use fuxi::grants::{Definition, Event as LedgerEvent, Gang, GangId, MachineId, PartyId, UnitId};
use fuxi::inputs::Inputs;
use fuxi::job::{Event, Outcome};
use fuxi::writes::Writes;
use fuxi::{Job, TaskIdx};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use model::dagjob::{DagJobSpec, DagJobStatus, Input as TaskInput, InputStatus};
use sigma::pod::Toleration;

use super::master::Master;
use super::raw::{self, RawJob};
use super::server::Knock;
use super::status::{self, StoreError};
use super::{Input, lists, pod};
use crate::act::Cause;
use crate::key::ObjectKey;
use crate::record::Note;

/// How often a job's Secret is tried before its owner hears of it.
const PREPARE_TRIES: u32 = 20;

/// The identity of a job: a namesake that comes later is another job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobUid(pub(super) String);

/// Why a job's workers have no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("cannot create the Secret `{name}` with the workers' token")]
    Create { name: String, source: Cause },
    #[error("the Secret `{name}` holds no token")]
    Empty { name: String },
    #[error("cannot go on with the input list of the task `{name}`")]
    List { task: TaskIdx, name: String, source: lists::ListError },
}

/// What a job needs before its workers are heard.
#[derive(Debug)]
pub(super) struct Prepared {
    token: String,
    lists: Vec<(TaskIdx, Inputs)>,
}

/// A job that is not over, or whose workers are not.
pub(super) struct JobEntry {
    pub(super) key: ObjectKey,
    pub(super) raw: RawJob,
    pub(super) spec: DagJobSpec,
    pub(super) core: Job,
    /// Taints that its workers may put up with.
    pub(super) tolerations: Vec<Toleration>,
    pub(super) tasks: Vec<TaskEntry>,
    /// Unknown until the job's Secret is there.
    pub(super) token: Option<String>,
    /// Workers that came before the token.
    pub(super) early: Vec<Knock>,
    pub(super) stage: Stage,
    /// Why it may not use its quota, as its owner was told.
    pub(super) refusal: Option<String>,
    status: DagJobStatus,
    writes: Writes,
}

/// How far a job is in this master's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Active,
    /// It has ended and its status says so in the store.
    Ended,
    /// The object is gone.
    Deleted,
}

/// The edge's side of a task.
#[derive(Debug)]
pub(super) struct TaskEntry {
    pub(super) asks: Asks,
    /// What its instances work on, if it has an input list and that is known.
    pub(super) inputs: Option<Inputs>,
    /// Workers in a row that ended before they said hello.
    pub(super) failures: u32,
    pub(super) not_before: Duration,
    /// Machines that it found faulty, as its owner was told.
    pub(super) faulty: BTreeSet<MachineId>,
    /// Machines where a worker of it could not start, and until when they get no other.
    pub(super) stuck_at: BTreeMap<MachineId, Duration>,
    /// What keeps workers of it from starting, as long as none has.
    pub(super) obstacle: Option<String>,
}

impl JobEntry {
    pub(super) fn is_active(&self) -> bool {
        self.stage == Stage::Active
    }

    /// When the status is to be written, if it is not just being written.
    pub(super) fn write_due(&self) -> Option<Duration> {
        self.writes.due(self.core.is_urgent())
    }
}

impl Master {
    pub(super) fn on_job(&mut self, key: &ObjectKey) {
        let object = self.watched.jobs.get(key);
        let uid = object.as_ref().map(|object| JobUid(object.uid().to_owned()));
        if let Some(known) = self.by_key.get(key).cloned()
            && Some(&known) != uid.as_ref()
        {
            self.job_deleted(&known);
        }
        let (Some(object), Some(uid)) = (object, uid) else {
            // Nothing older comes by of what is gone.
            self.ended.remove(key);
            return;
        };
        let is_going = object.metadata.deletion_timestamp.is_some();
        if self.jobs.contains_key(&uid) {
            if is_going {
                self.job_deleted(&uid);
            } else {
                self.tell(&uid, Event::Want(object.desired_state()));
            }
            return;
        }
        let begun = self.ended.get(key).filter(|(ended, _)| *ended == uid).map(|(_, begun)| *begun);
        let is_to_begin = !object.has_ended() && begun.is_none();
        if !is_going && (is_to_begin || object.is_to_begin_again(begun)) {
            self.ended.remove(key);
            self.load(key, &object, uid, begun);
        }
    }

    /// Takes up a job that was `begun` again so often, if that is known.
    fn load(&mut self, key: &ObjectKey, raw: &RawJob, uid: JobUid, begun: Option<u32>) {
        let read = raw.read().map_err(|error| kit::Chain(&error).to_string());
        let read = read.map(|(spec, status)| {
            let is_again = raw::is_to_begin_again(&spec, &status, begun);
            let status = if is_again { status.begun_again(spec.retry) } else { status };
            (spec, status)
        });
        let made = read.and_then(|(spec, status)| match Job::try_new(&spec, &status) {
            Ok(core) => Ok((spec, status, core)),
            Err(error) => Err(error.to_string()),
        });
        match made {
            Ok((spec, status, core)) => {
                let tasks = core.tasks().map(|task| self.define(&uid, &spec, (task, &core))).collect();
                tracing::info!(job = %key, "Job taken up");
                let entry = JobEntry {
                    key: key.clone(),
                    raw: raw.clone(),
                    tolerations: spec.tolerations.iter().map(crate::sigma::toleration).collect(),
                    spec,
                    core,
                    tasks,
                    token: None,
                    early: Vec::new(),
                    stage: Stage::Active,
                    refusal: None,
                    status,
                    writes: Writes::default(),
                };
                self.by_key.insert(key.clone(), uid.clone());
                self.jobs.insert(uid.clone(), entry);
                self.number_tasks(&uid);
                self.review_taints();
                self.tell_n_machines(&uid);
                self.find_workers(&uid);
                self.prepare(&uid);
                self.dirty.insert(uid);
            }
            Err(message) => self.refuse(key, raw, uid, &message),
        }
    }

    fn define(&mut self, uid: &JobUid, spec: &DagJobSpec, (index, core): (TaskIdx, &Job)) -> TaskEntry {
        let task = &spec.tasks[index.0];
        let unit = UnitId(self.next_unit);
        self.next_unit += 1;
        let maximum = task.parallelism.unwrap_or(u32::MAX).min(core.count(index).unwrap_or(u32::MAX));
        // Of a job that goes on after a restart, fewer instances may be left than it began with.
        let least = task.min_parallelism.map(|least| least.min(core.n_unfinished(index)));
        let gang = least.filter(|least| *least > 1);
        let gang = gang.map(|least| Gang { id: GangId(unit.0), n_units: 1, least });
        let quota = spec.quota.as_ref().map(|quota| self.quotas.id(quota));
        let (shape, party) = (pod::shape(task), Some(PartyId::of_uid(&uid.0)));
        let definition = Definition { shape, priority: spec.priority, maximum, quota, party, gang };
        self.tell_ledger(LedgerEvent::Define { unit, definition });
        tracing::debug!(job = %uid.0, task = %task.name, unit = unit.0, "Unit defined");
        let inputs = task.input.as_ref().and_then(Inputs::known);
        TaskEntry {
            asks: Asks::new(unit),
            inputs,
            failures: 0,
            not_before: Duration::ZERO,
            faulty: BTreeSet::new(),
            stuck_at: BTreeMap::new(),
            obstacle: None,
        }
    }

    fn number_tasks(&mut self, uid: &JobUid) {
        let Some(job) = self.jobs.get(uid) else { return };
        for (task, entry) in job.core.tasks().zip(&job.tasks) {
            self.units.insert(entry.asks.unit(), (uid.clone(), task));
        }
    }

    /// A job that was stored before it was checked, or by other means.
    fn refuse(&mut self, key: &ObjectKey, raw: &RawJob, uid: JobUid, message: &str) {
        tracing::warn!(job = %key, message, "Job cannot run");
        self.recorder.note(raw, Note::warning("InvalidSpec", message));
        let retry = raw.read().map_or(0, |(spec, _)| spec.retry);
        self.ended.insert(key.clone(), (uid, retry));
        let before = raw.read().map(|(_, status)| status).unwrap_or_default();
        let status = status::invalid(before, message, kit::clock::wall());
        let write = status::store(self.config.client.clone(), raw.clone(), status);
        let token = self.token.clone();
        kit::task::spawn_fallible("refuse-dagjob", async move {
            token.run_until_cancelled(write).await.transpose().map(drop)
        });
    }

    /// Sees to it that the job's Secret is there, with its token if there is one, and reads its input lists, which are known
    /// with that.
    pub(super) fn prepare(&self, uid: &JobUid) {
        let Some(job) = self.jobs.get(uid) else { return };
        let token = job.token.clone();
        let (client, raw, uid, inputs) =
            (self.config.client.clone(), job.raw.clone(), uid.clone(), self.inputs.clone());
        let lists = if token.is_none() { lists_to_read(job) } else { Vec::new() };
        kit::task::spawn("prepare-dagjob", async move {
            let result = prepared(&client, (&raw, token), lists).await;
            // The loop is ending if it does not listen.
            let _ending = inputs.send(Input::Prepared(uid, result));
        });
    }

    pub(super) fn on_prepared(&mut self, uid: &JobUid, result: Result<Prepared, PrepareError>) {
        let Some(job) = self.jobs.get_mut(uid) else { return };
        match result {
            Ok(Prepared { token, lists }) => {
                job.token = Some(token);
                for (task, inputs) in lists {
                    job.tasks[task.0].inputs = Some(inputs);
                }
                let early = std::mem::take(&mut job.early);
                self.tell(uid, Event::Listening);
                for knock in early {
                    self.on_knock(knock);
                }
                self.unbalanced.insert(uid.clone());
            }
            Err(PrepareError::List { task, source, .. }) if source.is_for_good() => {
                let message = kit::Chain(&source).to_string();
                self.tell(uid, Event::Lost { task, message });
            }
            Err(error) => {
                let message = kit::Chain(&error).to_string();
                tracing::warn!(job = %job.key, error = %message, "Job waits for its Secret or its input list");
                self.recorder.note(&job.raw, Note::warning("FailedPrepare", message));
                self.prepare(uid);
            }
        }
    }

    /// Writes the statuses that are due.
    pub(super) fn flush(&mut self) {
        let now = self.now();
        let is_due =
            |uid: &&JobUid| self.jobs.get(*uid).and_then(JobEntry::write_due).is_some_and(|due| due <= now);
        let due: Vec<JobUid> = self.dirty.iter().filter(is_due).cloned().collect();
        for uid in due {
            self.dirty.remove(&uid);
            self.write(&uid, now);
        }
    }

    fn write(&mut self, uid: &JobUid, now: Duration) {
        let Some(job) = self.jobs.get_mut(uid).filter(|job| job.stage == Stage::Active) else { return };
        job.writes.begin(now);
        job.status = status::of(&job.core, &job.spec, &job.status, kit::clock::wall());
        for (task, entry) in job.spec.tasks.iter().zip(&job.tasks) {
            if let Some(status) = job.status.tasks.get_mut(&task.name) {
                let names = entry.faulty.iter().filter_map(|machine| self.machines.name(*machine));
                status.avoided_nodes = names.map(str::to_owned).collect();
                status.obstacle.clone_from(&entry.obstacle);
            }
        }
        let version = job.core.version();
        let write = status::store(self.config.client.clone(), job.raw.clone(), job.status.clone());
        let (inputs, uid, token) = (self.inputs.clone(), uid.clone(), self.token.clone());
        kit::task::spawn("store-dagjob-status", async move {
            // A master that is to end writes nothing more.
            let Some(result) = token.run_until_cancelled(write).await.map(Box::new) else { return };
            // The loop is ending if it does not listen.
            let _ending = inputs.send(Input::Stored(uid, version, result));
        });
    }

    pub(super) fn on_stored(&mut self, uid: &JobUid, version: u64, result: Result<RawJob, StoreError>) {
        let now = self.now();
        let Some(job) = self.jobs.get_mut(uid) else { return };
        match result {
            Ok(raw) => {
                job.raw = raw;
                job.writes.stored(now);
                self.tell(uid, Event::Stored { version });
                self.note_end(uid);
            }
            Err(StoreError::Gone { .. }) => self.job_deleted(uid),
            Err(StoreError::Overtaken { fresh, .. }) => self.begin_anew(uid, &fresh),
            Err(error) => {
                tracing::warn!(error = %kit::Chain(&error), "Status was not stored, will try again");
                job.writes.failed(now);
                self.dirty.insert(uid.clone());
            }
        }
    }

    /// Somebody else has stored a status of it, and may have told workers so: this one counts, as after a restart.
    fn begin_anew(&mut self, uid: &JobUid, fresh: &RawJob) {
        let Some(job) = self.jobs.get(uid).filter(|job| job.stage == Stage::Active) else { return };
        let (key, retry) = (job.key.clone(), job.status.retry);
        tracing::warn!(job = %key, "Job is read again: its status was stored by another master");
        let workers = self.workers.of_job(uid);
        // First, so that none of the places that come free is for what is no more.
        self.drop_job(uid);
        let forgotten: Vec<_> = workers.into_iter().filter_map(|id| self.forget_worker(id)).collect();
        if !fresh.has_ended() {
            self.load(&key, fresh, uid.clone(), None);
            return self.find_forgotten(uid, forgotten);
        }
        self.ended.insert(key, (uid.clone(), retry));
        for worker in forgotten {
            self.delete_pod(&worker.pod);
        }
    }

    /// Takes note that a job's end is in the store.
    fn note_end(&mut self, uid: &JobUid) {
        let Some(job) = self.jobs.get_mut(uid) else { return };
        if job.stage != Stage::Active || !job.core.is_stored() {
            return;
        }
        let note = match job.core.outcome() {
            None => return,
            Some(Outcome::Succeeded) => Note::normal("Completed", status::success(&job.status).1),
            Some(Outcome::Failed { message, .. }) => Note::warning("Failed", message.clone()),
            Some(Outcome::Cancelled) => Note::normal("Cancelled", "Cancelled by its owner"),
        };
        tracing::info!(job = %job.key, phase = ?job.core.phase(), "Job ended");
        job.stage = Stage::Ended;
        self.recorder.note(&job.raw, note);
        self.ended.insert(job.key.clone(), (uid.clone(), job.status.retry));
        self.forget_if_over(uid);
    }

    /// The object is gone, or going: its workers go with it.
    fn job_deleted(&mut self, uid: &JobUid) {
        let Some(job) = self.jobs.get_mut(uid) else { return };
        if job.stage == Stage::Deleted {
            return;
        }
        tracing::info!(job = %job.key, "Job deleted");
        job.stage = Stage::Deleted;
        self.ended.insert(job.key.clone(), (uid.clone(), job.status.retry));
        self.by_key.remove(&job.key);
        self.unbalanced.insert(uid.clone());
        for worker in self.workers.of_job(uid) {
            self.stop_worker(worker);
        }
        self.forget_if_over(uid);
    }

    /// Drops a job when neither it nor a worker of it needs anything more.
    pub(super) fn forget_if_over(&mut self, uid: &JobUid) {
        let is_over = |job: &JobEntry| job.stage != Stage::Active && job.core.n_workers() == 0;
        let Some(job) = self.jobs.get(uid).filter(|job| is_over(job)) else { return };
        // Who asked for it to begin again while its last workers ended is heard now.
        let again = (job.stage == Stage::Ended).then(|| job.key.clone());
        self.drop_job(uid);
        if let Some(key) = again {
            self.on_job(&key);
        }
    }

    fn drop_job(&mut self, uid: &JobUid) {
        let Some(job) = self.jobs.remove(uid) else { return };
        if self.by_key.get(&job.key) == Some(uid) {
            self.by_key.remove(&job.key);
        }
        self.dirty.remove(uid);
        for unit in job.tasks.iter().map(|task| task.asks.unit()) {
            self.units.remove(&unit);
            self.tell_ledger(LedgerEvent::UnitGone { unit });
        }
        self.review_taints();
    }
}

/// The lists that the tasks of a job have taken before this master began.
fn lists_to_read(job: &JobEntry) -> Vec<(TaskIdx, String, InputStatus, TaskInput)> {
    let of = |task: TaskIdx| {
        let definition = &job.spec.tasks[task.0];
        let status = job.status.tasks.get(&definition.name)?.input.clone()?;
        let input = definition.input.clone().filter(|input| input.is_listed())?;
        Some((task, definition.name.clone(), status, input))
    };
    job.core.tasks().filter_map(of).collect()
}

async fn prepared(
    client: &Client,
    (raw, token): (&RawJob, Option<String>),
    lists: Vec<(TaskIdx, String, InputStatus, TaskInput)>,
) -> Result<Prepared, PrepareError> {
    let token = token_of(client, raw, token).await?;
    let mut read = Vec::new();
    for (task, name, status, input) in lists {
        let mut tries = 1;
        let inputs = loop {
            match lists::load(client, raw, (&status, &input)).await {
                Ok(inputs) => break inputs,
                Err(source) if tries == PREPARE_TRIES || source.is_for_good() => {
                    return Err(PrepareError::List { task, name, source });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(u64::from(100 * tries))).await,
            }
            tries += 1;
        };
        read.push((task, inputs));
    }
    Ok(Prepared { token, lists: read })
}

/// The token of a job's workers: as it stands in its Secret, or else the one that is known, or a new one.
async fn token_of(client: &Client, job: &RawJob, known: Option<String>) -> Result<String, PrepareError> {
    let api: Api<Secret> =
        Api::namespaced(client.clone(), job.metadata.namespace.as_deref().unwrap_or_default());
    let name = pod::secret_name(job);
    let new = known.unwrap_or_else(|| hex::encode(rand::random::<[u8; 16]>()));
    let mut tries = 1;
    loop {
        match secret_of(&api, job, (&name, &new)).await {
            Ok(secret) => return pod::token(&secret).ok_or(PrepareError::Empty { name }),
            Err(error) if tries == PREPARE_TRIES => {
                return Err(PrepareError::Create { name, source: error.into() });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(u64::from(100 * tries))).await,
        }
        tries += 1;
    }
}

async fn secret_of(api: &Api<Secret>, job: &RawJob, (name, token): (&str, &str)) -> kube::Result<Secret> {
    if let Some(secret) = api.get_opt(name).await? {
        return Ok(secret);
    }
    api.create(&PostParams::default(), &pod::secret(job, token)).await
}
