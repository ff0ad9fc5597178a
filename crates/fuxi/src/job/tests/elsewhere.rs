//! Machines where instances fail: who is handed what, who is let go, and what is asked for.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::{assigned, hello, result, spec, told};
use crate::blame::Fault;
use crate::dag::TaskIdx;
use crate::grants::MachineId;
use crate::job::{Decision, Event, Job, WorkerId};
use crate::protocol::{Attempt, Exit};
use model::dagjob::DagJobStatus;

const TASK: TaskIdx = TaskIdx(0);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A job of one task with a worker on each of these machines, numbered from 1; what each runs first.
fn started(instances: u32, machines: &[u32], n_machines: u32) -> Job {
    let mut spec = spec(&[("a", instances, &[])]);
    spec.tasks[0].backup = true;
    let mut job = Job::try_new(&spec, &DagJobStatus::default()).unwrap();
    job.step(Event::Machines(n_machines), seconds(0));
    for (worker, machine) in (1..).zip(machines) {
        let machine = MachineId(*machine);
        job.step(Event::Created { worker: WorkerId(worker), task: TASK, machine }, seconds(0));
    }
    for worker in (1..).take(machines.len()) {
        job.step(hello(worker), seconds(0));
    }
    job
}

fn machines(avoided: &BTreeSet<MachineId>) -> Vec<u32> {
    avoided.iter().map(|machine| machine.0).collect()
}

#[test]
fn an_instance_that_failed_goes_to_another_machine() {
    let mut job = started(3, &[0, 0, 1], 2);
    // Instances 0, 1 and 2 run. The first fails: its worker is of no use any more, and the other one there would not be.
    let owed = job.step(told(1, result(0, 1, Exit::Code(1))), seconds(1));
    assert_eq!(assigned(&owed, 1), [0; 0]);
    assert_eq!(machines(&job.avoided(TASK)), [0], "what is asked for anew comes from elsewhere");
    let owed = job.step(told(2, result(1, 1, Exit::Code(0))), seconds(1));
    assert_eq!(assigned(&owed, 2), [0; 0]);
    let owed = job.step(told(3, result(2, 1, Exit::Code(0))), seconds(1));
    assert_eq!(assigned(&owed, 3), [0]);
    assert!(job.avoided(TASK).is_empty());
}

#[test]
fn where_no_other_machine_comes_any_will_do() {
    let mut job = started(1, &[0], 1);
    let owed = job.step(told(1, result(0, 1, Exit::Code(1))), seconds(1));
    assert_eq!(assigned(&owed, 1), [0], "there is only one");

    let mut job = started(1, &[0], 2);
    let owed = job.step(told(1, result(0, 1, Exit::Code(1))), seconds(1));
    assert_eq!(assigned(&owed, 1), [0; 0]);
    let version = job.version();
    let owed = job.step(Event::Stored { version }, seconds(1));
    assert!(owed.contains(&Decision::Stop { worker: WorkerId(1) }), "{owed:?}");
    let gone = Event::Gone { worker: WorkerId(1), reason: "let go".to_owned(), fault: Fault::Machine };
    job.step(gone, seconds(2));
    assert_eq!((job.n_missing_workers(TASK), machines(&job.avoided(TASK))), (1, vec![0]));
    // The other machine is full.
    job.step(Event::Tick, seconds(11));
    assert_eq!((job.n_missing_workers(TASK), machines(&job.avoided(TASK))), (1, vec![]));
}

#[test]
fn an_instance_that_failed_on_all_machines_is_tried_on_any() {
    let mut job = started(3, &[0, 1], 2);
    let owed = job.step(told(1, result(0, 1, Exit::Code(1))), seconds(1));
    assert_eq!(assigned(&owed, 1), [2], "something else");
    let owed = job.step(told(2, result(1, 1, Exit::Code(0))), seconds(1));
    assert_eq!(assigned(&owed, 2), [0]);
    let owed = job.step(told(2, result(0, 2, Exit::Code(1))), seconds(1));
    assert_eq!(assigned(&owed, 2), [0]);
}

#[test]
fn a_faulty_machine_gets_nothing_more_of_the_task() {
    let mut job = started(100, &[0, 1], 4);
    let first = |index| Attempt { index, number: 1 };
    let mut held = [VecDeque::from([first(0)]), VecDeque::from([first(1)])];
    let mut second = 0;
    let mut last = Vec::new();
    // On machine 0 everything fails, on machine 1 nothing.
    while job.faulty(TASK).is_empty() {
        for (worker, exit) in [(2, Exit::Code(0)), (1, Exit::Code(1))] {
            second += 1;
            let Some(Attempt { index, number }) = held[worker - 1].pop_front() else { continue };
            last = job.step(told(worker as u64, result(index, number, exit)), seconds(second));
            for decision in &last {
                if let Decision::Assign { worker, attempts, .. } = decision {
                    held[usize::try_from(worker.0).unwrap() - 1].extend(attempts);
                }
            }
        }
        assert!(second < 20);
    }
    assert_eq!((second, machines(job.faulty(TASK))), (6, vec![0]), "after three on each");
    assert_eq!(assigned(&last, 1), [0; 0]);
    let version = job.version();
    let owed = job.step(Event::Stored { version }, seconds(7));
    assert!(owed.contains(&Decision::Stop { worker: WorkerId(1) }), "{owed:?}");
    assert_eq!(machines(&job.avoided(TASK)), [0]);
    assert_eq!(job.blamed().collect::<Vec<_>>(), [MachineId(0)], "the vote of a job of one task");
}

#[test]
fn a_worker_that_was_told_to_go_blames_nobody() {
    for (fault, drains, expected) in
        [(Fault::Machine, false, vec![0]), (Fault::Nobody, false, vec![]), (Fault::Machine, true, vec![])]
    {
        let mut job = started(9, &[0, 0, 0, 1, 1, 1], 4);
        for worker in 4..=6 {
            job.step(told(worker, result(u32::try_from(worker).unwrap() - 1, 1, Exit::Code(0))), seconds(1));
        }
        for worker in (1..=3).map(WorkerId) {
            if drains {
                job.step(Event::Drain { worker }, seconds(1));
            }
            job.step(Event::Gone { worker, reason: "gone".to_owned(), fault }, seconds(2));
        }
        assert_eq!(machines(job.faulty(TASK)), expected, "{fault:?}, told: {drains}");
    }
}

#[test]
fn several_tasks_make_a_machine_their_jobs() {
    let mut spec = spec(&[("a", 9, &[]), ("b", 9, &[]), ("c", 9, &[])]);
    spec.tasks.iter_mut().for_each(|task| task.max_attempts = 9);
    let mut job = Job::try_new(&spec, &DagJobStatus::default()).unwrap();
    job.step(Event::Machines(4), seconds(0));
    let mut next = 0;
    let mut fail = |job: &mut Job, task: usize| {
        for machine in [1, 1, 1, 0, 0, 0] {
            next += 1;
            let (worker, machine) = (WorkerId(next), MachineId(machine));
            job.step(Event::Created { worker, task: TaskIdx(task), machine }, seconds(1));
            let owed = job.step(hello(next), seconds(1));
            let attempt = owed.iter().find_map(|decision| match decision {
                Decision::Assign { attempts, .. } => attempts.first().copied(),
                _ => None,
            });
            let Attempt { index, number } = attempt.unwrap();
            let exit = if machine == MachineId(1) { Exit::Code(0) } else { Exit::Code(1) };
            job.step(told(next, result(index, number, exit)), seconds(1));
            job.step(Event::Gone { worker, reason: String::new(), fault: Fault::Nobody }, seconds(1));
        }
    };
    fail(&mut job, 0);
    let faulty = |job: &Job| [0, 1, 2].map(|task| machines(job.faulty(TaskIdx(task))));
    assert_eq!((faulty(&job), job.blamed().count()), ([vec![0], vec![], vec![]], 0));
    fail(&mut job, 1);
    assert_eq!((faulty(&job), job.blamed().count()), ([vec![0], vec![0], vec![0]], 1));
}

#[test]
fn a_backup_runs_on_another_machine() {
    // Ten instances, of which worker 2 on machine 1 still runs the second; who is idle is there as well.
    let mut job = started(10, &[0, 1, 1], 2);
    for (worker, index) in [(1, 0), (3, 2)].into_iter().chain((3..10).map(|index| (1, index))) {
        job.step(told(worker, result(index, 1, Exit::Code(0))), seconds(1));
    }
    let version = job.version();
    job.step(Event::Stored { version }, seconds(1));
    for worker in [1, 3].map(WorkerId) {
        job.step(Event::Gone { worker, reason: String::new(), fault: Fault::Nobody }, seconds(2));
    }
    job.step(Event::Tick, seconds(7));
    assert_eq!((job.n_missing_workers(TASK), machines(&job.avoided(TASK))), (1, vec![1]));
    // One that was on its way to the same machine is of no use, for as long as another may come.
    let same = MachineId(1);
    job.step(Event::Created { worker: WorkerId(4), task: TASK, machine: same }, seconds(8));
    let owed = job.step(hello(4), seconds(8));
    assert_eq!(owed, [Decision::Stop { worker: WorkerId(4) }]);
    let gone = Event::Gone { worker: WorkerId(4), reason: String::new(), fault: Fault::Nobody };
    job.step(gone, seconds(9));
    job.step(Event::Created { worker: WorkerId(5), task: TASK, machine: MachineId(0) }, seconds(9));
    let owed = job.step(hello(5), seconds(9));
    assert_eq!(assigned(&owed, 5), [1]);
}
