//! A job's master in a world where messages are repeated, reordered between workers and lost, workers die, and the
//! master itself is killed at any moment.

mod act;
mod backups;
mod elsewhere;
mod hellos;
mod world;

use std::time::Duration;

use proptest::prelude::*;

use act::{Act, act};
use model::dagjob::{
    DagJobSpec, DagJobStatus, DesiredState, Input, InputStatus, JobPhase, SuccessPolicy, Task,
};
use world::World;

use super::{Decision, Event, Job, Listed, Outcome, WorkerId};
use crate::blame::Fault;
use crate::dag::TaskIdx;
use crate::grants::MachineId;
use crate::protocol::{Attempt, AttemptResult, Exit, LISTING};

/// The machine of all workers, where there is one.
const HERE: MachineId = MachineId(0);

pub(super) fn spec(tasks: &[(&str, u32, &[&str])]) -> DagJobSpec {
    let task = |(name, instances, parents): &(&str, u32, &[&str])| Task {
        name: (*name).to_owned(),
        instances: *instances,
        depends_on: parents.iter().map(|parent| (*parent).to_owned()).collect(),
        image: "tools".to_owned(),
        command: vec!["true".to_owned()],
        max_attempts: 3,
        ..Task::default()
    };
    DagJobSpec { tasks: tasks.iter().map(task).collect(), ..DagJobSpec::default() }
}

const DIAMOND: [(&str, u32, &[&str]); 4] = [
    ("split", 7, &[]),
    ("left", 16, &["split"]),
    ("right", 11, &["split"]),
    ("merge", 1, &["left", "right"]),
];

fn result(index: u32, number: u32, exit: Exit) -> AttemptResult {
    let attempt = Attempt { index, number };
    AttemptResult {
        attempt,
        exit,
        duration_ms: 1,
        gap_micros: None,
        usage: None,
        tail: "no room\n".to_owned(),
    }
}

fn told(worker: u64, result: AttemptResult) -> Event {
    Event::Results { worker: WorkerId(worker), results: vec![result] }
}

fn hello(worker: u64) -> Event {
    Event::Hello { worker: WorkerId(worker), held: Vec::new(), results: Vec::new(), full: false }
}

#[test]
fn an_acknowledgement_waits_for_the_store_and_so_does_the_child_task() {
    let mut job = Job::try_new(&spec(&[("a", 1, &[]), ("b", 1, &["a"])]), &DagJobStatus::default()).unwrap();
    let now = Duration::ZERO;
    assert_eq!(job.n_missing_workers(TaskIdx(0)), 1);
    job.step(Event::Created { worker: WorkerId(1), task: TaskIdx(0), machine: HERE }, now);
    assert_eq!(job.n_missing_workers(TaskIdx(0)), 0);
    let first = Attempt { index: 0, number: 1 };
    assert_eq!(
        job.step(hello(1), now),
        [Decision::Assign { worker: WorkerId(1), task: TaskIdx(0), attempts: vec![first] }]
    );
    let ended = told(1, result(0, 1, Exit::Code(0)));
    assert_eq!(job.step(ended, now), []);
    assert!(job.is_urgent());
    assert_eq!(job.n_missing_workers(TaskIdx(1)), 0);
    let version = job.version();
    assert_eq!(
        job.step(Event::Stored { version }, now),
        [
            Decision::Ack { worker: WorkerId(1), attempts: vec![first] },
            Decision::Stop { worker: WorkerId(1) }
        ]
    );
    assert_eq!(job.n_missing_workers(TaskIdx(1)), 1);
}

#[test]
fn a_command_that_cannot_run_fails_the_job_with_its_words() {
    let mut job = Job::try_new(&spec(&[("a", 1000, &[])]), &DagJobStatus::default()).unwrap();
    job.step(Event::Created { worker: WorkerId(1), task: TaskIdx(0), machine: HERE }, Duration::ZERO);
    job.step(hello(1), Duration::ZERO);
    for number in 1..=3 {
        assert_eq!(job.outcome(), None);
        let exit = Exit::NotStarted { code: 127, message: "cannot run `frobnicate`".to_owned() };
        job.step(told(1, result(0, number, exit)), Duration::ZERO);
    }
    let message = "instance 0 attempt 3: exit code 127: cannot run `frobnicate`: no room".to_owned();
    assert_eq!(job.outcome(), Some(&Outcome::Failed { task: TaskIdx(0), message }));
}

#[test]
fn a_task_may_start_while_those_before_it_run_on() {
    let mut spec = spec(&[("a", 4, &[]), ("b", 1, &["a"])]);
    spec.tasks[1].start_at_percent = Some(50);
    let mut job = Job::try_new(&spec, &DagJobStatus::default()).unwrap();
    job.step(Event::Created { worker: WorkerId(1), task: TaskIdx(0), machine: HERE }, Duration::ZERO);
    job.step(hello(1), Duration::ZERO);
    for index in 0..2 {
        assert_eq!(job.n_missing_workers(TaskIdx(1)), 0);
        job.step(told(1, result(index, 1, Exit::Code(0))), Duration::ZERO);
    }
    assert_eq!(job.n_missing_workers(TaskIdx(1)), 0, "not before it is stored");
    assert!(job.is_urgent());
    let version = job.version();
    job.step(Event::Stored { version }, Duration::ZERO);
    assert_eq!(job.n_missing_workers(TaskIdx(1)), 1);
    let status = DagJobStatus { tasks: job.task_status(), ..DagJobStatus::default() };
    assert_eq!(Job::try_new(&spec, &status).unwrap().n_missing_workers(TaskIdx(1)), 1, "nor after a restart");
}

/// Assigned to `worker`, as indexes.
fn assigned(owed: &[Decision], to: u64) -> Vec<u32> {
    let of = |decision: &Decision| match decision {
        Decision::Assign { worker, attempts, .. } if *worker == WorkerId(to) => attempts.clone(),
        _ => Vec::new(),
    };
    owed.iter().flat_map(of).map(|attempt| attempt.index).collect()
}

/// A job of one task of 40 instances whose first worker has ended the first, which took it 10 ms.
fn underway() -> (Job, Vec<Decision>) {
    let mut job = Job::try_new(&spec(&[("a", 40, &[])]), &DagJobStatus::default()).unwrap();
    for worker in 1..=2 {
        job.step(
            Event::Created { worker: WorkerId(worker), task: TaskIdx(0), machine: HERE },
            Duration::ZERO,
        );
    }
    assert_eq!(assigned(&job.step(hello(1), Duration::ZERO), 1), [0], "one, as long as nothing is known");
    let owed = job.step(told(1, result(0, 1, Exit::Code(0))), Duration::from_millis(10));
    (job, owed)
}

#[test]
fn a_worker_holds_what_it_should_end_within_a_moment_but_no_more_than_its_share() {
    let (mut job, owed) = underway();
    assert_eq!(assigned(&owed, 1), (1..=9).collect::<Vec<_>>(), "a quarter of 39, as there are two workers");
    let owed = job.step(hello(2), Duration::from_millis(10));
    assert_eq!(assigned(&owed, 2), (10..=16).collect::<Vec<_>>(), "and a quarter of what is left");
    assert_eq!(job.task_status()["a"].running, 2, "what waits with a worker does not run");
}

#[test]
fn what_a_worker_has_not_begun_goes_to_those_who_are_idle() {
    let (mut job, _) = underway();
    let mut now = Duration::from_millis(10);
    let mut held: Vec<u32> = assigned(&job.step(hello(2), now), 2);
    // The first worker is stuck with its second instance, and the other one does all the rest.
    let recall = Decision::Recall { worker: WorkerId(1) };
    let mut owed = Vec::new();
    while !held.is_empty() {
        assert!(!owed.contains(&recall), "not before somebody is idle");
        now += Duration::from_millis(10);
        owed = job.step(told(2, result(held.remove(0), 1, Exit::Code(0))), now);
        held.extend(assigned(&owed, 2));
    }
    assert_eq!(owed, [recall], "and the idle one is kept");
    let attempts = (2..=9).map(|index| Attempt { index, number: 1 }).collect();
    let owed = job.step(Event::Returned { worker: WorkerId(1), attempts }, now);
    assert_eq!(assigned(&owed, 2), [2, 3], "a quarter of eight");
    assert_eq!(job.task_status()["a"].retries, "", "none of them was tried");
}

#[test]
fn of_what_a_lost_worker_held_only_the_oldest_counts_as_tried() {
    let (mut job, _) = underway();
    job.step(
        Event::Gone { worker: WorkerId(1), reason: "killed".to_owned(), fault: Fault::Machine },
        Duration::ZERO,
    );
    let status = &job.task_status()["a"];
    assert_eq!((status.failed_attempts, status.retries.as_str()), (1, "1:0/1"));
    let owed = job.step(hello(2), Duration::ZERO);
    assert_eq!(assigned(&owed, 2)[..2], [1, 2], "what came back goes first");
}

#[test]
fn a_pause_and_a_drain_recall_what_is_not_begun() {
    for event in [Event::Want(DesiredState::Paused), Event::Drain { worker: WorkerId(1) }] {
        let (mut job, _) = underway();
        let owed = job.step(event, Duration::ZERO);
        assert!(owed.contains(&Decision::Recall { worker: WorkerId(1) }), "{owed:?}");
    }
}

#[test]
fn a_drained_worker_ends_what_it_runs_and_gets_nothing_more() {
    let mut job = Job::try_new(&spec(&[("a", 9, &[])]), &DagJobStatus::default()).unwrap();
    job.step(Event::Created { worker: WorkerId(1), task: TaskIdx(0), machine: HERE }, Duration::ZERO);
    job.step(hello(1), Duration::ZERO);
    assert_eq!(job.step(Event::Drain { worker: WorkerId(1) }, Duration::ZERO), []);
    job.step(told(1, result(0, 1, Exit::Code(0))), Duration::ZERO);
    let version = job.version();
    let owed = job.step(Event::Stored { version }, Duration::ZERO);
    assert_eq!(owed.last(), Some(&Decision::Stop { worker: WorkerId(1) }));
}

#[test]
fn who_only_waits_for_the_store_takes_what_comes_back() {
    let mut job = Job::try_new(&spec(&[("a", 2, &[])]), &DagJobStatus::default()).unwrap();
    for worker in 1..=3 {
        job.step(
            Event::Created { worker: WorkerId(worker), task: TaskIdx(0), machine: HERE },
            Duration::ZERO,
        );
    }
    job.step(hello(1), Duration::ZERO);
    let last = job.step(hello(2), Duration::ZERO);
    assert_eq!(last[1..], [Decision::Stop { worker: WorkerId(3) }], "nothing is left for it");
    let told = told(1, result(0, 1, Exit::Code(0)));
    assert_eq!(job.step(told, Duration::ZERO), [], "its result is not stored");
    let gone = Event::Gone { worker: WorkerId(2), reason: "killed".to_owned(), fault: Fault::Machine };
    let attempt = Attempt { index: 1, number: 2 };
    let again = Decision::Assign { worker: WorkerId(1), task: TaskIdx(0), attempts: vec![attempt] };
    assert_eq!(job.step(gone, Duration::ZERO), [again]);
}

#[test]
fn an_attempt_far_beyond_its_limit_is_given_up_with_its_worker() {
    let mut limited = spec(&[("a", 1, &[])]);
    limited.tasks[0].timeout_seconds = Some(5);
    let mut job = Job::try_new(&limited, &DagJobStatus::default()).unwrap();
    job.step(Event::Created { worker: WorkerId(1), task: TaskIdx(0), machine: HERE }, Duration::ZERO);
    job.step(hello(1), Duration::ZERO);
    assert_eq!(job.step(Event::Tick, Duration::from_secs(34)), []);
    assert_eq!(job.step(Event::Tick, Duration::from_secs(36)), [Decision::Stop { worker: WorkerId(1) }]);
    assert_eq!(job.task_status()["a"].retries, "0:0/1");
}

#[test]
fn a_pause_lets_end_what_runs_and_lets_go_of_the_rest() {
    let mut job = Job::try_new(&spec(&[("a", 9, &[])]), &DagJobStatus::default()).unwrap();
    for worker in 1..=2 {
        job.step(
            Event::Created { worker: WorkerId(worker), task: TaskIdx(0), machine: HERE },
            Duration::ZERO,
        );
    }
    job.step(hello(1), Duration::ZERO);
    let paused = job.step(Event::Want(DesiredState::Paused), Duration::ZERO);
    assert_eq!(paused, [Decision::Stop { worker: WorkerId(2) }], "who has not begun is let go");
    assert_eq!((job.phase(), job.n_missing_workers(TaskIdx(0))), (JobPhase::Paused, 0));
    job.step(told(1, result(0, 1, Exit::Code(0))), Duration::ZERO);
    let version = job.version();
    let owed = job.step(Event::Stored { version }, Duration::ZERO);
    assert_eq!(owed.last(), Some(&Decision::Stop { worker: WorkerId(1) }));
    job.step(
        Event::Gone { worker: WorkerId(1), reason: "ended".to_owned(), fault: Fault::Machine },
        Duration::ZERO,
    );
    job.step(
        Event::Gone { worker: WorkerId(2), reason: "ended".to_owned(), fault: Fault::Machine },
        Duration::ZERO,
    );
    job.step(Event::Want(DesiredState::Running), Duration::ZERO);
    assert_eq!((job.phase(), job.n_missing_workers(TaskIdx(0))), (JobPhase::Running, 8));
}

#[test]
fn a_cancelled_job_ends_at_once_and_can_begin_again_where_it_was() {
    let mut spec = spec(&[("a", 3, &[])]);
    let mut job = Job::try_new(&spec, &DagJobStatus::default()).unwrap();
    job.step(Event::Created { worker: WorkerId(1), task: TaskIdx(0), machine: HERE }, Duration::ZERO);
    job.step(hello(1), Duration::ZERO);
    job.step(told(1, result(0, 1, Exit::Code(0))), Duration::ZERO);
    job.step(told(1, result(1, 1, Exit::Code(1))), Duration::ZERO);
    let owed = job.step(Event::Want(DesiredState::Cancelled), Duration::ZERO);
    assert_eq!(owed, [Decision::Stop { worker: WorkerId(1) }]);
    assert_eq!((job.outcome(), job.phase()), (Some(&Outcome::Cancelled), JobPhase::Cancelled));
    assert_eq!(job.step(Event::Want(DesiredState::Running), Duration::ZERO), [], "an end stands");

    let status = DagJobStatus { phase: job.phase(), tasks: job.task_status(), ..DagJobStatus::default() };
    spec.desired_state = DesiredState::Cancelled;
    let found = Job::try_new(&spec, &status).unwrap();
    assert_eq!(found.outcome(), Some(&Outcome::Cancelled), "also after a restart");
    spec.desired_state = DesiredState::Running;
    let again = Job::try_new(&spec, &status.begun_again(1)).unwrap();
    assert_eq!((again.outcome(), again.n_missing_workers(TaskIdx(0))), (None, 2));
    assert_eq!(again.task_status()["a"].retries, "", "all attempts anew");
}

/// A task of ten instances, of which `failing` fail each time, run by one worker as long as the job lets it.
fn with_policy(policy: &SuccessPolicy, failing: &[u32]) -> Job {
    let mut spec = spec(&[("a", 10, &[]), ("b", 1, &["a"])]);
    spec.tasks[0].success_policy = Some(policy.clone());
    let mut job = Job::try_new(&spec, &DagJobStatus::default()).unwrap();
    job.step(Event::Created { worker: WorkerId(1), task: TaskIdx(0), machine: HERE }, Duration::ZERO);
    let mut owed = job.step(hello(1), Duration::ZERO);
    while let Some(Decision::Assign { attempts, .. }) = owed.pop() {
        for attempt in attempts {
            let exit = Exit::Code(i32::from(failing.contains(&attempt.index)));
            owed.extend(job.step(told(1, result(attempt.index, attempt.number, exit)), Duration::ZERO));
        }
        let version = job.version();
        owed.extend(job.step(Event::Stored { version }, Duration::ZERO));
        owed.retain(|decision| matches!(decision, Decision::Assign { .. }));
    }
    job
}

#[test]
fn so_many_may_fail_as_the_policy_says() {
    let policy = SuccessPolicy { max_failed_percent: 20, fail_fast: None };
    let job = with_policy(&policy, &[3, 7]);
    assert_eq!((job.outcome(), job.n_missing_workers(TaskIdx(1))), (None, 1), "the next task begins");
    let status = &job.task_status()["a"];
    assert_eq!((status.succeeded, status.failed, status.failed_instances.as_str()), (8, 2, "3,7"));
    assert_eq!((status.finished.as_str(), status.retries.as_str()), ("0-2,4-6,8-9", ""));
    assert_eq!(status.failures[1].message, "instance 7 attempt 3: exit code 1: no room");

    let job = with_policy(&policy, &[3, 5, 7]);
    let Some(Outcome::Failed { message, .. }) = job.outcome() else { panic!("{:?}", job.outcome()) };
    let expected = "3 of 10 instances failed, and successPolicy.maxFailedPercent 20 allows 2; \
                    the last: instance 7 attempt 3: exit code 1: no room";
    assert_eq!(message, expected);
    assert_eq!(job.task_status()["a"].succeeded, 5, "what comes after is not begun");

    let patient = SuccessPolicy { fail_fast: Some(false), ..policy };
    let job = with_policy(&patient, &[0, 5, 7]);
    assert_eq!(job.task_status()["a"].succeeded, 7, "all others are run");
    assert_eq!((job.phase(), job.n_missing_workers(TaskIdx(1))), (JobPhase::Failed, 0));
}

#[test]
fn what_failed_for_good_is_not_run_again_after_a_restart_but_by_a_retry() {
    let policy = SuccessPolicy { max_failed_percent: 30, fail_fast: None };
    let mut spec = spec(&[("a", 10, &[]), ("b", 1, &["a"])]);
    spec.tasks[0].success_policy = Some(policy.clone());
    let job = with_policy(&policy, &[3, 7]);
    let status = DagJobStatus { tasks: job.task_status(), ..DagJobStatus::default() };
    let again = Job::try_new(&spec, &status).unwrap();
    assert_eq!(again.task_status()["a"], job.task_status()["a"]);
    assert_eq!((again.n_missing_workers(TaskIdx(0)), again.n_missing_workers(TaskIdx(1))), (0, 1));
    let retried = Job::try_new(&spec, &status.begun_again(1)).unwrap();
    assert_eq!((retried.n_unfinished(TaskIdx(0)), retried.n_missing_workers(TaskIdx(1))), (2, 0));
}

/// A task whose instances are files, and one that waits for half of them.
fn listing() -> DagJobSpec {
    let mut spec = spec(&[("a", 0, &[]), ("b", 1, &["a"])]);
    spec.tasks[0].input = Some(Input { files: Some("/data/*".to_owned()), ..Input::default() });
    spec.tasks[1].start_at_percent = Some(50);
    spec
}

fn list(worker: u64, count: u32) -> Event {
    let input = InputStatus { entries: count, list: "l".to_owned(), parts: 1 };
    let attempt = Attempt { index: LISTING, number: 1 };
    Event::Listed { task: TaskIdx(0), worker: WorkerId(worker), attempt, list: Listed { input, count } }
}

#[test]
fn instances_wait_for_their_list_to_be_stored() {
    let mut job = Job::try_new(&listing(), &DagJobStatus::default()).unwrap();
    assert_eq!((job.n_missing_workers(TaskIdx(0)), job.count(TaskIdx(0))), (1, None));
    job.step(Event::Created { worker: WorkerId(1), task: TaskIdx(0), machine: HERE }, Duration::ZERO);
    assert_eq!(assigned(&job.step(hello(1), Duration::ZERO), 1), [LISTING]);
    assert_eq!(job.step(list(1, 4), Duration::ZERO), [], "nothing before it is durable");
    assert_eq!((job.is_urgent(), job.n_missing_workers(TaskIdx(0))), (true, 3));
    let version = job.version();
    let owed = job.step(Event::Stored { version }, Duration::ZERO);
    assert!(matches!(owed[0], Decision::Ack { .. }), "{owed:?}");
    assert_eq!(assigned(&owed, 1), [0]);
    // Another list, which a worker took that was thought lost, changes nothing.
    job.step(list(7, 9), Duration::ZERO);
    assert_eq!(job.count(TaskIdx(0)), Some(4));
    let status = DagJobStatus { tasks: job.task_status(), ..DagJobStatus::default() };
    let again = Job::try_new(&listing(), &status).unwrap();
    assert_eq!((again.count(TaskIdx(0)), again.is_listing(TaskIdx(0))), (Some(4), false));
    for index in 0..2 {
        job.step(told(1, result(index, 1, Exit::Code(0))), Duration::ZERO);
    }
    let version = job.version();
    job.step(Event::Stored { version }, Duration::ZERO);
    assert_eq!(job.n_missing_workers(TaskIdx(1)), 1, "half of four are done");
}

#[test]
fn a_list_without_entries_has_ended_well() {
    let mut job = Job::try_new(&listing(), &DagJobStatus::default()).unwrap();
    job.step(Event::Created { worker: WorkerId(1), task: TaskIdx(0), machine: HERE }, Duration::ZERO);
    job.step(hello(1), Duration::ZERO);
    job.step(list(1, 0), Duration::ZERO);
    let version = job.version();
    let owed = job.step(Event::Stored { version }, Duration::ZERO);
    assert_eq!(owed.last(), Some(&Decision::Stop { worker: WorkerId(1) }));
    assert_eq!((job.n_missing_workers(TaskIdx(0)), job.n_missing_workers(TaskIdx(1))), (0, 1));
}

#[test]
fn a_list_that_cannot_be_taken_fails_the_job() {
    let mut spec = listing();
    spec.tasks[0].success_policy = Some(SuccessPolicy { max_failed_percent: 100, fail_fast: None });
    let mut job = Job::try_new(&spec, &DagJobStatus::default()).unwrap();
    job.step(Event::Created { worker: WorkerId(1), task: TaskIdx(0), machine: HERE }, Duration::ZERO);
    job.step(hello(1), Duration::ZERO);
    for number in 1..=3 {
        job.step(told(1, result(LISTING, number, Exit::Code(1))), Duration::ZERO);
    }
    let message = "taking the input list, attempt 3: exit code 1: no room".to_owned();
    assert_eq!(job.outcome(), Some(&Outcome::Failed { task: TaskIdx(0), message }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn nothing_is_lost_or_counted_twice(
        acts in prop::collection::vec(act(), 1..160),
        percents in prop::array::uniform4(prop::option::of(1_u32..=100)),
        policies in prop::array::uniform4(prop::option::of((0_u32..=60, any::<bool>()))),
        lists in prop::array::uniform4(any::<bool>()),
        backup in any::<bool>(),
        n_machines in 1_u32..5,
    ) {
        let mut diamond = spec(&DIAMOND);
        for (task, (policy, has_list)) in diamond.tasks.iter_mut().zip(policies.into_iter().zip(lists)) {
            task.success_policy = policy.map(|(max_failed_percent, fail_fast)| SuccessPolicy { max_failed_percent, fail_fast: Some(fail_fast) });
            if has_list {
                task.input = Some(Input { files: Some("/data".to_owned()), ..Input::default() });
                task.instances = 0;
            }
        }
        for (task, percent) in diamond.tasks.iter_mut().zip(percents) {
            task.start_at_percent = percent;
            task.backup = backup;
        }
        let mut world = World::new(diamond, n_machines);
        for act in acts {
            world.perform(&act);
        }
        world.settle();
        prop_assert_eq!(world.verdict(), Ok(()));
    }

    #[test]
    fn without_failures_a_job_succeeds_and_runs_nothing_twice_that_was_stored(
        acts in prop::collection::vec(act().prop_filter("kind", |act| !matches!(act, Act::Finish { ok: false, .. } | Act::Kill(_))), 1..160),
        n_machines in 1_u32..5,
    ) {
        let mut world = World::new(spec(&DIAMOND), n_machines);
        for act in acts {
            world.perform(&act);
        }
        world.settle();
        prop_assert_eq!(world.verdict(), Ok(()));
        prop_assert_eq!(world.job.outcome(), Some(&Outcome::Succeeded));
        prop_assert!(world.runs.values().all(|runs| *runs == 1), "{:?}", world.runs);
    }
}

/// A worker of before a start that is drained is not disturbed before it is heard of, and gets nothing with its hello.
#[test]
fn who_is_drained_before_its_hello_ends_what_it_runs_and_gets_nothing_more() {
    let check = |held: &[Attempt], results: &[AttemptResult], expected: &[Decision]| {
        let mut job = Job::try_new(&spec(&[("a", 5, &[])]), &DagJobStatus::default()).unwrap();
        let (worker, now) = (WorkerId(1), Duration::ZERO);
        job.step(Event::Found { worker, task: TaskIdx(0), machine: HERE }, now);
        assert_eq!(job.step(Event::Drain { worker }, now), []);
        let mut owed =
            job.step(Event::Hello { worker, held: held.into(), results: results.into(), full: false }, now);
        owed.extend(job.step(Event::Stored { version: job.version() }, now));
        assert_eq!(owed, expected);
    };
    let (worker, first, second) =
        (WorkerId(1), Attempt { index: 0, number: 1 }, Attempt { index: 1, number: 1 });
    check(&[first], &[], &[]);
    check(&[first, second], &[], &[Decision::Recall { worker }]);
    let ended = [result(0, 1, Exit::Code(0))];
    check(&[], &ended, &[Decision::Ack { worker, attempts: vec![first] }, Decision::Stop { worker }]);
}
