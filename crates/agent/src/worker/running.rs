//! One instance as a process of its own.

use std::process::Stdio;
use std::time::{Duration, Instant};

use fuxi::protocol::{Attempt, AttemptResult, Exit, Program};
use model::names::instance_env;

use super::process::{self, Process, SpawnError};
use super::stderr::Tee;

pub(super) struct Running {
    pub(super) attempt: Attempt,
    pub(super) process: Process,
    started: Instant,
    time_limit: Option<u32>,
    /// How long nothing had run before it.
    gap: Option<Duration>,
}

impl Running {
    pub(super) fn spawn(
        program: &Program,
        attempt: Attempt,
        (now, free_since): (Instant, Option<Instant>),
    ) -> Result<Self, SpawnError> {
        let mut command = process::command(program)?;
        command
            .env(instance_env::INDEX, attempt.index.to_string())
            .env(instance_env::ATTEMPT, attempt.number.to_string())
            .stdin(Stdio::null());
        let (mut process, _) = Process::spawn(&mut command)?;
        let limit = program.timeout_seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
        process.set_deadline(limit.and_then(|limit| now.checked_add(limit)));
        // A program is loaded before its start returns.
        let now = kit::clock::monotonic();
        let gap = free_since.map(|since| now.saturating_duration_since(since));
        Ok(Self { attempt, process, started: now, time_limit: program.timeout_seconds, gap })
    }

    /// The result, once nothing of the instance is left.
    pub(super) fn finish(self, tee: &mut Tee, now: Instant) -> AttemptResult {
        let ended = self.process.finish(tee);
        let exit = match self.time_limit {
            Some(limit) if ended.was_late => Exit::TimedOut(limit),
            _ => ended.exit,
        };
        let tail = if exit.is_success() { String::new() } else { ended.tail };
        let duration_ms = millis(now.duration_since(self.started));
        let gap_micros = self.gap.map(|gap| u32::try_from(gap.as_micros()).unwrap_or(u32::MAX));
        AttemptResult { attempt: self.attempt, exit, duration_ms, gap_micros, usage: Some(ended.usage), tail }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
