//! A process with all that comes of it, from spawn to the moment when nothing of it is left.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use fuxi::protocol::{Exit, MAX_TAIL, Program, Usage, env};
use model::names::instance_env;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::memory;
use super::processes::{self, Reaped};
use super::stderr::{Tail, Tee};
use crate::sys;

/// Between the polite and the final signal when a process has run too long.
const DEADLINE_GRACE: Duration = Duration::from_secs(2);
/// How often to look again for processes that are being killed.
const KILL_INTERVAL: Duration = Duration::from_millis(10);

/// Why a process cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    #[error("the command is empty")]
    Empty,
    #[error("cannot take the input list")]
    List { source: io::Error },
    #[error("cannot prepare to fetch or to put objects")]
    Objects { source: io::Error },
    #[error("cannot prepare a place for its output")]
    Output { source: io::Error },
    #[error("cannot run `{program}`")]
    Spawn { program: String, source: io::Error },
}

impl SpawnError {
    pub(super) fn list(source: io::Error) -> Self {
        Self::List { source }
    }

    pub(super) fn output(source: io::Error) -> Self {
        Self::Output { source }
    }

    /// The exit code that a shell would give.
    pub(super) fn code(&self) -> i32 {
        match self {
            Self::Spawn { source, .. } if source.kind() != io::ErrorKind::NotFound => 126,
            Self::Spawn { .. }
            | Self::List { .. }
            | Self::Objects { .. }
            | Self::Output { .. }
            | Self::Empty => 127,
        }
    }
}

/// What is known of a process that is no more.
#[derive(Debug)]
pub(super) struct Ended {
    /// No success if it was asked to end before its deadline: its work may be half done.
    pub(super) exit: Exit,
    /// It had not ended at its deadline.
    pub(super) was_late: bool,
    /// The end of what it wrote to its standard error.
    pub(super) tail: String,
    /// What it used with all that came of it.
    pub(super) usage: Usage,
}

pub(super) struct Process {
    leader: Pid,
    phase: Phase,
    stderr: Option<ChildStderr>,
    tail: Tail,
    usage: Usage,
}

enum Phase {
    Free {
        deadline: Option<Instant>,
    },
    /// It was asked to end.
    Asked {
        kill_at: Instant,
        why: Why,
    },
    /// All of it is being killed; `exit` is how the command itself ended, once it has.
    Killing {
        again_at: Instant,
        exit: Option<Exit>,
        why: Why,
    },
    Ended {
        exit: Exit,
        why: Why,
    },
}

/// Why a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// By itself.
    Itself,
    /// It had not ended at its deadline.
    Late,
    /// It is not wanted any more, or has filled the disk.
    Unwanted,
}

/// The command of a task, as an instance or a stream of them begins.
pub(super) fn command(program: &Program) -> Result<Command, SpawnError> {
    let (first, arguments) = program.command.split_first().ok_or(SpawnError::Empty)?;
    let mut command = Command::new(first);
    command
        .args(arguments)
        .env_remove(env::TOKEN)
        .env_remove(env::NAME)
        .env(instance_env::JOB, &program.job)
        .env(instance_env::TASK, &program.task)
        .env(instance_env::COUNT, program.count.to_string());
    Ok(command)
}

impl Process {
    /// Starts `command` with a piped standard error, in a group of its own.
    pub(super) fn spawn(command: &mut Command) -> Result<(Self, Child), SpawnError> {
        command.stderr(Stdio::piped()).process_group(0);
        sys::hears_signals(command);
        let mut child = memory::before_us(|| command.spawn()).map_err(|source| SpawnError::Spawn {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })?;
        let stderr = child.stderr.take().filter(make_nonblocking);
        // Reaped together with all others, not through `child`. Linux' process ids fit.
        let leader = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let phase = Phase::Free { deadline: None };
        Ok((Self { leader, phase, stderr, tail: Tail::new(MAX_TAIL), usage: Usage::default() }, child))
    }

    pub(super) fn stderr(&self) -> Option<BorrowedFd<'_>> {
        self.stderr.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn read_stderr(&mut self, tee: &mut Tee) {
        if let Some(stderr) = &mut self.stderr
            && !tee.copy(stderr, &mut self.tail)
        {
            self.stderr = None;
        }
    }

    /// What those of its processes used that we have reaped.
    pub(super) fn reaped(&self) -> Usage {
        self.usage
    }

    /// Until when it may run, if nothing else ends it.
    pub(super) fn set_deadline(&mut self, at: Option<Instant>) {
        if let Phase::Free { deadline } = &mut self.phase {
            *deadline = at;
        }
    }

    /// Whether it runs undisturbed.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Free { .. })
    }

    /// When [`Self::advance`] has something to do even if nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Free { deadline } => *deadline,
            Phase::Asked { kill_at, .. } => Some(*kill_at),
            Phase::Killing { again_at, .. } => Some(*again_at),
            Phase::Ended { .. } => None,
        }
    }

    /// Asks it to end, and kills it at `kill_at`. A second call can only make it sooner.
    pub(super) fn terminate(&mut self, kill_at: Instant) {
        match &mut self.phase {
            Phase::Free { .. } => {
                processes::terminate_group(self.leader);
                self.phase = Phase::Asked { kill_at, why: Why::Unwanted };
            }
            Phase::Asked { kill_at: at, .. } => *at = kill_at.min(*at),
            Phase::Killing { .. } | Phase::Ended { .. } => {}
        }
    }

    /// True when nothing of it is left.
    pub(super) fn advance(&mut self, reaped: &Reaped, now: Instant) -> bool {
        // Nothing else lives here, so whatever ended came of it.
        self.usage.add(reaped.usage);
        let own = reaped.ended.iter().find(|(pid, _)| *pid == self.leader).map(|(_, exit)| exit.clone());
        let phase = std::mem::replace(&mut self.phase, Phase::Free { deadline: None });
        self.phase = self.step(phase, own, (reaped.some_live, now));
        matches!(self.phase, Phase::Ended { .. })
    }

    fn step(&self, phase: Phase, own: Option<Exit>, (some_live, now): (bool, Instant)) -> Phase {
        match phase {
            Phase::Free { deadline } if own.is_none() => match deadline {
                Some(at) if now >= at => {
                    processes::terminate_group(self.leader);
                    Phase::Asked { kill_at: now + DEADLINE_GRACE, why: Why::Late }
                }
                _ => Phase::Free { deadline },
            },
            Phase::Asked { kill_at, why } if own.is_none() && now < kill_at => Phase::Asked { kill_at, why },
            Phase::Free { .. } => kill_or_end(own, Why::Itself, (some_live, now)),
            Phase::Asked { why, .. } => kill_or_end(own, why, (some_live, now)),
            Phase::Killing { exit, why, .. } => kill_or_end(exit.or(own), why, (some_live, now)),
            Phase::Ended { exit, why } => Phase::Ended { exit, why },
        }
    }

    /// How it ended, after [`Self::advance`] said that nothing is left.
    pub(super) fn finish(mut self, tee: &mut Tee) -> Ended {
        // All writers are dead, so this comes to its end; or somebody foreign holds the pipe, who is not waited for.
        self.read_stderr(tee);
        while self.stderr.is_some() && !tee.has_room() {
            tee.flush();
            self.read_stderr(tee);
        }
        let (exit, why) = match self.phase {
            // A command that handles the signal may end with exit code 0, whatever it had not done yet.
            Phase::Ended { exit, why: Why::Unwanted } if exit.is_success() => {
                (Exit::Signal(Signal::SIGTERM as i32), Why::Unwanted)
            }
            Phase::Ended { exit, why } => (exit, why),
            Phase::Free { .. } | Phase::Asked { .. } | Phase::Killing { .. } => {
                (Exit::Signal(9), Why::Itself)
            }
        };
        Ended { exit, was_late: why == Why::Late, tail: self.tail.text(), usage: self.usage }
    }
}

fn kill_or_end(exit: Option<Exit>, why: Why, (some_live, now): (bool, Instant)) -> Phase {
    match exit {
        Some(exit) if !some_live => Phase::Ended { exit, why },
        exit => {
            processes::kill_descendants();
            Phase::Killing { again_at: now + KILL_INTERVAL, exit, why }
        }
    }
}

pub(super) fn make_nonblocking(pipe: &impl AsFd) -> bool {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok()
}
