//! One phase: the same load, whatever company the service has.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use drill::http_load::{self, Outcome, Plan};
use drill::report::Phase;
use drill::stopwatch::CpuTicks;

/// A page of Debian's policy manual, some 100 KB, which nginx compresses for every request.
const PAGE: &str = "/debian-policy/policy.html/ch-controlfields.html";
/// Enough that the kernel, which deals connections out to nginx's workers, gives each about the same load in every phase.
const CONNECTIONS: u32 = 64;
const WARM_UP: Duration = Duration::from_secs(2);

/// The load of every phase.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) target: SocketAddr,
    pub(super) requests_per_second: u32,
    pub(super) duration: Duration,
}

impl Load {
    fn plan(&self, rate: u32, duration: Duration) -> Plan {
        Plan {
            target: self.target,
            path: PAGE.to_owned(),
            requests_per_second: rate,
            connections: CONNECTIONS,
            warm_up: WARM_UP,
            duration,
        }
    }

    /// The rate that keeps about `share` of the machine busy: tried low, then scaled in bounded steps, so that one
    /// odd reading does not send it off.
    pub(super) fn rate_for(&self, share: f64) -> anyhow::Result<u32> {
        let mut rate: u32 = 100;
        for _ in 0..4 {
            let busy = self.busy_at(rate)?;
            let factor = (share / busy.max(0.01)).clamp(0.4, 2.5);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a positive rate of at most a million requests per second"
            )]
            let scaled = (f64::from(rate) * factor).clamp(10.0, 1_000_000.0) as u32;
            rate = scaled;
        }
        Ok(rate)
    }

    fn busy_at(&self, rate: u32) -> anyhow::Result<f64> {
        let plan = self.plan(rate, Duration::from_secs(3));
        let before = CpuTicks::read()?;
        http_load::run(&plan)?;
        Ok(CpuTicks::read()?.busy_share_since(before))
    }

    /// Runs the load and counts, by `finished`, the batch instances that ended meanwhile.
    pub(super) fn measure(
        &self,
        name: &str,
        finished: impl Fn() -> anyhow::Result<u64>,
    ) -> anyhow::Result<Phase> {
        thread::sleep(Duration::from_secs(1)); // what the phase before left running has ended
        let plan = self.plan(self.requests_per_second, self.duration);
        let stop = AtomicBool::new(false);
        let (outcome, cpu, instances) = thread::scope(|scope| -> anyhow::Result<_> {
            let load = scope.spawn(|| http_load::run(&plan));
            thread::sleep(WARM_UP);
            let instances_before = finished()?;
            let sampler = scope.spawn(|| sample_cpu(&stop));
            let outcome = load.join().map_err(|_| anyhow::anyhow!("the load generator panicked"))??;
            let instances = finished()?.saturating_sub(instances_before);
            stop.store(true, Ordering::Relaxed);
            let cpu = sampler.join().map_err(|_| anyhow::anyhow!("the CPU sampler panicked"))??;
            Ok((outcome, cpu, instances))
        })?;
        Ok(self.phase(name, &outcome, cpu, instances))
    }

    fn phase(&self, name: &str, outcome: &Outcome, cpu: CpuCurve, instances: u64) -> Phase {
        #[expect(clippy::cast_precision_loss, reason = "instance counts are far below 2^52")]
        let per_minute = instances as f64 * 60.0 / self.duration.as_secs_f64();
        Phase {
            name: name.to_owned(),
            cpu_busy: cpu.mean,
            requests_per_second: outcome.achieved_per_second(),
            failed_requests: outcome.failed,
            latency: outcome.latencies.percentiles(),
            tail: outcome.latencies.tail(),
            batch_instances_per_minute: per_minute,
            cpu_over_time: cpu.over_time,
        }
    }
}

struct CpuCurve {
    mean: f64,
    over_time: Vec<(f64, f64)>,
}

fn sample_cpu(stop: &AtomicBool) -> anyhow::Result<CpuCurve> {
    let first = CpuTicks::read()?;
    let started = kit::clock::monotonic();
    let (mut last, mut over_time) = (first, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_secs(1));
        let now = CpuTicks::read()?;
        over_time.push((started.elapsed().as_secs_f64(), now.busy_share_since(last)));
        last = now;
    }
    // The last second reaches beyond the load; it is in the curve but not in the mean.
    over_time.pop();
    #[expect(clippy::cast_precision_loss, reason = "one sample a second")]
    let mean = over_time.iter().map(|point| point.1).sum::<f64>() / over_time.len().max(1) as f64;
    Ok(CpuCurve { mean, over_time })
}

/// What the figures were measured on.
pub(super) fn machine() -> String {
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("no kernel release");
    let kernel = kernel.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
    format!("{processors} CPUs, Linux {kernel}; the load generator runs on the same machine")
}
