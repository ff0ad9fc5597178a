//! One instance as a process of its own, and what has to be done for it before and after.
//!
//! ```text
//!   input in a store:   fetch ──► command ──► put     output to a store
//!                         └─failed──┴──failed──┴────► result
//! ```

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fuxi::protocol::{
    Attempt, AttemptResult, Exit, FromWorker, LIST_LIMIT, LISTING, OBJECTS_LIMIT, Program, Usage,
};
use model::names::instance_env;

use super::input::list;
use super::memory::Memory;
use super::objects::{self, Folder, Request, Wanted};
use super::output::Output;
use super::process::{self, Ended, Process, SpawnError};
use super::stderr::Tee;

pub(super) struct Running {
    pub(super) attempt: Attempt,
    pub(super) process: Process,
    stage: Stage,
    /// What the task's input list has for it.
    input: Option<String>,
    /// Its own, if it reads or writes objects.
    folder: Option<Folder>,
    /// When the command began, or what is done before it.
    started: Instant,
    /// How long nothing had run before it.
    gap: Option<Duration>,
}

/// What its process does.
enum Stage {
    /// Takes the task's input list.
    Listing(File),
    Fetching(Vec<Wanted>),
    Command {
        time_limit: Option<u32>,
        /// What it writes that is to be collected.
        output: Option<Output>,
    },
    /// Puts what the command, which used so much, has written.
    Putting {
        spent: Duration,
        usage: Usage,
    },
}

/// After a process of an instance has ended.
pub(super) enum Step {
    On(Box<Running>),
    Ended(AttemptResult),
}

impl Running {
    pub(super) fn spawn(
        program: &Program,
        (attempt, input): (Attempt, Option<&str>),
        (now, free_since): (Instant, Option<Instant>),
    ) -> Result<Self, SpawnError> {
        let objects = |source| SpawnError::Objects { source };
        let store = program.input_store.as_ref().or(program.output_store.as_ref());
        let mut folder = None;
        let (stage, process) = if attempt.index == LISTING && program.list.is_some() {
            listing(program, now)?
        } else {
            folder = store.map(|store| Folder::create(store, attempt)).transpose().map_err(objects)?;
            match (program.input_store.as_ref().zip(input), &folder) {
                (Some((store, piece)), Some(folder)) => {
                    let wanted = folder.wanted(piece);
                    let request = Request::Fetch { store: store.clone(), wanted: wanted.clone() };
                    let (mut process, _) = Process::spawn(&mut objects::command(program, &request)?)?;
                    process.set_deadline(now.checked_add(OBJECTS_LIMIT));
                    (Stage::Fetching(wanted), process)
                }
                _ => command(program, (attempt, input), (folder.as_ref(), None), now)?,
            }
        };
        // A program is loaded before its start returns.
        let now = kit::clock::monotonic();
        let gap = free_since.map(|since| now.saturating_duration_since(since));
        let input = input.map(str::to_owned);
        Ok(Self { attempt, process, stage, input, folder, started: now, gap })
    }

    /// What the master is told of an instance with objects, which are not what its command takes.
    pub(super) fn news(&self) -> Option<FromWorker> {
        let runs = match (&self.stage, &self.folder) {
            (Stage::Command { .. }, Some(_)) => true,
            (Stage::Putting { .. }, _) => false,
            (Stage::Listing(_) | Stage::Fetching(_), _) | (Stage::Command { .. }, None) => return None,
        };
        Some(FromWorker::Command { attempt: self.attempt, runs })
    }

    /// What comes after a process of which nothing is left; without a program nothing is begun any more.
    pub(super) fn step(self, program: Option<&Program>, desk: (&mut Tee, &mut Memory), now: Instant) -> Step {
        let (tee, memory) = desk;
        let Self { attempt, process, stage, input, folder, started, gap } = self;
        let ended = process.finish(tee);
        let spent = now.duration_since(started);
        let on = |process, stage, started, input, folder| {
            Step::On(Box::new(Self { attempt, process, stage, input, folder, started, gap }))
        };
        match stage {
            Stage::Fetching(wanted) if ended.exit.is_success() => {
                let Some(program) = program else {
                    return result(attempt, gap, (Exit::Signal(9), ended), spent);
                };
                let fetched = objects::paths(&wanted);
                let begun =
                    command(program, (attempt, input.as_deref()), (folder.as_ref(), Some(&fetched)), now);
                match begun {
                    Ok((stage, process)) => on(process, stage, kit::clock::monotonic(), input, folder),
                    Err(error) => Step::Ended(super::stream::not_started(attempt, &error)),
                }
            }
            Stage::Command { output: None, .. }
                if ended.exit.is_success()
                    && !ended.was_late
                    && let (Some(store), Some(place)) =
                        (program.and_then(|program| program.output_store.clone()), &folder)
                    && let Some(program) = program =>
            {
                let request = Request::Put { store, attempt, from: place.output() };
                let begun =
                    objects::command(program, &request).and_then(|mut command| Process::spawn(&mut command));
                match begun {
                    Ok((mut process, _)) => {
                        process.set_deadline(now.checked_add(OBJECTS_LIMIT));
                        on(process, Stage::Putting { spent, usage: ended.usage }, started, input, folder)
                    }
                    Err(error) => Step::Ended(super::stream::not_started(attempt, &error)),
                }
            }
            Stage::Command { time_limit, output } => {
                let exit = match time_limit {
                    Some(limit) if ended.was_late => Exit::TimedOut(limit),
                    _ => ended.exit.clone(),
                };
                let exit = match output {
                    Some(output) => output.finish(exit),
                    None => exit,
                };
                result(attempt, gap, (memory.explain(exit), ended), spent)
            }
            Stage::Listing(_) if ended.was_late => {
                let limit = u32::try_from(LIST_LIMIT.as_secs()).unwrap_or(u32::MAX);
                result(attempt, gap, (Exit::TimedOut(limit), ended), spent)
            }
            Stage::Listing(file) => {
                let exit = list::exit(ended.exit.clone(), file);
                result(attempt, gap, (memory.explain(exit), ended), spent)
            }
            Stage::Fetching(_) | Stage::Putting { .. } if ended.was_late => {
                let verb = if matches!(stage, Stage::Fetching(_)) { "fetched" } else { "put" };
                let message = format!("its objects were not {verb} within {} s", OBJECTS_LIMIT.as_secs());
                result(attempt, gap, (Exit::Failed { message }, ended), spent)
            }
            Stage::Fetching(_) => {
                let exit = of_objects(memory.explain(ended.exit.clone()), &ended.tail);
                result(attempt, gap, (exit, Ended { tail: String::new(), ..ended }), spent)
            }
            Stage::Putting { spent, usage } => {
                let exit = of_objects(memory.explain(ended.exit.clone()), &ended.tail);
                result(attempt, gap, (exit, Ended { tail: String::new(), usage, ..ended }), spent)
            }
        }
    }
}

fn listing(program: &Program, now: Instant) -> Result<(Stage, Process), SpawnError> {
    let request = program.list.clone().unwrap_or_default();
    let (program, file) = list::program(program, &request).map_err(SpawnError::list)?;
    let mut command = process::command(&program)?;
    command.stdin(Stdio::null()).stdout(list::stdout(&file).map_err(SpawnError::list)?);
    let (mut process, _) = Process::spawn(&mut command)?;
    process.set_deadline(now.checked_add(LIST_LIMIT));
    Ok((Stage::Listing(file), process))
}

/// The command itself, with its input as it stands in the list or as the files that were fetched.
fn command(
    program: &Program,
    (attempt, input): (Attempt, Option<&str>),
    (folder, fetched): (Option<&Folder>, Option<&str>),
    now: Instant,
) -> Result<(Stage, Process), SpawnError> {
    let mut command = process::command(program)?;
    if let Some((store, piece)) = program.input_store.as_ref().zip(input) {
        command.env(instance_env::INPUT_URL, objects::urls(store, piece));
    }
    if let Some(input) = fetched.or(input) {
        command.env(instance_env::INPUT, input);
    }
    let output = Output::prepare(program, attempt).map_err(SpawnError::output)?;
    let put_later = folder.filter(|_| program.output_store.is_some()).map(Folder::output);
    if let Some(aside) = output.as_ref().map(|output| output.aside().to_owned()).or(put_later) {
        command.env(instance_env::OUTPUT, aside);
    }
    command
        .env(instance_env::INDEX, attempt.index.to_string())
        .env(instance_env::ATTEMPT, attempt.number.to_string())
        .stdin(Stdio::null());
    let (mut process, _) = Process::spawn(&mut command)?;
    let time_limit = program.timeout_seconds;
    let limit = time_limit.map(|seconds| Duration::from_secs(u64::from(seconds)));
    process.set_deadline(limit.and_then(|limit| now.checked_add(limit)));
    Ok((Stage::Command { time_limit, output }, process))
}

/// How an attempt ended whose objects were not fetched or put: as that said.
fn of_objects(exit: Exit, said: &str) -> Exit {
    match exit {
        Exit::Code(code) if code != 0 && !said.trim().is_empty() => {
            Exit::Failed { message: said.trim().to_owned() }
        }
        exit => exit,
    }
}

fn result(attempt: Attempt, gap: Option<Duration>, (exit, ended): (Exit, Ended), spent: Duration) -> Step {
    let tail = if exit.is_success() { String::new() } else { ended.tail };
    let gap_micros = gap.map(|gap| u32::try_from(gap.as_micros()).unwrap_or(u32::MAX));
    let duration_ms = millis(spent);
    Step::Ended(AttemptResult { attempt, exit, duration_ms, gap_micros, usage: Some(ended.usage), tail })
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
