//! When a container is started, ready and alive, by its own probes.
//!
//! ```text
//!   startup (if any) ──passes──► readiness and liveness run
//!          └──fails──► restart        │            └──fails──► restart
//!                                     └──► ready or not
//! ```

pub mod ask;

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// The outcome after enough answers in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passing,
    Failing,
}

/// Counts answers until they are enough in a row to change the outcome.
#[derive(Clone, Debug)]
pub struct Counter {
    success_threshold: i32,
    failure_threshold: i32,
    outcome: Option<Outcome>,
    run: i32,
    last: Option<Outcome>,
}

impl Counter {
    pub fn new(probe: &Probe) -> Self {
        Self {
            success_threshold: probe.success_threshold.unwrap_or(1).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(3).max(1),
            outcome: None,
            run: 0,
            last: None,
        }
    }

    /// Takes an answer; says the outcome when it changes.
    pub fn answer(&mut self, success: bool) -> Option<Outcome> {
        let answer = if success { Outcome::Passing } else { Outcome::Failing };
        self.run = if self.last == Some(answer) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(answer);
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        if self.run < threshold || self.outcome == Some(answer) {
            return None;
        }
        self.outcome = Some(answer);
        Some(answer)
    }
}

pub fn period(probe: &Probe) -> Duration {
    seconds(probe.period_seconds, 10)
}

pub fn timeout(probe: &Probe) -> Duration {
    seconds(probe.timeout_seconds, 1)
}

pub fn initial_delay(probe: &Probe) -> Duration {
    Duration::from_secs(u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0))
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    let value = value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
    Duration::from_secs(value.unwrap_or(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(success: i32, failure: i32, answers: &str, changes: &str) {
        let probe =
            Probe { success_threshold: Some(success), failure_threshold: Some(failure), ..Probe::default() };
        let mut counter = Counter::new(&probe);
        let shown = answers.chars().map(|answer| match counter.answer(answer == '+') {
            None => '.',
            Some(Outcome::Passing) => 'P',
            Some(Outcome::Failing) => 'F',
        });
        assert_eq!(shown.collect::<String>(), changes);
    }

    #[test]
    fn an_outcome_needs_enough_answers_in_a_row() {
        check(1, 3, "++--+---+", "P......FP");
        check(2, 1, "-+-++", "F...P");
        check(0, 0, "-+", "FP");
    }
}
