//! The loop: takes inputs, lets the engine decide, and keeps the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fuxi::grants::{Ledger, UnitId};
use fuxi::job::Event;
use fuxi::{REVOKE_GRACE, TICK, TaskIdx};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::faulty::Faulty;
use super::guests::Guests;
use super::jobs::{JobEntry, JobUid};
use super::machines::Machines;
use super::quotas::Quotas;
use super::tunnels::Tunnels;
use super::workers::Workers;
use super::{Config, Input, Watched};
use crate::key::ObjectKey;
use crate::record::Recorder;

/// So many inputs are taken before the time is looked at again.
const AT_ONCE: usize = 1024;

/// All state of the batch edge.
pub(super) struct Master {
    pub(super) config: Config,
    pub(super) watched: Watched,
    pub(super) recorder: Recorder,
    pub(super) inputs: mpsc::UnboundedSender<Input>,
    /// Cancelled when this master is to end.
    pub(super) token: CancellationToken,
    started: Instant,
    ticked: Duration,
    pub(super) ledger: Ledger,
    pub(super) machines: Machines,
    pub(super) tunnels: Tunnels,
    pub(super) faulty: Faulty,
    /// How many machines take new workers, as the jobs know.
    pub(super) n_open: u32,
    pub(super) quotas: Quotas,
    pub(super) guests: Guests,
    pub(super) units: BTreeMap<UnitId, (JobUid, TaskIdx)>,
    pub(super) next_unit: u64,
    pub(super) jobs: BTreeMap<JobUid, JobEntry>,
    pub(super) by_key: BTreeMap<ObjectKey, JobUid>,
    /// Jobs that are over, though an older state of them may still come by, and how often each was begun again.
    pub(super) ended: BTreeMap<ObjectKey, (JobUid, u32)>,
    pub(super) workers: Workers,
    /// Jobs whose status has changed since it was stored.
    pub(super) dirty: BTreeSet<JobUid>,
    /// Jobs whose need for workers may have changed.
    pub(super) unbalanced: BTreeSet<JobUid>,
    /// Pods that have ended and are kept until then for their logs.
    pub(super) kept: BTreeMap<ObjectKey, Duration>,
}

impl Master {
    pub(super) fn new(
        config: Config,
        watched: Watched,
        recorder: Recorder,
        (inputs, tunnels, token): (mpsc::UnboundedSender<Input>, Tunnels, CancellationToken),
    ) -> Self {
        Self {
            config,
            watched,
            recorder,
            inputs,
            token,
            started: kit::clock::monotonic(),
            ticked: Duration::ZERO,
            ledger: Ledger::new(REVOKE_GRACE),
            machines: Machines::default(),
            tunnels,
            faulty: Faulty::default(),
            n_open: 0,
            quotas: Quotas::default(),
            guests: Guests::default(),
            units: BTreeMap::new(),
            next_unit: 1,
            jobs: BTreeMap::new(),
            by_key: BTreeMap::new(),
            ended: BTreeMap::new(),
            workers: Workers::default(),
            dirty: BTreeSet::new(),
            unbalanced: BTreeSet::new(),
            kept: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self, mut received: mpsc::UnboundedReceiver<Input>) {
        let token = self.token.clone();
        self.take_stock();
        loop {
            self.balance_all();
            self.flush();
            let due = self.due().map(|due| tokio::time::Instant::from_std(self.started + due));
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = token.cancelled() => return,
                input = received.recv() => {
                    let Some(input) = input else { return };
                    self.handle(input);
                    // However fast others talk, the time goes on and what is decided is stored.
                    for _ in 0..AT_ONCE {
                        let Ok(input) = received.try_recv() else { break };
                        self.handle(input);
                    }
                }
                () = timer => self.pass_time(),
            }
        }
    }

    /// The time since the loop began, as the engine counts it.
    pub(super) fn now(&self) -> Duration {
        kit::clock::monotonic().duration_since(self.started)
    }

    /// After a start: quotas and machines first, then the jobs with the workers that they find, then Pods of nobody.
    fn take_stock(&mut self) {
        self.tell_ledger(fuxi::grants::Event::Recover);
        self.on_quotas();
        for node in self.watched.nodes.all() {
            self.restore_verdict(&node);
            self.on_node(&ObjectKey::of(&*node));
        }
        for job in self.watched.jobs.all() {
            self.on_job(&ObjectKey::of(&*job));
        }
        for pod in self.watched.pods.all() {
            self.on_pod(&ObjectKey::of(&*pod));
        }
        for guest in self.watched.guests.all() {
            self.on_guest(&ObjectKey::of(&*guest));
        }
        self.muster_all();
        self.tell_ledger(fuxi::grants::Event::Recovered);
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Job(key) => self.on_job(&key),
            Input::Node(key) => self.on_node(&key),
            Input::Pod(key) => self.on_pod(&key),
            Input::Guest(key) => self.on_guest(&key),
            Input::Group(key) => self.on_group(&key),
            Input::GuestStays(grant) => self.on_guest_stays(grant),
            Input::GuestBound(uid, result) => self.on_guest_bound(&uid, result),
            Input::Quotas => self.on_quotas(),
            Input::QuotasTold => self.on_quotas_told(),
            Input::Knock(knock) => self.on_knock(knock),
            Input::Hello(worker, connection, greeting) => self.on_hello(worker, connection, *greeting),
            Input::Said(connection, said, share) => self.on_said(connection, said, share),
            Input::Closed(connection) => self.on_closed(connection),
            Input::Prepared(uid, result) => self.on_prepared(&uid, result),
            Input::Listed(kept) => self.on_listed(*kept),
            Input::Stored(uid, version, result) => self.on_stored(&uid, version, *result),
            Input::Created(worker, result) => self.on_created(worker, result),
        }
        self.balance_all();
    }

    fn due(&self) -> Option<Duration> {
        let is_busy = !self.jobs.is_empty() || !self.guests.is_empty();
        let tick = is_busy.then_some(self.ticked + TICK);
        let write = self.dirty.iter().filter_map(|uid| self.jobs.get(uid)?.write_due()).min();
        let kept = self.kept.values().min().copied();
        let faulty = self.faulty.due().map(|due| due.max(self.ticked + TICK));
        [tick, write, kept, faulty, self.quotas.due].into_iter().flatten().min()
    }

    fn pass_time(&mut self) {
        let now = self.now();
        let over: Vec<ObjectKey> =
            self.kept.iter().filter(|(_, due)| **due <= now).map(|(key, _)| key.clone()).collect();
        for key in over {
            self.kept.remove(&key);
            self.delete_pod(&key);
        }
        if self.quotas.due.is_some_and(|due| due <= now) {
            self.tell_quotas();
        }
        if now < self.ticked + TICK {
            return;
        }
        self.ticked = now;
        let jobs: Vec<JobUid> = self.jobs.keys().cloned().collect();
        for uid in jobs {
            self.tell(&uid, Event::Tick);
        }
        self.tell_ledger(fuxi::grants::Event::Tick);
        self.drain_for_tides();
        self.give_up_the_cut_off();
        self.give_up_the_silent();
        self.give_up_the_stuck();
        self.look_after_machines();
        self.look_after_guests();
    }

    /// Lets a job's engine take a step and does what it owes.
    pub(super) fn tell(&mut self, uid: &JobUid, event: Event) {
        let now = self.now();
        let Some(job) = self.jobs.get_mut(uid) else { return };
        let owed = job.core.step(event, now);
        if !job.core.is_stored() {
            self.dirty.insert(uid.clone());
        }
        self.unbalanced.insert(uid.clone());
        for decision in owed {
            self.owe(decision);
        }
    }
}
