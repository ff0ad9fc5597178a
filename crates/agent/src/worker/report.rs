//! Results on their way to the master: told a few at a time, and kept until it has them durably.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fuxi::protocol::{self, Attempt, AttemptResult, FromWorker, Span};

use super::link::Link;

/// How long a result may wait for company, as long as there is more to do.
const PATIENCE: Duration = Duration::from_millis(2);
/// So many go together at most.
const MAX_TOGETHER: usize = 512;
/// And of those with texts only so many bytes of them, as a line has its limit and a byte of text may take six.
const MAX_TEXT: usize = 512 * 1024;

#[derive(Debug, Default)]
pub(super) struct Report {
    /// Not acknowledged yet.
    kept: BTreeMap<Attempt, AttemptResult>,
    /// Not told yet.
    waiting: Vec<AttemptResult>,
    due: Option<Instant>,
}

impl Report {
    pub(super) fn n_kept(&self) -> u32 {
        u32::try_from(self.kept.len()).unwrap_or(u32::MAX)
    }

    /// When what waits is to be sent.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn add(&mut self, result: AttemptResult, now: Instant) {
        self.due.get_or_insert(now + PATIENCE);
        self.waiting.push(result.clone());
        self.kept.insert(result.attempt, result);
    }

    /// Sends what waits, if it has waited long enough, is enough, or nothing more is to come.
    pub(super) fn send(&mut self, link: &mut Link, is_all: bool, now: Instant) {
        let is_due = self.due.is_some_and(|due| is_all || now >= due);
        if is_due || self.waiting.len() >= MAX_TOGETHER {
            self.due = None;
            send_in_parts(std::mem::take(&mut self.waiting), link);
        }
    }

    /// Tells a new master all that none has acknowledged.
    pub(super) fn send_all(&mut self, link: &mut Link) {
        (self.due, self.waiting) = (None, Vec::new());
        send_in_parts(self.kept.values().cloned().collect(), link);
    }

    /// Tells a result again that the master seems not to have; false if there is none.
    pub(super) fn repeat(&self, attempt: Attempt, link: &mut Link) -> bool {
        let result = self.kept.get(&attempt);
        if let Some(result) = result {
            link.send(&FromWorker::Results { results: vec![result.clone()] });
        }
        result.is_some()
    }

    pub(super) fn forget(&mut self, spans: &[Span]) {
        for attempt in protocol::attempts(spans) {
            self.kept.remove(&attempt);
        }
    }
}

fn send_in_parts(results: Vec<AttemptResult>, link: &mut Link) {
    let mut part = Vec::new();
    let mut text = 0;
    for result in results {
        text += result.words_len();
        if part.len() == MAX_TOGETHER || (text > MAX_TEXT && !part.is_empty()) {
            text = result.words_len();
            link.send(&FromWorker::Results { results: std::mem::take(&mut part) });
        }
        part.push(result);
    }
    if !part.is_empty() {
        link.send(&FromWorker::Results { results: part });
    }
}
