//! One measure of what online suffers, and how much of it is batch's doing.

/// Above such a share of what is not batch's doing, batch adds to it.
const SUFFERS_ABOVE: f64 = 1.5;
/// Below such a share of it, batch adds nothing.
const QUIET_BELOW: f64 = 1.25;
/// Per look: what was not batch's doing is forgotten within minutes, in case the other cause went away.
const FORGETTING: f64 = 0.9995;

/// A measure with the marks at which it hurts and at which it is quiet.
#[derive(Clone, Debug)]
pub struct Signal {
    high: f64,
    low: f64,
    /// What was there without batch's doing.
    baseline: f64,
}

impl Signal {
    pub fn new(high: f64, low: f64) -> Self {
        Self { high, low, baseline: 0.0 }
    }

    /// Hurts and is quiet at these marks from here on.
    pub fn follow(&mut self, high: f64, low: f64) {
        (self.high, self.low) = (high, low);
    }

    /// What online suffers, as a multiple of what it may. Above 1, batch has to shrink.
    pub fn suffering(&self, value: f64) -> f64 {
        value / self.high.max(self.baseline * SUFFERS_ABOVE).max(f64::MIN_POSITIVE)
    }

    /// Whether batch may have more again.
    pub fn is_quiet(&self, value: f64) -> bool {
        value <= self.low.max(self.baseline * QUIET_BELOW)
    }

    /// Takes a look at which batch `is_acquitted`, as it has hardly done anything for long, or is not.
    pub fn learn(&mut self, value: f64, is_acquitted: bool) {
        self.baseline = if is_acquitted { self.baseline.max(value) } else { self.baseline * FORGETTING };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_batchs_doing_moves_the_marks() {
        let mut signal = Signal::new(0.25, 0.15);
        assert!((signal.suffering(0.5) - 2.0).abs() < 1e-9);
        assert!(signal.is_quiet(0.15) && !signal.is_quiet(0.16));
        signal.learn(0.4, true);
        assert!(signal.suffering(0.5) < 1.0 && signal.is_quiet(0.5));
        assert!(signal.suffering(0.7) > 1.0);
        (0..10_000).for_each(|_| signal.learn(0.1, false));
        assert!((signal.suffering(0.5) - 2.0).abs() < 1e-9);
    }
}
