//! One service under the same load, whatever company it has on its machine.
//!
//! ```text
//!   rate_for 30% ──► measure alone ──► measure beside a crowd ──► measure beside another ──► report
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::load::{self, LoadError, Outcome, Plan};
use crate::report::Phase;
use crate::stopwatch::{CpuTicks, CpuTicksError};

/// How the rate for a share is looked for: until it is met to a twentieth, or so many times.
const TRIES: usize = 8;
const NEAR: f64 = 0.05;
const TRY: Duration = Duration::from_secs(3);
const FIRST_RATE: u32 = 100;
/// What the phase before left running has ended by then.
const PAUSE: Duration = Duration::from_secs(1);

/// No measurement came about.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Cpu(#[from] CpuTicksError),
    #[error("{0} fell while it measured")]
    Fell(&'static str),
}

/// The rate at which `plan` keeps about `share` of the machine busy, the load's own share included: tried low, then
/// scaled in bounded steps, so that one odd reading does not send it off.
pub fn rate_for(plan: &Plan, share: f64) -> Result<u32, MeasureError> {
    let mut rate = FIRST_RATE;
    for _ in 0..TRIES {
        let before = CpuTicks::read()?;
        load::run(&Plan { requests_per_second: rate, duration: TRY, ..plan.clone() })?;
        let busy = CpuTicks::read()?.busy_share_since(before);
        if (busy / share - 1.0).abs() <= NEAR {
            break;
        }
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

/// Runs the load and counts, by `finished`, the batch instances that ended meanwhile.
pub fn measure<E: From<MeasureError> + Send>(
    name: &str,
    plan: &Plan,
    finished: impl Fn() -> Result<u64, E>,
) -> Result<Phase, E> {
    thread::sleep(PAUSE);
    let stop = AtomicBool::new(false);
    let (outcome, cpu, instances) = thread::scope(|scope| -> Result<_, E> {
        let load = scope.spawn(|| load::run(plan));
        thread::sleep(plan.warm_up);
        let instances_before = finished();
        let sampler = scope.spawn(|| sample_cpu(&stop));
        let outcome = load.join();
        let instances_after = finished();
        stop.store(true, Ordering::Relaxed);
        let cpu = sampler.join().map_err(|_| MeasureError::Fell("the CPU's stopwatch"))?;
        let outcome = outcome.map_err(|_| MeasureError::Fell("the load"))?.map_err(MeasureError::from)?;
        Ok((outcome, cpu.map_err(MeasureError::from)?, instances_after?.saturating_sub(instances_before?)))
    })?;
    Ok(phase(name, plan, (&outcome, cpu, instances)))
}

fn phase(name: &str, plan: &Plan, (outcome, cpu, instances): (&Outcome, CpuCurve, u64)) -> Phase {
    #[expect(clippy::cast_precision_loss, reason = "instance counts are far below 2^52")]
    let per_minute = instances as f64 * 60.0 / plan.duration.as_secs_f64();
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

struct CpuCurve {
    mean: f64,
    over_time: Vec<(f64, f64)>,
}

fn sample_cpu(stop: &AtomicBool) -> Result<CpuCurve, CpuTicksError> {
    let mut last = CpuTicks::read()?;
    let started = kit::clock::monotonic();
    let mut over_time = Vec::new();
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
