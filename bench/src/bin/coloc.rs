//! What batch does to a service on the same machine: alone, beside plain processes, and through Crest.
//!
//! ```text
//!   coloc [SECONDS [REPEATS [SERVICES [SHARES [HOGS [OPTIONS...]]]]]]
//!         10       5        nginx,redis,compute     cpu,memory,cache,forks,network
//!                                       30,50            for crest up: --batch-cpu-pool
//! ```
//! Every phase has the same open-loop load, at the rate that keeps the given share of the machine busy when the service
//! is alone, the load's own part included. A hog runs on every core. Each phase with batch is compared with the service
//! alone of the same repeat; figures are medians over the repeats. Crest bounds what batch reads, writes and sends.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Duration;

use bench::cluster::Cluster;
use bench::coloc::crowd::{Job, Plain};
use bench::coloc::hogs::Hog;
use bench::coloc::service::Service;
use bench::coloc::{self, image};
use bench::summary;
use drill::company::{measure, rate_for};
use drill::load::Plan;
use drill::report::Phase;
use tokio::runtime::Runtime;

const AIM_P99: f64 = 0.05;
/// Per second: of all batch at the disk, and of each batch Pod at the network.
const BOUNDS: [&str; 6] =
    ["--batch-disk-read", "100Mi", "--batch-disk-write", "20Mi", "--batch-egress", "20Mi"];
const AIM_P999: f64 = 0.15;
const AIM_CPU: f64 = 0.90;
/// Of the hogs, so many have to meet the aim on each service.
const AIM_HOGS: usize = 4;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match coloc::play(&words) {
        Some(played) => played,
        None => compare(&Options::read(&words)?),
    }
}

struct Options {
    duration: Duration,
    repeats: usize,
    services: Vec<Service>,
    shares: Vec<f64>,
    hogs: Vec<Hog>,
    /// Of `crest up`, beside the bounds.
    up: Vec<String>,
}

impl Options {
    fn read(words: &[&str]) -> anyhow::Result<Self> {
        let word = |at: usize, default| words.get(at).copied().unwrap_or(default);
        let list = |at, default| word(at, default).split(',').map(str::to_owned).collect::<Vec<_>>();
        Ok(Self {
            duration: Duration::from_secs(word(0, "10").parse()?),
            repeats: word(1, "5").parse()?,
            services: list(2, "nginx,redis,compute")
                .iter()
                .map(|name| Service::named(name))
                .collect::<anyhow::Result<_>>()?,
            shares: list(3, "30,50")
                .iter()
                .map(|text| Ok(text.parse::<f64>()? / 100.0))
                .collect::<anyhow::Result<_>>()?,
            hogs: list(4, "cpu,memory,cache,forks,network")
                .iter()
                .map(|name| Hog::named(name))
                .collect::<anyhow::Result<_>>()?,
            up: words.iter().skip(5).map(ToString::to_string).collect(),
        })
    }
}

/// One hog beside one service, over all repeats.
#[derive(Default)]
struct Cell {
    plain: Vec<Beside>,
    crest: Vec<Beside>,
}

/// A phase with batch, against the service alone.
#[derive(Clone, Copy)]
struct Beside {
    cpu: f64,
    p50: f64,
    p99: f64,
    p999: f64,
}

impl Beside {
    fn new(phase: &Phase, alone: &Phase) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a request are far below 2^52")]
        let growth = |with: u64, without: u64| with as f64 / without.max(1) as f64 - 1.0;
        Self {
            cpu: phase.cpu_busy,
            p50: growth(phase.latency.p50_us, alone.latency.p50_us),
            p99: growth(phase.latency.p99_us, alone.latency.p99_us),
            p999: growth(phase.latency.p999_us, alone.latency.p999_us),
        }
    }

    fn median(all: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| median(all.iter().map(field).collect());
        Self {
            cpu: of(|each| each.cpu),
            p50: of(|each| each.p50),
            p99: of(|each| each.p99),
            p999: of(|each| each.p999),
        }
    }
}

fn median(values: Vec<f64>) -> f64 {
    summary::median(values).unwrap_or(f64::NAN)
}

fn compare(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let cluster = Cluster::prepare()?;
    let more: Vec<&str> = options.up.iter().map(String::as_str).collect();
    cluster.crest(&[&["up"], &BOUNDS[..], &more].concat())?;
    image::build(&cluster)?;
    let stage =
        Stage { client: runtime.block_on(cluster.client())?, runtime: &runtime, cluster: &cluster, options };
    for service in &options.services {
        let target = runtime.block_on(service.start(&stage.client))?;
        for share in &options.shares {
            stage.at_share(*service, service.plan(target, options.duration), *share)?;
        }
        runtime.block_on(service.stop(&stage.client))?;
    }
    Ok(())
}

struct Stage<'a> {
    client: kube::Client,
    runtime: &'a Runtime,
    cluster: &'a Cluster,
    options: &'a Options,
}

impl Stage<'_> {
    fn at_share(&self, service: Service, mut plan: Plan, share: f64) -> anyhow::Result<()> {
        plan.requests_per_second = rate_for(&plan, share)?;
        println!(
            "{} at {:.0}% of the machine: {} requests per second; {} phases of {:?} each",
            service.name(),
            share * 100.0,
            plan.requests_per_second,
            self.options.repeats,
            plan.duration
        );
        let mut alone: Vec<Phase> = Vec::new();
        let mut cells: Vec<Cell> = self.options.hogs.iter().map(|_| Cell::default()).collect();
        for _ in 0..self.options.repeats {
            let peer = measure("alone", &plan, || anyhow::Ok(0))?;
            for (hog, cell) in self.options.hogs.iter().zip(&mut cells) {
                cell.plain.push(Beside::new(&self.beside_plain(*hog, &plan)?, &peer));
                cell.crest.push(Beside::new(&self.through_crest(*hog, &plan)?, &peer));
            }
            alone.push(peer);
        }
        self.tell(&alone, &cells);
        Ok(())
    }

    fn beside_plain(&self, hog: Hog, plan: &Plan) -> anyhow::Result<Phase> {
        let crowd = Plain::start(hog, cores(), &self.cluster.state_dir())?;
        let phase = measure("plain", plan, || anyhow::Ok(0));
        drop(crowd);
        phase
    }

    fn through_crest(&self, hog: Hog, plan: &Plan) -> anyhow::Result<Phase> {
        let job = self.runtime.block_on(Job::start(&self.client, hog, cores()))?;
        let phase = measure("crest", plan, || anyhow::Ok(0));
        self.runtime.block_on(job.end())?;
        phase
    }

    fn tell(&self, alone: &[Phase], cells: &[Cell]) {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a request are far below 2^52")]
        let of = |field: fn(&Phase) -> u64| median(alone.iter().map(|phase| field(phase) as f64).collect());
        println!(
            "  alone: CPU {:.0}%, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
            median(alone.iter().map(|phase| phase.cpu_busy).collect()) * 100.0,
            of(|phase| phase.latency.p50_us) / 1000.0,
            of(|phase| phase.latency.p99_us) / 1000.0,
            of(|phase| phase.latency.p999_us) / 1000.0
        );
        let mut met = 0;
        for (hog, cell) in self.options.hogs.iter().zip(cells) {
            let (plain, crest) = (Beside::median(&cell.plain), Beside::median(&cell.crest));
            println!("  {:<8} plain: {plain}", hog.name());
            println!("  {:<8} Crest: {crest}", "");
            met += usize::from(crest.p99 <= AIM_P99);
            if *hog == Hog::Cpu {
                println!("  {:<8} CPU of the aim: ratio {:.2}", "", crest.cpu / AIM_CPU);
            }
            println!("  {:<8} p99.9 of the aim: ratio {:.2}", "", (1.0 + crest.p999) / (1.0 + AIM_P999));
        }
        println!(
            "  p99 at most {:.0}% over alone: {met} of {}; aim {AIM_HOGS}",
            AIM_P99 * 100.0,
            cells.len()
        );
    }
}

impl std::fmt::Display for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, p999] = [self.p50, self.p99, self.p999].map(|growth| growth * 100.0);
        write!(f, "CPU {:3.0}%, p50 {p50:+6.0}%, p99 {p99:+6.0}%, p99.9 {p999:+6.0}%", self.cpu * 100.0)
    }
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1))
}
