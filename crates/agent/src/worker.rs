//! The worker: runs inside a batch container and takes instances one after another, each as a child process.
//!
//! ```text
//!                    ┌──────────── assign ───────────┐
//!   link down ──► hello ──► idle                   running ──► ending (leftovers are killed) ──► result
//!       ▲                    ▲                                                                     │
//!       └─ the master died   └──────────────────── kept until acknowledged ◄───────────────────────┘
//! ```
//! One thread and one `poll`, so that it costs next to nothing beside the work. It is PID 1 of its container: it reaps
//! whatever its instances leave behind, and nothing of an instance outlives that instance.

mod link;
mod processes;
mod running;
mod stderr;

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuxi::protocol::{self, Attempt, AttemptResult, FromMaster, FromWorker, Hello};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use link::Link;
use running::{Running, SpawnError};
use stderr::Tee;

/// Between the polite and the final signal when the worker itself has to end.
const STOP_GRACE: Duration = Duration::from_millis(300);

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
    running: Option<Running>,
    /// Not acknowledged yet, oldest first.
    results: Vec<AttemptResult>,
    /// The exit code to end with, once nothing runs.
    ending: Option<u8>,
}

/// Which of the descriptors that the worker waits for have something.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    signals: bool,
    link: bool,
    stderr: StderrReady,
}

#[derive(Clone, Copy, Debug, Default)]
struct StderrReady {
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
            running: None,
            results: Vec::new(),
            ending: None,
        })
    }

    fn run(mut self) -> ExitCode {
        loop {
            let now = kit::clock::monotonic();
            self.connect(now);
            self.advance(now);
            if let (Some(code), None) = (self.ending, &self.running) {
                self.tee.flush();
                return ExitCode::from(code);
            }
            let ready = self.wait(now);
            if ready.signals {
                self.read_signals();
            }
            if ready.stderr.writable {
                self.tee.write_some();
            }
            if ready.stderr.readable
                && let Some(running) = &mut self.running
            {
                running.read_stderr(&mut self.tee);
            }
            if ready.link {
                self.converse();
            }
        }
    }

    fn connect(&mut self, now: Instant) {
        if self.link.try_connect(now) {
            let running = self.running.as_ref().map(|running| running.attempt);
            self.link.send(&FromWorker::Hello(Hello {
                worker: self.config.name.clone(),
                token: self.config.token.clone(),
                running,
                results: self.results.clone(),
            }));
        }
    }

    /// Reaps what has ended and enforces limits.
    fn advance(&mut self, now: Instant) {
        let reaped = processes::reap();
        let Some(running) = &mut self.running else {
            // Nothing of ours should live now; what does came from elsewhere in the container.
            return;
        };
        if running.advance(&reaped, now) {
            let ended = self.running.take().map(|running| running.finish(&mut self.tee, now));
            if let Some(result) = ended.filter(|_| self.ending.is_none()) {
                self.report(result);
            }
        }
    }

    fn report(&mut self, result: AttemptResult) {
        self.results.push(result.clone());
        self.link.send(&FromWorker::Result(result));
    }

    fn wait(&self, now: Instant) -> Ready {
        let stderr = self.running.as_ref().and_then(Running::stderr).filter(|_| self.tee.has_room());
        let log = std::io::stderr();
        let mut sources: Vec<(BorrowedFd<'_>, PollFlags)> = vec![(self.signals.as_fd(), PollFlags::POLLIN)];
        let link = self.link.source().map(|(fd, flags)| position_of(&mut sources, fd, flags));
        let stderr = stderr.map(|fd| position_of(&mut sources, fd, PollFlags::POLLIN));
        let log = self.tee.is_waiting().then(|| position_of(&mut sources, log.as_fd(), PollFlags::POLLOUT));
        let mut fds: Vec<PollFd<'_>> = sources.iter().map(|(fd, flags)| PollFd::new(*fd, *flags)).collect();
        let due = [self.link.due(), self.running.as_ref().and_then(Running::due)].into_iter().flatten().min();
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            // Rounded up: waking just before the moment would spin.
            let millis = due.saturating_duration_since(now).as_micros().div_ceil(1000);
            PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
        });
        if nix::poll::poll(&mut fds, timeout).is_err() {
            return Ready::default();
        }
        let has = |position: Option<usize>| position.is_some_and(|at| fds[at].any().unwrap_or(true));
        let stderr = StderrReady { readable: has(stderr), writable: has(log) };
        Ready { signals: has(Some(0)), link: has(link), stderr }
    }

    fn read_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                // Reaping follows in any case.
                Ok(Ok(Signal::SIGCHLD)) => {}
                Ok(Ok(Signal::SIGINT)) => self.end(130),
                _ => self.end(143),
            }
        }
    }

    fn end(&mut self, code: u8) {
        self.ending = self.ending.or(Some(code));
        if let Some(running) = &mut self.running {
            running.terminate(kit::clock::monotonic() + STOP_GRACE);
        }
    }

    fn converse(&mut self) {
        for message in self.link.receive(kit::clock::monotonic()) {
            match message {
                FromMaster::Assign(assign) => self.assign(assign),
                FromMaster::Ack { attempts } => {
                    self.results.retain(|result| !attempts.contains(&result.attempt))
                }
                FromMaster::Stop => self.end(0),
                FromMaster::Ping => self.link.send(&FromWorker::Pong),
            }
        }
    }

    fn assign(&mut self, assign: protocol::Assign) {
        if self.ending.is_some() || self.is_running(assign.attempt) {
            return;
        }
        if let Some(result) = self.results.iter().find(|result| result.attempt == assign.attempt) {
            let result = result.clone();
            self.link.send(&FromWorker::Result(result));
            return;
        }
        if self.running.is_some() {
            // The master is mistaken about us: the hello of a new connection tells it what is true.
            self.link.reset(kit::clock::monotonic());
            return;
        }
        let attempt = assign.attempt;
        let now = kit::clock::monotonic();
        match Running::spawn(assign, now) {
            Ok(running) => self.running = Some(running),
            Err(error) => self.report(not_started(attempt, &error)),
        }
    }

    fn is_running(&self, attempt: Attempt) -> bool {
        self.running.as_ref().is_some_and(|running| running.attempt == attempt)
    }
}

fn not_started(attempt: Attempt, error: &SpawnError) -> AttemptResult {
    let exit = protocol::Exit::NotStarted { code: error.code(), message: kit::Chain(error).to_string() };
    AttemptResult { attempt, exit, duration_ms: 0, tail: String::new() }
}

fn position_of<'a>(
    sources: &mut Vec<(BorrowedFd<'a>, PollFlags)>,
    fd: BorrowedFd<'a>,
    flags: PollFlags,
) -> usize {
    sources.push((fd, flags));
    sources.len() - 1
}
