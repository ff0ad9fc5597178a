//! Late instances that are begun a second time.

use std::time::Duration;

use model::dagjob::{DagJobSpec, DagJobStatus};

use super::{HERE, assigned, hello, result, spec, told};
use crate::blame::Fault;
use crate::dag::TaskIdx;
use crate::job::{Decision, Event, Job, Outcome, WorkerId};
use crate::protocol::{Attempt, Exit};

/// Ten instances of a task, of which nine are done and worker 2 still runs the last.
fn nearly_done() -> Job {
    nearly_done_of(&ten())
}

fn ten() -> DagJobSpec {
    let mut spec = spec(&[("a", 10, &[])]);
    spec.tasks[0].backup = true;
    spec
}

fn nearly_done_of(spec: &DagJobSpec) -> Job {
    let mut job = Job::try_new(spec, &DagJobStatus::default()).unwrap();
    for worker in [1, 2] {
        job.step(
            Event::Created { worker: WorkerId(worker), task: TaskIdx(0), machine: HERE },
            Duration::ZERO,
        );
        job.step(hello(worker), Duration::ZERO);
    }
    // The second instance is the late one.
    for index in [0].into_iter().chain(2..10) {
        job.step(told(1, result(index, 1, Exit::Code(0))), Duration::from_secs(1));
    }
    job
}

#[test]
fn a_late_instance_is_begun_a_second_time_and_who_is_outrun_is_stopped() {
    let mut job = nearly_done();
    assert_eq!(job.n_missing_workers(TaskIdx(0)), 0);
    let owed = job.step(Event::Tick, Duration::from_secs(4));
    assert_eq!(assigned(&owed, 1), [0; 0], "not yet");
    let owed = job.step(Event::Tick, Duration::from_secs(7));
    assert_eq!(assigned(&owed, 1), [1], "an idle one takes it");
    let owed = job.step(Event::Tick, Duration::from_secs(60));
    assert_eq!((assigned(&owed, 1), job.n_missing_workers(TaskIdx(0))), (vec![], 0), "once");
    let owed = job.step(told(1, result(1, 2, Exit::Code(0))), Duration::from_secs(61));
    assert!(owed.contains(&Decision::Stop { worker: WorkerId(2) }), "{owed:?}");
    assert_eq!((job.outcome(), job.task_status()["a"].backups), (Some(&Outcome::Succeeded), 1));
}

#[test]
fn a_late_instance_gets_another_worker_where_none_is_idle() {
    let mut job = nearly_done();
    let gone = Event::Gone { worker: WorkerId(1), reason: "let go".to_owned(), fault: Fault::Machine };
    job.step(gone, Duration::from_secs(2));
    assert_eq!(job.n_missing_workers(TaskIdx(0)), 0);
    job.step(Event::Tick, Duration::from_secs(7));
    assert_eq!(job.n_missing_workers(TaskIdx(0)), 1);
    job.step(Event::Created { worker: WorkerId(3), task: TaskIdx(0), machine: HERE }, Duration::from_secs(8));
    job.step(Event::Tick, Duration::from_secs(8));
    let owed = job.step(hello(3), Duration::from_secs(9));
    assert_eq!(assigned(&owed, 3), [1]);
    // The first one ends after all: its backup is stopped.
    let owed = job.step(told(2, result(1, 1, Exit::Code(0))), Duration::from_secs(10));
    assert!(owed.contains(&Decision::Stop { worker: WorkerId(3) }), "{owed:?}");
}

/// Its output goes into a store, as its input could come from one.
#[test]
fn who_fetches_or_puts_objects_is_not_late() {
    let mut spec = ten();
    let mut output = model::dagjob::Output::default();
    output.objects.url = "s3://place/".to_owned();
    spec.tasks[0].output = Some(output);
    let mut job = nearly_done_of(&spec);
    let seconds = Duration::from_secs;
    let command = |index, runs| {
        let attempt = Attempt { index, number: 1 };
        Event::Command { worker: WorkerId(2), attempt, runs }
    };
    let mut check = |event: Event, (at, until): (u64, u64), backed_up: &[u32]| {
        job.step(event.clone(), seconds(at));
        assert_eq!(assigned(&job.step(Event::Tick, seconds(until)), 1), backed_up, "{event:?}");
    };
    check(Event::Tick, (7, 60), &[]);
    check(command(1, true), (61, 64), &[]);
    // That long after it began it is being put.
    check(command(1, false), (65, 90), &[]);
    // Of another instance it says nothing of this one.
    check(command(5, true), (91, 120), &[]);
    check(command(1, true), (121, 125), &[]);
    check(Event::Tick, (125, 127), &[1]);
}
