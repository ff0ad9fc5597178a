//! Whom a task blames, and for how long; what jobs decide together.

use std::time::Duration;

use super::cluster::{Change, Cluster};
use super::task::Blame;
use super::{CLUSTER_FORGIVEN_AFTER, FORGIVEN_AFTER, JOBS, PATIENCE};
use crate::grants::MachineId;

const NOW: Duration = Duration::from_secs(100);

/// Runs words like `3ok@1`, `2fail@0`, `1lost@0`, `1slow@0` (so many new instances end so on that machine) and `#5@0`
/// (instance 5 fails there) among ten machines; which machines are avoided afterwards.
fn avoided(script: &str) -> Vec<u32> {
    avoided_among(10, script)
}

fn avoided_among(n_machines: u32, script: &str) -> Vec<u32> {
    let (mut blame, mut next) = (Blame::default(), 100);
    for word in script.split_whitespace() {
        let (what, machine) = word.split_once('@').unwrap();
        let machine = MachineId(machine.parse().unwrap());
        if let Some(index) = what.strip_prefix('#') {
            blame.failed(index.parse().unwrap(), machine, NOW);
            continue;
        }
        let (count, verb) = what.split_at(what.find(|letter: char| letter.is_alphabetic()).unwrap());
        for _ in 0..count.parse().unwrap() {
            next += 1;
            match verb {
                "ok" => blame.succeeded(next, machine),
                "fail" => blame.failed(next, machine, NOW),
                "slow" => blame.outrun(next, machine),
                "lost" => blame.worker_lost(machine),
                other => panic!("{other}"),
            }
            blame.review(n_machines, NOW);
        }
    }
    blame.review(n_machines, NOW);
    blame.avoided().iter().map(|machine| machine.0).collect()
}

#[test]
fn a_machine_is_to_blame_when_others_do_notably_better() {
    for (script, expected) in [
        ("3fail@0 3ok@1", vec![0]),
        ("2fail@0 9ok@1", vec![]),
        ("3slow@0 3ok@1", vec![0]),
        ("3lost@0 3ok@1", vec![0]),
        ("1fail@0 1lost@0 1slow@0 3ok@1", vec![0]),
        // Nobody has shown that it goes better elsewhere.
        ("9fail@0", vec![]),
        ("9fail@0 2ok@1", vec![]),
        // A few of many.
        ("7ok@0 3fail@0 9ok@1", vec![]),
        ("6ok@0 3fail@0 9ok@1", vec![0]),
        // It fails everywhere.
        ("3fail@0 3ok@1 3fail@1", vec![0]),
        ("2ok@0 2fail@0 2ok@1 2fail@1 2ok@2 2fail@2 9fail@3 9ok@4", vec![]),
        ("6ok@0 2fail@0 6ok@1 2fail@1 9fail@3 9ok@4", vec![3]),
        ("3ok@0 3ok@1 3ok@2 1fail@0 1fail@1 1fail@2 1fail@0 1fail@1 1fail@2 1fail@0 1fail@1 1fail@2", vec![]),
        // What lies far back does not count: 20 ends do.
        ("900ok@0 6fail@0 9ok@1", vec![]),
        ("900ok@0 7fail@0 9ok@1", vec![0]),
        ("2fail@0 20ok@0 1fail@0 9ok@1", vec![]),
    ] {
        assert_eq!(avoided(script), expected, "{script}");
    }
}

#[test]
fn an_instance_that_fails_wherever_it_runs_blames_nobody() {
    assert_eq!(avoided("9ok@9 #1@0 #2@0 #3@0"), [0]);
    assert_eq!(avoided("9ok@9 #1@0 #2@0 #1@1 #3@0"), [0; 0]);
    assert_eq!(avoided("9ok@9 #1@0 #1@0 #1@0"), [0; 0], "one witness, however often");
    assert_eq!(avoided("9ok@9 #1@0 #2@0 #3@0 #1@1 #2@1 #3@1"), [0; 0]);
}

#[test]
fn never_more_than_a_share_of_the_machines_is_avoided() {
    let all_fail = "9ok@9 3fail@0 3fail@1 3fail@2 3fail@3 3fail@4";
    assert_eq!(avoided_among(10, all_fail).len(), 2);
    assert_eq!(avoided_among(20, all_fail).len(), 5);
    assert_eq!(avoided_among(2, all_fail), [0], "who was blamed first");
    assert_eq!(avoided_among(1, all_fail), [0; 0]);
}

#[test]
fn a_task_forgives_after_a_time_and_when_instances_end_well() {
    let blamed = || {
        let mut blame = Blame::default();
        (0..9).for_each(|index| blame.succeeded(index, MachineId(1)));
        (9..12).for_each(|index| blame.failed(index, MachineId(0), NOW));
        assert!(blame.review(10, NOW));
        blame
    };
    let mut blame = blamed();
    let (before, after) = (NOW + FORGIVEN_AFTER - Duration::from_millis(1), NOW + FORGIVEN_AFTER);
    assert!(!blame.review(10, before) && blame.review(10, after) && blame.avoided().is_empty());
    assert!(!blame.review(10, after), "it begins anew");

    let mut blame = blamed();
    assert!(blame.review(1, NOW) && blame.avoided().is_empty(), "no other machine is left");

    let mut blame = blamed();
    (20..29).for_each(|index| blame.succeeded(index, MachineId(0)));
    blame.failed(29, MachineId(0), NOW);
    (30..39).for_each(|index| blame.succeeded(index, MachineId(0)));
    assert!(!blame.review(10, NOW), "nine in a row");
    blame.succeeded(39, MachineId(0));
    assert!(blame.review(10, NOW) && blame.avoided().is_empty());
}

#[test]
fn an_instance_waits_for_another_machine_for_a_while() {
    let mut blame = Blame::default();
    blame.failed(7, MachineId(3), NOW);
    let barred = |blame: &Blame, at| blame.barred(7, at).collect::<Vec<_>>();
    assert_eq!(barred(&blame, NOW), [MachineId(3)]);
    blame.failed(7, MachineId(5), NOW + PATIENCE / 2);
    assert_eq!(barred(&blame, NOW + PATIENCE), [MachineId(3), MachineId(5)], "as long as of the last");
    assert_eq!(barred(&blame, NOW + PATIENCE * 2), []);
    blame.succeeded(7, MachineId(4));
    assert_eq!(barred(&blame, NOW), []);
    assert!(blame.is_clean());
}

#[test]
fn several_jobs_close_a_machine_for_all() {
    let mut cluster = Cluster::default();
    let jobs = u32::try_from(JOBS).unwrap();
    for job in 1..jobs {
        cluster.vote(&job, [MachineId(0), MachineId(0)], NOW);
        assert_eq!(cluster.review(30, NOW), []);
    }
    cluster.vote(&jobs, [MachineId(0)], NOW);
    let closed = cluster.review(30, NOW);
    let until = NOW + CLUSTER_FORGIVEN_AFTER;
    assert!(
        matches!(closed[..], [Change { machine: MachineId(0), verdict: Some(verdict) }] if verdict.until == until)
    );
    assert!(cluster.is_avoided(MachineId(0)) && cluster.due() == Some(until));
    assert_eq!(cluster.review(30, until - Duration::from_secs(1)), []);
    assert_eq!(cluster.review(30, until), [Change { machine: MachineId(0), verdict: None }]);
    assert_eq!(cluster.review(30, until), [], "the votes were for once");
}

#[test]
fn however_many_jobs_vote_most_machines_stay_open() {
    let mut cluster = Cluster::default();
    for job in 0..100 {
        cluster.vote(&job, (0..30).map(MachineId), NOW);
    }
    for (n_machines, expected) in [(1, 0), (2, 0), (3, 1), (19, 1), (30, 3)] {
        let changes = cluster.clone().review(n_machines, NOW);
        assert_eq!(changes.len(), expected, "of {n_machines}");
    }
}
