//! The user's program that stays alive and takes instances line by line.
//!
//! ```text
//!   off ──an instance waits──► starting ──{"ready":true}──► serving ──► off    it ended, answered nonsense, was too slow:
//!    ▲                            │                            │               of what it held the oldest has failed, and
//!    └────── with a pause ◄───────┴────────────────────────────┘               the others are given to the next one
//! ```
//! A program is given more than one instance only as long as it answers so fast that it would have to wait for the next
//! one. After one that broke, its successor gets them one at a time until all that the broken one held have ended: so
//! whoever breaks programs is found, and costs nobody else an attempt.

mod answer;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use fuxi::protocol::{Attempt, AttemptResult, Exit, MAX_TAIL, Program, READY_LIMIT};

use super::input::Inputs;
use super::memory::Memory;
use super::meter::Meter;
use super::objects;
use super::process::{self, Process, SpawnError, make_nonblocking};
use super::processes::Reaped;
use super::running::millis;
use super::stderr::Tee;
use answer::{Answer, Fault, Lines};

/// A program holds as much as it should answer within this time.
const AHEAD: Duration = Duration::from_millis(20);
/// The most that a program holds.
const MAX_IN_FLIGHT: usize = 512;
/// Before a program is started again that has answered nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long a program may take to end once its input has.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Instances that wait for their turn, and where results go.
pub(super) struct Desk<'a> {
    pub(super) queue: &'a mut VecDeque<Attempt>,
    pub(super) inputs: &'a Inputs,
    pub(super) results: &'a mut Vec<AttemptResult>,
    pub(super) tee: &'a mut Tee,
    pub(super) memory: &'a mut Memory,
    /// The limit of the worker's disk, if it was exceeded: nothing more is begun.
    pub(super) full: Option<u64>,
}

pub(super) struct Stream {
    program: Program,
    /// What follows the instance and the attempt in every line.
    constant: String,
    state: State,
    /// Programs in a row that ended without an answer.
    failures: u32,
    /// So many instances are still to be given one at a time.
    careful: usize,
    /// How long the program takes for one, of late.
    pace: Option<Duration>,
    /// Whether the master knows that the disk is full.
    has_told_full: bool,
}

enum State {
    Off { not_before: Option<Instant> },
    On(Box<Live>),
}

/// A program that runs.
struct Live {
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    outbox: Vec<u8>,
    lines: Lines,
    heard: Heard,
    /// Since when it is busy with the oldest that it holds: its last answer, or when that was given to it.
    since: Instant,
    in_flight: VecDeque<InFlight>,
    /// Counts for the only instance that it holds, as long as there is no other.
    meter: Option<Meter>,
    /// It closed its input or output, and has a moment to end.
    is_closed: bool,
    /// Why it is being ended, if not by itself.
    fault: Option<Fault>,
}

/// What a program has said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Ready,
    Answers,
}

struct InFlight {
    attempt: Attempt,
    given: Instant,
    /// However many it held before this one, each had its time.
    deadline: Option<Instant>,
}

impl Stream {
    pub(super) fn new(program: Program) -> Self {
        let constant = answer::constant(&program);
        let state = State::Off { not_before: None };
        Self { program, constant, state, failures: 0, careful: 0, pace: None, has_told_full: false }
    }

    /// Whether a program runs.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.state, State::On(_))
    }

    pub(super) fn process(&mut self) -> Option<&mut Process> {
        if let State::On(live) = &mut self.state { Some(&mut live.process) } else { None }
    }

    pub(super) fn stderr(&self) -> Option<BorrowedFd<'_>> {
        if let State::On(live) = &self.state { live.process.stderr() } else { None }
    }

    pub(super) fn stdout(&self) -> Option<BorrowedFd<'_>> {
        if let State::On(live) = &self.state { live.stdout.as_ref().map(AsFd::as_fd) } else { None }
    }

    /// The program's input, while something waits to be written there.
    pub(super) fn stdin(&self) -> Option<BorrowedFd<'_>> {
        let State::On(live) = &self.state else { return None };
        live.stdin.as_ref().filter(|_| !live.outbox.is_empty()).map(AsFd::as_fd)
    }

    pub(super) fn due(&self, something_waits: bool) -> Option<Instant> {
        match &self.state {
            State::Off { not_before } => not_before.filter(|_| something_waits),
            State::On(live) => live.process.due(),
        }
    }

    pub(super) fn is_free(&self) -> bool {
        matches!(&self.state, State::On(live) if live.process.is_free())
    }

    /// Ends the program: politely by the end of its input, or at once if it still holds something.
    pub(super) fn end(&mut self, now: Instant, kill_at: Instant) {
        let State::On(live) = &mut self.state else { return };
        live.stdin = None;
        if live.in_flight.is_empty() {
            live.process.set_deadline(Some(now + CLOSE_GRACE));
        } else {
            live.process.terminate(kill_at);
        }
    }

    /// Nothing is started on a full disk. Whoever gives instances to it hears so once, and takes all others back.
    fn tell_full(&mut self, desk: &mut Desk<'_>, limit: u64) {
        let State::Off { not_before } = &mut self.state else { return };
        *not_before = None;
        if !self.has_told_full
            && let Some(attempt) = desk.queue.pop_front()
        {
            self.has_told_full = true;
            desk.results.push(AttemptResult::without_run(attempt, Exit::OutOfDisk { limit }));
        }
    }

    /// Gives the program as much as it should hold; starts one if none runs.
    pub(super) fn fill(&mut self, desk: &mut Desk<'_>, now: Instant) {
        if let Some(limit) = desk.full {
            self.tell_full(desk, limit);
            return;
        }
        if let State::Off { not_before } = self.state
            && !desk.queue.is_empty()
            && not_before.is_none_or(|at| now >= at)
        {
            match Live::spawn(&self.program, now) {
                Ok(live) => self.state = State::On(Box::new(live)),
                Err(error) => {
                    desk.results.extend(desk.queue.pop_front().map(|attempt| not_started(attempt, &error)));
                    self.pause(now);
                }
            }
        }
        let room = self.window();
        let limit = self.program.timeout_seconds;
        let State::On(live) = &mut self.state else { return };
        if live.heard == Heard::Nothing || live.fault.is_some() || live.stdin.is_none() {
            return;
        }
        while live.in_flight.len() < room
            && let Some(attempt) = desk.queue.pop_front()
        {
            match desk.inputs.refuse(&self.program, attempt) {
                Some(refused) => desk.results.push(refused),
                None => {
                    let urls = self.program.input_store.as_ref().zip(desk.inputs.of(attempt));
                    let urls = urls.map(|(store, piece)| objects::urls(store, piece));
                    let input = urls.as_deref().or(desk.inputs.of(attempt));
                    let rest = answer::rest(&self.constant, input);
                    live.give(attempt, &rest, (limit, now));
                    // Of those that hold several at a time, none is alone.
                    live.meter = (room == 1).then(|| Meter::start(live.process.reaped()));
                }
            }
        }
        live.write(now);
        live.watch_the_clock(limit);
    }

    fn window(&self) -> usize {
        let Some(pace) = self.pace.filter(|_| self.careful == 0) else { return 1 };
        let ahead = AHEAD.as_nanos().checked_div(pace.as_nanos());
        ahead
            .map_or(MAX_IN_FLIGHT, |ahead| usize::try_from(ahead).unwrap_or(MAX_IN_FLIGHT))
            .clamp(1, MAX_IN_FLIGHT)
    }

    pub(super) fn write(&mut self, now: Instant) {
        if let State::On(live) = &mut self.state {
            live.write(now);
        }
    }

    /// Reads what the program has answered; false when that is all for now.
    pub(super) fn read(&mut self, desk: &mut Desk<'_>, now: Instant) -> bool {
        let State::On(live) = &mut self.state else { return false };
        let before = live.in_flight.len();
        let since = live.since;
        let outcome = live.read(desk.results, now);
        let answered = before - live.in_flight.len();
        let has_more = outcome.unwrap_or_else(|fault| {
            live.break_with(fault, now);
            false
        });
        if let Ok(count @ 1..) = u32::try_from(answered) {
            let each = now.saturating_duration_since(since) / count;
            self.pace = Some(self.pace.map_or(each, |pace| (pace * 3 + each) / 4));
            self.careful = self.careful.saturating_sub(answered);
            self.failures = 0;
            live.since = now;
            live.watch_the_clock(self.program.timeout_seconds);
        }
        has_more
    }

    /// Follows what has ended and what is late.
    pub(super) fn advance(&mut self, reaped: &Reaped, (desk, now): (&mut Desk<'_>, Instant)) {
        let State::On(live) = &mut self.state else { return };
        if live.process.advance(reaped, now) {
            // What it answered before its end counts.
            while self.read(desk, now) {}
            let state = std::mem::replace(&mut self.state, State::Off { not_before: None });
            if let State::On(live) = state {
                self.conclude(*live, desk, now);
            }
        }
    }

    /// A program is no more: the oldest that it held has failed with it, and the others wait again.
    fn conclude(&mut self, live: Live, desk: &mut Desk<'_>, now: Instant) {
        let Live { process, mut in_flight, fault, heard, is_closed, since, .. } = live;
        let mut ended = process.finish(desk.tee);
        if fault.is_none() && !ended.was_late {
            ended.exit = desk.memory.explain(ended.exit);
        }
        let is_ready = heard != Heard::Nothing;
        let is_well =
            fault.is_none() && in_flight.is_empty() && heard == Heard::Answers && ended.exit.is_success();
        let (exit, message) = match (fault, self.program.timeout_seconds) {
            _ if let Some(limit) = desk.full => (Some(Exit::OutOfDisk { limit }), String::new()),
            (Some(fault), _) => (None, fault.to_string()),
            (None, _) if ended.was_late && is_closed => (None, Fault::Closed.to_string()),
            (None, Some(limit)) if ended.was_late && is_ready => (Some(Exit::TimedOut(limit)), String::new()),
            (None, _) if ended.was_late => (None, Fault::NotReady { limit: READY_LIMIT }.to_string()),
            (None, _) if is_ready => (None, format!("its program ended before it answered: {}", ended.exit)),
            (None, _) => (None, format!("its program ended before it was ready: {}", ended.exit)),
        };
        let exit = exit.unwrap_or_else(|| Exit::Failed { message: message.clone() });
        self.careful = in_flight.len();
        let blamed = if is_ready && !(in_flight.is_empty() && desk.full.is_some()) {
            in_flight.pop_front().map(|entry| (entry.attempt, now.duration_since(since.max(entry.given))))
        } else {
            // One that never becomes ready must not be started for ever; and who has filled the disk must be told.
            desk.queue.pop_front().map(|attempt| (attempt, Duration::ZERO))
        };
        self.has_told_full |= desk.full.is_some() && blamed.is_some();
        match blamed {
            Some((attempt, spent)) => {
                let duration_ms = millis(spent);
                desk.results.push(AttemptResult {
                    attempt,
                    exit,
                    duration_ms,
                    gap_micros: None,
                    usage: None,
                    tail: ended.tail,
                });
            }
            None if !is_well => desk.tee.say(&format!("crest worker: {message}")),
            None => {}
        }
        for entry in in_flight.into_iter().rev() {
            desk.queue.push_front(entry.attempt);
        }
        if !is_well {
            self.pause(now);
        }
    }

    fn pause(&mut self, now: Instant) {
        let pause = (FIRST_PAUSE * (1 << self.failures.min(7))).min(LONGEST_PAUSE);
        self.failures += 1;
        self.state = State::Off { not_before: Some(now + pause) };
    }
}

impl Live {
    fn spawn(program: &Program, now: Instant) -> Result<Self, SpawnError> {
        let mut command = process::command(program)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (mut process, mut child) = Process::spawn(&mut command)?;
        process.set_deadline(Some(now + READY_LIMIT));
        Ok(Self {
            process,
            stdin: child.stdin.take().filter(make_nonblocking),
            stdout: child.stdout.take().filter(make_nonblocking),
            outbox: Vec::new(),
            lines: Lines::default(),
            heard: Heard::Nothing,
            since: now,
            in_flight: VecDeque::new(),
            meter: None,
            is_closed: false,
            fault: None,
        })
    }

    fn give(&mut self, attempt: Attempt, rest: &str, (limit, now): (Option<u32>, Instant)) {
        if self.in_flight.is_empty() {
            self.since = now;
        }
        let turns = u64::try_from(self.in_flight.len() + 1).unwrap_or(u64::MAX);
        let time = limit.map(|limit| Duration::from_secs(u64::from(limit).saturating_mul(turns)));
        let deadline = time.and_then(|time| now.checked_add(time));
        self.in_flight.push_back(InFlight { attempt, given: now, deadline });
        let Attempt { index, number } = attempt;
        // Writing to memory does not fail.
        let _written = writeln!(self.outbox, "{{\"index\":{index},\"attempt\":{number}{rest}}}");
    }

    /// The oldest instance may take its time since the program was free for it; and no more, however busy it seems, than
    /// all before it together.
    fn watch_the_clock(&mut self, limit: Option<u32>) {
        if self.is_closed {
            return;
        }
        let deadline = self.in_flight.front().and_then(|oldest| {
            let time = Duration::from_secs(u64::from(limit?));
            let own = self.since.max(oldest.given).checked_add(time)?;
            Some(oldest.deadline.map_or(own, |last| last.min(own)))
        });
        self.process.set_deadline(deadline);
    }

    /// Writes as much as the pipe takes. A program that does not read does not stop us.
    fn write(&mut self, now: Instant) {
        while let Some(stdin) = self.stdin.as_mut().filter(|_| !self.outbox.is_empty()) {
            match stdin.write(&self.outbox) {
                Ok(n) => drop(self.outbox.drain(..n)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.stdin = None;
                    self.close(now);
                }
            }
        }
    }

    /// False when there is no more to read now.
    fn read(&mut self, results: &mut Vec<AttemptResult>, now: Instant) -> Result<bool, Fault> {
        let Some(stdout) = self.stdout.as_mut() else { return Ok(false) };
        let mut chunk = [0; 32 * 1024];
        loop {
            match stdout.read(&mut chunk) {
                Ok(0) => {
                    self.stdout = None;
                    self.close(now);
                    return Ok(false);
                }
                Ok(n) => {
                    self.lines.add(&chunk[..n]);
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(false),
            }
        }
        while let Some(answer) = self.lines.next()? {
            self.hear(answer, results, now)?;
        }
        Ok(true)
    }

    /// It closed its input or its output: it is about to end, or of no more use.
    fn close(&mut self, now: Instant) {
        // One that is being ended closes them, too.
        self.is_closed |= self.process.is_free();
        self.process.set_deadline(Some(now + CLOSE_GRACE));
    }

    fn hear(&mut self, answer: Answer, results: &mut Vec<AttemptResult>, now: Instant) -> Result<(), Fault> {
        if self.heard == Heard::Nothing {
            answer.expect_ready()?;
            self.heard = Heard::Ready;
            self.process.set_deadline(None);
            return Ok(());
        }
        let (index, exit) = answer.outcome()?;
        let position = self.in_flight.iter().position(|entry| entry.attempt.index == index);
        let Some(entry) = position.and_then(|position| self.in_flight.remove(position)) else {
            return Err(Fault::NotHeld { index });
        };
        self.heard = Heard::Answers;
        let spent = now.saturating_duration_since(self.since.max(entry.given));
        results.push(AttemptResult {
            attempt: entry.attempt,
            exit,
            duration_ms: millis(spent),
            gap_micros: None,
            usage: self.meter.take().map(|meter| meter.stop(self.process.reaped())),
            tail: String::new(),
        });
        Ok(())
    }

    /// It cannot be trusted any more.
    fn break_with(&mut self, fault: Fault, now: Instant) {
        // What it still says is not heard; its pipe goes, so that we are not told of it either.
        (self.stdin, self.stdout) = (None, None);
        self.fault.get_or_insert(fault);
        self.process.terminate(now);
    }
}

pub(super) fn not_started(attempt: Attempt, error: &SpawnError) -> AttemptResult {
    let mut message = kit::Chain(error).to_string();
    message.truncate(message.floor_char_boundary(MAX_TAIL));
    let exit = Exit::NotStarted { code: error.code(), message };
    AttemptResult::without_run(attempt, exit)
}
