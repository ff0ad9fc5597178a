//! What a task has asked of the ledger, brought in line with what its job can use.

use std::collections::BTreeSet;

use crate::grants::{Event, GrantId, MachineId, Place, Truth, UnitId};

/// The job's side of one unit: asks are numbered, and only differences are told.
#[derive(Clone, Debug)]
pub struct Asks {
    unit: UnitId,
    sequence: u64,
    /// Asked for and not granted.
    asked: u32,
    avoided: BTreeSet<MachineId>,
}

impl Asks {
    pub fn new(unit: UnitId) -> Self {
        Self { unit, sequence: 0, asked: 0, avoided: BTreeSet::new() }
    }

    pub fn unit(&self) -> UnitId {
        self.unit
    }

    /// What to tell the ledger so that just `wanted` places are waited for; nothing if they are.
    pub fn balance(&mut self, wanted: u32) -> Option<Event> {
        let delta = i64::from(wanted) - i64::from(self.asked);
        if delta == 0 {
            return None;
        }
        self.sequence += 1;
        self.asked = wanted;
        Some(Event::Ask { unit: self.unit, sequence: self.sequence, place: Place::Cluster, delta })
    }

    /// What to tell the ledger so that just these machines are avoided; nothing if they are.
    pub fn avoid(&mut self, machines: BTreeSet<MachineId>) -> Option<Event> {
        if machines == self.avoided {
            return None;
        }
        let told = machines.iter().copied().collect();
        self.avoided = machines;
        Some(Event::Avoid { unit: self.unit, machines: told })
    }

    /// A place was granted.
    pub fn granted(&mut self) {
        self.asked = self.asked.saturating_sub(1);
    }

    /// Tells the ledger all about the unit: what it waits for, and what it holds. `seen` is the last grant heard of.
    pub fn sync(&mut self, seen: GrantId, held: Vec<(GrantId, MachineId)>) -> Event {
        self.sequence += 1;
        let wanted = vec![(Place::Cluster, self.asked)];
        let avoided = self.avoided.iter().copied().collect();
        let truth = Truth { sequence: self.sequence, seen, wanted, held, avoided };
        Event::Sync { unit: self.unit, truth }
    }
}

#[cfg(test)]
mod tests {
    use super::Asks;
    use crate::grants::{Event, Place, UnitId};

    #[test]
    fn only_what_has_changed_is_told() {
        let mut asks = Asks::new(UnitId(7));
        let mut told = |wanted| match asks.balance(wanted) {
            Some(Event::Ask { unit: UnitId(7), sequence, place: Place::Cluster, delta }) => {
                Some((sequence, delta))
            }
            other => {
                assert!(other.is_none(), "{other:?}");
                None
            }
        };
        assert_eq!([told(3), told(3), told(1)], [Some((1, 3)), None, Some((2, -2))]);
        asks.granted();
        assert!(asks.balance(0).is_none(), "it is met");
    }
}
