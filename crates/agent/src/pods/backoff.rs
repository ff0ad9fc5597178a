//! How long to wait before trying again what failed: 10 s, doubling, at most 5 minutes.

use jiff::{SignedDuration, Timestamp};

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_mins(5);
/// A container that ran this long has proven itself: its next crash is its first.
const PROVEN: SignedDuration = SignedDuration::from_mins(10);

/// The crashes of a container in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Crashes {
    count: u32,
    last_id: String,
}

impl Crashes {
    /// Counts the end of run `id`, its `attempt`th restart; a run counts once.
    pub fn note(&mut self, id: &str, attempt: u32, ran: SignedDuration) {
        if self.last_id == id {
            return;
        }
        let seen_before = !self.last_id.is_empty();
        self.count = if ran >= PROVEN {
            1
        } else if seen_before {
            self.count.saturating_add(1)
        } else {
            // An agent that was restarted goes on where the count of restarts says it was.
            attempt.saturating_add(1)
        };
        self.last_id = id.to_owned();
    }

    /// The wait after the last crash. The first is forgiven.
    pub fn delay(&self) -> SignedDuration {
        match self.count {
            0 | 1 => SignedDuration::ZERO,
            count => doubled(count - 2),
        }
    }
}

fn doubled(times: u32) -> SignedDuration {
    FIRST.checked_mul(1_i32 << times.min(6)).unwrap_or(LONGEST).min(LONGEST)
}

/// Failures in a row of something that is tried again, such as a pull.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    failures: u32,
    pub until: Timestamp,
    /// Reason and message of the failure, as users see them in the waiting state.
    pub reason: String,
    pub message: String,
}

impl Retry {
    /// A failure at `now` after `before`.
    pub fn after(before: Option<&Self>, reason: &str, message: String, now: Timestamp) -> Self {
        let failures = before.map_or(0, |retry| retry.failures.saturating_add(1));
        // What fails for want of a ConfigMap is worth a look soon, what fails at a registry is not.
        let delay = if is_pull(reason) { doubled(failures) } else { soon(failures) };
        let until = now.checked_add(delay).unwrap_or(Timestamp::MAX);
        Self { failures, until, reason: reason.to_owned(), message }
    }

    /// The reason to show at `now`: a failed pull is an error first and a back-off after that.
    pub fn shown_reason(&self) -> &str {
        if is_pull(&self.reason) && self.failures > 0 { "ImagePullBackOff" } else { &self.reason }
    }
}

pub fn is_pull(reason: &str) -> bool {
    matches!(reason, "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName")
}

fn soon(failures: u32) -> SignedDuration {
    SignedDuration::from_millis(500).checked_mul(1_i32 << failures.min(6)).unwrap_or(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_are_forgiven_once_then_doubled() {
        let mut crashes = Crashes::default();
        let mut delays = Vec::new();
        for attempt in 0..9 {
            crashes.note(&format!("run{attempt}"), attempt, SignedDuration::from_secs(1));
            crashes.note(&format!("run{attempt}"), attempt, SignedDuration::from_secs(1));
            delays.push(crashes.delay().as_secs());
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
        crashes.note("long", 9, SignedDuration::from_hours(1));
        assert_eq!(crashes.delay().as_secs(), 0);
    }

    #[test]
    fn a_restarted_agent_does_not_forget_the_loop() {
        let mut crashes = Crashes::default();
        crashes.note("run4", 4, SignedDuration::from_secs(1));
        assert_eq!(crashes.delay().as_secs(), 80);
    }

    #[test]
    fn a_failed_pull_turns_into_a_back_off() {
        let now = Timestamp::UNIX_EPOCH;
        let first = Retry::after(None, "ErrImagePull", "no such host".into(), now);
        assert_eq!((first.shown_reason(), first.until.as_second()), ("ErrImagePull", 10));
        let second = Retry::after(Some(&first), "ErrImagePull", "no such host".into(), first.until);
        assert_eq!((second.shown_reason(), second.until.as_second()), ("ImagePullBackOff", 30));
    }
}
