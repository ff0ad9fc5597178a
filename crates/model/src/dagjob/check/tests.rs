//! Specs and the faults found in them.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Toleration, Volume, VolumeMount};

use super::faults;
use crate::dagjob::{DagJobSpec, Input, Mode, NumberRange, Objects, Output, SuccessPolicy, Task};

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
    let needs = |percent: u32, count: u32| starting_at(percent).needs_of(count);
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

fn with_input(input: Input) -> Vec<Task> {
    vec![Task { instances: 0, input: Some(input), ..task("a", &[]) }]
}

fn with_range(from: i64, to: i64, step: Option<u32>, chunks: Option<u32>) -> Vec<Task> {
    with_input(Input { range: Some(NumberRange { from, to, step, chunks }), ..Input::default() })
}

fn with_items(items: &[&str]) -> Vec<Task> {
    let items = Some(items.iter().map(|item| (*item).to_owned()).collect());
    with_input(Input { items, ..Input::default() })
}

fn with_files(pattern: &str) -> Vec<Task> {
    with_input(Input { files: Some(pattern.to_owned()), ..Input::default() })
}

#[test]
fn input_lists_that_can_be_taken() {
    for tasks in [
        with_range(-5, 5, None, None),
        with_range(0, 999_999, None, None),
        with_range(0, 0, Some(7), None),
        with_range(i64::MIN, i64::MAX, None, Some(1_000_000)),
        with_items(&["a", ""]),
        with_files("/data"),
        with_files("/data/**/part-[0-9]*.csv"),
    ] {
        check(tasks, expect![[""]]);
    }
    let many = Input {
        range: Some(NumberRange { from: 1, to: 1_000_000_000, ..NumberRange::default() }),
        per_instance: Some(1000),
        ..Input::default()
    };
    check(with_input(many), expect![[""]]);
}

#[test]
fn input_lists_that_cannot() {
    let both = Input { files: Some("/a".to_owned()), items: Some(vec!["x".to_owned()]), ..Input::default() };
    let mut tasks = with_input(both);
    tasks.extend(with_input(Input::default()));
    tasks.extend(with_range(2, 1, Some(0), None));
    tasks.extend(with_range(0, i64::MAX, None, None));
    tasks.extend(with_range(1, 4, None, Some(5)));
    tasks.extend(with_range(1, 4, Some(2), Some(2)));
    tasks.extend(with_items(&["a", "two\nlines"]));
    tasks.extend(with_items(&["x".repeat(70_000).as_str()]));
    tasks.extend(with_files("data/*.csv"));
    tasks.extend(with_files("/data/[a"));
    tasks.extend(with_files("/data/a**"));
    tasks.push(Task {
        instances: 3,
        min_parallelism: Some(2),
        input: Some(Input { files: Some("/a".to_owned()), per_instance: Some(0), ..Input::default() }),
        ..task("a", &[])
    });
    for (index, task) in tasks.iter_mut().enumerate() {
        task.name = format!("t{index}");
    }
    check(
        tasks,
        expect![[r#"
            Invalid spec.tasks[0].input [files, items]
            Invalid spec.tasks[1].input []
            Invalid spec.tasks[2].input.range.to [1]
            Invalid spec.tasks[2].input.range.step [0]
            Invalid spec.tasks[3].input [4294967295]
            Invalid spec.tasks[4].input.range.chunks [5]
            Invalid spec.tasks[5].input.range.chunks [2]
            Invalid spec.tasks[6].input.items[1] [two
            lines]
            Invalid spec.tasks[7].input.items [70001]
            Invalid spec.tasks[8].input.files [data/*.csv]
            Invalid spec.tasks[9].input.files [/data/[a]
            Invalid spec.tasks[10].input.files [/data/a**]
            Invalid spec.tasks[11].instances [3]
            Invalid spec.tasks[11].minParallelism [2]
            Invalid spec.tasks[11].input.perInstance [0]
        "#]],
    );
}

#[test]
fn outputs_go_to_a_volume() {
    let with = |path: &str, mode: Mode| {
        let output = Some(Output { path: path.to_owned(), ..Output::default() });
        vec![Task { output, mode, ..mounting_data() }]
    };
    check(with("/data", Mode::Exec), expect![[""]]);
    check(with("/data/out", Mode::Exec), expect![[""]]);
    for path in ["data", "/database", "/", "", "/data/../out"] {
        let spec = DagJobSpec { tasks: with(path, Mode::Exec), ..DagJobSpec::default() };
        assert_eq!(faults(&spec).len(), 1, "{path}");
    }
    check(
        with("/data", Mode::Stream),
        expect![[r#"
            Invalid spec.tasks[0].output.path [/data]
        "#]],
    );
}

#[test]
fn outputs_stay_when_their_worker_goes() {
    let volume = |name: &str, empty_dir| Volume { name: name.to_owned(), empty_dir, ..Volume::default() };
    let volumes = vec![volume("data", Some(EmptyDirVolumeSource::default())), volume("kept", None)];
    let mount = |name: &str, mount_path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: mount_path.to_owned(),
        ..VolumeMount::default()
    };
    let n_faults = |output: Output| {
        let volume_mounts = vec![mount("data", "/data"), mount("kept", "/data/kept")];
        let task = Task { output: Some(output), volume_mounts, ..task("a", &[]) };
        faults(&DagJobSpec { tasks: vec![task], volumes: volumes.clone(), ..DagJobSpec::default() }).len()
    };
    for (folder, expected) in [("/data/out", 1), ("/data/kept/out", 0), ("/data/kept/../out", 1)] {
        let objects = Objects { url: format!("file://{folder}"), ..Objects::default() };
        assert_eq!(n_faults(Output { objects, ..Output::default() }), expected, "{folder} as a URL");
        assert_eq!(n_faults(Output { path: folder.to_owned(), ..Output::default() }), expected, "{folder}");
    }
}

#[test]
fn no_two_tasks_write_to_one_place() {
    let with =
        |name: &str, output: Output| Task { name: name.to_owned(), output: Some(output), ..mounting_data() };
    let folder = |path: &str| Output { path: path.to_owned(), ..Output::default() };
    let objects = |url: &str| {
        let objects = Objects { url: url.to_owned(), ..Objects::default() };
        Output { objects, ..Output::default() }
    };
    let mut elsewhere = with("g", folder("/other/x"));
    elsewhere.volume_mounts[0].mount_path = "/other".to_owned();
    check(
        vec![
            with("a", folder("/data/x")),
            with("b", folder("/data/y")),
            with("c", folder("/data/x/")),
            with("d", objects("file:///data/y/")),
            with("e", objects("s3://store/x/")),
            with("f", objects("s3://store/x")),
            elsewhere,
        ],
        expect![[r#"
            Duplicate spec.tasks[2].output.path [/data/x/]
            Duplicate spec.tasks[3].output.url [file:///data/y/]
            Duplicate spec.tasks[5].output.url [s3://store/x]
            Duplicate spec.tasks[6].output.path [/other/x]
        "#]],
    );
}

fn mounting_data() -> Task {
    let mount =
        VolumeMount { name: "data".to_owned(), mount_path: "/data".to_owned(), ..VolumeMount::default() };
    Task { volume_mounts: vec![mount], ..task("a", &[]) }
}

/// What is said of objects as an input, and of the same as an output.
fn check_objects(objects: Objects, expected: Expect) {
    let input = Some(Input { objects: Some(objects.clone()), ..Input::default() });
    let output = Some(Output { objects, ..Output::default() });
    check(vec![Task { input, output, instances: 0, ..mounting_data() }], expected);
}

#[test]
fn objects_have_a_place() {
    let at = |url: &str| Objects { url: url.to_owned(), ..Objects::default() };
    let s3 = at("s3://data/in/");
    check_objects(s3.clone(), expect![[""]]);
    check_objects(at("file:///data/in/"), expect![[""]]);
    let all = Objects {
        endpoint: Some("http://store.lan:9000".to_owned()),
        region: Some("eu-central-1".to_owned()),
        path_style: Some(false),
        allow_http: true,
        credentials: Some("s3".to_owned()),
        ..s3.clone()
    };
    check_objects(all.clone(), expect![[""]]);
    check_objects(
        at("s3://data/*.csv"),
        expect![[r#"
        Invalid spec.tasks[0].output.url [s3://data/*.csv]
    "#]],
    );
    for url in ["gs://data/in", "data/in", "file://data", "s3://Data/in", "s3:///in", "s3://data//in"] {
        let of = |task: Task| faults(&DagJobSpec { tasks: vec![task], ..DagJobSpec::default() }).len();
        let output = Some(Output { objects: at(url), ..Output::default() });
        assert_eq!(of(Task { output, ..mounting_data() }), 1, "{url}");
    }
    check_objects(
        at("file:///elsewhere"),
        expect![[r#"
        Invalid spec.tasks[0].input.objects.url [file:///elsewhere]
        Invalid spec.tasks[0].output.url [file:///elsewhere]
    "#]],
    );
    check_objects(
        Objects { url: "file:///data".to_owned(), ..all.clone() },
        expect![[r#"
        Invalid spec.tasks[0].input.objects.url [file:///data]
        Invalid spec.tasks[0].output.url [file:///data]
    "#]],
    );
    let faulty = Objects {
        url: "s3://key:secret@data/in".to_owned(),
        allow_http: false,
        region: Some("eu central".to_owned()),
        credentials: Some(String::new()),
        ..all.clone()
    };
    check_objects(
        faulty,
        expect![[r#"
        Invalid spec.tasks[0].input.objects.url []
        Invalid spec.tasks[0].input.objects.endpoint [http://store.lan:9000]
        Invalid spec.tasks[0].input.objects.region [eu central]
        Invalid spec.tasks[0].input.objects.credentials []
        Invalid spec.tasks[0].output.url []
        Invalid spec.tasks[0].output.endpoint [http://store.lan:9000]
        Invalid spec.tasks[0].output.region [eu central]
        Invalid spec.tasks[0].output.credentials []
    "#]],
    );
    for endpoint in
        ["store.lan", "ftp://store.lan", "https://", "https://a:b@store.lan", "https://store.lan/path"]
    {
        let objects = Objects { endpoint: Some(endpoint.to_owned()), ..all.clone() };
        let task = Task { output: Some(Output { objects, ..Output::default() }), ..mounting_data() };
        let found = faults(&DagJobSpec { tasks: vec![task], ..DagJobSpec::default() });
        assert!(found.len() == 1 && !found[0].value.contains("a:b"), "{found:?}");
    }
    let both = Output { path: "/data/out".to_owned(), objects: s3.clone() };
    let stream = Task {
        mode: Mode::Stream,
        output: Some(Output { objects: s3, ..Output::default() }),
        ..task("s", &[])
    };
    check(
        vec![Task { output: Some(both), ..mounting_data() }, stream],
        expect![[r#"
            Invalid spec.tasks[0].output.path [/data/out]
            Invalid spec.tasks[1].output.url [s3://data/in/]
        "#]],
    );
}

#[test]
fn a_policy_is_a_share() {
    let with = |percent: u32| {
        let policy = SuccessPolicy { max_failed_percent: percent, fail_fast: None };
        vec![Task { success_policy: Some(policy), ..task("a", &[]) }]
    };
    check(with(100), expect![[""]]);
    check(
        with(101),
        expect![[r#"
            Invalid spec.tasks[0].successPolicy.maxFailedPercent [101]
        "#]],
    );
    let tolerated = |percent: u32, count: u32| {
        SuccessPolicy { max_failed_percent: percent, fail_fast: None }.tolerated(count)
    };
    assert_eq!([tolerated(5, 19), tolerated(5, 20), tolerated(0, 9), tolerated(100, 7)], [0, 1, 0, 7]);
    assert_eq!(tolerated(50, 1_000_000), 10_000, "all of them stand in the status");
}

#[test]
fn a_quota_has_a_name() {
    let spec =
        DagJobSpec { tasks: vec![task("a", &[])], quota: Some(String::new()), ..DagJobSpec::default() };
    assert_eq!(faults(&spec).len(), 1);
    assert_eq!(faults(&DagJobSpec { quota: Some("training".to_owned()), ..spec }).len(), 0);
}

#[test]
fn tolerations_are_those_of_a_pod() {
    let of = |key: &str, operator: &str, value: &str, effect: &str| {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (key, operator, value, effect) = (text(key), text(operator), text(value), text(effect));
        vec![Toleration { key, operator, value, effect, toleration_seconds: None }]
    };
    let count = |tolerations: Vec<Toleration>| {
        faults(&DagJobSpec { tasks: vec![task("a", &[])], tolerations, ..DagJobSpec::default() }).len()
    };
    for (tolerations, expected) in [
        (of("gpu", "", "big", "NoSchedule"), 0),
        (of("gpu", "Exists", "", ""), 0),
        (of("", "Exists", "", "NoExecute"), 0),
        (of("", "", "", ""), 1),
        (of("gpu", "Exists", "big", "NoSchedule"), 1),
        (of("gpu", "Like", "", "Never"), 2),
        (
            vec![Toleration {
                toleration_seconds: Some(3),
                ..of("gpu", "Exists", "", "NoSchedule").remove(0)
            }],
            1,
        ),
    ] {
        assert_eq!(count(tolerations.clone()), expected, "{tolerations:?}");
    }
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
