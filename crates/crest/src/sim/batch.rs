//! `crest sim batch`: recorded batch jobs under virtual time.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use model::{Bytes, MilliCpu};
use sim::batch::{
    self, Avoidance, BatchReport, Faults, Fleet, Latencies, MEMORY_PERCENT, Settings, Size, Spread, Use,
};

use super::{SOME_UNPLACED, answer};
use crate::cli::Output;

pub(super) const EXAMPLES: &str = "Examples:\n  \
    crest sim batch --tasks tasks.csv --instances instances.csv.gz\n  \
    crest sim batch --tasks tasks.csv --machines 400 --plot run.html\n  \
    crest sim batch --tasks tasks.csv --machines 400 --load 90% --tenants 4\n  \
    crest sim batch --tasks tasks.csv --fail-instances 5% --kill-workers 5% --output json\n\n\
    A table of tasks has a header that names at least job, task_name and instances; duration_s or start_time and end_time;\n\
    arrival_s, plan_cpu (100 is one core), plan_mem (100 is the trace's machine) and tenant are read where they are there.\n\
    Alibaba's batch_task and batch_instance of 2018 have no header and are known by their columns. A task's name says what\n\
    it waits for: R4_2_3 is task 4 and waits for tasks 2 and 3.";

#[derive(Debug, Args)]
pub(crate) struct BatchOptions {
    /// Table of tasks in CSV, as it is or packed (.gz, .xz)
    #[arg(long, value_name = "FILE")]
    tasks: PathBuf,
    /// Table of the instances' own durations; those that it does not tell run as long as their task
    #[arg(long, value_name = "FILE")]
    instances: Option<PathBuf>,
    #[command(flatten)]
    fleet: FleetOptions,
    #[command(flatten)]
    latencies: LatencyOptions,
    #[command(flatten)]
    faults: FaultOptions,
    /// Deal the jobs out to so many tenants in turn; each is sure of an equal part of the cores and may use what others
    /// leave. Without it so are the tenants that the table names
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tenants: Option<u32>,
    /// Decides what fails and when; the same seed gives the same report
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write a page with charts as well
    #[arg(long, value_name = "FILE.html")]
    plot: Option<PathBuf>,
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What there is to run on.
#[derive(Debug, Args)]
struct FleetOptions {
    /// So many machines; without it as many as --load needs
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    machines: Option<u32>,
    /// Mean demand from the first arrival to the last, if every instance ran as soon as it may, as a share of all machines,
    /// of CPU or memory, whichever is more [default: 50% without --machines]. With --machines, arrivals are drawn apart or
    /// together until it is that
    #[arg(long, value_name = "SHARE", value_parser = parse_load)]
    load: Option<f64>,
    /// Cores of each machine
    #[arg(long, default_value_t = 96, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    cores: u32,
    /// Memory of each machine, as plan_mem counts it: 100 is the trace's machine
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    memory: u32,
    /// Workers of each machine at most, whatever they need
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    workers: u32,
}

/// How long what is not the instances' own time takes.
#[derive(Debug, Args)]
struct LatencyOptions {
    /// Milliseconds from a granted place to a worker that is ready
    #[arg(long, value_name = "MS", default_value_t = 100)]
    worker_start: u32,
    /// Milliseconds from a worker's end until its place is free
    #[arg(long, value_name = "MS", default_value_t = 50)]
    worker_end: u32,
    /// Milliseconds from one instance to the next on the same worker
    #[arg(long, value_name = "MS", default_value_t = 1)]
    hand_over: u32,
    /// Milliseconds of each write of a job's status
    #[arg(long, value_name = "MS", default_value_t = 5)]
    store: u32,
}

/// What goes wrong. With any of these the work is run without them as well, and the report says what they have cost.
#[derive(Debug, Args)]
struct FaultOptions {
    /// Kill this share of the instances once, at a random moment of their first attempt
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    fail_instances: f64,
    /// Kill this share of the workers at a random moment of the first instance that they run
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    kill_workers: f64,
    /// On this share of the machines everything takes longer
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    slow_machines: f64,
    /// So many times as long
    #[arg(long, value_name = "TIMES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    slow_factor: u32,
    /// On this share of the machines instances fail
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    faulty_machines: f64,
    /// So many of the attempts there, each at a random moment
    #[arg(long, value_name = "SHARE", default_value = "80%", value_parser = parse_share)]
    faulty_share: f64,
    /// Let nobody avoid machines that are found faulty, for comparison
    #[arg(long)]
    no_avoidance: bool,
}

fn parse_percent(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    share.is_finite().then_some(share)
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = parse_percent(text).filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("`{text}` is no share from 0% to 100%: write for example 5% or 0.05"))
}

fn parse_load(text: &str) -> Result<f64, String> {
    let load = parse_percent(text).filter(|load| (0.001..=100.0).contains(load));
    load.ok_or_else(|| format!("`{text}` is no load from 0.1% to 10000%: write for example 50% or 0.5"))
}

impl BatchOptions {
    fn settings(&self) -> Settings {
        let FleetOptions { machines, load, cores, memory, workers } = self.fleet;
        let size = match (machines, load) {
            (Some(machines), None) => Size::Machines(machines),
            (Some(machines), Some(load)) => Size::Paced { machines, load },
            (None, load) => Size::Load(load.unwrap_or(0.5)),
        };
        let millis = |count: u32| Duration::from_millis(u64::from(count));
        Settings {
            fleet: Fleet {
                size,
                cpu: MilliCpu(u64::from(cores) * 1000),
                memory: Bytes(u64::from(memory) * MEMORY_PERCENT.0),
                workers: u64::from(workers),
            },
            latencies: Latencies {
                worker_start: millis(self.latencies.worker_start),
                worker_end: millis(self.latencies.worker_end),
                hand_over: millis(self.latencies.hand_over),
                store: millis(self.latencies.store),
            },
            faults: Faults {
                instances: self.faults.fail_instances,
                workers: self.faults.kill_workers,
                slow_machines: self.faults.slow_machines,
                slow_factor: f64::from(self.faults.slow_factor),
                faulty_machines: self.faults.faulty_machines,
                faulty_share: self.faults.faulty_share,
            },
            avoidance: if self.faults.no_avoidance { Avoidance::Off } else { Avoidance::On },
            tenants: self.tenants,
            seed: self.seed,
        }
    }
}

pub(super) fn execute(options: &BatchOptions) -> anyhow::Result<ExitCode> {
    let workload = batch::read(&options.tasks, options.instances.as_deref())?;
    let begun = kit::clock::monotonic();
    // Drawn on standard error, and only for a person who waits.
    let bar = ProgressBar::hidden();
    bar.set_style(ProgressStyle::with_template("running {wide_bar} {pos}/{len} instances, {eta} left")?);
    let report = batch::run(&workload, &options.settings(), |progress| {
        if bar.is_hidden() && begun.elapsed() > Duration::from_secs(1) {
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
        bar.set_length(progress.all);
        bar.set_position(progress.done);
    })?;
    bar.finish_and_clear();
    if let Some(path) = &options.plot {
        let page = batch::page(&report, &options.tasks.display().to_string());
        std::fs::write(path, page).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    answer(options.output, &report, text)?;
    Ok(if report.succeeded == report.jobs { ExitCode::SUCCESS } else { SOME_UNPLACED.into() })
}

fn text(report: &BatchReport) -> String {
    let BatchReport { jobs, tasks, instances, machines, seed, .. } = report;
    let mut lines = vec![format!(
        "{jobs} jobs, {tasks} tasks, {instances} instances; {machines} machines of {} cores and {}% memory (seed {seed})",
        report.cores_per_machine, report.memory_per_machine
    )];
    if let Some(load) = report.load {
        lines.push(format!("mean demand while jobs come: {:.1}% of the machines", load * 100.0));
    }
    lines.push(format!(
        "makespan {:.1} s; on machines without limit {:.1} s",
        report.makespan, report.least_makespan
    ));
    lines.push(format!("{:<24}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "mean", "p50", "p90", "p99", "max"));
    lines.extend([
        row("job completion, s", &report.completion),
        row("critical path, s", &report.critical_path),
        row("slowdown of each job", &report.slowdown),
        row("an instance waits, s", &report.waiting),
    ]);
    if let Some(ratio) = report.ratio {
        lines.push(format!("mean completion: {ratio:.3} times the mean critical path"));
    }
    lines.push(use_line("use while jobs come", &report.use_while_jobs_come));
    lines.push(use_line("use in all", &report.use_in_all));
    if report.seconds_with_any_waiting >= 1.0 {
        let name = format!("use while any wait ({:.0} s)", report.seconds_with_any_waiting);
        lines.push(use_line(&name, &report.use_while_any_wait));
    }
    lines.push(format!("fairness (Jain's index of the jobs' slowdowns): {:.3}", report.fairness));
    lines.extend(tenants(report));
    lines.extend(counts(report));
    lines.join("\n") + "\n"
}

fn row(name: &str, spread: &Spread) -> String {
    let Spread { mean, p50, p90, p99, max } = spread;
    format!("{name:<24}{mean:>10.2}{p50:>10.2}{p90:>10.2}{p99:>10.2}{max:>10.2}")
}

fn use_line(name: &str, shares: &Use) -> String {
    let Use { cpu, memory, busy_cpu } = shares;
    format!(
        "{name}: CPU {:.1}% held, {:.1}% by running instances; memory {:.1}% held",
        cpu * 100.0,
        busy_cpu * 100.0,
        memory * 100.0
    )
}

fn tenants(report: &BatchReport) -> Vec<String> {
    let Some(fairness) = report.fairness_of_tenants else { return Vec::new() };
    let mut lines =
        vec![format!("fairness between tenants (the same of their mean slowdowns): {fairness:.3}")];
    lines.extend(report.tenants.iter().map(|tenant| {
        format!(
            "  {}: {} jobs, {:.0} core seconds, mean completion {:.2} s, mean slowdown {:.2}",
            tenant.name, tenant.jobs, tenant.core_seconds, tenant.mean_completion, tenant.mean_slowdown
        )
    }));
    lines
}

fn counts(report: &BatchReport) -> Vec<String> {
    let BatchReport { grants, revokes, attempts, killed_instances, killed_workers, .. } = report;
    let mut lines = vec![
        format!("{grants} workers granted, {revokes} revoked; {attempts} attempts"),
        format!(
            "{:.0} core seconds of use, {:.0} lost",
            report.useful_core_seconds, report.lost_core_seconds
        ),
    ];
    if let Some(growth) = report.growth {
        let percent = |share: f64| format!("{:+.1}%", share * 100.0);
        lines.push(format!("faults: {killed_instances} instances and {killed_workers} workers killed"));
        lines.push(format!(
            "  mean completion {} ({:.2} s without); the mean critical path {}, as what was killed is run again",
            percent(growth.completion),
            growth.completion_without,
            percent(growth.critical_path)
        ));
        lines.push(format!(
            "  each job {} in the mean; makespan {}",
            percent(growth.each_job),
            percent(growth.makespan)
        ));
    }
    if report.succeeded < report.jobs {
        lines.push(format!("{} jobs failed", report.jobs - report.succeeded));
    }
    lines
}
