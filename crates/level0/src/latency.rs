//! A service's latency from two looks at its histogram, as Prometheus' `histogram_quantile` reads it.

use std::collections::VecDeque;

/// What a histogram has counted so far: upper bounds of its buckets in seconds, and how many requests were no longer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// Of entries in any order; those of one bound, as of several handlers, are added up.
    pub fn new(entries: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut buckets: Vec<(f64, f64)> =
            entries.into_iter().filter(|(bound, count)| !bound.is_nan() && count.is_finite()).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets.dedup_by(|next, kept| {
            let is_same = next.0.total_cmp(&kept.0).is_eq();
            if is_same {
                kept.1 += next.1;
            }
            is_same
        });
        Self(buckets)
    }

    /// The longest latency that can be told from still longer ones.
    pub fn longest(&self) -> Option<f64> {
        self.0.iter().rev().map(|(bound, _)| *bound).find(|bound| bound.is_finite())
    }

    /// The latency in seconds that this share of the requests since `before` did not exceed. `None` where there were none,
    /// where the buckets are others than before, or where a counter went back.
    pub fn quantile(&self, quantile: f64, before: &Self) -> Option<f64> {
        let since = self.since(before)?;
        let all = since.last()?.1;
        // A single request is no share of anything: of few, the slowest is left out.
        let rank = (quantile.clamp(0.0, 1.0) * all).min((all - 1.0).max(0.0));
        Some(within(&since, rank))
    }

    /// What was counted since `before`, if that is anything.
    fn since(&self, before: &Self) -> Option<Vec<(f64, f64)>> {
        if self.0.len() != before.0.len() {
            return None;
        }
        let pairs = self.0.iter().zip(&before.0);
        let since = pairs.map(|(now, before)| (now.0 == before.0).then_some((now.0, now.1 - before.1)));
        let since: Vec<(f64, f64)> = since.collect::<Option<_>>()?;
        let goes_up = since.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        let is_more = since.first()?.1 >= 0.0 && since.last()?.1 > 0.0;
        (goes_up && is_more).then_some(since)
    }

    /// What no request since `before` exceeded.
    fn slowest(&self, before: &Self) -> Option<f64> {
        self.since(before).map(|since| within(&since, since.last().map_or(0.0, |(_, all)| *all)))
    }

    /// Whether these and `before` differ by as many requests as it takes to tell the quantile from their maximum.
    fn tells(&self, quantile: f64, before: &Self) -> bool {
        let all = |buckets: &Self| buckets.0.last().map_or(0.0, |(_, count)| *count);
        (all(self) - all(before)) * (1.0 - quantile) >= 1.0
    }
}

/// So many looks are one measure at most.
const LOOKS: usize = 10;

/// A histogram at the last looks: of few requests in one look, the slowest would be all that is seen.
#[derive(Clone, Debug, Default)]
pub struct Window {
    looks: VecDeque<Buckets>,
}

impl Window {
    /// The latency that this share of the requests did not exceed, since the last look before which there were enough. `None`
    /// where there were none since the last look, or its buckets cannot be compared with these: then it begins anew.
    pub fn observe(&mut self, quantile: f64, now: Buckets) -> Option<f64> {
        let newest = self.looks.back().map(|last| (now.slowest(last), now == *last));
        if newest.is_some_and(|(slowest, is_same)| slowest.is_none() && !is_same) {
            self.looks.clear();
        }
        let enough = self.looks.iter().rev().find(|before| now.tells(quantile, before));
        let since = enough.or(self.looks.front()).and_then(|before| now.quantile(quantile, before));
        self.looks.push_back(now);
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        // What was slow at a look before was told then.
        newest?.0.zip(since).map(|(slowest, since)| slowest.min(since))
    }
}

/// The latency that so many requests did not exceed: within a bucket, requests are taken to lie evenly. Of what lies beyond
/// the last finite bound it is known that it is more.
fn within(since: &[(f64, f64)], rank: f64) -> f64 {
    let at = since.iter().position(|(_, count)| *count >= rank).unwrap_or(since.len().saturating_sub(1));
    let (bound, count) = since[at];
    let (lower, fewer) = at.checked_sub(1).map_or((0.0, 0.0), |at| since[at]);
    if !bound.is_finite() {
        return lower.next_up();
    }
    let share = if count > fewer { (rank - fewer) / (count - fewer) } else { 1.0 };
    lower + (bound - lower) * share.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INFINITE: f64 = f64::INFINITY;

    #[test]
    fn quantiles_of_what_came_between_two_looks() {
        let check = |before: &[(f64, f64)], after: &[(f64, f64)], quantile: f64, expected: Option<f64>| {
            let [before, after] = [before, after].map(|entries| Buckets::new(entries.iter().copied()));
            let read = after.quantile(quantile, &before);
            let is_same = match (read, expected) {
                (Some(read), Some(expected)) => (read - expected).abs() < 1e-9,
                (read, expected) => read.is_none() && expected.is_none(),
            };
            assert!(is_same, "{read:?} instead of {expected:?}");
        };
        let before = [(0.01, 100.0), (0.1, 100.0), (INFINITE, 100.0)];
        let after = [(0.1, 200.0), (0.01, 150.0), (INFINITE, 200.0)];
        check(&before, &after, 0.5, Some(0.01));
        check(&before, &after, 0.75, Some(0.055));
        check(&before, &after, 0.25, Some(0.005));
        check(&before, &[(0.01, 100.0), (0.1, 100.0), (INFINITE, 200.0)], 0.99, Some(0.1_f64.next_up()));
        // Of few, the slowest is left out.
        check(&before, &[(0.01, 101.0), (0.1, 101.0), (INFINITE, 102.0)], 0.99, Some(0.01));
        check(&before, &before, 0.99, None);
        check(&after, &before, 0.99, None);
        check(&before, &after[..2], 0.99, None);
        check(&[], &[], 0.99, None);
        let two_handlers = [(0.1, 1.0), (INFINITE, 1.0), (0.1, 3.0), (INFINITE, 3.0)];
        check(&[(0.1, 0.0), (INFINITE, 0.0)], &two_handlers, 0.5, Some(0.05));
    }

    /// What is told of looks, at each of which so many requests more were fast and so many slow.
    fn told(looks: &[(f64, f64)]) -> Vec<Option<bool>> {
        let mut window = Window::default();
        let (mut fast, mut slow) = (0.0, 0.0);
        let told = looks.iter().map(|(more_fast, more_slow)| {
            (fast, slow) = (fast + more_fast, slow + more_slow);
            let buckets = Buckets::new([(0.01, fast), (1.0, fast + slow), (INFINITE, fast + slow)]);
            window.observe(0.99, buckets).map(|latency| latency > 0.05)
        });
        told.collect()
    }

    #[test]
    fn a_slow_request_among_few_is_no_tail() {
        let (fast, slow) = (Some(false), Some(true));
        // Five requests a look: one slow one says nothing, two do, and only while they are new.
        let mut looks = vec![(5.0, 0.0); 14];
        looks[2] = (4.0, 1.0);
        looks[4] = (4.0, 1.0);
        let mut expected = vec![fast; 14];
        (expected[0], expected[4]) = (None, slow);
        assert_eq!(told(&looks), expected);
        // All of them slow is told at once, and no requests say nothing.
        assert_eq!(told(&[(5.0, 0.0), (0.0, 5.0), (0.0, 0.0), (5.0, 0.0)]), [None, slow, None, fast]);
        // Of many, one look is enough.
        assert_eq!(told(&[(0.0, 0.0), (990.0, 20.0), (999.0, 1.0)]), [None, slow, fast]);
    }

    #[test]
    fn a_histogram_that_begins_anew_says_nothing_once() {
        let mut window = Window::default();
        let mut observe = |fast: f64| window.observe(0.5, Buckets::new([(0.01, fast), (INFINITE, fast)]));
        assert_eq!([observe(50.0), observe(70.0)].map(|told| told.is_some()), [false, true]);
        assert_eq!([observe(3.0), observe(9.0)].map(|told| told.is_some()), [false, true]);
    }

    proptest! {
        #[test]
        fn whatever_is_told_a_latency_is_an_amount(
            before in proptest::collection::vec(any::<(f64, f64)>(), 0..8),
            grown in proptest::collection::vec(0.0..1e9_f64, 8), quantile in any::<f64>(),
        ) {
            let after: Vec<(f64, f64)> =
                before.iter().zip(grown).map(|((bound, count), more)| (*bound, count + more)).collect();
            let latency = Buckets::new(after).quantile(quantile.abs(), &Buckets::new(before));
            prop_assert!(latency.is_none_or(|latency| !latency.is_nan()), "{latency:?}");
        }
    }
}
