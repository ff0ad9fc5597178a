//! The waiting queues: one per machine, rack and the cluster, each by priority and then by who waits longest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Place, UnitId};

/// Priority, turn, unit.
pub(super) type Entry = (i32, u64, UnitId);
type Key = (Reverse<i32>, u64, UnitId);

#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    by_place: BTreeMap<Place, BTreeSet<Key>>,
}

impl Queues {
    pub(super) fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    pub(super) fn join(&mut self, place: Place, (priority, turn, unit): Entry) {
        self.by_place.entry(place).or_default().insert((Reverse(priority), turn, unit));
    }

    pub(super) fn leave(&mut self, place: Place, (priority, turn, unit): Entry) {
        if let Some(queue) = self.by_place.get_mut(&place) {
            queue.remove(&(Reverse(priority), turn, unit));
            if queue.is_empty() {
                self.by_place.remove(&place);
            }
        }
    }

    /// The first unit on a path, given from near to far, that `fits`: by priority, then by nearness, then by turn.
    pub(super) fn first_on_path(
        &self,
        path: [Place; 3],
        fits: impl Fn(UnitId) -> bool,
    ) -> Option<(Place, UnitId)> {
        let heads = path.iter().enumerate().filter_map(|(distance, place)| {
            let queue = self.by_place.get(place)?;
            let (priority, turn, unit) = queue.iter().find(|(_, _, unit)| fits(*unit))?;
            Some(((*priority, distance, *turn), (*place, *unit)))
        });
        heads.min_by_key(|(order, _)| *order).map(|(_, found)| found)
    }
}
