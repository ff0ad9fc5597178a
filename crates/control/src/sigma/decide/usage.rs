//! What nodes use by measure, for as long as that says anything.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use sigma::Usage;

use super::Scheduler;
use super::queue::Whom;

/// Older figures are none.
pub(crate) const FRESH: Duration = Duration::from_secs(180);
/// A pod that came this much before the measurement, or later, does not show in it yet.
const WARM_UP: Duration = Duration::from_secs(60);

/// When what is known of nodes' use ends, and which pods were there when.
#[derive(Debug, Default)]
pub(super) struct Measured {
    end: HashMap<String, Instant>,
    by_end: BTreeSet<(Instant, String)>,
    /// How many pods had come by then.
    arrivals: VecDeque<(Instant, u64)>,
}

impl Measured {
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.by_end.first().map(|(end, _)| *end)
    }

    fn keep(&mut self, node: &str, end: Option<Instant>) {
        let before = match end {
            Some(end) => self.end.insert(node.to_owned(), end),
            None => self.end.remove(node),
        };
        if let Some(before) = before {
            self.by_end.remove(&(before, node.to_owned()));
        }
        self.by_end.extend(end.map(|end| (end, node.to_owned())));
    }

    /// Notes that so many pods have come by now, and forgets what no figure asks for any more.
    fn note(&mut self, now: Instant, n_arrivals: u64) {
        self.arrivals.push_back((now, n_arrivals));
        let is_old = |time: Instant| now.saturating_duration_since(time) > 2 * (FRESH + WARM_UP);
        while self.arrivals.get(1).is_some_and(|(time, _)| is_old(*time)) {
            self.arrivals.pop_front();
        }
    }

    /// How many pods had come for certain so long ago.
    fn arrivals_before(&self, now: Instant, ago: Duration) -> u64 {
        let is_before = |&&(time, _): &&(Instant, u64)| now.saturating_duration_since(time) >= ago;
        self.arrivals.iter().rev().find(is_before).map_or(0, |(_, n_arrivals)| *n_arrivals)
    }
}

impl Scheduler {
    /// Nodes were measured to use this much, so long ago.
    pub(crate) fn usage_changed(&mut self, figures: &[(String, Usage, Duration)], now: Instant) {
        self.measured.note(now, self.cluster.last_arrival());
        let mut has_cooled = false;
        for (node, usage, age) in figures.iter().filter(|(_, _, age)| *age < FRESH) {
            let arrival = self.measured.arrivals_before(now, age.saturating_add(WARM_UP));
            has_cooled |= self.cluster.set_usage(node, Some(*usage), arrival);
            self.measured.keep(node, Some(now + (FRESH - *age)));
        }
        if has_cooled {
            self.wake(now, Whom::All);
        }
    }

    /// Figures that are too old by now are none.
    pub(super) fn end_usage(&mut self, now: Instant) {
        let mut has_cooled = false;
        while let Some((end, node)) = self.measured.by_end.first().cloned()
            && end <= now
        {
            self.measured.keep(&node, None);
            has_cooled |= self.cluster.set_usage(&node, None, 0);
        }
        if has_cooled {
            self.wake(now, Whom::All);
        }
    }
}
