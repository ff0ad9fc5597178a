//! Rates from counters.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Counters, Measured};

fn counters(seconds: i64, core_nanoseconds: u64) -> Counters {
    Counters { at: Timestamp::from_second(seconds).unwrap(), core_nanoseconds, ..Counters::default() }
}

#[test]
fn a_rate_is_what_was_used_since_the_last_look() {
    let first = Measured::since(None, counters(100, 7_000_000_000));
    assert_eq!(first.nano_cores, None);
    let second = Measured::since(Some(&first), counters(110, 12_000_000_000));
    assert_eq!(second.nano_cores, Some(500_000_000));
    assert_eq!(second.window, SignedDuration::from_secs(10));
}

#[test]
fn counters_that_went_back_begin_anew() {
    let first = Measured::since(None, counters(100, 7));
    assert_eq!(Measured::since(Some(&first), counters(110, 6)).nano_cores, None);
    assert_eq!(Measured::since(Some(&first), counters(100, 8)).nano_cores, None);
    assert_eq!(Measured::since(Some(&first), counters(90, 8)).nano_cores, None);
}

proptest! {
    /// Whatever counters and clocks do, a rate is of time that passed and of counters that grew, and never more.
    #[test]
    fn no_rate_comes_of_counters_or_clocks_that_went_back(
        looks in proptest::collection::vec((-1_000_000_i64..1_000_000, any::<u64>()), 2..20),
    ) {
        let mut before: Option<Measured> = None;
        for (seconds, count) in looks {
            let now = Measured::since(before.as_ref(), counters(seconds, count));
            if let (Some(rate), Some(before)) = (now.nano_cores, before) {
                let passed = seconds - before.counters.at.as_second();
                let used = count.checked_sub(before.counters.core_nanoseconds).unwrap();
                prop_assert!(passed > 0);
                prop_assert_eq!(u128::from(rate), u128::from(used) / u128::try_from(passed).unwrap());
            }
            before = Some(now);
        }
    }
}
