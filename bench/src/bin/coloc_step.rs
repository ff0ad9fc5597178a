//! A service's load that jumps up and comes down again, beside batch that uses all the rest: how the first second is, and
//! how long batch is kept from what is free again.
//!
//! ```text
//!   coloc_step [SERVICES [REPEATS]]      nginx,redis,compute 5
//!   20% for 5 s ──► 80%: first second | 10 s of it ──► 20%: until the machine is as busy as before
//! ```
//! The same steps without batch are the peer. Figures are medians over the repeats. The load opens its connections anew at
//! a step, before the first request is due.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Duration;

use bench::cluster::Cluster;
use bench::coloc::crowd::Job;
use bench::coloc::hogs::Hog;
use bench::coloc::service::Service;
use bench::coloc::{self, image};
use bench::summary::median;
use drill::company::{measure, rate_for};
use drill::load::{self, Plan};
use tokio::runtime::Runtime;

const SHARES: [f64; 2] = [0.20, 0.80];
const LOW: Duration = Duration::from_secs(5);
const HIGH: Duration = Duration::from_secs(10);
/// The first second may be so much worse than the rest.
const AIM_FIRST: f64 = 1.5;
/// Batch has to be back within this.
const AIM_BACK: Duration = Duration::from_secs(30);
/// As busy as before, to so much.
const NEAR: f64 = 0.95;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(played) = coloc::play(&words) {
        return played;
    }
    let services = words.first().copied().unwrap_or("nginx,redis,compute");
    let services: Vec<Service> = services.split(',').map(Service::named).collect::<anyhow::Result<_>>()?;
    compare(&services, words.get(1).map_or(Ok(5), |text| text.parse())?)
}

fn compare(services: &[Service], repeats: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let cluster = Cluster::prepare()?;
    cluster.crest(&["up"])?;
    image::build(&cluster)?;
    let client = runtime.block_on(cluster.client())?;
    for service in services {
        let plan = service.plan(runtime.block_on(service.start(&client))?, LOW);
        let rates = [rate_for(&plan, SHARES[0])?, rate_for(&plan, SHARES[1])?];
        println!("{}: {} and {} requests per second; {repeats} repeats", service.name(), rates[0], rates[1]);
        let mut alone = Vec::new();
        let mut beside = Vec::new();
        for _ in 0..repeats {
            alone.push(steps(&plan, rates)?);
            beside.push(beside_batch(&runtime, &client, (&plan, rates))?);
        }
        tell(&alone, &beside);
        runtime.block_on(service.stop(&client))?;
    }
    Ok(())
}

/// What one step up and down was like.
struct Steps {
    first_p99_ms: f64,
    steady_p99_ms: f64,
    /// Share of the machine that was busy before the step.
    busy_before: f64,
    /// Seconds until it was as busy again after the step down; `None` if it was not in time.
    back: Option<f64>,
}

fn beside_batch(
    runtime: &Runtime,
    client: &kube::Client,
    (plan, rates): (&Plan, [u32; 2]),
) -> anyhow::Result<Steps> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let job = runtime.block_on(Job::start(client, Hog::Cpu, u32::try_from(cores)?))?;
    let steps = steps(plan, rates);
    runtime.block_on(job.end())?;
    steps
}

fn steps(plan: &Plan, [low, high]: [u32; 2]) -> anyhow::Result<Steps> {
    let at = |rate, warm_up, duration| Plan { requests_per_second: rate, warm_up, duration, ..plan.clone() };
    let none = || anyhow::Ok(0);
    let before = measure("before", &at(low, plan.warm_up, LOW), none)?;
    let first = load::run(&at(high, Duration::ZERO, Duration::from_secs(1)))?;
    let steady = load::run(&at(high, Duration::from_secs(1), HIGH))?;
    let after = measure("after", &at(low, Duration::ZERO, AIM_BACK + LOW), none)?;
    anyhow::ensure!(
        first.latencies.count() > 0 && steady.latencies.count() > 0,
        "the service does not answer"
    );
    let is_back = |point: &&(f64, f64)| point.1 >= NEAR * before.cpu_busy;
    Ok(Steps {
        first_p99_ms: millis(first.latencies.percentiles().p99_us),
        steady_p99_ms: millis(steady.latencies.percentiles().p99_us),
        busy_before: before.cpu_busy,
        back: after.cpu_over_time.iter().find(is_back).map(|point| point.0),
    })
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a request are far below 2^52")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn tell(alone: &[Steps], beside: &[Steps]) {
    let of = |steps: &[Steps], field: fn(&Steps) -> f64| {
        median(steps.iter().map(field).collect()).unwrap_or(f64::NAN)
    };
    for (name, steps) in [("alone", alone), ("Crest", beside)] {
        println!(
            "  {name}: busy {:.0}% before; p99 of the first second {:.2} ms, then {:.2} ms",
            of(steps, |step| step.busy_before) * 100.0,
            of(steps, |step| step.first_p99_ms),
            of(steps, |step| step.steady_p99_ms)
        );
    }
    let first = of(beside, |step| step.first_p99_ms / step.steady_p99_ms);
    println!(
        "  first second over the rest: {first:.2} (alone {:.2}); limit {AIM_FIRST}: ratio {:.2}",
        of(alone, |step| step.first_p99_ms / step.steady_p99_ms),
        first / AIM_FIRST
    );
    let back = of(beside, |step| step.back.unwrap_or(f64::INFINITY));
    println!(
        "  batch back after {back:.0} s; limit {AIM_BACK:?}: ratio {:.2}",
        back / AIM_BACK.as_secs_f64()
    );
}
