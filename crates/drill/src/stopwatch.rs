//! CPU use of the machine over a span, from `/proc/stat`.

use std::fs;
use std::io;

/// Ticks that all processors spent so far, as the kernel counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTicks {
    pub busy: u64,
    pub idle: u64,
}

/// `/proc/stat` could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum CpuTicksError {
    #[error("cannot read `/proc/stat`")]
    Read { source: io::Error },
    #[error("`/proc/stat` has no line `cpu` with at least five numbers")]
    Malformed,
}

impl CpuTicks {
    pub fn read() -> Result<Self, CpuTicksError> {
        let text = fs::read_to_string("/proc/stat").map_err(|source| CpuTicksError::Read { source })?;
        Self::parse(&text).ok_or(CpuTicksError::Malformed)
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find(|line| line.starts_with("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal guest guest_nice; guest time is in user already.
        let idle = ticks.get(3)? + ticks.get(4)?;
        let all: u64 = ticks.iter().take(8).sum();
        Some(Self { busy: all - idle, idle })
    }

    /// Share of all processors that was busy since `earlier`, from 0 to 1.
    pub fn busy_share_since(self, earlier: Self) -> f64 {
        let busy = self.busy.saturating_sub(earlier.busy);
        let idle = self.idle.saturating_sub(earlier.idle);
        #[expect(clippy::cast_precision_loss, reason = "ticks of one span are far below 2^52")]
        let (busy, all) = (busy as f64, (busy + idle) as f64);
        if all > 0.0 { busy / all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_everything_but_idle_and_iowait() {
        let before = CpuTicks::parse("cpu  100 0 100 800 0 0 0 0 50 0\n").unwrap();
        let after = CpuTicks::parse("cpu  150 0 125 820 5 0 0 0 60 0\n").unwrap();
        assert!((after.busy_share_since(before) - 0.75).abs() < 1e-9);
        assert_eq!(CpuTicks::parse("intr 1 2 3"), None);
        assert_eq!(CpuTicks::parse("cpu  1 2 x"), None);
    }

    #[test]
    fn this_machine_is_understood() {
        CpuTicks::read().unwrap();
    }
}
