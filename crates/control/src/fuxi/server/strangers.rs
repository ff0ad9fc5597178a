//! Connections that have not greeted yet: so many in all, and so many of one origin, so that none can take all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UnixStream;

/// In all. Each may hold as much as the longest first line.
const MOST: usize = 1024;
/// Of one container, which has one worker.
const MOST_OF_CONTAINER: usize = 16;
/// Of another host, through its agent.
const MOST_OF_NODE: usize = 256;

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Origin {
    /// Of this host: the control groups of the process, which are its container's.
    Container(String),
    /// Another host, by the name of its Node.
    Node(String),
}

impl Origin {
    /// Whose the other end of a connection to the socket here is. Those who are gone already are one.
    pub(in super::super) fn of(stream: &UnixStream) -> Self {
        let pid = stream.peer_cred().ok().and_then(|credentials| credentials.pid());
        let groups = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok());
        Self::Container(groups.unwrap_or_default())
    }

    fn most(&self) -> usize {
        match self {
            Self::Container(_) => MOST_OF_CONTAINER,
            Self::Node(_) => MOST_OF_NODE,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Strangers {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_origin: BTreeMap<Origin, usize>,
}

/// One of them. It counts until it is dropped.
#[derive(Debug)]
pub(in super::super) struct Visit {
    strangers: Strangers,
    origin: Origin,
}

impl Strangers {
    /// Counts one more, if there may be one more.
    pub(super) fn enter(&self, origin: &Origin) -> Option<Visit> {
        let mut counts = self.counts();
        let of_origin = counts.by_origin.get(origin).copied().unwrap_or(0);
        if counts.all >= MOST || of_origin >= origin.most() {
            return None;
        }
        counts.all += 1;
        counts.by_origin.insert(origin.clone(), of_origin + 1);
        Some(Visit { strangers: self.clone(), origin: origin.clone() })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut counts = self.strangers.counts();
        counts.all -= 1;
        if let Some(count) = counts.by_origin.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                counts.by_origin.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, MOST_OF_CONTAINER, Origin, Strangers};

    #[test]
    fn none_takes_the_place_of_all() {
        let strangers = Strangers::default();
        let container = |number: usize| Origin::Container(number.to_string());
        let mut visits = Vec::new();
        for number in 0..MOST / MOST_OF_CONTAINER {
            visits.extend(std::iter::from_fn(|| strangers.enter(&container(number))).take(MOST_OF_CONTAINER));
            assert!(strangers.enter(&container(number)).is_none());
        }
        assert_eq!(visits.len(), MOST);
        assert!(strangers.enter(&Origin::Node("other".to_owned())).is_none(), "all together are too many");
        visits.pop();
        assert!(strangers.enter(&container(0)).is_none());
        assert!(strangers.enter(&Origin::Node("other".to_owned())).is_some());
        visits.clear();
        assert!(strangers.counts().by_origin.is_empty());
    }
}
