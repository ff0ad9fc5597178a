//! What the kernel counts of one group, in the words that both versions share. What a host does not count is absent.
//!
//! | | cgroup v2 | cgroup v1 |
//! |---|---|---|
//! | CPU | `cpu.stat` | `cpuacct.usage`, `cpu.stat` |
//! | memory | `memory.current`, `memory.stat` | `memory.usage_in_bytes`, `memory.stat` |
//! | disks | `io.stat` | `blkio.throttle.io_service_bytes_recursive`, `blkio.throttle.io_serviced_recursive` |
//! | pressure | `cpu.pressure`, `memory.pressure`, `io.pressure` | the same, of the v2 tree of a hybrid host |

use std::path::Path;
use std::time::Duration;

use super::read;

/// All of a group, as far as it could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub io: Option<Io>,
    pub pressure: Pressure,
    /// Of containers and classes, where somebody looked at their threads.
    pub run_queue: Option<RunQueue>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    pub used: Duration,
    /// Periods in which the group ran, and those of them in which its quota ran out.
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub used: u64,
    /// Without what can be dropped at once.
    pub working_set: u64,
    pub anonymous: u64,
    pub cache: u64,
    /// Pages that were missed soon after they had been dropped.
    pub refaults: u64,
    pub major_faults: u64,
    /// Pages looked at and taken by reclaim; cgroup v1 does not tell.
    pub scanned: Option<u64>,
    pub reclaimed: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub cpu: Option<Stall>,
    pub memory: Option<Stall>,
    pub io: Option<Stall>,
}

/// Threads that could run and had no CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunQueue {
    /// The sum over threads.
    pub waited: Duration,
    /// How many there are, and how many of them the last look was at: the others wait for their turn.
    pub threads: u64,
    pub looked_at: u64,
}

/// Time in which some thread of a group waited, and in which all of them did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    pub some: Duration,
    pub full: Duration,
}

/// The whole group at `path` of a v2 tree.
pub(super) fn of_v2(path: &Path) -> Counters {
    let text = |file: &str| read(path.join(file)).ok();
    let used = text("memory.current").and_then(|text| text.trim().parse().ok());
    Counters {
        cpu: text("cpu.stat").map(|text| cpu_v2(&text)),
        memory: used.zip(text("memory.stat")).map(|(used, stat)| memory(used, &stat, "")),
        io: text("io.stat").map(|text| io_v2(&text)),
        pressure: pressure(path),
        run_queue: None,
    }
}

pub(super) fn pressure(path: &Path) -> Pressure {
    let stall = |file: &str| read(path.join(file)).ok().and_then(|text| stall(&text));
    Pressure { cpu: stall("cpu.pressure"), memory: stall("memory.pressure"), io: stall("io.pressure") }
}

/// Calls `found` with each `key value` of `text`; what is no number is left out.
fn fields(text: &str, mut found: impl FnMut(&str, u64)) {
    for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        if let Ok(value) = value.trim().parse() {
            found(key, value);
        }
    }
}

fn cpu_v2(stat: &str) -> Cpu {
    let mut cpu = Cpu::default();
    fields(stat, |key, value| match key {
        "usage_usec" => cpu.used = Duration::from_micros(value),
        "nr_periods" => cpu.periods = value,
        "nr_throttled" => cpu.throttled_periods = value,
        "throttled_usec" => cpu.throttled = Duration::from_micros(value),
        _ => {}
    });
    cpu
}

pub(super) fn cpu_v1(used: Duration, stat: &str) -> Cpu {
    let mut cpu = Cpu { used, ..Cpu::default() };
    fields(stat, |key, value| match key {
        "nr_periods" => cpu.periods = value,
        "nr_throttled" => cpu.throttled_periods = value,
        "throttled_time" => cpu.throttled = Duration::from_nanos(value),
        _ => {}
    });
    cpu
}

/// `prefix` is that of the sums over all groups below, which v1 keeps apart.
pub(super) fn memory(used: u64, stat: &str, prefix: &str) -> Memory {
    let mut memory = Memory { used, working_set: used, ..Memory::default() };
    fields(stat, |key, value| match key.strip_prefix(prefix).unwrap_or_default() {
        "anon" | "rss" => memory.anonymous = value,
        "file" | "cache" => memory.cache = value,
        "inactive_file" => memory.working_set = used.saturating_sub(value),
        "workingset_refault_anon" | "workingset_refault_file" => {
            memory.refaults = memory.refaults.saturating_add(value);
        }
        "pgmajfault" => memory.major_faults = value,
        "pgscan" => memory.scanned = Some(value),
        "pgsteal" => memory.reclaimed = Some(value),
        _ => {}
    });
    memory
}

/// `254:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`, a line for each disk
fn io_v2(stat: &str) -> Io {
    let mut io = Io::default();
    for (key, value) in stat.split_whitespace().filter_map(|word| word.split_once('=')) {
        let counter = match key {
            "rbytes" => &mut io.read_bytes,
            "wbytes" => &mut io.written_bytes,
            "rios" => &mut io.reads,
            "wios" => &mut io.writes,
            _ => continue,
        };
        *counter = counter.saturating_add(value.parse().unwrap_or(0));
    }
    io
}

/// `254:0 Read 4096`, a line for each disk and kind
pub(super) fn io_v1(bytes: &str, operations: &str) -> Io {
    let sum = |text: &str, kind: &str| {
        let words = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let values = words.filter(|words| words.len() == 3 && words[1] == kind);
        values.filter_map(|words| words[2].parse::<u64>().ok()).fold(0, u64::saturating_add)
    };
    Io {
        read_bytes: sum(bytes, "Read"),
        written_bytes: sum(bytes, "Write"),
        reads: sum(operations, "Read"),
        writes: sum(operations, "Write"),
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=42`, and a line that begins with `full`
pub(super) fn stall(text: &str) -> Option<Stall> {
    let total = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        line.split("total=").nth(1)?.trim().parse().ok().map(Duration::from_micros)
    };
    // Kernels before 5.13 know no full stall of the CPU.
    Some(Stall { some: total("some ")?, full: total("full ").unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_tell_the_same() {
        let micros = Duration::from_micros;
        let cpu = Cpu { used: micros(9), periods: 4, throttled_periods: 3, throttled: micros(2) };
        assert_eq!(
            cpu_v2("usage_usec 9\nuser_usec 1\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\n"),
            cpu
        );
        assert_eq!(
            cpu_v1(micros(9), "nr_periods 4\nnr_throttled 3\nthrottled_time 2000\nnr_bursts 0\n"),
            cpu
        );
        let expected = Memory {
            used: 100,
            working_set: 70,
            anonymous: 50,
            cache: 40,
            refaults: 7,
            major_faults: 1,
            scanned: Some(9),
            reclaimed: Some(8),
        };
        let v2 = "anon 50\nfile 40\ninactive_file 30\nworkingset_refault_anon 3\nworkingset_refault_file 4\n\
                  pgmajfault 1\npgscan 9\npgsteal 8\n";
        assert_eq!(memory(100, v2, ""), expected);
        let v1 = "rss 1\ncache 1\ntotal_rss 50\ntotal_cache 40\ntotal_inactive_file 30\n\
                  total_workingset_refault_anon 3\ntotal_workingset_refault_file 4\ntotal_pgmajfault 1\n";
        assert_eq!(memory(100, v1, "total_"), Memory { scanned: None, reclaimed: None, ..expected });
        let io = Io { read_bytes: 5, written_bytes: 7, reads: 2, writes: 1 };
        assert_eq!(
            io_v2("8:0 rbytes=4 wbytes=7 rios=1 wios=1 dbytes=0\n8:16 rbytes=1 wbytes=0 rios=1 wios=0\n"),
            io
        );
        assert_eq!(
            io_v1(
                "8:0 Read 4\n8:0 Write 7\n8:0 Total 11\n8:16 Read 1\nTotal 12\n",
                "8:0 Read 2\n8:0 Write 1\n"
            ),
            io
        );
    }

    #[test]
    fn what_is_garbled_is_absent() {
        assert_eq!(
            stall("some avg10=0.00 total=42\n"),
            Some(Stall { some: Duration::from_micros(42), ..Stall::default() })
        );
        for text in ["", "some\n", "some total=x\n", "full total=1\n", "\u{0}"] {
            assert_eq!(stall(text), None, "{text:?}");
        }
        assert_eq!(cpu_v2("usage_usec -1\nnr_periods\nnr_throttled 99999999999999999999\n"), Cpu::default());
        assert_eq!(io_v2("8:0 rbytes=x wbytes= =3\n"), Io::default());
        let memory = memory(5, "inactive_file 9\n", "");
        assert_eq!((memory.used, memory.working_set), (5, 0));
    }
}
