//! Which group may take back what from which other.
//!
//! A group within its min takes from neighbours what they have borrowed, whatever the priority. A group that would borrow
//! itself takes from neighbours only at a higher priority, what they have borrowed, and as long as it stays the one with
//! the smaller share. What goes was borrowed of a resource that is short, so that its group stands at its min of it
//! afterwards, and is not sure of getting it back. So who takes can never be taken from in turn for the same reason.

use super::groups::{GroupIdx, Groups};
use super::resources::Resources;

/// What somebody wants who may make others go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taker {
    pub(super) leaf: GroupIdx,
    pub(super) priority: i32,
    pub(super) shape: Resources,
}

/// What might go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub(super) leaf: GroupIdx,
    pub(super) priority: i32,
    pub(super) shape: Resources,
}

impl Groups {
    pub(super) fn may_take(&self, taker: &Taker, victim: &Victim) -> bool {
        if taker.leaf == victim.leaf {
            return victim.priority < taker.priority;
        }
        let common =
            self.chain(taker.leaf).find(|group| self.chain(victim.leaf).any(|other| other == *group));
        let below = |leaf| self.chain(leaf).take_while(move |group| Some(*group) != common);
        if !below(victim.leaf).all(|group| self[group].has_borrowed(victim.shape)) {
            return false;
        }
        if below(taker.leaf).any(|group| self[group].is_entitled_to(taker.shape)) {
            return true;
        }
        let neighbours = (below(taker.leaf).last(), below(victim.leaf).last());
        let (Some(mine), Some(theirs)) = neighbours else { return false };
        victim.priority < taker.priority
            && self.share_of(mine, self[mine].standing().plus(taker.shape))
                <= self.share_of(theirs, self[theirs].standing().minus(victim.shape))
    }

    /// Whether what `victim` holds is borrowed of a resource in `short`, as far as the groups' mins name any of these.
    pub(super) fn lends(&self, taker: &Taker, victim: &Victim, short: Resources) -> bool {
        let is_common = |group: &GroupIdx| self.chain(taker.leaf).any(|other| other == *group);
        self.chain(victim.leaf)
            .take_while(|group| !is_common(group))
            .all(|group| self[group].has_borrowed_of(victim.shape, short))
    }

    /// Whether every max leaves room for `shape` once all that is revoked has come back.
    pub(super) fn has_room_soon(&self, leaf: GroupIdx, shape: Resources) -> bool {
        self.chain(leaf).all(|group| self[group].standing().plus(shape).fits_in(self[group].max))
    }

    /// Whether what this leaf gives back is counted by a group whose max leaves no room for `shape`.
    pub(super) fn relieves(&self, leaf: GroupIdx, taker: &Taker) -> bool {
        self.chain(taker.leaf).any(|group| {
            !self[group].standing().plus(taker.shape).fits_in(self[group].max)
                && self.chain(leaf).any(|other| other == group)
        })
    }

    /// Whether every max leaves room for a claim now.
    pub(super) fn can_honour(&self, leaf: GroupIdx, shape: Resources) -> bool {
        self.chain(leaf).all(|group| self[group].used.plus(shape).fits_in(self[group].max))
    }

    /// Whether every max leaves room for all claims now.
    pub(super) fn can_honour_all(&self, leaf: GroupIdx) -> bool {
        self.chain(leaf).all(|group| self[group].used.plus(self[group].claimed).fits_in(self[group].max))
    }

    /// Whether a return to this leaf may free a claim that waits for a max.
    pub(super) fn may_honour(&self, leaf: GroupIdx) -> bool {
        self.chain(leaf)
            .any(|group| self[group].max != Resources::UNLIMITED && !self[group].claimed.is_zero())
    }

    pub(super) fn revoke(&mut self, leaf: GroupIdx, shape: Resources) {
        self.for_chain(leaf, |group| group.revoked = group.revoked.plus(shape));
    }

    /// Takes back a revoke that was only thought of.
    pub(super) fn spare(&mut self, leaf: GroupIdx, shape: Resources) {
        self.for_chain(leaf, |group| group.revoked = group.revoked.minus(shape));
    }

    pub(super) fn claim(&mut self, leaf: GroupIdx, shape: Resources) {
        self.for_chain(leaf, |group| group.claimed = group.claimed.plus(shape));
    }

    /// The outermost group that may have kept somebody waiting only by its max, as with [`Groups::free`].
    pub(super) fn unclaim(&mut self, leaf: GroupIdx, shape: Resources) -> Option<GroupIdx> {
        let relieved = self.chain(leaf).filter(|group| self[*group].is_narrow()).last();
        self.for_chain(leaf, |group| group.claimed = group.claimed.minus(shape));
        relieved
    }
}
