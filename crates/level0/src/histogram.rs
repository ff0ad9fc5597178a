//! How often which amount was used, where what is long ago counts for little.
//!
//! ```text
//!   bucket 0        1            2                 3            each 5% wider than the one before
//!   ├──────┼─────────────┼──────────────────┼───────────── ...
//!   0    first
//! ```
//! A sample weighs twice as much as one that is a half-life older. Rather than to make all old ones lighter all the time,
//! new ones are made heavier, and all are scaled down now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::peak::amount;

/// By how much a bucket is wider than the one before. An answer is wrong by the first bucket and 5% of itself at most.
const GROWTH: f64 = 1.05;
/// New samples are made heavier by no more than two to this power, then all are scaled down.
const MAX_DOUBLINGS: f64 = 30.0;
/// What weighs less than this, where a new sample weighs one, is forgotten.
const DUST: f64 = 1e-9;

/// What of a resource is told apart, and for how long it is remembered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Where the first bucket ends.
    pub first: f64,
    /// What is above counts as this.
    pub most: f64,
    pub half_life: Duration,
}

impl Scale {
    /// Milli-cores: from 25 to 1,024 cores, remembered for 12 hours.
    pub const CPU: Self = Self { first: 25.0, most: 1_024_000.0, half_life: Duration::from_secs(12 * 3600) };
    /// Bytes: from 5 MiB to 2 TiB, remembered for a day.
    pub const MEMORY: Self =
        Self { first: 5_242_880.0, most: 2_199_023_255_552.0, half_life: Duration::from_secs(24 * 3600) };

    /// The bucket of a value.
    fn bucket(&self, value: f64) -> u32 {
        let value = amount(value).min(self.most);
        // Bucket i begins at first * (GROWTH^i - 1) / (GROWTH - 1).
        let steps = (value / self.first * (GROWTH - 1.0) + 1.0).ln() / GROWTH.ln();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred buckets")]
        let bucket = steps.floor() as u32;
        bucket
    }

    /// Where a bucket ends.
    fn end(&self, bucket: u32) -> f64 {
        let steps = f64::from(bucket) + 1.0;
        (self.first * (GROWTH.powf(steps) - 1.0) / (GROWTH - 1.0)).min(self.most)
    }
}

/// Weights by bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    weights: BTreeMap<u32, f64>,
    /// The time at which a sample weighs one.
    reference: Duration,
}

impl Histogram {
    /// Counts `value`, used at `now`. When a clock goes back by more than a half-life, it was wrong before: what was
    /// counted then weighs no more than what comes.
    pub fn add(&mut self, scale: &Scale, value: f64, now: Duration) {
        let doublings = self.doublings(scale, now);
        if doublings < -1.0 {
            self.reference = now;
        } else if doublings > MAX_DOUBLINGS || self.weights.is_empty() {
            self.refer_to(scale, now);
        }
        let weight = self.doublings(scale, now).clamp(-MAX_DOUBLINGS, MAX_DOUBLINGS).exp2();
        *self.weights.entry(scale.bucket(value)).or_default() += weight;
    }

    /// What `share` of all samples do not exceed, by weight; nothing of no samples.
    pub fn percentile(&self, scale: &Scale, share: f64) -> Option<f64> {
        let total: f64 = self.weights.values().sum();
        let wanted = total * share.clamp(0.0, 1.0);
        let mut sum = 0.0;
        let reached = self.weights.iter().find(|(_, weight)| {
            sum += **weight;
            sum >= wanted
        });
        let bucket = reached.or(self.weights.last_key_value()).map(|(bucket, _)| *bucket)?;
        Some(scale.end(bucket))
    }

    /// Weighs all as of `now`, so that another half-life may hold from there on. A clock that may be wrong moves nothing.
    pub fn settle(&mut self, scale: &Scale, now: Duration) {
        if (0.0..=MAX_DOUBLINGS).contains(&self.doublings(scale, now)) {
            self.refer_to(scale, now);
        }
    }

    fn doublings(&self, scale: &Scale, now: Duration) -> f64 {
        (now.as_secs_f64() - self.reference.as_secs_f64()) / scale.half_life.as_secs_f64().max(1.0)
    }

    /// Scales all weights so that a sample of `now` weighs one.
    fn refer_to(&mut self, scale: &Scale, now: Duration) {
        let factor = (-self.doublings(scale, now)).exp2();
        self.reference = now;
        self.weights.values_mut().for_each(|weight| *weight *= factor);
        self.weights.retain(|_, weight| *weight > DUST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop, proptest};

    use super::*;

    const SCALE: Scale = Scale { first: 25.0, most: 10_000.0, half_life: Duration::from_secs(100) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn of(samples: &[(f64, u64)]) -> Histogram {
        let mut histogram = Histogram::default();
        samples.iter().for_each(|(value, second)| histogram.add(&SCALE, *value, at(*second)));
        histogram
    }

    #[test]
    fn what_most_do_not_exceed() {
        let check = |samples: &[(f64, u64)], share: f64, low: f64, high: f64| {
            let found = of(samples).percentile(&SCALE, share).unwrap();
            assert!((low..=high).contains(&found), "{found}");
        };
        let even: Vec<(f64, u64)> = (1..=100).map(|value| (f64::from(value) * 10.0, 0)).collect();
        check(&even, 0.5, 500.0, 560.0);
        check(&even, 0.95, 950.0, 1030.0);
        check(&even, 1.0, 1000.0, 1080.0);
        check(&[(1e9, 0)], 0.5, 10_000.0, 10_000.0);
        check(&[(0.0, 0)], 0.99, 25.0, 25.0);
        assert_eq!(Histogram::default().percentile(&SCALE, 0.5), None);
    }

    #[test]
    fn a_half_life_halves() {
        // Two of old against one that is one half-life younger: equal weights.
        let mut histogram = of(&[(100.0, 0), (100.0, 0), (1000.0, 100)]);
        assert!(histogram.percentile(&SCALE, 0.49).unwrap() < 200.0);
        assert!(histogram.percentile(&SCALE, 0.51).unwrap() > 900.0);
        // Much later the old weigh nothing.
        histogram.add(&SCALE, 500.0, at(100_000));
        let found = histogram.percentile(&SCALE, 0.01).unwrap();
        assert!((500.0..560.0).contains(&found), "{found}");
        assert_eq!(histogram.weights.len(), 1);
    }

    #[test]
    fn a_clock_that_was_wrong_for_a_moment_is_forgotten() {
        let mut histogram = of(&[(100.0, 1000), (5000.0, 1_000_000)]);
        for second in 0..200 {
            histogram.add(&SCALE, 100.0, at(1001 + second));
        }
        assert!(histogram.percentile(&SCALE, 0.95).unwrap() < 200.0);
    }

    proptest! {
        #[test]
        fn no_history_breaks_it(samples in prop::collection::vec((prop::num::f64::ANY, 0..1_000_000_u64), 1..60)) {
            let histogram = of(&samples);
            let [low, high] = [0.5, 0.99].map(|share| histogram.percentile(&SCALE, share).unwrap());
            assert!(low <= high && high <= SCALE.most && low >= SCALE.first);
        }

        #[test]
        fn an_answer_is_a_value_that_was_seen_or_a_little_more(
            values in prop::collection::vec(0.0..10_000.0_f64, 1..60).prop_map(|mut values| {
                values.sort_by(f64::total_cmp);
                values
            }),
            share in 0.01..1.0_f64,
        ) {
            let samples: Vec<(f64, u64)> = values.iter().map(|value| (*value, 7)).collect();
            let found = of(&samples).percentile(&SCALE, share).unwrap();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tens")]
            let rank = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1;
            let exact = values[rank];
            assert!(found >= exact * 0.999 && found <= exact * GROWTH + 1.05 * SCALE.first, "{found} for {exact}");
        }
    }
}
