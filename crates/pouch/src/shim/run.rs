//! One container's life, seen from beside it.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::{Client, Wish};
use super::console::{ConsoleSocket, Short};
use super::frame::{self, Kind};
use super::job::{Exit, JOB, Process, Reply, Request, RunJob, RunReport, Stdin};
use super::log::{Log, Stream};
use super::output::{Input, Output, Streams};
use super::runtime::{self, Created, Stdio};
use crate::cgroup::Hierarchies;
use crate::{disk, process, sys};

/// The name of the control socket in the shim's directory.
pub(crate) const SOCKET: &str = "shim.sock";
/// What went wrong inside the container's processes before its program ran.
const RUNTIME_LOG: &str = "linked.log";
/// How long a stream may stay open past the container's end: something outside its pid namespace may hold it.
const DRAIN: Duration = Duration::from_secs(1);
const BUFFER: usize = 64 * 1024;

pub(super) fn main(directory: &Path) -> ExitCode {
    match sys::split() {
        Ok(sys::Side::Parent) => return ExitCode::SUCCESS,
        Ok(sys::Side::Child) => {}
        Err(error) => return fail(directory, &error),
    }
    log_runtime_errors(directory);
    match Shim::build(directory) {
        Ok(shim) => match shim.announce().and_then(|()| shim.run()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => fail(directory, error.as_ref()),
    }
}

/// The library reports what fails inside the container's processes to the log only, and that first of all.
fn log_runtime_errors(directory: &Path) {
    if let Ok(file) = std::fs::File::create(directory.join(RUNTIME_LOG)) {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).without_time();
        let log = log.with_target(false).with_level(false).with_ansi(false);
        let _it_is_the_first = log.with_writer(std::sync::Mutex::new(file)).try_init().is_ok();
    }
}

fn fail(directory: &Path, error: &(dyn std::error::Error + 'static)) -> ExitCode {
    let mut message = kit::Chain(error).to_string();
    let log = std::fs::read_to_string(directory.join(RUNTIME_LOG)).unwrap_or_default();
    if let Some(cause) = log.lines().next().filter(|line| !line.trim().is_empty()) {
        message.push_str(&format!(": {}", cause.trim()));
    }
    let _nobody_listens = say(&RunReport::Failed { message });
    ExitCode::FAILURE
}

fn say(report: &RunReport) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, report)?;
    stdout.flush()
}

/// Leaves the engine's session, terminal, directory and groups, and adopts what runtimes detach.
pub(super) fn detach() -> nix::Result<()> {
    nix::unistd::setsid()?;
    nix::unistd::chdir("/")?;
    // A process without groups of its own in its specification must not inherit ours.
    nix::unistd::setgroups(&[])?;
    nix::sys::prctl::set_child_subreaper(true)
}

/// Blocks SIGCHLD before the first child exists, so that no child's end can be missed.
pub(super) fn watch_children() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

struct Shim {
    job: RunJob,
    created: Created,
    init: Pid,
    started_at: Option<i64>,
    ended: Option<Exit>,
    signals: SignalFd,
    listener: UnixListener,
    outputs: Vec<Output>,
    input: Input,
    /// The terminal, if the container has one.
    console: Option<OwnedFd>,
    log: Log,
    clients: Vec<Client>,
}

#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Input,
    Output(usize),
    Client(usize),
}

impl Shim {
    fn build(directory: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let job: RunJob = disk::read(&directory.join(JOB))?;
        detach()?;
        let signals = watch_children()?;
        let log = Log::open(job.log.clone())?;
        let listener = listen(directory)?;
        let (created, init, Streams { outputs, input, console }) = create(&job, directory)?;
        // Written from outside, so that the shim itself keeps its own standing with the OOM killer.
        std::fs::write(format!("/proc/{init}/oom_score_adj"), job.oom_score_adj.to_string())?;
        Ok(Self {
            job,
            created,
            init,
            started_at: None,
            ended: None,
            signals,
            listener,
            outputs,
            input,
            console,
            log,
            clients: Vec::new(),
        })
    }

    /// Tells the engine, then lets go of all that was inherited from it.
    fn announce(&self) -> io::Result<()> {
        let own = process::identify(Pid::this().as_raw());
        let own = own.ok_or_else(|| io::Error::other("/proc does not show this process"))?;
        // A first process that is dead already is a zombie, whose start no longer matters.
        let init =
            process::identify(self.init.as_raw()).unwrap_or(Process { pid: self.init.as_raw(), start: 0 });
        say(&RunReport::Created { shim: own, init })?;
        let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        Ok(rustix::stdio::dup2_stderr(&null)?)
    }

    fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut deadline = None;
        loop {
            if self.ended.is_some() {
                let end = *deadline.get_or_insert_with(|| kit::clock::monotonic() + DRAIN);
                if self.outputs.is_empty() || kit::clock::monotonic() >= end {
                    return self.finish();
                }
            }
            for (source, events) in self.wait()? {
                self.serve(source, events, &mut buffer);
            }
            self.outputs.retain(|output| !output.lines.is_closed());
            self.drop_clients();
        }
    }

    /// The sources on which something happened.
    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let awaited = self.awaited();
        let mut fds: Vec<_> =
            awaited.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let limit = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        match poll(&mut fds, self.ended.is_some().then_some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let events = fds.iter().map(PollFd::revents);
        let happened = awaited.iter().map(|(source, ..)| *source).zip(events);
        Ok(happened.filter(|(_, events)| !events.is_empty()).collect())
    }

    fn awaited(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut awaited = vec![
            (Source::Signals, self.signals.as_fd(), PollFlags::IN),
            (Source::Listener, self.listener.as_fd(), PollFlags::IN),
        ];
        awaited.extend(self.input.blocked_on().map(|fd| (Source::Input, fd, PollFlags::OUT)));
        for (index, output) in self.outputs.iter().enumerate() {
            awaited.push((Source::Output(index), output.fd(), PollFlags::IN));
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !(client.feeds_stdin() && self.input.is_full()));
            flags.set(PollFlags::OUT, client.has_unsent());
            awaited.push((Source::Client(index), client.fd(), flags));
        }
        awaited
    }

    fn serve(&mut self, source: Source, events: PollFlags, buffer: &mut [u8]) {
        match source {
            Source::Signals => self.reap(),
            Source::Listener => self.accept(),
            Source::Input => self.input.flush(),
            Source::Output(index) => self.copy_output(index, buffer),
            Source::Client(index) => self.serve_client(index, events, buffer),
        }
    }

    /// Collects every child that has ended; more than one may stand behind one signal.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, code, signal) = match status {
                WaitStatus::Exited(pid, code) => (pid, code, None),
                WaitStatus::Signaled(pid, signal, _) => (pid, 128 + signal as i32, Some(signal as i32)),
                WaitStatus::StillAlive => return,
                _ => continue,
            };
            if pid == self.init {
                self.ended = Some(Exit {
                    code,
                    signal,
                    oom_killed: code != 0 && Hierarchies::detect().oom_killed(&self.job.cgroup),
                    started_at: self.started_at,
                    finished_at: disk::nanoseconds(kit::clock::wall()),
                });
            }
        }
    }

    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept()
            && let Ok(client) = Client::new(stream)
        {
            self.clients.push(client);
        }
    }

    fn copy_output(&mut self, index: usize, buffer: &mut [u8]) {
        let output = &mut self.outputs[index];
        let now = kit::clock::wall();
        let mut entries = Vec::new();
        match output.read(buffer) {
            Some(bytes) => {
                output.lines.push(bytes, now, &mut entries);
                let kind = match output.stream {
                    Stream::Stdout => Kind::Stdout,
                    Stream::Stderr => Kind::Stderr,
                };
                if !bytes.is_empty() {
                    self.clients.iter_mut().for_each(|client| client.show(kind, bytes));
                }
            }
            None => output.lines.close(now, &mut entries),
        }
        self.log.write(&entries);
    }

    fn serve_client(&mut self, index: usize, events: PollFlags, buffer: &mut [u8]) {
        let fed_stdin = self.clients[index].feeds_stdin();
        if events.contains(PollFlags::OUT) {
            self.clients[index].flush();
        }
        if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.clients[index].receive(buffer);
        }
        // What came before the connection's end counts.
        while let Some(wish) = self.clients[index].next() {
            match wish {
                Wish::Request(request) => self.answer(index, request),
                Wish::Frame(kind, payload) => self.take_frame(kind, &payload),
            }
        }
        if fed_stdin && self.clients[index].is_closed() {
            self.end_stdin();
        }
    }

    fn take_frame(&mut self, kind: Kind, payload: &[u8]) {
        match kind {
            Kind::Stdin => self.input.push(payload),
            Kind::StdinEnd => self.end_stdin(),
            Kind::Resize => {
                if let (Some(console), Some(size)) = (&self.console, frame::decode_size(payload)) {
                    let _terminal_is_gone = resize(console, size).is_err();
                }
            }
            Kind::Stdout | Kind::Stderr => {}
        }
    }

    /// A terminal has no end of input; an input for all comers outlives each of them.
    fn end_stdin(&mut self) {
        if self.job.stdin == Stdin::Once && !self.job.tty {
            self.input.end();
        }
    }

    fn answer(&mut self, index: usize, request: Request) {
        let reply = match request {
            Request::Start => self.start(),
            Request::Inspect => Reply::Done { started_at: self.started_at },
            Request::Reopen => match self.log.reopen() {
                Ok(()) => Reply::Done { started_at: self.started_at },
                Err(error) => Reply::Refused { message: format!("cannot begin a new log file: {error}") },
            },
            Request::Attach { stdin } => {
                self.clients[index].attach(stdin);
                Reply::Done { started_at: self.started_at }
            }
        };
        self.clients[index].reply(&reply);
    }

    fn start(&mut self) -> Reply {
        if self.started_at.is_some() {
            return Reply::Refused { message: "the container was started already".to_owned() };
        }
        let now = disk::nanoseconds(kit::clock::wall());
        match self.created.start() {
            Ok(()) => {
                self.started_at = Some(now);
                Reply::Done { started_at: self.started_at }
            }
            Err(error) => Reply::Refused { message: kit::Chain(&error).to_string() },
        }
    }

    fn drop_clients(&mut self) {
        self.clients.retain(|client| !client.is_closed());
    }

    /// The record first: whoever sees this process end finds it.
    fn finish(mut self) -> io::Result<()> {
        let now = kit::clock::wall();
        let mut entries = Vec::new();
        self.outputs.iter_mut().for_each(|output| output.lines.close(now, &mut entries));
        self.log.write(&entries);
        if let Some(exit) = &self.ended {
            disk::write(&self.job.exit, exit).map_err(io::Error::other)?;
        }
        // The engine removes what is left, should this fail.
        self.created.delete().map_err(io::Error::other)
    }
}

/// The container with the streams that it was given.
fn create(job: &RunJob, directory: &Path) -> Result<(Created, Pid, Streams), Box<dyn std::error::Error>> {
    if job.tty {
        let socket = ConsoleSocket::bind(directory, "console.sock")?;
        let (created, init) = runtime::create(job, Stdio::Console(socket.path()))?;
        return Ok((created, init, Streams::of_console(socket.receive()?)?));
    }
    let (streams, stdio) = Streams::of_pipes(job.stdin)?;
    let (created, init) = runtime::create(job, stdio)?;
    Ok((created, init, streams))
}

fn listen(directory: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(Short::of(directory, SOCKET)?.path())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

pub(crate) fn resize(console: &OwnedFd, (columns, rows): (u16, u16)) -> io::Result<()> {
    let size = rustix::termios::Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(console, size)?)
}
