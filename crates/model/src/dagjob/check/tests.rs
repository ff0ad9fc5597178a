//! Specs and the faults found in them.

use expect_test::{Expect, expect};

use super::faults;
use crate::dagjob::{DagJobSpec, Task};

fn check(tasks: Vec<Task>, expected: Expect) {
    let spec = DagJobSpec { tasks, ..DagJobSpec::default() };
    let lines: Vec<String> = faults(&spec)
        .iter()
        .map(|fault| format!("{:?} {} [{}]\n", fault.kind, fault.field, fault.value))
        .collect();
    expected.assert_eq(&lines.concat());
}

fn task(name: &str, parents: &[&str]) -> Task {
    Task {
        name: name.to_owned(),
        depends_on: parents.iter().map(|parent| (*parent).to_owned()).collect(),
        instances: 1,
        image: "tools".to_owned(),
        command: vec!["true".to_owned()],
        max_attempts: 3,
        ..Task::default()
    }
}

#[test]
fn a_sound_job_has_no_faults() {
    check(vec![task("a", &[]), task("b", &["a"]), task("c", &["a", "b"])], expect![[""]]);
}

#[test]
fn parameters_have_names_that_an_environment_knows() {
    let check = |name: &str, is_sound: bool| {
        let parameters = [(name.to_owned(), "v".to_owned())].into();
        let spec = DagJobSpec { tasks: vec![task("a", &[])], parameters, ..DagJobSpec::default() };
        assert_eq!(faults(&spec).is_empty(), is_sound, "{name}");
    };
    for (name, is_sound) in
        [("DAY", true), ("_a1", true), ("", false), ("1a", false), ("a-b", false), ("é", false)]
    {
        check(name, is_sound);
    }
    check("CREST_JOB", false);
}

#[test]
fn a_share_is_between_one_and_all() {
    let starting_at = |percent: u32| Task { start_at_percent: Some(percent), ..task("b", &["a"]) };
    check(vec![task("a", &[]), starting_at(50)], expect![[""]]);
    check(
        vec![task("a", &[]), starting_at(0)],
        expect![[r#"
        Invalid spec.tasks[1].startAtPercent [0]
    "#]],
    );
    check(
        vec![task("a", &[]), starting_at(101)],
        expect![[r#"
        Invalid spec.tasks[1].startAtPercent [101]
    "#]],
    );
    let needs =
        |percent: u32, instances: u32| starting_at(percent).needs_of(&Task { instances, ..task("a", &[]) });
    assert_eq!([needs(1, 10), needs(50, 3), needs(100, 7), needs(99, 1)], [1, 2, 7, 1]);
}

#[test]
fn a_task_begins_with_no_more_than_it_ever_runs() {
    let least = |least: u32, parallelism: Option<u32>| Task {
        instances: 4,
        parallelism,
        min_parallelism: Some(least),
        ..task("a", &[])
    };
    check(vec![least(4, None)], expect![[""]]);
    check(vec![least(3, Some(3))], expect![[""]]);
    check(
        vec![least(0, None)],
        expect![[r#"
        Invalid spec.tasks[0].minParallelism [0]
    "#]],
    );
    check(
        vec![least(5, None)],
        expect![[r#"
        Invalid spec.tasks[0].minParallelism [5]
    "#]],
    );
    check(
        vec![least(4, Some(3))],
        expect![[r#"
        Invalid spec.tasks[0].minParallelism [4]
    "#]],
    );
}

#[test]
fn a_quota_has_a_name() {
    let spec =
        DagJobSpec { tasks: vec![task("a", &[])], quota: Some(String::new()), ..DagJobSpec::default() };
    assert_eq!(faults(&spec).len(), 1);
    assert_eq!(faults(&DagJobSpec { quota: Some("training".to_owned()), ..spec }).len(), 0);
}

#[test]
fn cycles_are_named() {
    check(
        vec![task("a", &["c"]), task("b", &["a"]), task("c", &["b"]), task("d", &["a"])],
        expect![[r#"
            Invalid spec.tasks [a -> c -> b -> a]
        "#]],
    );
    check(
        vec![task("a", &["a"])],
        expect![[r#"
            Invalid spec.tasks [a -> a]
        "#]],
    );
}

#[test]
fn everything_wrong_is_said_at_once() {
    let broken = Task {
        name: "Bad_Name".to_owned(),
        depends_on: vec!["nobody".to_owned()],
        parallelism: Some(0),
        timeout_seconds: Some(0),
        ..Task::default()
    };
    check(
        vec![broken, task("a", &[]), task("a", &[])],
        expect![[r#"
            Invalid spec.tasks[0].name [Bad_Name]
            NotFound spec.tasks[0].dependsOn[0] [nobody]
            Invalid spec.tasks[0].instances [0]
            Invalid spec.tasks[0].parallelism [0]
            Invalid spec.tasks[0].maxAttempts [0]
            Invalid spec.tasks[0].timeoutSeconds [0]
            Required spec.tasks[0].image []
            Required spec.tasks[0].command []
            Duplicate spec.tasks[2].name [a]
        "#]],
    );
    check(
        vec![],
        expect![[r#"
            Required spec.tasks []
        "#]],
    );
}

#[test]
fn a_very_long_chain_is_walked_without_recursion() {
    let tasks = (0..50_000)
        .map(|index| {
            task(&format!("t{index}"), &[format!("t{}", index + 1).as_str()][..usize::from(index < 49_999)])
        })
        .collect();
    check(tasks, expect![[""]]);
}
