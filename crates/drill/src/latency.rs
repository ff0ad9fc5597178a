//! Latencies as a histogram with three significant digits, and the figures people ask of it.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies from a microsecond to a minute; longer ones count as a minute.
#[derive(Clone, Debug)]
pub struct Latencies {
    micros: Histogram<u64>,
}

/// The figures of one run, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Percentiles {
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

const LONGEST_MICROS: u64 = 60_000_000;

impl Default for Latencies {
    fn default() -> Self {
        let micros = Histogram::new_with_max(LONGEST_MICROS, 3).expect("the bounds are valid constants");
        Self { micros }
    }
}

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_MICROS);
        self.micros.saturating_record(micros.clamp(1, LONGEST_MICROS));
    }

    pub fn merge(&mut self, other: &Self) {
        self.micros.add(&other.micros).expect("both histograms have the same bounds");
    }

    pub fn count(&self) -> u64 {
        self.micros.len()
    }

    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.micros.value_at_quantile(quantile);
        Percentiles {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.micros.max(),
        }
    }

    /// Points of the cumulative distribution for a plot: latency in microseconds against the share of requests
    /// above it, down to one in 10,000.
    pub fn tail(&self) -> Vec<(u64, f64)> {
        const SHARES: [f64; 13] =
            [1.0, 0.75, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.0025, 0.001, 0.0005, 0.0001];
        SHARES.iter().map(|share| (self.micros.value_at_quantile(1.0 - share), *share)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_not_averaged_away() {
        let mut latencies = Latencies::default();
        for _ in 0..990 {
            latencies.record(Duration::from_micros(100));
        }
        for _ in 0..10 {
            latencies.record(Duration::from_millis(50));
        }
        let figures = latencies.percentiles();
        assert_eq!(figures.p50_us, 100);
        assert!(figures.p999_us >= 49_900, "{figures:?}");
    }

    #[test]
    fn an_absurd_latency_is_clamped_not_lost() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_secs(3600));
        latencies.record(Duration::ZERO);
        assert_eq!(latencies.count(), 2);
    }
}
