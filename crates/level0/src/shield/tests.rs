//! Worked rows, and what holds for all numbers.

use proptest::prelude::*;

use super::*;

const GIB: u64 = 1 << 30;

#[test]
fn requests_are_kept_until_they_are_too_many() {
    let check = |capacity: u64, requests: &[u64], low: &[u64], all: u64| {
        let (sum, shields) = shields(&Policy::default(), capacity, requests);
        assert_eq!(shields.iter().map(|shield| shield.low).collect::<Vec<_>>(), low, "{requests:?}");
        assert_eq!(sum.low, all, "{requests:?}");
        assert!(shields.iter().all(|shield| shield.min == shield.low / 2 / PAGE * PAGE));
    };
    check(10 * GIB, &[], &[], 0);
    check(10 * GIB, &[2 * GIB, 0, GIB], &[2 * GIB, 0, GIB], 3 * GIB);
    // Twice what they may reach: each gets half.
    check(10 * GIB, &[12 * GIB, 4 * GIB], &[6 * GIB, 2 * GIB], 8 * GIB);
    check(0, &[GIB], &[0], 0);
}

#[test]
fn batch_is_bound_by_its_offer_and_not_below_what_would_kill_it() {
    let check = |offered: u64, held: u64, beyond: Beyond, expected: u64| {
        let bound =
            Bound::default().step(&Policy::default(), 100 * GIB, Some(Batch { offered, held }), beyond);
        assert_eq!(bound, Some(expected), "{offered} {held} {beyond:?}");
    };
    check(30 * GIB, 50 * GIB, Beyond::Slowed, 30 * GIB);
    check(30 * GIB, 50 * GIB, Beyond::Killed, 55 * GIB);
    check(30 * GIB, 10 * GIB, Beyond::Killed, 30 * GIB);
    check(0, 0, Beyond::Slowed, 2 * GIB);
    check(0, 2 * GIB, Beyond::Killed, 2 * GIB + 256 * (1 << 20));
}

#[test]
fn nothing_known_is_no_bound_and_small_news_are_none() {
    let (policy, mut bound) = (Policy::default(), Bound::default());
    let mut step = |offered: Option<u64>| {
        let batch = offered.map(|offered| Batch { offered, held: 0 });
        bound.step(&policy, 100 * GIB, batch, Beyond::Slowed).map(|bytes| bytes / GIB)
    };
    let seen =
        [None, Some(30 * GIB), Some(30 * GIB + GIB / 2), Some(32 * GIB), Some(31 * GIB + GIB / 2), None]
            .map(&mut step);
    assert_eq!(seen, [None, Some(30), Some(30), Some(32), Some(32), None]);
}

proptest! {
    #[test]
    fn shields_never_reach_what_they_must_not(
        capacity in 0_u64..=1 << 44,
        requests in proptest::collection::vec(0_u64..=1 << 44, 0..40),
        firm in -1.0..3.0_f64,
        ceiling in -1.0..3.0_f64,
    ) {
        let policy = Policy { firm, ceiling, ..Policy::default() };
        let (all, shields) = shields(&policy, capacity, &requests);
        prop_assert!(all.low <= capacity.saturating_add(1), "{} of {capacity}", all.low);
        prop_assert!(all.min <= all.low);
        for (shield, request) in shields.iter().zip(&requests) {
            prop_assert!(shield.min <= shield.low && shield.low <= *request);
        }
    }

    #[test]
    fn a_bound_that_kills_is_never_below_what_is_held(
        capacity in 1_u64..=1 << 44,
        looks in proptest::collection::vec((0_u64..=1 << 44, 0_u64..=1 << 44), 1..50),
    ) {
        let (policy, mut bound) = (Policy::default(), Bound::default());
        for (offered, held) in looks {
            let batch = Some(Batch { offered, held });
            let bytes = bound.step(&policy, capacity, batch, Beyond::Killed).unwrap();
            prop_assert!(bytes > held, "{bytes} for {held}");
        }
    }

    #[test]
    fn a_bound_that_slows_follows_the_offer(
        capacity in 1_u64..=1 << 44,
        looks in proptest::collection::vec((0_u64..=1 << 44, 0_u64..=1 << 44), 1..50),
    ) {
        let (policy, mut bound) = (Policy::default(), Bound::default());
        for (offered, held) in looks {
            let bytes = bound.step(&policy, capacity, Some(Batch { offered, held }), Beyond::Slowed).unwrap();
            let most = offered.max(pages(policy.floor * capacity as f64)) as f64
                + policy.dead_band * capacity as f64
                + PAGE as f64;
            prop_assert!(bytes as f64 <= most, "{bytes} above {most}");
            prop_assert!(bytes > 0);
        }
    }
}
