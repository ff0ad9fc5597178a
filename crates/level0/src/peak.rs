//! A short memory of the highest use seen: what online may want again in the next moments.
//!
//! A new maximum counts at once; from there the memory halves its distance to the present use every half-life.

use std::time::Duration;

/// A decaying maximum.
#[derive(Clone, Debug)]
pub struct Peak {
    half_life: Duration,
    held: f64,
    at: Option<Duration>,
}

impl Peak {
    pub fn new(half_life: Duration) -> Self {
        Self { half_life, held: 0.0, at: None }
    }

    /// Forgets as fast as this from here on.
    pub fn follow(&mut self, half_life: Duration) {
        self.half_life = half_life;
    }

    /// Takes `value`, seen at `now`. Values that are no amounts (negative, not finite) count as zero.
    pub fn observe(&mut self, value: f64, now: Duration) -> f64 {
        let value = amount(value);
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        let half_lives = elapsed.as_secs_f64() / self.half_life.as_secs_f64().max(1e-9);
        self.held = value + (self.held - value).max(0.0) * 0.5_f64.powf(half_lives);
        self.held
    }

    pub fn value(&self) -> f64 {
        self.held
    }
}

/// `value` as an amount: what a broken counter may say (NaN, infinite, negative) reads as zero.
pub(crate) fn amount(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_peak_counts_at_once_and_fades_by_half_lives() {
        let mut peak = Peak::new(at(20));
        peak.observe(100.0, at(0));
        assert!((peak.observe(1000.0, at(1)) - 1000.0).abs() < 1e-9);
        assert!((peak.observe(200.0, at(21)) - 600.0).abs() < 1e-9);
        assert!((peak.observe(200.0, at(41)) - 400.0).abs() < 1e-9);
    }

    #[test]
    fn broken_values_and_backward_clocks_are_harmless() {
        let mut peak = Peak::new(at(20));
        for value in [f64::NAN, -5.0, f64::INFINITY] {
            assert!(peak.observe(value, at(9)).abs() < 1e-9);
        }
        assert!((peak.observe(50.0, at(3)) - 50.0).abs() < 1e-9);
    }
}
