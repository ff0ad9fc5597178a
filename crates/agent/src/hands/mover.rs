//! Writes wishes: what differs from what was written, and from time to time what differs from the files.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use super::wish::{Wish, narrows};
use crate::cgroup::{Groups, Knob};

/// How often files are compared to what was written.
const CHECK: Duration = Duration::from_secs(10);

/// Remembers what it wrote.
#[derive(Debug)]
pub(super) struct Mover {
    groups: Groups,
    written: HashMap<Key, Written>,
    checked: Option<Instant>,
    /// Some group was not there: it went, or is yet to come.
    is_behind: bool,
    pub(super) writes: u64,
    pub(super) failures: u64,
}

/// A knob of a group. There is one disk at most.
type Key = (String, Discriminant<Knob>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Written {
    knob: Knob,
    /// It is tried again at each check, and told about once.
    failed: bool,
    /// To be compared with the file.
    stale: bool,
}

impl Mover {
    pub(super) fn new(groups: Groups) -> Self {
        Self { groups, written: HashMap::new(), checked: None, is_behind: false, writes: 0, failures: 0 }
    }

    /// Whether there is something to do, even if the wishes are as before.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.is_behind || self.is_time_to_check(now)
    }

    fn is_time_to_check(&self, now: Instant) -> bool {
        self.checked.is_none_or(|at| now.duration_since(at) >= CHECK)
    }

    /// Brings the files in line with `wishes`, which come from the top of the tree down: who gets more, its parents
    /// first; who gets less, its children first.
    pub(super) fn apply(&mut self, wishes: Vec<Wish>, now: Instant) {
        self.is_behind = false;
        if self.is_time_to_check(now) {
            self.checked = Some(now);
            self.written.values_mut().for_each(|written| written.stale = true);
        }
        let keys: Vec<Key> = wishes.iter().map(key).collect();
        // What nobody wishes any more belongs to Pods that are gone.
        let mut before = std::mem::take(&mut self.written);
        self.written = keys.into_iter().filter_map(|key| before.remove_entry(&key)).collect();
        let (less, more): (Vec<Wish>, Vec<Wish>) = wishes.into_iter().partition(|wish| {
            self.written.get(&key(wish)).is_some_and(|written| narrows(written.knob, wish.knob))
        });
        for wish in more.into_iter().chain(less.into_iter().rev()) {
            self.settle(&wish);
        }
    }

    fn settle(&mut self, wish: &Wish) {
        let before = self.written.get(&key(wish)).copied();
        if before.is_some_and(|written| written.knob == wish.knob && !written.stale) {
            return;
        }
        self.writes += u64::from(before.is_none_or(|written| written.knob != wish.knob));
        let failed = match self.groups.backend().set(&wish.group, wish.knob) {
            Ok(_) => false,
            // A Pod that went between the look and the write.
            Err(error) if error.is_gone() => {
                self.is_behind = true;
                return;
            }
            Err(error) => {
                self.failures += 1;
                if !before.is_some_and(|written| written.failed) {
                    tracing::warn!(group = wish.group, error = %kit::Chain(&error), "A hand could not be moved");
                }
                true
            }
        };
        self.written.insert(key(wish), Written { knob: wish.knob, failed, stale: false });
    }
}

fn key(wish: &Wish) -> Key {
    (wish.group.clone(), discriminant(&wish.knob))
}
