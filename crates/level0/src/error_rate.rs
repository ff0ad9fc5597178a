//! A service's share of failed requests, from looks at two of its counters.

use std::collections::VecDeque;

/// So many looks are one measure: of few requests in one look, a single failure would be many.
const LOOKS: usize = 10;

/// What two counters have counted at the last looks.
#[derive(Clone, Debug, Default)]
pub struct Window {
    looks: VecDeque<(f64, f64)>,
}

impl Window {
    /// The share that failed of the requests since the oldest look, at looks that know of a new failure. `None` where there were none since the last look, or a
    /// counter went back: then it begins anew.
    pub fn observe(&mut self, failed: f64, all: f64) -> Option<f64> {
        let goes_on = |(before_failed, before_all): (f64, f64)| failed >= before_failed && all >= before_all;
        let is_known = failed.is_finite() && all.is_finite();
        if !is_known || !self.looks.back().copied().is_none_or(goes_on) {
            self.looks.clear();
        }
        if !is_known {
            return None;
        }
        let last = self.looks.back().copied();
        self.looks.push_back((failed, all));
        if self.looks.len() > LOOKS + 1 {
            self.looks.pop_front();
        }
        let (oldest_failed, oldest_all) = self.looks.front().copied()?;
        let (last_failed, _) = last.filter(|(_, before)| all > *before)?;
        // What failed before the last look was told then.
        let share = if failed > last_failed { (failed - oldest_failed) / (all - oldest_all) } else { 0.0 };
        Some(share.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(looks: &[(f64, f64)]) -> Vec<Option<f64>> {
        let mut window = Window::default();
        looks.iter().map(|(failed, all)| window.observe(*failed, *all)).collect()
    }

    #[test]
    fn the_share_of_the_last_looks() {
        let none: Option<f64> = None;
        assert_eq!(shares(&[(5.0, 100.0), (5.0, 110.0), (6.0, 120.0)]), [none, Some(0.0), Some(0.05)]);
        // Without requests nothing is said, and what went back says nothing.
        assert_eq!(
            shares(&[(0.0, 10.0), (0.0, 10.0), (0.0, 5.0), (1.0, 9.0)]),
            [none, none, none, Some(0.25)]
        );
        assert_eq!(shares(&[(0.0, 10.0), (f64::NAN, 20.0), (0.0, 30.0)]), [none, none, none]);
        // A counter of failures that is told later than that of all requests is no reason for more than all.
        assert_eq!(shares(&[(0.0, 10.0), (9.0, 11.0)]), [none, Some(1.0)]);
    }

    #[test]
    fn what_is_long_ago_counts_no_more() {
        let mut window = Window::default();
        let mut said = Vec::new();
        for look in 0..15_u32 {
            let failed = [0.0, 0.0, 10.0, 10.0].get(look as usize).copied().unwrap_or(11.0);
            said.extend(window.observe(if look == 14 { 12.0 } else { failed }, f64::from(look) * 100.0));
        }
        // Ten of two hundred, then one more, and at last one of a thousand.
        assert_eq!(said[..4], [0.0, 0.05, 0.0, 11.0 / 400.0]);
        assert_eq!(said[4..13], [0.0; 9]);
        assert_eq!(said[13], 0.001);
    }

    proptest! {
        #[test]
        fn whatever_is_told_it_is_a_share(looks in proptest::collection::vec(any::<(f64, f64)>(), 0..30)) {
            prop_assert!(shares(&looks).into_iter().flatten().all(|share| (0.0..=1.0).contains(&share)));
        }
    }
}
