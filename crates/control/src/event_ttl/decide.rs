//! How long an event still lives.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Kubernetes keeps events for an hour.
const LIFETIME: i64 = 3600;

/// What is left to an event that was last written at `written`. `None`: nothing.
pub(crate) fn time_left(meta: &ObjectMeta, written: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let created = meta.creation_timestamp.as_ref().map(|time| time.0);
    let last = written.max(created).unwrap_or(now);
    let left = last.as_second().saturating_add(LIFETIME) - now.as_second();
    u64::try_from(left).ok().filter(|&left| left > 0).map(Duration::from_secs)
}
