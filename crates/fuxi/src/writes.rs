//! When a job's status is written: soon after it changes, but not more often than is good for the store.

use std::time::Duration;

/// The least time between two writes of one job's status, unless the next is urgent.
pub const WRITE_INTERVAL: Duration = Duration::from_millis(200);
/// The pause after a write that failed.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The writes of one job's status: one at a time.
#[derive(Clone, Copy, Debug)]
pub enum Writes {
    /// Not before this moment, unless it is urgent.
    Idle {
        not_before: Duration,
    },
    /// Not before this moment in any case: the last one failed.
    Failed {
        retry_at: Duration,
    },
    Running {
        since: Duration,
    },
}

impl Default for Writes {
    fn default() -> Self {
        Self::Idle { not_before: Duration::ZERO }
    }
}

impl Writes {
    /// When a changed status is to be written, if it is not just being written.
    pub fn due(self, is_urgent: bool) -> Option<Duration> {
        match self {
            Self::Idle { .. } if is_urgent => Some(Duration::ZERO),
            Self::Idle { not_before: at } | Self::Failed { retry_at: at } => Some(at),
            Self::Running { .. } => None,
        }
    }

    pub fn begin(&mut self, now: Duration) {
        *self = Self::Running { since: now };
    }

    pub fn stored(&mut self, now: Duration) {
        let since = if let Self::Running { since } = *self { since } else { now };
        *self = Self::Idle { not_before: since + WRITE_INTERVAL };
    }

    pub fn failed(&mut self, now: Duration) {
        *self = Self::Failed { retry_at: now + RETRY_INTERVAL };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Writes;

    #[test]
    fn one_write_at_a_time_and_a_pause_between_two() {
        let millis = Duration::from_millis;
        let mut writes = Writes::default();
        writes.begin(millis(50));
        assert_eq!(writes.due(true), None);
        writes.stored(millis(90));
        assert_eq!((writes.due(false), writes.due(true)), (Some(millis(250)), Some(Duration::ZERO)));
        writes.begin(millis(100));
        writes.failed(millis(150));
        assert_eq!(writes.due(true), Some(millis(1150)), "however urgent");
    }
}
