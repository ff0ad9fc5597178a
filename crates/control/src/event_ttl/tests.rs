//! The life of an event.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::decide::time_left;

fn check(created: Option<i64>, written: Option<i64>, now: i64, expected: Option<u64>) {
    let time = |second: i64| Timestamp::from_second(second).unwrap();
    let creation_timestamp = created.map(|second| Time(time(second)));
    let meta = ObjectMeta { creation_timestamp, ..ObjectMeta::default() };
    let left = time_left(&meta, written.map(time), time(now));
    assert_eq!(left.map(|left| left.as_secs()), expected, "{created:?} {written:?} {now}");
}

#[test]
fn an_hour_after_it_was_last_written() {
    check(Some(0), None, 600, Some(3000));
    check(Some(0), None, 3600, None);
    check(Some(0), Some(3000), 3600, Some(3000));
    check(None, None, 5, Some(3600));
}
