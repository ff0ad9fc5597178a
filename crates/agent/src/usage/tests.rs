//! Rates from counters.

use jiff::{SignedDuration, Timestamp};

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
