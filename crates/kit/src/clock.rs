//! The one place that reads the clocks. Cores take `now` as an argument; edges call these.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, for measuring how long something takes.
#[expect(clippy::disallowed_methods, reason = "this is the edge that reads the clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Now, as people and Kubernetes objects tell time.
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Time since 1970 by the wall clock; zero if the clock stands before that.
#[expect(clippy::disallowed_methods, reason = "this is the edge that reads the clock")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
