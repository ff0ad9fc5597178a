//! How long containers waited for a CPU: the sum over their threads, of each what it waited since it was looked at before.
//!
//! ```text
//!   threads of a container's group ──in turns──► /proc/TID/schedstat ──► what is new ──► sum of the container, of its class
//! ```
//! A look opens so many files at most. A container with more threads than its part has them take turns: what one waited
//! meanwhile is told when its turn comes, so the sum is late, and lacks only the last of threads that end before. How many
//! had their turn is told beside it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use model::QosClass;

use crate::cgroup::Groups;
use crate::cgroup::counters::RunQueue;
use crate::schedstat;

/// Files in one look at the host.
const LOOKED_AT: usize = 2000;
/// And of one container, however many there are.
const LEAST: usize = 4;

/// What is remembered of all containers.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    groups: HashMap<String, Group>,
    classes: HashMap<QosClass, RunQueue>,
}

#[derive(Debug, Default)]
struct Group {
    /// What each waited when it was looked at last; of those that were there before the group was known, nothing until their
    /// first turn.
    waited: HashMap<u32, Option<Duration>>,
    /// All threads, those first whose turn it is.
    turns: VecDeque<u32>,
    queue: RunQueue,
}

impl Waiting {
    /// Looks at containers, each given by its class and its group; those that are not among them are forgotten. A kernel that
    /// counts none of this tells nothing.
    pub(super) fn look(&mut self, groups: &Groups, containers: &[(QosClass, &str)]) {
        if schedstat::lack().is_some() {
            return;
        }
        let most = (LOOKED_AT / containers.len().max(1)).max(LEAST);
        let present: HashSet<&str> = containers.iter().map(|(_, group)| *group).collect();
        self.groups.retain(|group, _| present.contains(group.as_str()));
        for class in self.classes.values_mut() {
            *class = RunQueue { waited: class.waited, ..RunQueue::default() };
        }
        for (class, group) in containers {
            let threads = groups.backend().threads(group);
            let is_new = !self.groups.contains_key(*group);
            let known = self.groups.entry((*group).to_owned()).or_default();
            let since = known.look(threads, is_new, most, &|thread| {
                Some(schedstat::read(&schedstat::open(thread)?)?.waited)
            });
            let class = self.classes.entry(*class).or_default();
            class.waited += since;
            class.threads += known.queue.threads;
            class.looked_at += known.queue.looked_at;
        }
    }

    pub(super) fn of_group(&self, group: &str) -> Option<RunQueue> {
        self.groups.get(group).map(|group| group.queue)
    }

    pub(super) fn of_class(&self, class: QosClass) -> Option<RunQueue> {
        self.classes.get(&class).copied()
    }
}

impl Group {
    /// What its threads waited since their last turns. Of a group that is new, what was before is not told.
    fn look(
        &mut self,
        threads: Vec<u32>,
        is_new: bool,
        most: usize,
        waited: &dyn Fn(u32) -> Option<Duration>,
    ) -> Duration {
        let present: HashSet<u32> = threads.iter().copied().collect();
        if is_new {
            self.waited = threads.iter().map(|thread| (*thread, None)).collect();
        }
        self.turns.retain(|thread| present.contains(thread));
        self.waited.retain(|thread, _| present.contains(thread));
        let known: HashSet<u32> = self.turns.iter().copied().collect();
        self.turns.extend(threads.into_iter().filter(|thread| !known.contains(thread)));
        let mut since = Duration::ZERO;
        let looked_at = self.turns.len().min(most);
        for _ in 0..looked_at {
            let Some(thread) = self.turns.pop_front() else { break };
            let Some(now) = waited(thread) else { continue };
            self.turns.push_back(thread);
            since += match self.waited.insert(thread, Some(now)) {
                // One whose counter went back is another with the same number.
                Some(Some(before)) => now.checked_sub(before).unwrap_or(now),
                Some(None) => Duration::ZERO,
                // It began since the last look, with all that it waited.
                None => now,
            };
        }
        self.queue = RunQueue {
            waited: self.queue.waited + since,
            threads: present.len() as u64,
            looked_at: looked_at as u64,
        };
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at up to two of threads that waited so many seconds; tells the sum, and how many had their turn.
    fn look(group: &mut Group, is_new: bool, waited: &[(u32, u64)]) -> (u64, u64) {
        let times: HashMap<u32, u64> = waited.iter().copied().collect();
        let threads = waited.iter().map(|(thread, _)| *thread).collect();
        group.look(threads, is_new, 2, &|thread| times.get(&thread).copied().map(Duration::from_secs));
        (group.queue.waited.as_secs(), group.queue.looked_at)
    }

    #[test]
    fn a_sum_holds_what_is_new_and_never_goes_back() {
        let mut group = Group::default();
        assert_eq!(look(&mut group, true, &[(1, 100), (2, 100)]), (0, 2), "what was before is not told");
        assert_eq!(look(&mut group, false, &[(1, 101), (2, 102)]), (3, 2));
        assert_eq!(look(&mut group, false, &[(1, 101), (3, 5)]), (8, 2), "one ended, another began");
        assert_eq!(look(&mut group, false, &[(1, 4)]), (12, 1), "another has its number");
        assert_eq!(look(&mut group, false, &[]), (12, 0));
    }

    #[test]
    fn many_threads_take_turns_and_nothing_is_lost() {
        let mut group = Group::default();
        let all = |seconds| [1, 2, 3, 4, 5].map(|thread| (thread, seconds));
        look(&mut group, true, &all(100));
        for _ in 0..2 {
            assert_eq!(look(&mut group, false, &all(100)), (0, 2), "none of them is new");
        }
        for _ in 0..2 {
            look(&mut group, false, &all(107));
        }
        assert_eq!(look(&mut group, false, &all(107)), (5 * 7, 2));
        assert_eq!((group.queue.threads, group.queue.looked_at), (5, 2));
    }
}
