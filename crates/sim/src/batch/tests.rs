//! The simulation beside what can be reckoned by hand, and what must hold of every run.

use std::path::PathBuf;
use std::time::Duration;

use model::dagjob::{DagJobSpec, Task};
use model::{Bytes, MilliCpu};
use proptest::prelude::*;

use super::*;

/// A task by name, its parents, and how many seconds its instances run.
type Row<'a> = (&'a str, &'a [usize], &'a [u64]);

fn job(name: &str, arrival: u64, tasks: &[Row<'_>]) -> BatchJob {
    let seconds = |seconds: &u64| Duration::from_secs(*seconds);
    let specs = tasks.iter().map(|(name, parents, durations)| Task {
        name: (*name).to_owned(),
        depends_on: parents.iter().map(|parent| tasks[*parent].0.to_owned()).collect(),
        instances: u32::try_from(durations.len()).unwrap(),
        image: "trace".to_owned(),
        command: vec!["instance".to_owned()],
        max_attempts: 3,
        ..Task::default()
    });
    let batch_tasks = tasks.iter().map(|(name, parents, durations)| BatchTask {
        name: (*name).to_owned(),
        line: 1,
        parents: parents.to_vec(),
        cpu: MilliCpu(1000),
        memory: MEMORY_PERCENT,
        durations: durations.iter().map(seconds).collect(),
    });
    BatchJob {
        name: name.to_owned(),
        tenant: None,
        arrival: Duration::from_secs(arrival),
        tasks: batch_tasks.collect(),
        spec: DagJobSpec { tasks: specs.collect(), ..DagJobSpec::default() },
    }
}

fn work(jobs: Vec<BatchJob>) -> Workload {
    Workload { path: "tasks.csv".into(), jobs }
}

/// Machines of two cores, where nothing takes any time but instances.
fn settings(machines: u32) -> Settings {
    let fleet = Fleet {
        size: Size::Machines(machines),
        cpu: MilliCpu(2000),
        memory: Bytes(100 * MEMORY_PERCENT.0),
        workers: 100,
    };
    let zero = Duration::ZERO;
    let latencies = Latencies { worker_start: zero, worker_end: zero, hand_over: zero, store: zero };
    Settings { fleet, latencies, faults: Faults::default(), tenants: None, avoidance: Avoidance::On, seed: 1 }
}

fn report(jobs: Vec<BatchJob>, settings: &Settings) -> BatchReport {
    let report = run(&work(jobs), settings, |_| {}).unwrap();
    assert!(report.sound, "{report:?}");
    report
}

#[test]
fn tasks_take_turns_on_one_machine() {
    // Three instances of four seconds on two cores: two waves. The task after them adds three seconds.
    let report = report(vec![job("j", 5, &[("a", &[], &[4, 4, 4]), ("b", &[0], &[3])])], &settings(1));
    assert_eq!((report.makespan, report.least_makespan), (11.0, 7.0));
    assert_eq!((report.attempts, report.grants), (4, 3), "a worker takes one instance after another");
    assert_eq!(report.useful_core_seconds, 15.0);
    assert_eq!(report.use_in_all.busy_cpu, 15.0 / 22.0);
    // The third instance is run by one of the workers that there are, and until then its worker is waited for.
    assert_eq!((report.seconds_with_any_waiting, report.use_while_any_wait.cpu), (4.0, 1.0));
}

#[test]
fn the_critical_path_of_a_diamond_is_its_longer_side() {
    let diamond: [Row<'_>; 4] =
        [("split", &[], &[2]), ("left", &[0], &[1, 5]), ("right", &[0], &[3]), ("merge", &[1, 2], &[4])];
    let ideal = Ideal::of(&work(vec![job("j", 0, &diamond)]));
    assert_eq!(ideal.critical_paths, [Duration::from_secs(11)]);
    let starts: Vec<u64> = ideal.starts[0].iter().map(Duration::as_secs).collect();
    assert_eq!(starts, [0, 2, 2, 7]);
    assert_eq!(report(vec![job("j", 0, &diamond)], &settings(9)).makespan, 11.0);
}

#[test]
fn every_latency_counts_where_it_belongs() {
    let millis = Duration::from_millis;
    let mut settings = settings(1);
    settings.fleet.cpu = MilliCpu(1000);
    settings.latencies = Latencies {
        worker_start: millis(1000),
        worker_end: millis(200),
        hand_over: millis(10),
        store: millis(100),
    };
    // start 1, two instances of 2 s with 10 ms before each, stored after 0.1 s
    let one_task = report(vec![job("j", 0, &[("a", &[], &[2, 2])])], &settings);
    assert_eq!(one_task.makespan, 5.12, "1.0 + 2 * (0.01 + 2.0) + 0.1");
    // the second task's worker waits for the first one's end, which is 0.2 s after its result is stored
    let two_tasks = report(vec![job("j", 0, &[("a", &[], &[2]), ("b", &[0], &[2])])], &settings);
    assert_eq!(two_tasks.makespan, 6.42, "2 * (1.0 + 0.01 + 2.0 + 0.1) + 0.2");
}

#[test]
fn what_a_lost_worker_ran_is_run_again_by_another() {
    let mut settings = settings(1);
    settings.faults.workers = 0.5;
    let report = report(vec![job("j", 0, &[("a", &[], &[10; 20])])], &settings);
    assert!(report.killed_workers > 0);
    assert_eq!(report.attempts, 20 + report.killed_workers);
    assert_eq!((report.succeeded, report.useful_core_seconds), (1, 200.0));
    assert!(report.lost_core_seconds > 0.0 && report.growth.unwrap().makespan > 0.0);
}

#[test]
fn an_instance_that_is_killed_is_tried_again() {
    let mut settings = settings(1);
    settings.faults.instances = 1.0;
    let report = report(vec![job("j", 0, &[("a", &[], &[10; 20])])], &settings);
    assert_eq!((report.killed_instances, report.attempts, report.succeeded), (20, 40, 1));
    // At random moments, the last of 20 near the end of its instance.
    let growth = report.growth.unwrap();
    assert!(growth.critical_path > 0.8 && growth.critical_path < 1.0, "{growth:?}");
}

#[test]
fn machines_where_instances_fail_are_avoided() {
    let mut settings = settings(10);
    settings.faults = Faults { faulty_machines: 0.1, faulty_share: 0.9, ..Faults::default() };
    let work = || vec![job("j", 0, &[("a", &[], &[10; 1000])])];
    let avoided = report(work(), &settings);
    settings.avoidance = Avoidance::Off;
    let endured = report(work(), &settings);
    assert_eq!(
        [avoided.succeeded, endured.succeeded],
        [1, 0],
        "three attempts of some instance all failed there"
    );
    assert!((3..20).contains(&avoided.killed_instances), "{}", avoided.killed_instances);
}

#[test]
fn on_slow_machines_everything_takes_longer() {
    let mut settings = settings(1);
    settings.faults = Faults { slow_machines: 0.01, slow_factor: 3.0, ..Faults::default() };
    let slow = report(vec![job("j", 0, &[("a", &[], &[10])])], &settings);
    assert_eq!((slow.makespan, slow.growth.unwrap().critical_path), (30.0, 2.0));
}

#[test]
fn tenants_share_what_there_is() {
    // Four jobs of one tenant come before one of the other; each has 20 instances of 10 s for two cores.
    let mut jobs: Vec<BatchJob> =
        (0..5).map(|number| job(&format!("j{number}"), 0, &[("a", &[], &[10; 20])])).collect();
    let alone = report(jobs.clone(), &settings(1));
    for (number, job) in jobs.iter_mut().enumerate() {
        job.tenant = Some(if number == 4 { "small" } else { "large" }.to_owned());
    }
    let shared = report(jobs, &settings(1));
    let mean = |name: &str| shared.tenants.iter().find(|tenant| tenant.name == name).unwrap().mean_completion;
    // Half of the machine is for the small tenant, once the grace of those who have it is over and the instance that runs
    // has ended: then 20 instances one after another.
    assert_eq!(mean("small"), 220.0, "{:?}", shared.tenants);
    assert_eq!((shared.revokes, shared.makespan), (1, 500.0));
    assert_eq!((alone.tenants.len(), alone.makespan), (0, 500.0));
}

#[test]
fn machines_are_chosen_and_arrivals_are_paced_by_the_load() {
    // A core second each second: one of the two cores of a machine.
    let jobs: Vec<BatchJob> = (0..=100).map(|second| job("j", second, &[("a", &[], &[1])])).collect();
    let mut settings = settings(1);
    settings.fleet.size = Size::Load(0.5);
    let chosen = report(jobs.clone(), &settings);
    assert_eq!((chosen.machines, chosen.load), (1, Some(0.5)));
    settings.fleet.size = Size::Paced { machines: 2, load: 0.5 };
    let paced = report(jobs, &settings);
    assert!((paced.load.unwrap() - 0.5).abs() < 1e-6);
    assert!((paced.least_makespan - 51.0).abs() < 0.5, "{}", paced.least_makespan);
}

#[test]
fn what_cannot_be_run_is_told() {
    let error = |jobs: Vec<BatchJob>, size: Size, cores: u64| {
        let mut settings = settings(1);
        (settings.fleet.size, settings.fleet.cpu) = (size, MilliCpu(cores * 1000));
        run(&work(jobs), &settings, |_| {}).unwrap_err().to_string()
    };
    let one = || vec![job("j", 0, &[("a", &[], &[1])])];
    assert_eq!(error(Vec::new(), Size::Machines(1), 1), "there are no jobs");
    assert_eq!(error(one(), Size::Machines(0), 1), "there are no machines: at least one is needed");
    assert!(error(one(), Size::Load(0.5), 1).starts_with("all jobs come at the same moment"));
    assert_eq!(
        error(one(), Size::Machines(1), 0),
        "tasks.csv:1: an instance of task `a` of job `j` asks for 1 cores and 1.0% of memory, and no machine has more \
         than 0 cores and 100.0% of memory: give larger machines, or leave the job out"
    );
}

#[test]
fn jains_index_is_1_where_all_are_alike_and_1_of_n_where_one_has_all() {
    assert_eq!(report::jain(&[3.0, 3.0, 3.0, 3.0]), 1.0);
    assert_eq!(report::jain(&[5.0, 0.0, 0.0, 0.0]), 0.25);
}

#[test]
fn ranks_are_values_that_occur() {
    let spread = Spread::of((1..=100).map(f64::from).collect());
    assert_eq!((spread.mean, spread.p50, spread.p99, spread.max), (50.5, 50.0, 99.0, 100.0));
    assert_eq!(Spread::of(vec![7.0]).p50, 7.0);
}

#[test]
fn a_page_shows_every_chart() {
    let page = page(&report(vec![job("j", 0, &[("a", &[], &[4, 4, 4])])], &settings(1)), "a<b.csv");
    assert_eq!((page.matches("<svg").count(), page.matches("<polyline").count()), (3, 6));
    assert!(page.contains("From a&lt;b.csv, seed 1.") && page.ends_with("</body></html>\n"));
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}

#[test]
fn the_published_ten_minutes_run() {
    let beside = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("CREST_DATA").map_or(beside, PathBuf::from).join("alibaba2018-batch");
    if !folder.exists() {
        eprintln!("skipped: no `{}`; set CREST_DATA to the folder that holds it", folder.display());
        return;
    }
    // Without the table of instances, of which there are half a million, only so many jobs are run.
    let mut workload = read(&folder.join("tasks_first10min.csv"), None).unwrap();
    workload.jobs.truncate(150);
    let mut settings = settings(1);
    settings.fleet = Fleet { size: Size::Load(0.5), cpu: MilliCpu(96_000), ..settings.fleet };
    settings.latencies = Latencies::default();
    let report = run(&workload, &settings, |_| {}).unwrap();
    assert!(report.sound && report.succeeded == 150, "{report:?}");
    assert!(report.ratio.unwrap() < 1.1, "{:?}", report.ratio);
}

/// Jobs whose tasks wait for some of those before them.
fn any_job() -> impl Strategy<Value = BatchJob> {
    let task = (prop::collection::vec(0_u64..20, 1..6), any::<[bool; 4]>());
    (0_u64..30, prop::collection::vec(task, 1..5)).prop_map(|(arrival, tasks)| {
        let names = ["a", "b", "c", "d"];
        let parents: Vec<Vec<usize>> = tasks
            .iter()
            .enumerate()
            .map(|(index, (_, waits))| (0..index).filter(|parent| waits[*parent]).collect())
            .collect();
        let rows: Vec<Row<'_>> = tasks
            .iter()
            .enumerate()
            .map(|(index, (durations, _))| (names[index], parents[index].as_slice(), durations.as_slice()))
            .collect();
        job("j", arrival, &rows)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_instance_counts_once_and_no_machine_is_overfull(
        mut jobs in prop::collection::vec(any_job(), 1..8),
        machines in 1_u32..4,
        shares in prop::array::uniform3(0_u32..4),
        tenants in 0_u32..3,
    ) {
        jobs.sort_by_key(|job| job.arrival);
        let mut settings = settings(machines);
        settings.latencies = Latencies::default();
        settings.tenants = Some(tenants).filter(|tenants| *tenants > 0);
        let [instances, workers, slow_machines] = shares.map(|share| f64::from(share) * 0.1);
        settings.faults = Faults { instances, workers, slow_machines, slow_factor: 2.0, ..Faults::default() };
        let workload = work(jobs);
        let report = run(&workload, &settings, |_| {}).unwrap();
        prop_assert!(report.sound);
        prop_assert_eq!(report.succeeded, report.jobs);
        prop_assert_eq!(report.attempts, report.instances + report.killed_instances + report.killed_workers);
        prop_assert!(report.makespan >= report.least_makespan);
        let capacity = f64::from(machines) * 2.0;
        prop_assert!(report.makespan >= report.useful_core_seconds / capacity - 1e-6);
        prop_assert!(report.timeline.iter().all(|moment| moment.level.cpu <= 1.0 + 1e-9));
        let again = run(&workload, &settings, |_| {}).unwrap();
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&report).unwrap());
    }
}
