//! One more process in a running container, started and awaited from a single-threaded process of its own.

use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::job::{EXEC_REPORT, ExecJob, ExecReport, JOB, PROCESS};
use super::{run, runtime};
use crate::disk;

pub(super) fn main(directory: &Path) -> ExitCode {
    let report = match exec(directory) {
        Ok(code) => ExecReport::Exited { code },
        Err(error) => ExecReport::Failed { message: kit::Chain(error.as_ref()).to_string() },
    };
    match disk::write_fast(&directory.join(EXEC_REPORT), &report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn exec(directory: &Path) -> Result<i32, Box<dyn std::error::Error>> {
    let job: ExecJob = disk::read(&directory.join(JOB))?;
    run::detach()?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    let pid = runtime::exec(&job, &directory.join(PROCESS))?;
    Ok(wait(pid, &signals)?)
}

/// Waits for the process, and kills it with its group when told to end.
fn wait(pid: Pid, signals: &SigSet) -> nix::Result<i32> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, code) => return Ok(code),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as i32),
            _ => {}
        }
        // Both are blocked, so one that came since the look above waits here.
        if signals.wait()? == Signal::SIGTERM {
            match killpg(pid, Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
