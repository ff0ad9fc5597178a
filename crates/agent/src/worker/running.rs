//! One instance while it runs, from spawn to the moment when nothing of it is left.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use fuxi::protocol::{Assign, Attempt, AttemptResult, Exit, MAX_TAIL, env};
use model::names::instance_env;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::Pid;

use super::processes::{self, Reaped};
use super::stderr::{Tail, Tee};

/// Between the polite and the final signal when an instance has run too long.
const TIMEOUT_GRACE: Duration = Duration::from_secs(2);
/// How often to look again for processes that are being killed.
const KILL_INTERVAL: Duration = Duration::from_millis(10);

/// Why an instance cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    #[error("the command is empty")]
    Empty,
    #[error("cannot run `{program}`")]
    Spawn { program: String, source: io::Error },
}

impl SpawnError {
    /// The exit code that a shell would give.
    pub(super) fn code(&self) -> i32 {
        match self {
            Self::Spawn { source, .. } if source.kind() != io::ErrorKind::NotFound => 126,
            Self::Spawn { .. } | Self::Empty => 127,
        }
    }
}

pub(super) struct Running {
    pub(super) attempt: Attempt,
    leader: Pid,
    started: Instant,
    time_limit: Option<u32>,
    phase: Phase,
    stderr: Option<ChildStderr>,
    tail: Tail,
}

enum Phase {
    Free {
        deadline: Option<Instant>,
    },
    /// It was asked to end.
    Asked {
        kill_at: Instant,
        timed_out: bool,
    },
    /// All of it is being killed; `exit` is how the command itself ended, once it has.
    Killing {
        again_at: Instant,
        exit: Option<Exit>,
        timed_out: bool,
    },
    Ended {
        exit: Exit,
    },
}

impl Running {
    pub(super) fn spawn(assign: Assign, now: Instant) -> Result<Self, SpawnError> {
        let (program, arguments) = assign.command.split_first().ok_or(SpawnError::Empty)?;
        let failed = |source| SpawnError::Spawn { program: program.clone(), source };
        let mut child = Command::new(program)
            .args(arguments)
            .env_remove(env::TOKEN)
            .env_remove(env::NAME)
            .env(instance_env::JOB, &assign.job)
            .env(instance_env::TASK, &assign.task)
            .env(instance_env::INDEX, assign.attempt.index.to_string())
            .env(instance_env::COUNT, assign.count.to_string())
            .env(instance_env::ATTEMPT, assign.attempt.number.to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let stderr =
            child.stderr.take().filter(|pipe| fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok());
        let limit = assign.timeout_seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
        Ok(Self {
            attempt: assign.attempt,
            // Reaped together with all others, not through `child`. Linux' process ids fit.
            leader: Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)),
            started: now,
            time_limit: assign.timeout_seconds,
            phase: Phase::Free { deadline: limit.and_then(|limit| now.checked_add(limit)) },
            stderr,
            tail: Tail::new(MAX_TAIL),
        })
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

    /// When [`Self::advance`] has something to do even if nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Free { deadline } => *deadline,
            Phase::Asked { kill_at, .. } => Some(*kill_at),
            Phase::Killing { again_at, .. } => Some(*again_at),
            Phase::Ended { .. } => None,
        }
    }

    /// Asks the instance to end, and kills it at `kill_at`. A second call can only make it sooner.
    pub(super) fn terminate(&mut self, kill_at: Instant) {
        match &mut self.phase {
            Phase::Free { .. } => {
                processes::terminate_group(self.leader);
                self.phase = Phase::Asked { kill_at, timed_out: false };
            }
            Phase::Asked { kill_at: at, .. } => *at = kill_at.min(*at),
            Phase::Killing { .. } | Phase::Ended { .. } => {}
        }
    }

    /// True when nothing of the instance is left.
    pub(super) fn advance(&mut self, reaped: &Reaped, now: Instant) -> bool {
        let own = reaped.ended.iter().find(|(pid, _)| *pid == self.leader).map(|(_, exit)| exit.clone());
        let phase = std::mem::replace(&mut self.phase, Phase::Ended { exit: Exit::Code(0) });
        self.phase = self.step(phase, own, reaped.some_live, now);
        matches!(self.phase, Phase::Ended { .. })
    }

    fn step(&self, phase: Phase, own: Option<Exit>, some_live: bool, now: Instant) -> Phase {
        match phase {
            Phase::Free { deadline } if own.is_none() => match deadline {
                Some(at) if now >= at => {
                    processes::terminate_group(self.leader);
                    Phase::Asked { kill_at: now + TIMEOUT_GRACE, timed_out: true }
                }
                _ => Phase::Free { deadline },
            },
            Phase::Asked { kill_at, timed_out } if own.is_none() && now < kill_at => {
                Phase::Asked { kill_at, timed_out }
            }
            Phase::Free { .. } => self.kill_or_end(own, false, (some_live, now)),
            Phase::Asked { timed_out, .. } => self.kill_or_end(own, timed_out, (some_live, now)),
            Phase::Killing { exit, timed_out, .. } => {
                self.kill_or_end(exit.or(own), timed_out, (some_live, now))
            }
            Phase::Ended { exit } => Phase::Ended { exit },
        }
    }

    fn kill_or_end(&self, exit: Option<Exit>, timed_out: bool, (some_live, now): (bool, Instant)) -> Phase {
        match exit {
            Some(exit) if !some_live => {
                let exit = if timed_out { Exit::TimedOut(self.time_limit.unwrap_or_default()) } else { exit };
                Phase::Ended { exit }
            }
            exit => {
                processes::kill_descendants();
                Phase::Killing { again_at: now + KILL_INTERVAL, exit, timed_out }
            }
        }
    }

    /// The result, after [`Self::advance`] said that nothing is left.
    pub(super) fn finish(mut self, tee: &mut Tee, now: Instant) -> AttemptResult {
        // All writers are dead, so this comes to its end; or somebody foreign holds the pipe, who is not waited for.
        self.read_stderr(tee);
        while self.stderr.is_some() && !tee.has_room() {
            tee.flush();
            self.read_stderr(tee);
        }
        let exit = match self.phase {
            Phase::Ended { exit } => exit,
            Phase::Free { .. } | Phase::Asked { .. } | Phase::Killing { .. } => Exit::Signal(9),
        };
        let tail = if exit.is_success() { String::new() } else { self.tail.text() };
        let duration_ms = u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        AttemptResult { attempt: self.attempt, exit, duration_ms, tail }
    }
}
