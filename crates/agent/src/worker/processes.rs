//! The worker's descendants: reaping them, finding them, killing them all.

use std::collections::BTreeMap;

use fuxi::protocol::{Exit, Usage};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getpid};

/// So many processes are killed one by one.
const CROWD: u32 = 128;

/// What a round of reaping found.
#[derive(Debug, Default)]
pub(super) struct Reaped {
    pub(super) ended: Vec<(Pid, Exit)>,
    /// What all that ended used together; of memory the most that one of them held.
    pub(super) usage: Usage,
    /// Children are still alive. As we are the subreaper, without children there are no descendants either.
    pub(super) some_live: bool,
}

/// Collects all children that have ended.
pub(super) fn reap() -> Reaped {
    let mut reaped = Reaped::default();
    loop {
        let child = match pouch::collect_child() {
            Ok(Some(child)) => child,
            Ok(None) => {
                reaped.some_live = true;
                return reaped;
            }
            Err(Errno::EINTR) => continue,
            Err(_) => return reaped,
        };
        let cpu_micros = u64::try_from(child.cpu.as_micros()).unwrap_or(u64::MAX);
        reaped.usage.add(Usage { cpu_micros, memory_kib: child.max_rss_kib });
        match child.status {
            WaitStatus::Exited(pid, code) => reaped.ended.push((pid, Exit::Code(code))),
            WaitStatus::Signaled(pid, signal, _) => reaped.ended.push((pid, Exit::Signal(signal as i32))),
            _ => {}
        }
    }
}

/// Asks a process group to end.
pub(super) fn terminate_group(leader: Pid) {
    // It may have ended already, which is as good.
    let _gone = killpg(leader, Signal::SIGTERM);
}

/// Kills every descendant, whichever group or session it moved to. New ones may appear meanwhile: repeat until
/// [`reap`] finds none alive.
pub(super) fn kill_descendants() {
    if getpid().as_raw() == 1 && is_crowded() {
        // Of so many, new ones would come faster than we find them. The kernel ends all of the container but us at one
        // stroke; whoever looks around in it, by exec, goes with them.
        let _gone = kill(Pid::from_raw(-1), Signal::SIGKILL);
        return;
    }
    for pid in descendants() {
        // Stopped first, a process that forks all the time cannot outrun us.
        let _gone = kill(pid, Signal::SIGSTOP);
    }
    for pid in descendants() {
        let _gone = kill(pid, Signal::SIGKILL);
    }
}

/// Whether there are more processes in the container than can be looked through one by one, by either version of cgroups.
fn is_crowded() -> bool {
    let counters = ["/sys/fs/cgroup/pids/pids.current", "/sys/fs/cgroup/pids.current"];
    let counts = counters.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    counts.filter_map(|text| text.trim().parse::<u32>().ok()).any(|count| count > CROWD)
}

pub(super) fn descendants() -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![getpid().as_raw()];
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            found.push(Pid::from_raw(child));
            open.push(child);
        }
    }
    found
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may itself contain some; the parent is the second word after it.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
