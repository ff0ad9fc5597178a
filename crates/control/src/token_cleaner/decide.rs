//! How long a bootstrap token still lives.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

/// The longest that the controller waits before it looks again.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// What becomes of a bootstrap token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has no end.
    Stays,
    LivesFor(Duration),
    Expired,
}

/// What becomes of a token at `now`. An end that cannot be read has passed, as for those who let machines in.
pub(crate) fn fate(token: &Secret, now: Timestamp) -> Fate {
    let Some(end) = token.data.as_ref().and_then(|data| data.get("expiration")) else { return Fate::Stays };
    let end = std::str::from_utf8(&end.0).ok().and_then(|text| text.parse::<Timestamp>().ok());
    let left = end.and_then(|end| Duration::try_from(end.duration_since(now)).ok());
    match left.filter(|left| !left.is_zero()) {
        Some(left) => Fate::LivesFor(left.min(LONGEST_WAIT)),
        None => Fate::Expired,
    }
}
