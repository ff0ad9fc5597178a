//! What a Job owes: pods until enough ended well, an end when too many failed or time is up, and its status.

mod count;
mod failure;
pub(crate) mod indexes;
mod status;
mod success;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::tracking;
use crate::pods;

use count::Count;
use failure::Failures;

/// The pause after the first failure; it doubles with each further one in a row.
const FIRST_PAUSE: i64 = 10;
const LONGEST_PAUSE: i64 = 360;
/// As many pods at once as kube-controller-manager makes.
const BURST: usize = 500;

/// What is owed to the world.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// One entry per pod to make: its index in an indexed Job.
    pub(crate) create: Vec<Option<u32>>,
    pub(crate) delete: Vec<Arc<Pod>>,
    /// Pods that are to be counted, and that nothing holds until then.
    pub(crate) hold: Vec<Arc<Pod>>,
    /// Pods that may go at once: nobody counts them.
    pub(crate) release: Vec<Arc<Pod>>,
    /// Pods that may go once the status is stored, which counts them.
    pub(crate) release_counted: Vec<Arc<Pod>>,
    pub(crate) status: JobStatus,
    /// The Job itself is to go: it ended long enough ago.
    pub(crate) is_expired: bool,
    pub(crate) check_after: Option<Duration>,
    /// How often each index has failed, where that has a limit.
    pub(crate) n_failures: BTreeMap<u32, i32>,
    /// Said once, when the Job ends or is suspended.
    pub(crate) turn: Option<Turn>,
}

/// Why a Job is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Success {
    AllDone,
    /// Enough of it is, by the policy's rule at this position.
    Rule(usize),
}

/// What changes the course of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Completed(Success),
    Failed { reason: &'static str, message: String },
    Suspended,
    Resumed,
}

impl Turn {
    fn is_end(&self) -> bool {
        matches!(self, Self::Completed(_) | Self::Failed { .. })
    }
}

/// The Job's pods, by what became of them.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) active: Vec<Arc<Pod>>,
    pub(crate) terminating: Vec<Arc<Pod>>,
    pub(crate) succeeded: Vec<Arc<Pod>>,
    pub(crate) failures: Failures,
    pub(crate) n_succeeded: Count,
    pub(crate) n_failed: Count,
    /// Indexes of which a pod ended well, now or earlier.
    pub(crate) done: BTreeSet<u32>,
}

impl Tally {
    fn of(job: &Job, owned: &[Arc<Pod>], spec: &JobSpec) -> Self {
        let select =
            |keep: &dyn Fn(&Pod) -> bool| owned.iter().filter(|pod| keep(pod)).cloned().collect::<Vec<_>>();
        let succeeded = select(&|pod| pods::phase(pod) == "Succeeded");
        let status = job.status.clone().unwrap_or_default();
        let completions = spec.completions.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        let mut done = indexes::parse(status.completed_indexes.as_deref().unwrap_or(""), completions);
        let given_up = indexes::parse(status.failed_indexes.as_deref().unwrap_or(""), completions);
        done.extend(succeeded.iter().filter_map(|pod| indexes::of(pod)).filter(|&index| index < completions));
        let failures = Failures::of(spec, select(&failure::is_failure), given_up);
        let held = owned.iter().filter(|pod| tracking::is_held(pod));
        let held: HashSet<&str> = held.filter_map(|pod| pod.metadata.uid.as_deref()).collect();
        let listed = status.uncounted_terminated_pods.unwrap_or_default();
        let count = |counted: Option<i32>, listed: Option<Vec<String>>, ended: &[Arc<Pod>]| {
            Count::of((counted.unwrap_or(0), &listed.unwrap_or_default()), ended, &held)
        };
        let n_succeeded = if indexes::is_indexed(spec) {
            // The list of the indexes counts them, and names each only once.
            Count::of((count::number(done.len()), &[]), &[], &held)
        } else {
            count(status.succeeded, listed.succeeded, &succeeded)
        };
        Self {
            active: select(&pods::is_active),
            terminating: select(&|pod| pods::is_terminating(pod) && !tracking::is_over(pod)),
            n_failed: count(status.failed, listed.failed, &failures.counted),
            n_succeeded,
            failures,
            succeeded,
            done,
        }
    }
}

/// Decides on one Job. `owned` are its pods, ended ones included.
pub(crate) fn decide(job: &Job, owned: &[Arc<Pod>], now: Timestamp) -> Plan {
    let spec = job.spec.clone().unwrap_or_default();
    let tally = Tally::of(job, owned, &spec);
    if let Some(ended) = status::ended_at(job) {
        let release = owned.iter().filter(|pod| tracking::is_held(pod)).cloned().collect();
        return Plan { release, ..after_the_end(job, &spec, tally, (ended, now)) };
    }
    let turn = status::ending(job).or_else(|| turn(job, &spec, &tally, now));
    let mut plan = Plan::default();
    let is_stopped = spec.suspend == Some(true) || turn.as_ref().is_some_and(Turn::is_end);
    if job.metadata.deletion_timestamp.is_some() {
        // Its pods are the garbage collector's.
    } else if is_stopped {
        plan.delete.clone_from(&tally.active);
    } else {
        size(&spec, &tally, (now, &mut plan));
        plan.check_after = soonest(plan.check_after, deadline_left(job, &spec, now));
    }
    plan.status = status::status(job, &spec, &tally, (turn.as_ref(), now));
    // An end is said once all pods are gone.
    plan.turn = turn.filter(|turn| !turn.is_end() || status::has_ended(&plan.status));
    hold_and_release(job, owned, &tally, &mut plan);
    plan
}

/// Which pods are held until they are counted, and which are let go.
fn hold_and_release(job: &Job, owned: &[Arc<Pod>], tally: &Tally, plan: &mut Plan) {
    let (held, free): (Vec<_>, Vec<_>) = owned.iter().cloned().partition(|pod| tracking::is_held(pod));
    if job.metadata.deletion_timestamp.is_some() {
        // Nobody will ask how many there were.
        plan.release = held;
        return;
    }
    plan.hold = free.into_iter().filter(|pod| pods::is_active(pod)).collect();
    let counted: HashSet<Option<&String>> =
        tally.succeeded.iter().chain(&tally.failures.counted).map(|pod| pod.metadata.uid.as_ref()).collect();
    let is_counted = |pod: &Arc<Pod>| counted.contains(&pod.metadata.uid.as_ref());
    let over = held.into_iter().filter(|pod| tracking::is_over(pod));
    let (waiting, uncounted): (Vec<_>, Vec<_>) = over.partition(is_counted);
    plan.release = uncounted;
    let is_listed = |pod: &Arc<Pod>| !tally.n_succeeded.waits(pod) && !tally.n_failed.waits(pod);
    plan.release_counted = waiting.into_iter().filter(is_listed).collect();
}

/// A Job that ended only waits to be cleaned away.
fn after_the_end(job: &Job, spec: &JobSpec, tally: Tally, (ended, now): (Timestamp, Timestamp)) -> Plan {
    let status = job.status.clone().unwrap_or_default();
    let mut plan = Plan { status, delete: tally.active, ..Plan::default() };
    if let Some(ttl) = spec.ttl_seconds_after_finished {
        let left = ended.as_second().saturating_add(i64::from(ttl)) - now.as_second();
        plan.is_expired = left <= 0 && job.metadata.deletion_timestamp.is_none();
        plan.check_after = u64::try_from(left).ok().filter(|&left| left > 0).map(Duration::from_secs);
    }
    plan
}

fn turn(job: &Job, spec: &JobSpec, tally: &Tally, now: Timestamp) -> Option<Turn> {
    if let Some(reason) = failure(job, spec, tally, now) {
        return Some(reason);
    }
    if let Some(rule) = success::rule_met(spec, &tally.done) {
        return Some(Turn::Completed(Success::Rule(rule)));
    }
    if is_complete(spec, tally) {
        return Some(Turn::Completed(Success::AllDone));
    }
    match (spec.suspend == Some(true), status::is_suspended(job)) {
        (true, false) => Some(Turn::Suspended),
        (false, true) => Some(Turn::Resumed),
        _ => None,
    }
}

/// Why the Job is lost, if it is.
fn failure(job: &Job, spec: &JobSpec, tally: &Tally, now: Timestamp) -> Option<Turn> {
    let failed = |reason, message: &str| Some(Turn::Failed { reason, message: message.to_owned() });
    if let Some(message) = &tally.failures.fatal {
        return failed("PodFailurePolicy", message);
    }
    // Where each index has a limit of its own, the whole has none unless it says so.
    let default = if spec.backoff_limit_per_index.is_some() { i32::MAX } else { 6 };
    let limit = spec.backoff_limit.unwrap_or(default);
    if tally.n_failed.total() > limit || exceeds_restarts(spec, tally, limit) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if deadline(job, spec).is_some_and(|deadline| now.as_second() >= deadline) {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let (n_given_up, n_done) = (tally.failures.given_up.len(), tally.done.len());
    let most = spec.max_failed_indexes.and_then(|most| usize::try_from(most).ok());
    if spec.backoff_limit_per_index.is_none() || n_given_up == 0 {
        return None;
    }
    if most.is_some_and(|most| n_given_up > most) {
        return failed(
            "MaxFailedIndexesExceeded",
            "Job has exceeded the specified maximal number of failed indexes",
        );
    }
    let completions = spec.completions.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    if n_given_up + n_done >= completions { failed("FailedIndexes", "Job has failed indexes") } else { None }
}

/// Pods that restart in place fail by restarting.
fn exceeds_restarts(spec: &JobSpec, tally: &Tally, limit: i32) -> bool {
    let policy = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    let restarts: i32 = tally.active.iter().map(|pod| pods::restarts(pod)).fold(0, i32::saturating_add);
    policy == Some("OnFailure") && if limit == 0 { restarts > 0 } else { restarts >= limit }
}

fn is_complete(spec: &JobSpec, tally: &Tally) -> bool {
    let n_succeeded = tally.n_succeeded.total();
    match spec.completions {
        Some(completions) => n_succeeded >= completions,
        // A work queue: the first that ends well says that the work is done, the others may finish.
        None => n_succeeded > 0 && tally.active.is_empty(),
    }
}

/// Makes or takes away pods so that as many run as may.
fn size(spec: &JobSpec, tally: &Tally, (now, plan): (Timestamp, &mut Plan)) {
    let wanted = wanted(spec, tally);
    if tally.active.len() > wanted {
        let mut surplus = tally.active.clone();
        // What has run the shortest loses least.
        surplus.sort_by_key(|pod| {
            let created = pod.metadata.creation_timestamp.clone();
            (pods::phase(pod) == "Running", pods::ready_since(pod).is_some(), std::cmp::Reverse(created))
        });
        surplus.truncate(tally.active.len() - wanted);
        plan.delete = surplus;
        return;
    }
    // Who is to be replaced only once it has failed holds its place while it goes.
    let is_replaced_late = spec.pod_replacement_policy.as_deref() == Some("Failed");
    let going: &[Arc<Pod>] = if is_replaced_late { &tally.terminating } else { &[] };
    let missing = wanted.saturating_sub(tally.active.len() + going.len()).min(BURST);
    let has_own_pauses = spec.backoff_limit_per_index.is_some();
    let pause = if has_own_pauses { None } else { pause_left(tally, now) };
    if missing == 0 || pause.is_some() {
        plan.check_after = pause.filter(|_| missing > 0);
        return;
    }
    plan.create = if indexes::is_indexed(spec) {
        let there = tally.active.iter().chain(going);
        let mut taken: BTreeSet<u32> = there.filter_map(|pod| indexes::of(pod)).collect();
        if has_own_pauses {
            plan.n_failures.clone_from(&tally.failures.per_index);
            let pauses = pauses_by_index(tally, now);
            plan.check_after = pauses.values().min().copied();
            taken.extend(pauses.keys());
        }
        let completions = spec.completions.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        let is_open = |index: &u32| {
            !taken.contains(index) && !tally.done.contains(index) && !tally.failures.given_up.contains(index)
        };
        let open = (0..completions).filter(is_open);
        open.take(missing).map(Some).collect()
    } else {
        vec![None; missing]
    };
}

fn wanted(spec: &JobSpec, tally: &Tally) -> usize {
    let parallelism = spec.parallelism.unwrap_or(1).max(0);
    let wanted = match spec.completions {
        Some(completions) => {
            let given_up = i32::try_from(tally.failures.given_up.len()).unwrap_or(i32::MAX);
            parallelism.min(completions - tally.n_succeeded.total() - given_up)
        }
        // No pod follows the first that ended well.
        None if tally.n_succeeded.total() > 0 => {
            i32::try_from(tally.active.len()).unwrap_or(0).min(parallelism)
        }
        None => parallelism,
    };
    usize::try_from(wanted).unwrap_or(0)
}

/// The indexes whose next pod must wait, and how long.
fn pauses_by_index(tally: &Tally, now: Timestamp) -> BTreeMap<u32, Duration> {
    let mut ends: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for pod in &tally.failures.counted {
        if let Some(index) = indexes::of(pod) {
            ends.entry(index).or_default().push(ended_second(pod));
        }
    }
    // An index that ended well has no next pod, so that no success need be looked for.
    let left = |(index, ends): (u32, Vec<i64>)| Some((index, pause_after(&ends, now)?));
    ends.into_iter().filter_map(left).collect()
}

/// How long the next pod must wait after failures that no success came after.
fn pause_left(tally: &Tally, now: Timestamp) -> Option<Duration> {
    let last_success = tally.succeeded.iter().map(|pod| ended_second(pod)).max().unwrap_or(i64::MIN);
    let ends = tally.failures.counted.iter().map(|pod| ended_second(pod));
    let in_a_row: Vec<i64> = ends.filter(|&second| second > last_success).collect();
    pause_after(&in_a_row, now)
}

/// What is left of the pause after failures in a row that ended at these seconds.
fn pause_after(in_a_row: &[i64], now: Timestamp) -> Option<Duration> {
    let last = in_a_row.iter().max()?;
    let doublings = u32::try_from(in_a_row.len() - 1).unwrap_or(u32::MAX).min(10);
    let pause = (FIRST_PAUSE << doublings).min(LONGEST_PAUSE);
    let left = last.saturating_add(pause) - now.as_second();
    u64::try_from(left).ok().filter(|&left| left > 0).map(Duration::from_secs)
}

/// When the last container of an ended pod ended.
fn ended_second(pod: &Pod) -> i64 {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let ends = containers.into_iter().flatten().filter_map(|container| {
        let end = container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?;
        Some(end.0.as_second())
    });
    let created = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    ends.max().or_else(created).unwrap_or(0)
}

fn deadline(job: &Job, spec: &JobSpec) -> Option<i64> {
    let start = job.status.as_ref()?.start_time.as_ref().filter(|_| spec.suspend != Some(true))?;
    Some(start.0.as_second().saturating_add(spec.active_deadline_seconds?))
}

fn deadline_left(job: &Job, spec: &JobSpec, now: Timestamp) -> Option<Duration> {
    let Some(deadline) = deadline(job, spec) else {
        // Not started yet: the whole time is left.
        let whole = u64::try_from(spec.active_deadline_seconds?).ok()?;
        return Some(Duration::from_secs(whole + 1));
    };
    Some(Duration::from_secs(u64::try_from(deadline - now.as_second()).unwrap_or(0) + 1))
}

fn soonest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}
