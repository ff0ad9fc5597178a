//! The worker: runs inside a batch container and takes instances one after another, each as a child process, or hands
//! them to one program that stays alive.
//!
//! ```text
//!                 ┌──── assign ────► queue ──recall──► returned
//!   link ─ hello ─┤                    │
//!    ▲            │                    ├── exec: running ──► ending (leftovers are killed) ──┐
//!    │            │                    └── stream: given to the program ──► answered ────────┴─► result
//!    └ the master │                                                                                 │
//!      died       └──────────── kept until acknowledged ◄─────── told, a few at a time ◄────────────┘
//! ```
//! One thread and one `poll`, so that it costs next to nothing beside the work. It is PID 1 of its container: it reaps
//! whatever its instances leave behind, and nothing of an instance outlives that instance.

mod disk;
mod input;
mod link;
mod memory;
mod meter;
mod objects;
mod output;
mod process;
mod processes;
mod report;
mod running;
mod stderr;
mod stream;
mod work;

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use fuxi::protocol::{self, Attempt, Exit, FromMaster, FromWorker, Hello, Program, Span};
use model::dagjob::Mode;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use disk::Disk;
use input::Inputs;
use link::Link;
use memory::Memory;
use processes::Reaped;
use report::Report;
use running::{Running, Step};
use stderr::Tee;
use stream::{Desk, Stream, not_started};
use work::Work;

/// What a worker needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    pub socket: PathBuf,
    pub name: String,
    pub token: String,
}

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("`{argument}` is no argument of a worker; there is only --socket PATH")]
    Argument { argument: String },
    #[error("{variable} is not set; a worker is started by Crest, inside a container")]
    Environment { variable: &'static str },
    #[error("cannot prepare to receive signals")]
    Signals { source: Errno },
}

/// Runs a worker until its master lets it go. The whole process is the worker's: call this before any thread starts.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a worker's configuration is its container's environment")]
    let read = |name: &str| std::env::var(name).ok();
    let mut args = args.into_iter().peekable();
    if args.next_if(|argument| argument == input::list::VERB).is_some() {
        return input::list::main(&args.next().unwrap_or_default().to_string_lossy());
    }
    if args.next_if(|argument| argument == objects::VERB).is_some() {
        return objects::main();
    }
    match Config::parse(args, read).and_then(Worker::build) {
        Ok(worker) => worker.run(),
        Err(error) => {
            eprintln!("crest worker: {}", kit::Chain(&error));
            ExitCode::from(2)
        }
    }
}

impl Config {
    fn parse(
        args: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, StartError> {
        let mut socket = PathBuf::from(protocol::MOUNT).join(protocol::SOCKET);
        let mut args = args.into_iter();
        while let Some(argument) = args.next() {
            match args.next().filter(|_| argument == "--socket") {
                Some(path) => socket = path.into(),
                None => {
                    return Err(StartError::Argument { argument: argument.to_string_lossy().into_owned() });
                }
            }
        }
        let required = |name: &'static str| variable(name).ok_or(StartError::Environment { variable: name });
        Ok(Self { socket, name: required(protocol::env::NAME)?, token: required(protocol::env::TOKEN)? })
    }
}

struct Worker {
    config: Config,
    link: Link,
    signals: SignalFd,
    tee: Tee,
    memory: Memory,
    disk: Disk,
    /// Unknown until the master has told it.
    program: Option<Program>,
    /// Not begun, in the order in which it will be.
    queue: VecDeque<Attempt>,
    /// All that is not begun or not ended.
    held: BTreeSet<Attempt>,
    /// What they work on, if their task has an input list.
    inputs: Inputs,
    work: Work,
    report: Report,
    /// Children may have ended since we looked.
    is_to_reap: bool,
    /// The exit code to end with, once nothing runs.
    ending: Option<u8>,
}

/// Which of the descriptors that the worker waits for have something.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    signals: bool,
    link: bool,
    log: Pipes,
    program: Pipes,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pipes {
    readable: bool,
    writable: bool,
}

impl Worker {
    fn build(config: Config) -> Result<Self, StartError> {
        let failed = |source| StartError::Signals { source };
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
            mask.add(signal);
        }
        mask.thread_block().map_err(failed)?;
        let signals =
            SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(failed)?;
        // What an instance leaves behind becomes ours to end, also where we are not PID 1.
        nix::sys::prctl::set_child_subreaper(true).map_err(failed)?;
        let link = Link::new(config.socket.clone());
        Ok(Self {
            config,
            link,
            signals,
            tee: Tee::default(),
            memory: Memory::new(),
            disk: Disk::new(kit::clock::wall().into()),
            program: None,
            queue: VecDeque::new(),
            held: BTreeSet::new(),
            inputs: Inputs::default(),
            work: Work::Exec { running: None, free_since: None },
            report: Report::default(),
            is_to_reap: true,
            ending: None,
        })
    }

    fn run(mut self) -> ExitCode {
        loop {
            let now = kit::clock::monotonic();
            self.connect(now);
            self.advance(now);
            if let (Some(code), false) = (self.ending, self.work.is_on()) {
                self.tee.flush();
                return ExitCode::from(code);
            }
            self.report.send(&mut self.link, self.held.is_empty(), now);
            let ready = self.wait(now);
            self.attend(ready);
        }
    }

    fn attend(&mut self, ready: Ready) {
        if ready.signals {
            self.read_signals();
        }
        if ready.log.writable {
            self.tee.write_some();
        }
        if ready.log.readable
            && let Some(process) = self.work.process()
        {
            process.read_stderr(&mut self.tee);
        }
        if ready.link {
            self.converse();
        }
        if ready.program.writable
            && let Work::Stream(stream) = &mut self.work
        {
            stream.write(kit::clock::monotonic());
        }
        if ready.program.readable {
            // What is left comes with the next round.
            self.with_stream(|stream, desk| {
                stream.read(desk, kit::clock::monotonic());
            });
        }
    }

    fn connect(&mut self, now: Instant) {
        if self.link.try_connect(now) {
            self.link.send(&FromWorker::Hello(Hello {
                worker: self.config.name.clone(),
                token: self.config.token.clone(),
                held: self.held.iter().copied().collect(),
                ended: self.report.n_kept(),
                full: self.disk.exceeded().is_some(),
            }));
            self.report.send_all(&mut self.link);
            if let Work::Exec { running: Some(running), .. } = &self.work {
                running.news().iter().for_each(|news| self.link.send(news));
            }
        }
    }

    /// Reaps what has ended, enforces limits, and begins what waits.
    fn advance(&mut self, now: Instant) {
        let is_ending = self.work.process().is_some_and(|process| !process.is_free());
        let reaped = if std::mem::take(&mut self.is_to_reap) || is_ending {
            processes::reap()
        } else {
            Reaped::default()
        };
        self.watch_the_disk(now);
        self.begin_to_stream();
        match &mut self.work {
            Work::Exec { running, free_since } => {
                if running.as_mut().is_some_and(|running| running.process.advance(&reaped, now))
                    && let Some(ended) = running.take()
                {
                    let desk = (&mut self.tee, &mut self.memory);
                    match ended.step(self.program.as_ref().filter(|_| self.ending.is_none()), desk, now) {
                        Step::On(next) => {
                            next.news().iter().for_each(|news| self.link.send(news));
                            *running = Some(next);
                        }
                        Step::Ended(mut result) => {
                            if let Some(limit) = self.disk.exceeded() {
                                result.exit = Exit::OutOfDisk { limit };
                            }
                            *free_since = Some(now);
                            self.note([result], now);
                        }
                    }
                }
                // Where nothing of ours should live, what does came from elsewhere in the container.
                self.start_next(now);
            }
            Work::Stream(_) => self.with_stream(|stream, desk| {
                stream.advance(&reaped, (desk, now));
                stream.fill(desk, now);
            }),
        }
    }

    /// Kills what runs when it has written too much. The worker then waits to be let go, as what was written stays with it.
    fn watch_the_disk(&mut self, now: Instant) {
        let Some(disk) = self.program.as_ref().and_then(|program| program.disk.as_ref()) else { return };
        if let Some(process) = self.work.process().filter(|process| process.is_free())
            && self.disk.advance(disk, (now, kit::clock::wall().into()))
        {
            process.terminate(now);
        }
    }

    /// Begins the next instance as a process, if none runs.
    fn start_next(&mut self, now: Instant) {
        while self.ending.is_none()
            && self.disk.exceeded().is_none()
            && let (Work::Exec { running, free_since }, Some(program)) = (&mut self.work, &self.program)
            && running.is_none()
            && let Some(attempt) = self.queue.pop_front()
        {
            if let Some(refused) = self.inputs.refuse(program, attempt) {
                self.note([refused], now);
                continue;
            }
            match Running::spawn(program, (attempt, self.inputs.of(attempt)), (now, *free_since)) {
                Ok(begun) => {
                    begun.news().iter().for_each(|news| self.link.send(news));
                    *running = Some(Box::new(begun));
                }
                Err(error) => self.note([not_started(attempt, &error)], now),
            }
        }
    }

    fn with_stream(&mut self, act: impl FnOnce(&mut Stream, &mut Desk<'_>)) {
        let Work::Stream(stream) = &mut self.work else { return };
        let mut results = Vec::new();
        // Nothing is begun any more at the end.
        let mut none = VecDeque::new();
        let queue = if self.ending.is_some() { &mut none } else { &mut self.queue };
        let (tee, memory, inputs) = (&mut self.tee, &mut self.memory, &self.inputs);
        let full = self.disk.exceeded();
        act(stream, &mut Desk { queue, inputs, results: &mut results, tee, memory, full });
        if !results.is_empty() {
            self.note(results, kit::clock::monotonic());
        }
    }

    /// Takes note of what has ended.
    fn note(&mut self, results: impl IntoIterator<Item = protocol::AttemptResult>, now: Instant) {
        for result in results {
            self.held.remove(&result.attempt);
            self.inputs.forget(result.attempt);
            // At the end of the worker what it kills is no result.
            if self.ending.is_none() {
                self.report.add(result, now);
            }
        }
    }

    fn wait(&self, now: Instant) -> Ready {
        let log = std::io::stderr();
        let mut sources: Vec<(BorrowedFd<'_>, PollFlags)> = vec![(self.signals.as_fd(), PollFlags::POLLIN)];
        let link = self.link.source().map(|(fd, flags)| position_of(&mut sources, fd, flags));
        let stderr = self.work.stderr().filter(|_| self.tee.has_room());
        let stderr = stderr.map(|fd| position_of(&mut sources, fd, PollFlags::POLLIN));
        let log = self.tee.is_waiting().then(|| position_of(&mut sources, log.as_fd(), PollFlags::POLLOUT));
        let (stdin, stdout) = self.work.program_pipes();
        let stdin = stdin.map(|fd| position_of(&mut sources, fd, PollFlags::POLLOUT));
        let stdout = stdout.map(|fd| position_of(&mut sources, fd, PollFlags::POLLIN));
        let mut fds: Vec<PollFd<'_>> = sources.iter().map(|(fd, flags)| PollFd::new(*fd, *flags)).collect();
        let due =
            [self.link.due(), self.work.due(!self.queue.is_empty()), self.report.due(), self.disk_due()];
        let timeout = due.into_iter().flatten().min().map_or(PollTimeout::NONE, |due| {
            // Rounded up: waking just before the moment would spin.
            let millis = due.saturating_duration_since(now).as_micros().div_ceil(1000);
            PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
        });
        if nix::poll::poll(&mut fds, timeout).is_err() {
            return Ready::default();
        }
        let has = |position: Option<usize>| position.is_some_and(|at| fds[at].any().unwrap_or(true));
        Ready {
            signals: has(Some(0)),
            link: has(link),
            log: Pipes { readable: has(stderr), writable: has(log) },
            program: Pipes { readable: has(stdout), writable: has(stdin) },
        }
    }

    fn disk_due(&self) -> Option<Instant> {
        self.disk.due().filter(|_| self.work.is_free())
    }

    fn read_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGCHLD)) => self.is_to_reap = true,
                Ok(Ok(Signal::SIGINT)) => self.end(130),
                _ => self.end(143),
            }
        }
    }

    fn end(&mut self, code: u8) {
        self.ending = self.ending.or(Some(code));
        self.work.end(kit::clock::monotonic());
    }

    fn converse(&mut self) {
        for message in self.link.receive(kit::clock::monotonic()) {
            match message {
                FromMaster::Program(program) => {
                    if let Some(disk) = &program.disk {
                        self.disk.begin(disk, kit::clock::monotonic());
                    }
                    self.program = Some(program);
                }
                FromMaster::Assign { attempts, inputs } => self.assign(&attempts, inputs),
                FromMaster::Ack { attempts } => self.report.forget(&attempts),
                FromMaster::Recall => {
                    let attempts: Vec<Attempt> = self.queue.drain(..).collect();
                    for attempt in &attempts {
                        self.held.remove(attempt);
                        self.inputs.forget(*attempt);
                    }
                    self.link.send(&FromWorker::Returned { attempts });
                }
                FromMaster::Stop => self.end(0),
                FromMaster::Ping => self.link.send(&FromWorker::Pong),
            }
        }
    }

    /// Where instances are given to a program, that begins when the input list, if there is one, is taken.
    fn begin_to_stream(&mut self) {
        if let (Work::Exec { running: None, .. }, Some(program)) = (&self.work, &self.program)
            && program.mode == Mode::Stream
            && program.list.is_none()
        {
            self.work = Work::Stream(Box::new(Stream::new(program.clone())));
        }
    }

    fn assign(&mut self, spans: &[Span], inputs: Vec<String>) {
        if self.ending.is_some() {
            return;
        }
        let mut inputs = inputs.into_iter();
        for attempt in protocol::attempts(spans) {
            let input = inputs.next();
            // The master did not hear of a result, or repeats itself.
            if !self.report.repeat(attempt, &mut self.link) && self.held.insert(attempt) {
                self.queue.push_back(attempt);
                if let Some(input) = input {
                    self.inputs.add(attempt, input);
                }
            }
        }
    }
}

fn position_of<'a>(
    sources: &mut Vec<(BorrowedFd<'a>, PollFlags)>,
    fd: BorrowedFd<'a>,
    flags: PollFlags,
) -> usize {
    sources.push((fd, flags));
    sources.len() - 1
}
