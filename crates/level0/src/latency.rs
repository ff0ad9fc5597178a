//! A service's latency from two looks at its histogram, as Prometheus' `histogram_quantile` reads it.

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
        if self.0.len() != before.0.len() {
            return None;
        }
        let pairs = self.0.iter().zip(&before.0);
        let since = pairs.map(|(now, before)| (now.0 == before.0).then_some((now.0, now.1 - before.1)));
        let since: Vec<(f64, f64)> = since.collect::<Option<_>>()?;
        let goes_up = since.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        let all = since.last()?.1;
        if !goes_up || since.first()?.1 < 0.0 || all <= 0.0 {
            return None;
        }
        Some(within(&since, quantile.clamp(0.0, 1.0) * all))
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
        check(&before, &[(0.01, 100.0), (0.1, 100.0), (INFINITE, 101.0)], 0.99, Some(0.1_f64.next_up()));
        check(&before, &before, 0.99, None);
        check(&after, &before, 0.99, None);
        check(&before, &after[..2], 0.99, None);
        check(&[], &[], 0.99, None);
        let two_handlers = [(0.1, 1.0), (INFINITE, 1.0), (0.1, 3.0), (INFINITE, 3.0)];
        check(&[(0.1, 0.0), (INFINITE, 0.0)], &two_handlers, 0.5, Some(0.05));
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
