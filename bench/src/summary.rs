//! Latencies of a run, sorted once, asked for by percentile.

use std::fmt;
use std::time::Duration;

/// Durations in ascending order.
#[derive(Clone, Debug)]
pub struct Summary {
    sorted: Vec<Duration>,
}

impl Summary {
    pub fn new(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self { sorted: durations }
    }

    /// The smallest duration that `percent` of all do not exceed; zero when there are none.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.percentile(50), self.percentile(99));
        write!(f, "p50 {:.1} ms, p99 {:.1} ms (n={})", millis(p50), millis(p99), self.sorted.len())
    }
}

/// The middle one, of an even number the larger; `None` when there are none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// As people read it.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let summary = Summary::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(summary.percentile(50), Duration::from_millis(50));
        assert_eq!(summary.percentile(99), Duration::from_millis(99));
        assert_eq!(summary.percentile(100), Duration::from_millis(100));
        assert_eq!(Summary::new(Vec::new()).percentile(99), Duration::ZERO);
    }
}
