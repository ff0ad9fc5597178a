//! The world around the engines: arrivals, workers that start, run, fail and end, a store that takes its time.
//!
//! It does what the live edge does (`control::fuxi`), with the same engines and at the same moments: asks follow what each
//! job can use, grants become workers, results are told at once and acknowledged when the status is stored.

mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fuxi::asks::Asks;
use fuxi::blame::{Change, Cluster};
use fuxi::grants::{
    Decision as LedgerDecision, Definition, Event as LedgerEvent, GrantId, Ledger, MachineId, PartyId, Quota,
    QuotaId, QuotaTree, RackId, ResourceNames, Resources, UnitId,
};
use fuxi::job::{Decision, Event, Job, Outcome};
use fuxi::writes::Writes;
use fuxi::{REVOKE_GRACE, TICK, TaskIdx, WorkerId};
use model::MilliCpu;
use model::dagjob::DagJobStatus;

use super::agenda::{Agenda, Occurrence};
use super::faults::{Draws, Faults};
use super::ideal::chain;
use super::meter::Meter;
use super::report::{self, BatchReport, JobEnd, Tally};
use super::{Avoidance, BatchError, Plan, Progress};
use workers::Worker;

const MACHINES_PER_RACK: u32 = 40;
/// If nothing else happens for so many ticks, nothing will.
const MOST_IDLE_TICKS: u32 = 300;
/// So many instances between two looks at the progress.
const PROGRESS_STEP: u64 = 1000;

/// A job from its arrival until the last of its workers is gone.
#[derive(Debug)]
struct Active {
    core: Job,
    tasks: Vec<TaskState>,
    writes: Writes,
    /// The next write that is entered in the agenda.
    write_at: Option<Duration>,
    has_ended: bool,
}

#[derive(Debug)]
struct TaskState {
    asks: Asks,
    /// Since when its instances may run.
    released: Option<Duration>,
    /// The time of all attempts of the instance that took longest.
    longest: Duration,
}

#[derive(Debug)]
pub(super) struct World<'a> {
    plan: &'a Plan<'a>,
    draws: Draws,
    now: Duration,
    agenda: Agenda,
    ledger: Ledger,
    /// Which machines jobs have found faulty, by the number of each job.
    votes: Cluster<usize>,
    n_open: u32,
    jobs: BTreeMap<usize, Active>,
    /// The job and task of each unit, by number.
    units: Vec<(usize, TaskIdx)>,
    workers: Vec<Option<Worker>>,
    by_grant: BTreeMap<GrantId, WorkerId>,
    /// The time of those attempts of each instance that were lost.
    lost: BTreeMap<(usize, TaskIdx, u32), Duration>,
    unbalanced: BTreeSet<usize>,
    meter: Meter,
    tally: Tally,
    is_ticking: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(plan: &'a Plan<'a>, faults: Faults) -> Result<Self, BatchError> {
        let mut ledger = Ledger::new(REVOKE_GRACE);
        if !plan.tenants.is_empty() {
            ledger.set_quotas(&quotas(plan)?, Duration::ZERO);
        }
        let capacity = plan.settings.fleet.capacity();
        for number in 0..plan.n_machines {
            ledger.step(machine(MachineId(number), capacity, true), Duration::ZERO);
        }
        let mut agenda = Agenda::default();
        for (job, arrival) in plan.arrivals.iter().enumerate() {
            agenda.enter(*arrival, Occurrence::Arrival { job });
        }
        Ok(Self {
            plan,
            draws: Draws::new(faults, plan.settings.seed, plan.n_machines),
            now: Duration::ZERO,
            agenda,
            ledger,
            votes: Cluster::default(),
            n_open: plan.n_machines,
            jobs: BTreeMap::new(),
            units: Vec::new(),
            workers: Vec::new(),
            by_grant: BTreeMap::new(),
            lost: BTreeMap::new(),
            unbalanced: BTreeSet::new(),
            meter: Meter::default(),
            tally: Tally::new(plan.workload.jobs.len(), plan.n_machines),
            is_ticking: false,
        })
    }

    /// Lets everything happen until the last job has ended.
    pub(super) fn run(mut self, progress: &mut impl FnMut(Progress)) -> Result<BatchReport, BatchError> {
        let (all, mut told, mut idle_ticks) = (self.plan.n_instances(), 0, 0);
        while self.tally.n_ended() < self.plan.workload.jobs.len() {
            let Some((at, occurrence)) = self.agenda.next() else { return Err(self.stuck()) };
            self.meter.advance(at);
            self.now = at;
            let is_idle = occurrence == Occurrence::Tick && self.agenda.is_empty();
            idle_ticks = if is_idle { idle_ticks + 1 } else { 0 };
            if idle_ticks > MOST_IDLE_TICKS {
                return Err(self.stuck());
            }
            self.handle(occurrence);
            self.balance();
            if self.tally.successes >= told + PROGRESS_STEP {
                told = self.tally.successes;
                progress(Progress { done: told, all });
            }
        }
        Ok(report::of(self.plan, (self.draws.faults, self.tally), &self.meter))
    }

    fn stuck(&self) -> BatchError {
        let waiting = self.jobs.iter().filter(|(_, job)| !job.has_ended);
        let names: Vec<&str> = waiting.map(|(job, _)| self.plan.workload.jobs[*job].name.as_str()).collect();
        BatchError::Stuck { count: names.len(), job: names.first().copied().unwrap_or_default().to_owned() }
    }

    fn handle(&mut self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::Arrival { job } => self.arrive(job),
            Occurrence::Hello { worker } => self.hello(worker),
            Occurrence::Ended { worker, attempt, fate } => self.ended(worker, attempt, fate),
            Occurrence::Recalled { worker } => self.recalled(worker),
            Occurrence::Gone { worker } => self.gone(worker),
            Occurrence::Write { job } => self.write(job),
            Occurrence::Stored { job, version } => self.stored(job, version),
            Occurrence::Tick => self.tick(),
        }
    }

    fn arrive(&mut self, number: usize) {
        let job = &self.plan.workload.jobs[number];
        // The importer has checked it by the same rules.
        let Ok(core) = Job::try_new(&job.spec, &DagJobStatus::default()) else { return };
        let quota = self.plan.tenant_of[number].and_then(|tenant| u32::try_from(tenant).ok()).map(QuotaId);
        let party = PartyId(number as u64);
        let mut tasks = Vec::new();
        for (index, task) in job.tasks.iter().enumerate() {
            let unit = UnitId(self.units.len() as u64);
            self.units.push((number, TaskIdx(index)));
            let maximum = u32::try_from(task.durations.len()).unwrap_or(u32::MAX);
            let definition = Definition {
                shape: task.shape(),
                priority: 0,
                maximum,
                quota,
                party: Some(party),
                gang: None,
            };
            self.tell_ledger(LedgerEvent::Define { unit, definition });
            tasks.push(TaskState { asks: Asks::new(unit), released: None, longest: Duration::ZERO });
        }
        let active = Active { core, tasks, writes: Writes::default(), write_at: None, has_ended: false };
        self.jobs.insert(number, active);
        self.count_machines(number);
        self.unbalanced.insert(number);
        self.plan_write(number);
        if number + 1 == self.plan.arrivals.len() {
            self.tally.until_last_arrival = (self.now, self.meter.totals());
        }
        if !self.is_ticking {
            self.is_ticking = true;
            self.agenda.enter(self.now + TICK, Occurrence::Tick);
        }
    }

    fn tick(&mut self) {
        let jobs: Vec<usize> = self.jobs.keys().copied().collect();
        for job in jobs {
            self.tell(job, Event::Tick);
        }
        self.tell_ledger(LedgerEvent::Tick);
        self.look_after_machines();
        self.is_ticking = !self.jobs.is_empty();
        if self.is_ticking {
            self.agenda.enter(self.now + TICK, Occurrence::Tick);
        }
    }

    /// Tells a job how many machines there are.
    fn count_machines(&mut self, number: usize) {
        if self.plan.settings.avoidance == Avoidance::On {
            self.tell(number, Event::Machines(self.n_open));
        }
    }

    /// Counts the jobs' votes, and closes or opens machines by them.
    fn look_after_machines(&mut self) {
        for (number, job) in &self.jobs {
            self.votes.vote(number, job.core.blamed(), self.now);
        }
        let changes = self.votes.review(self.plan.n_machines, self.now);
        for Change { machine: id, verdict } in &changes {
            self.n_open = if verdict.is_some() { self.n_open - 1 } else { self.n_open + 1 };
            let capacity = self.plan.settings.fleet.capacity();
            self.tell_ledger(machine(*id, capacity, verdict.is_none()));
        }
        if !changes.is_empty() {
            let jobs: Vec<usize> = self.jobs.keys().copied().collect();
            jobs.into_iter().for_each(|job| self.count_machines(job));
        }
    }

    /// Lets a job's engine take a step and does what it owes.
    fn tell(&mut self, number: usize, event: Event) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        for decision in job.core.step(event, self.now) {
            match decision {
                Decision::Assign { worker, attempts, .. } => self.assign(worker, attempts),
                Decision::Recall { worker } => {
                    let at = self.now + self.plan.settings.latencies.hand_over;
                    self.agenda.enter(at, Occurrence::Recalled { worker });
                }
                // A worker's memory of what it has told needs no room here.
                Decision::Ack { .. } => {}
                Decision::Stop { worker } => self.stop(worker),
            }
        }
        self.unbalanced.insert(number);
        self.plan_write(number);
    }

    /// Enters the next write of a job's status, if one is due that is not entered yet.
    fn plan_write(&mut self, number: usize) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        if job.has_ended || job.core.is_stored() {
            return;
        }
        let Some(due) = job.writes.due(job.core.is_urgent()) else { return };
        let due = due.max(self.now);
        if job.write_at.is_none_or(|at| due < at) {
            job.write_at = Some(due);
            self.agenda.enter(due, Occurrence::Write { job: number });
        }
    }

    fn write(&mut self, number: usize) {
        let now = self.now;
        let Some(job) = self.jobs.get_mut(&number).filter(|job| job.write_at == Some(now)) else { return };
        job.write_at = None;
        job.writes.begin(now);
        let version = job.core.version();
        self.agenda
            .enter(now + self.plan.settings.latencies.store, Occurrence::Stored { job: number, version });
    }

    fn stored(&mut self, number: usize, version: u64) {
        if let Some(job) = self.jobs.get_mut(&number) {
            job.writes.stored(self.now);
        }
        self.tell(number, Event::Stored { version });
        let Some(job) = self.jobs.get_mut(&number) else { return };
        if !job.has_ended && job.core.is_stored() && job.core.outcome().is_some() {
            job.has_ended = true;
            self.votes.vote(&number, job.core.blamed(), self.now);
            let succeeded = job.core.outcome() == Some(&Outcome::Succeeded);
            let counted = job.core.task_status().values().map(|task| u64::from(task.succeeded)).sum();
            let longest: Vec<Duration> = job.tasks.iter().map(|task| task.longest).collect();
            let (_, critical_path) = chain(&self.plan.workload.jobs[number].tasks, &longest);
            self.tally.job_ended(number, JobEnd { at: self.now, succeeded, critical_path }, counted);
        }
        self.forget_if_over(number);
    }

    /// Drops a job when neither it nor a worker of it needs anything more.
    fn forget_if_over(&mut self, number: usize) {
        let is_over = |job: &&Active| job.has_ended && job.core.n_workers() == 0;
        if self.jobs.get(&number).filter(is_over).is_none() {
            return;
        }
        let job = self.jobs.remove(&number);
        for task in job.into_iter().flat_map(|job| job.tasks) {
            self.tell_ledger(LedgerEvent::UnitGone { unit: task.asks.unit() });
        }
    }

    /// Brings what is asked of the ledger in line with what the jobs can use.
    fn balance(&mut self) {
        while let Some(number) = self.unbalanced.pop_first() {
            let Some(job) = self.jobs.get_mut(&number) else { continue };
            let mut asked = Vec::new();
            for task in job.core.tasks() {
                let wanted = job.core.n_missing_workers(task);
                let state = &mut job.tasks[task.0];
                if wanted > 0 {
                    state.released.get_or_insert(self.now);
                }
                asked.extend(state.asks.avoid(job.core.avoided(task)));
                asked.extend(state.asks.balance(wanted));
            }
            for ask in asked {
                if let LedgerEvent::Ask { delta, .. } = ask {
                    let waiting = &mut self.meter.levels.waiting;
                    *waiting = waiting.saturating_add_signed(delta);
                }
                self.tell_ledger(ask);
            }
        }
    }

    fn tell_ledger(&mut self, event: LedgerEvent) {
        for decision in self.ledger.step(event, self.now) {
            match decision {
                LedgerDecision::Grant { grant, unit, machine } => self.granted(grant, unit, machine),
                LedgerDecision::Revoke { grant, .. } => self.revoked(grant),
                // Every ask arrives here.
                LedgerDecision::Resync { .. } => {}
            }
        }
    }

    fn granted(&mut self, grant: GrantId, unit: UnitId, machine: MachineId) {
        let Some((number, task)) =
            usize::try_from(unit.0).ok().and_then(|unit| self.units.get(unit)).copied()
        else {
            return;
        };
        self.meter.levels.waiting = self.meter.levels.waiting.saturating_sub(1);
        if let Some(job) = self.jobs.get_mut(&number) {
            job.tasks[task.0].asks.granted();
        }
        self.start_worker((number, task), grant, machine);
    }

    fn revoked(&mut self, grant: GrantId) {
        self.tally.revokes += 1;
        let Some(worker) = self.by_grant.get(&grant).copied() else { return };
        let Some(number) = self.worker(worker).map(|worker| worker.job) else { return };
        self.tell(number, Event::Drain { worker });
    }

    fn shape(&self, job: usize, task: TaskIdx) -> Resources {
        self.plan.workload.jobs[job].tasks[task.0].shape()
    }
}

fn machine(machine: MachineId, capacity: Resources, is_open: bool) -> LedgerEvent {
    LedgerEvent::Machine { machine, rack: RackId(machine.0 / MACHINES_PER_RACK), capacity, is_open }
}

/// A quota for each tenant: it is sure of an equal part of the cores, and may use what others leave.
fn quotas(plan: &Plan<'_>) -> Result<QuotaTree, BatchError> {
    let all = plan.settings.fleet.capacity().times(plan.n_machines);
    let n_tenants = plan.tenants.len() as u64;
    let min = Resources { cpu: MilliCpu(all.cpu.0 / n_tenants), ..Resources::default() };
    let quota = |(id, name): (u32, &String)| Quota {
        id: QuotaId(id),
        name: name.clone(),
        parent: None,
        min,
        max: Resources::UNLIMITED,
        weight: 1,
    };
    let quotas = (0..).zip(&plan.tenants).map(quota).collect();
    QuotaTree::try_new(quotas, &ResourceNames::default(), Some(all))
        .map_err(|source| BatchError::Quotas { source })
}
