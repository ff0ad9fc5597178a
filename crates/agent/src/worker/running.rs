//! One instance as a process of its own.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fuxi::protocol::{Attempt, AttemptResult, Exit, LIST_LIMIT, LISTING, Program};
use model::names::instance_env;

use super::input::list;
use super::output::Output;
use super::process::{self, Process, SpawnError};
use super::stderr::Tee;

pub(super) struct Running {
    pub(super) attempt: Attempt,
    pub(super) process: Process,
    started: Instant,
    time_limit: Option<u32>,
    /// Where it writes the input list to, if that is what it is for.
    list: Option<File>,
    /// What it writes that is to be collected.
    output: Option<Output>,
    /// How long nothing had run before it.
    gap: Option<Duration>,
}

impl Running {
    pub(super) fn spawn(
        program: &Program,
        (attempt, input): (Attempt, Option<&str>),
        (now, free_since): (Instant, Option<Instant>),
    ) -> Result<Self, SpawnError> {
        let mut list = None;
        let mut time_limit = program.timeout_seconds;
        let mut command = match program.list.as_ref().filter(|_| attempt.index == LISTING) {
            None => process::command(program)?,
            Some(request) => {
                let (program, file) = list::program(program, request).map_err(SpawnError::list)?;
                let mut command = process::command(&program)?;
                command.stdout(list::stdout(&file).map_err(SpawnError::list)?);
                (list, time_limit) = (Some(file), u32::try_from(LIST_LIMIT.as_secs()).ok());
                command
            }
        };
        if let Some(input) = input {
            command.env(instance_env::INPUT, input);
        }
        let output = if list.is_some() {
            None
        } else {
            Output::prepare(program, attempt).map_err(SpawnError::output)?
        };
        if let Some(output) = &output {
            command.env(instance_env::OUTPUT, output.aside());
        }
        command
            .env(instance_env::INDEX, attempt.index.to_string())
            .env(instance_env::ATTEMPT, attempt.number.to_string())
            .stdin(Stdio::null());
        let (mut process, _) = Process::spawn(&mut command)?;
        let limit = time_limit.map(|seconds| Duration::from_secs(u64::from(seconds)));
        process.set_deadline(limit.and_then(|limit| now.checked_add(limit)));
        // A program is loaded before its start returns.
        let now = kit::clock::monotonic();
        let gap = free_since.map(|since| now.saturating_duration_since(since));
        Ok(Self { attempt, process, started: now, time_limit, list, output, gap })
    }

    /// The result, once nothing of the instance is left.
    pub(super) fn finish(self, tee: &mut Tee, now: Instant) -> AttemptResult {
        let ended = self.process.finish(tee);
        let exit = match self.time_limit {
            Some(limit) if ended.was_late => Exit::TimedOut(limit),
            _ => ended.exit,
        };
        let exit = match self.list {
            Some(list) => list::exit(exit, list),
            None => exit,
        };
        let exit = match self.output {
            Some(output) => output.finish(exit),
            None => exit,
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
