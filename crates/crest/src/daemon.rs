//! The one running process of an instance: found by a lock that the kernel drops when it ends.
//!
//! A pid file alone can lie after a crash; a lock cannot. The file holds the pid for people and for signals, and
//! counts only while it is locked.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

/// Held for the life of the process.
#[derive(Debug)]
pub(crate) struct InstanceLock {
    _file: File,
}

fn lock_path(run_dir: &Path) -> std::path::PathBuf {
    run_dir.join("crest.pid")
}

impl InstanceLock {
    /// Takes the lock and writes this process's pid; an error names the process that holds it.
    pub(crate) fn take(run_dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(run_dir).with_context(|| format!("cannot create `{}`", run_dir.display()))?;
        let path = lock_path(run_dir);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open `{}`", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let holder = running(run_dir).map_or_else(
                || "another process".to_owned(),
                |pid| format!("process {}", pid.as_raw_nonzero()),
            );
            anyhow::bail!("this instance runs already, as {holder}; stop it with `crest down`");
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

/// The process that runs this instance, if there is one.
pub(crate) fn running(run_dir: &Path) -> Option<Pid> {
    let mut file = File::open(lock_path(run_dir)).ok()?;
    // A shared lock is refused only while the process holds its exclusive one.
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

/// Asks the running process to end and waits until it has; kills it after `patience`.
pub(crate) fn stop(run_dir: &Path, patience: Duration) -> anyhow::Result<()> {
    let Some(pid) = running(run_dir) else {
        return Ok(());
    };
    kill_process(pid, Signal::TERM).context("cannot signal the running process")?;
    let started = kit::clock::monotonic();
    let mut killed = false;
    while running(run_dir) == Some(pid) {
        if !killed && started.elapsed() > patience {
            // It may have ended just now; then there is nothing left to kill.
            let _gone = kill_process(pid, Signal::KILL);
            killed = true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{InstanceLock, running};

    #[test]
    fn a_stale_file_is_no_running_process() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("crest.pid"), "1\n").unwrap();
        assert!(running(folder.path()).is_none());
        let lock = InstanceLock::take(folder.path()).unwrap();
        assert!(running(folder.path()).is_some());
        assert!(InstanceLock::take(folder.path()).unwrap_err().to_string().contains("runs already"));
        drop(lock);
        assert!(running(folder.path()).is_none());
    }
}
