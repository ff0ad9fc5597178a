//! What a hello can tell beside what a worker runs: a full disk, results after the end, and that not all were heard yet.

use std::time::Duration;

use super::{HERE, assigned, hello, result, spec};
use crate::dag::TaskIdx;
use crate::job::{Decision, Event, Job, Outcome, WorkerId};
use crate::protocol::{Attempt, AttemptResult, Exit};
use model::dagjob::DagJobStatus;

const NOW: Duration = Duration::ZERO;

fn with_workers(instances: u32, workers: u64) -> Job {
    let mut job = Job::try_new(&spec(&[("a", instances, &[])]), &DagJobStatus::default()).unwrap();
    for worker in 1..=workers {
        job.step(Event::Created { worker: WorkerId(worker), task: TaskIdx(0), machine: HERE }, NOW);
    }
    job
}

/// A worker that has filled its disk gets nothing more, and gives back what it will not begin, however it tells.
#[test]
fn whose_disk_is_full_is_let_go() {
    let (worker, first, second) =
        (WorkerId(1), Attempt { index: 0, number: 1 }, Attempt { index: 1, number: 1 });
    let full: Vec<AttemptResult> = vec![result(0, 1, Exit::OutOfDisk { limit: 1 << 20 })];
    let check = |event: Event| {
        let mut job = with_workers(9, 1);
        job.step(Event::Hello { worker, held: vec![first, second], results: Vec::new(), full: false }, NOW);
        assert_eq!(job.step(event.clone(), NOW), [Decision::Recall { worker }], "{event:?}");
        assert_eq!(job.step(Event::Returned { worker, attempts: vec![second] }, NOW), [], "{event:?}");
        let owed = job.step(Event::Stored { version: job.version() }, NOW);
        let ends = [Decision::Ack { worker, attempts: vec![first] }, Decision::Stop { worker }];
        assert_eq!(owed, ends, "{event:?}");
    };
    check(Event::Results { worker, results: full.clone() });
    check(Event::Hello { worker, held: vec![second], results: full, full: false });
}

/// Another master may have heard of it, and acknowledged that.
#[test]
fn whose_disk_was_full_before_is_let_go_too() {
    let (worker, held) = (WorkerId(1), Attempt { index: 0, number: 1 });
    let check = |held: Vec<Attempt>, owed: &[Decision]| {
        let mut job = with_workers(9, 0);
        job.step(Event::Found { worker, task: TaskIdx(0), machine: HERE }, NOW);
        job.step(Event::Listening, NOW);
        let hello = Event::Hello { worker, held: held.clone(), results: Vec::new(), full: true };
        assert_eq!(job.step(hello, NOW), owed, "{held:?}");
        job
    };
    check(Vec::new(), &[Decision::Stop { worker }]);
    let mut job = check(vec![held], &[Decision::Recall { worker }]);
    let owed = job.step(Event::Returned { worker, attempts: vec![held] }, NOW);
    assert_eq!(owed, [Decision::Stop { worker }]);
}

/// After the end is stored nothing more will be: whoever comes then is acknowledged and let go at once.
#[test]
fn results_that_come_after_the_end_keep_nobody() {
    let mut job = with_workers(2, 4);
    let first = Event::Results { worker: WorkerId(1), results: vec![result(0, 1, Exit::Code(0))] };
    let second = Event::Results { worker: WorkerId(1), results: vec![result(1, 1, Exit::Code(0))] };
    for event in [hello(1), first, second] {
        job.step(event, NOW);
    }
    assert_eq!(job.outcome(), Some(&Outcome::Succeeded));
    job.step(Event::Stored { version: job.version() }, NOW);
    assert!(job.is_stored());
    for worker in [WorkerId(2), WorkerId(3), WorkerId(4)] {
        job.step(Event::Found { worker, task: TaskIdx(0), machine: HERE }, NOW);
        let results = vec![result(1, 1, Exit::Code(0))];
        let owed = job.step(Event::Hello { worker, held: Vec::new(), results, full: false }, NOW);
        let attempts = vec![Attempt { index: 1, number: 1 }];
        assert_eq!(owed, [Decision::Ack { worker, attempts }, Decision::Stop { worker }]);
    }
    assert!(job.is_stored());
}

/// The grace for workers that were there before counts from when they can be heard.
#[test]
fn nothing_is_handed_out_before_those_could_say_what_they_run() {
    let seconds = Duration::from_secs;
    let found = |waited: Duration| {
        let mut job = with_workers(9, 0);
        for worker in [WorkerId(1), WorkerId(2)] {
            job.step(Event::Found { worker, task: TaskIdx(0), machine: HERE }, NOW);
        }
        for event in [Event::Tick, Event::Listening, Event::Tick] {
            job.step(event, waited);
        }
        assert_eq!(job.step(hello(1), waited + seconds(2)), []);
        job
    };
    let held = vec![Attempt { index: 0, number: 1 }];
    let second = Event::Hello { worker: WorkerId(2), held, results: Vec::new(), full: false };
    assert_eq!(assigned(&found(seconds(60)).step(second, seconds(63)), 1), [1]);
    // Who is silent is not waited for any longer than that.
    assert_eq!(assigned(&found(seconds(60)).step(Event::Tick, seconds(70)), 1), [0]);
}
