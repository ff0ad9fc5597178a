//! Open-loop load on one address, in HTTP/1.1 or in Redis' protocol.
//!
//! ```text
//!   connection 0:  |due--sent....answered|      |due--sent..|          latency = answered - due
//!   connection 1:      |due--sent....|      |due--sent..|
//! ```
//! A blocking thread per connection, because timers of an asynchronous runtime tick in milliseconds, which is
//! longer than the latencies to be measured.

mod connection;
mod http;
mod redis;

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::latency::Latencies;
use connection::Connection;

/// What is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `GET` of a path, for example `/index.html`.
    Http { path: String },
    /// A command with its arguments, for example `GET`, `cart:7`.
    Redis { command: Vec<String> },
}

/// What load to make.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: SocketAddr,
    pub request: Request,
    pub requests_per_second: u32,
    /// The requests are dealt out to this many connections in turn.
    pub connections: u32,
    /// Not measured: lets caches fill and connections open.
    pub warm_up: Duration,
    pub duration: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub latencies: Latencies,
    /// Requests that got no answer or one that says that they failed. They are not in `latencies`.
    pub failed: u64,
    /// Of the measured part, from the first request due to the last answer.
    pub elapsed: Duration,
}

impl Outcome {
    /// Answers per second over the measured part.
    pub fn achieved_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "request counts are far below 2^52")]
        let count = self.latencies.count() as f64;
        if seconds > 0.0 { count / seconds } else { 0.0 }
    }
}

/// Why no load could be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("a plan needs at least one connection and one request per second")]
    Empty,
    #[error("cannot connect to {target}")]
    Connect { target: SocketAddr, source: io::Error },
    #[error("cannot start a load thread")]
    Thread { source: io::Error },
}

/// Makes the load and waits for its end.
pub fn run(plan: &Plan) -> Result<Outcome, LoadError> {
    if plan.connections == 0 || plan.requests_per_second == 0 {
        return Err(LoadError::Empty);
    }
    let connections = (0..plan.connections)
        .map(|_| Connection::open(plan.target, &plan.request))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| LoadError::Connect { target: plan.target, source })?;
    let start = kit::clock::monotonic() + Duration::from_millis(10);
    let workers = connections
        .into_iter()
        .zip(0u32..)
        .map(|(connection, index)| spawn(plan, connection, Schedule::new(plan, index, start)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut total = Outcome::default();
    for worker in workers {
        // A worker has no way to panic short of a bug; then its requests are simply missing from the count.
        if let Ok(part) = worker.join() {
            total.latencies.merge(&part.latencies);
            total.failed += part.failed;
            total.elapsed = total.elapsed.max(part.elapsed);
        }
    }
    Ok(total)
}

fn spawn(
    plan: &Plan,
    connection: Connection,
    schedule: Schedule,
) -> Result<thread::JoinHandle<Outcome>, LoadError> {
    let measure_from = schedule.first_due + plan.warm_up;
    thread::Builder::new()
        .name("drill".to_owned())
        .stack_size(128 * 1024)
        .spawn(move || drive(connection, schedule, measure_from))
        .map_err(|source| LoadError::Thread { source })
}

/// The times at which one connection's requests are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    first_due: Instant,
    interval: Duration,
    end: Instant,
}

impl Schedule {
    fn new(plan: &Plan, index: u32, start: Instant) -> Self {
        let between_all = Duration::from_secs(1) / plan.requests_per_second;
        Self {
            first_due: start + between_all * index,
            interval: between_all * plan.connections,
            end: start + plan.warm_up + plan.duration,
        }
    }
}

fn drive(mut connection: Connection, schedule: Schedule, measure_from: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let mut due = schedule.first_due;
    while due < schedule.end {
        thread::sleep(due.saturating_duration_since(kit::clock::monotonic()));
        let answered = connection.request();
        let now = kit::clock::monotonic();
        if due >= measure_from {
            match answered {
                Ok(()) => outcome.latencies.record(now.saturating_duration_since(due)),
                Err(_) => outcome.failed += 1,
            }
            outcome.elapsed = now.saturating_duration_since(measure_from);
        }
        due += schedule.interval;
    }
    outcome
}

#[cfg(test)]
mod tests;
