//! What a program and its processes use for one instance, where it has just one at a time.
//!
//! ```text
//!   given to it: processor time so far, and peaks of memory begin anew ──answered──► the difference, and the largest peak
//! ```
//! The kernel counts processor time in ticks of ten milliseconds here. An instance that is shorter is seldom alone with its
//! program: then nothing is said of it.

use std::fs;

use fuxi::protocol::Usage;
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::processes;

/// Makes a process' peak of memory begin anew.
const RESET_PEAK: &str = "5";

#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    cpu_micros: u64,
}

impl Meter {
    /// Begins, when processes used so much that exist no more.
    pub(super) fn start(reaped: Usage) -> Self {
        let processes = processes::descendants();
        for pid in &processes {
            // Where that is not allowed, the peak is that of all its life.
            let _kept = fs::write(format!("/proc/{pid}/clear_refs"), RESET_PEAK);
        }
        Self { cpu_micros: cpu_micros(&processes) + reaped.cpu_micros }
    }

    /// What was used since then.
    pub(super) fn stop(self, reaped: Usage) -> Usage {
        let processes = processes::descendants();
        let cpu_micros = cpu_micros(&processes) + reaped.cpu_micros;
        let memory_kib = processes.iter().filter_map(|pid| peak_kib(*pid)).max().unwrap_or(0);
        Usage { cpu_micros: cpu_micros.saturating_sub(self.cpu_micros), memory_kib }
    }
}

/// The processor time of these processes and of the children that they have reaped.
fn cpu_micros(processes: &[Pid]) -> u64 {
    let tick = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
    let ticks: u64 = processes
        .iter()
        .filter_map(|pid| ticks_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .sum();
    ticks * 1_000_000 / tick.unwrap_or(100).max(1)
}

/// The sum of a process' own time and its children's, in user's and kernel's mode.
fn ticks_in(stat: &str) -> Option<u64> {
    // The name stands in parentheses and may itself contain some; the times are 12 to 15 words after it.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().skip(11).take(4).filter_map(|word| word.parse::<u64>().ok()).sum())
}

fn peak_kib(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::ticks_in;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194304 88 12 0 0 5 6 70 800 20 0 1 0 29 1 1 1";
        assert_eq!(ticks_in(stat), Some(881));
        assert_eq!(ticks_in("no"), None);
    }
}
