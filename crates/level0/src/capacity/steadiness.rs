//! What is told stays the same under steady load, is right soon after a step, and never lies by a broken counter or clock.

use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::test_runner::Config;

use super::tests::{at, reading, told};
use super::*;

const CAPACITY: f64 = 16_000.0;
const SYSTEM: f64 = 320.0;

/// Numbers from -1 to 1.
fn noise(seconds: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1.0..=1.0_f64, seconds)
}

/// Looks once a second at services that use what is said; what was told last, after each second.
fn series(uses: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut offer = Offer::new(Policy { floor: 0.1, ..Policy::default() });
    let after = uses.zip(0..).map(|(used, second)| {
        offer.observe(reading(CAPACITY, SYSTEM, used), at(second));
        offer.tell(at(second));
        offer.told() as f64
    });
    after.collect()
}

/// What is right for services that use so much.
fn right(used: f64) -> f64 {
    (CAPACITY * 0.95 - SYSTEM - used).max(CAPACITY * 0.1)
}

proptest! {
    #![proptest_config(Config { cases: 64, ..Config::default() })]

    /// Services use up to half of the host, and each second up to 6% more or less of that.
    #[test]
    fn under_steady_load_it_changes_by_less_than_two_percent_in_a_minute(share in 0.05..0.5, noise in noise(900)) {
        let told = series(noise.iter().map(|noise| CAPACITY * share * (1.0 + 0.06 * noise)));
        let settled = &told[60..];
        let moved: f64 = settled.windows(2).map(|pair| (pair[1] - pair[0]).abs() / pair[0]).sum();
        let per_minute = moved / (settled.len() as f64 / 60.0);
        assert!(per_minute < 0.02, "{per_minute}");
    }

    /// Less at once; of more four fifths: a tenth is not worth telling, and some may still be on its way.
    #[test]
    fn after_a_step_it_is_right_within_fifteen_seconds(
        before in 0.05..0.9, after in 0.05..0.9, noise in noise(120),
    ) {
        let uses = |second: usize| CAPACITY * if second < 60 { before } else { after };
        let told = series(noise.iter().enumerate().map(|(second, noise)| uses(second) * (1.0 + 0.02 * noise)));
        let right = right(CAPACITY * after);
        let most = right.max(CAPACITY * 0.1) * 1.12 + CAPACITY * 0.01 + CAPACITY * after * 0.04;
        assert!(told[60] <= most, "at once: {} of {right}", told[60]);
        for (second, told) in told.iter().enumerate().skip(75) {
            assert!(*told <= most && *told >= right * 0.8, "{second}: {told} of {right}");
        }
    }

    /// A clock that stands still, goes back or jumps; counters that say nothing; CPUs that go and come.
    #[test]
    fn no_reading_and_no_clock_makes_it_lend_what_is_not_there(
        looks in prop::collection::vec((0..40_i64, -30..30_i64, 0.0..1.0_f64, any::<bool>(), 1..16_u32), 1..120),
    ) {
        let mut offer = Offer::new(Policy::default());
        let mut clock = 1000_i64;
        for (step, jump, share, jumps, cores) in looks {
            clock = (clock + if jumps { jump } else { step }).max(0);
            let now = at(clock.unsigned_abs());
            let capacity = f64::from(cores) * 1000.0;
            offer.observe(reading(capacity, 0.0, capacity * share), now);
            let offered = offer.explain(now).offered as f64;
            assert!(offered <= capacity * (1.0 - share) + 1e-6, "{offered} of {capacity} where {share} is used");
            offer.tell(now);
            assert!(offer.told() as f64 <= (offered / 0.9).max(offered + capacity * 0.01) + 1.0, "{} of {offered}", offer.told());
        }
    }
}

#[test]
fn cpus_that_are_switched_off_are_gone_at_once() {
    let mut offer = Offer::new(Policy::default());
    let mut tell = |capacity, second| {
        offer.observe(reading(capacity, 0.0, 1000.0), at(second));
        told(&mut offer, second)
    };
    assert_eq!(tell(16_000.0, 0), Some(14_200));
    assert_eq!(tell(4_000.0, 1), Some(2_800));
    assert_eq!(tell(0.0, 2), Some(0), "none at all are left, as far as one can see");
    assert_eq!(tell(16_000.0, 3), None, "what comes back has to stay");
}

#[test]
fn what_is_told_of_a_blind_host_fades_to_nothing() {
    let mut offer = Offer::new(Policy::default());
    offer.observe(reading(CAPACITY, 0.0, 1000.0), at(0));
    let told: Vec<(u64, i64)> =
        (0..60).filter_map(|second| told(&mut offer, second).map(|told| (second, told))).collect();
    assert_eq!(told.first(), Some(&(0, 14_200)));
    assert_eq!(told.last(), Some(&(30, 0)));
    assert!(told.windows(2).all(|pair| pair[1].1 < pair[0].1), "{told:?}");
    assert!(told.iter().all(|(second, _)| *second == 0 || *second > 15), "{told:?}");
}

#[test]
fn before_the_first_reading_what_was_told_before_stands_for_a_while() {
    let mut offer = Offer::new(Policy::default());
    assert_eq!((0..30).find_map(|second| told(&mut offer, second)), None);
    assert!(!offer.is_told());
    // Blind from the beginning: nothing is lent in the dark for ever.
    assert_eq!(told(&mut offer, 30), Some(0));
    let mut offer = Offer::new(Policy::default());
    assert_eq!(told(&mut offer, 0), None);
    offer.observe(reading(CAPACITY, 0.0, 1000.0), at(1));
    assert_eq!(told(&mut offer, 1), Some(14_200));
}

#[test]
fn what_comes_and_goes_is_not_told_as_more() {
    // A service that is busy in every fifth second: what it leaves between is nobody's.
    let told = series((0..600).map(|second| CAPACITY * if second % 5 == 0 { 0.6 } else { 0.2 }));
    let settled = &told[10..];
    let highest = settled.iter().copied().fold(0.0, f64::max);
    assert!(highest <= right(CAPACITY * 0.6) * 1.25, "{highest}");
}
