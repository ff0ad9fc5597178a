//! The quota tree at work: what each group uses, and which of them is next.
//!
//! ```text
//!            all                 neighbours are served in order: first who is below its min, then by the share
//!         /   |    \             of the cluster (of the resource that it has the largest share of) over weight
//!    ads  search  (no quota)
//!   /   \
//! rank  crawl                    a unit belongs to a leaf; its room is narrowed by every max on its way up
//! ```

use std::collections::HashMap;

use super::quota::{QuotaId, QuotaTree};
use super::resources::Resources;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupIdx(u32);

/// Of units that name no quota.
const FREE: GroupIdx = GroupIdx(1);
/// Of units whose quota is not there or has parts: what they hold is counted, and they get no more.
const LOST: GroupIdx = GroupIdx(2);

/// The order among neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_beyond_min: bool,
    /// The bits of the weighted share: floats that are not negative sort like them.
    share: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    parent: Option<GroupIdx>,
    /// In the order in which they are served.
    children: Vec<GroupIdx>,
    /// Its place among its parent's children.
    position: usize,
    min: Resources,
    pub(super) max: Resources,
    weight: f64,
    rank: Rank,
    /// What is granted to it, revoked grants included.
    pub(super) used: Resources,
    /// The part of `used` that was revoked and will come back.
    pub(super) revoked: Resources,
    /// What is kept for its units on machines where they have made room.
    pub(super) claimed: Resources,
    /// How many demands wait, and the most of each resource that any of them has needed since nobody waited.
    n_waiting: usize,
    largest: Resources,
}

impl Group {
    fn new(parent: Option<GroupIdx>, (min, max): (Resources, Resources), weight: u32) -> Self {
        Self {
            parent,
            children: Vec::new(),
            position: 0,
            min,
            max,
            weight: f64::from(weight.max(1)),
            rank: Rank { is_beyond_min: true, share: 0 },
            used: Resources::default(),
            revoked: Resources::default(),
            claimed: Resources::default(),
            n_waiting: 0,
            largest: Resources::default(),
        }
    }

    fn headroom(&self) -> Resources {
        if self.max == Resources::UNLIMITED {
            self.max
        } else {
            self.max.minus(self.used).minus(self.claimed)
        }
    }

    /// Whether its max may keep somebody waiting.
    pub(super) fn is_narrow(&self) -> bool {
        self.n_waiting > 0 && !self.largest.fits_in(self.headroom())
    }

    /// What it will use when all that is revoked or kept has changed hands.
    pub(super) fn standing(&self) -> Resources {
        self.used.minus(self.revoked).plus(self.claimed)
    }

    /// Whether it is sure of getting `shape`: with it, it stands within its min in all that its min names.
    pub(super) fn is_entitled_to(&self, shape: Resources) -> bool {
        let with = self.standing().plus(shape).only_where(self.min);
        !shape.only_where(self.min).is_zero() && with.fits_in(self.min)
    }

    /// Whether it has borrowed `shape`: without it, it still stands at its min of one of the resources that its min names,
    /// so that it is not sure of getting it back. Of a shape that has none of these nothing is guaranteed.
    pub(super) fn has_borrowed(&self, shape: Resources) -> bool {
        self.has_borrowed_of(shape, Resources::UNLIMITED)
    }

    /// The same of one of the resources in `mask`. Who has borrowed CPU only is not to give memory.
    pub(super) fn has_borrowed_of(&self, shape: Resources, mask: Resources) -> bool {
        let named = shape.only_where(self.min).only_where(mask);
        let left = self.standing().minus(shape);
        let lanes = || named.lanes().into_iter().zip(self.min.lanes()).zip(left.lanes());
        named.is_zero() || lanes().any(|((named, min), left)| named > 0 && min <= left)
    }

    /// Whether all resources that its min names are below it.
    fn is_below_min(&self) -> bool {
        let named = || self.min.lanes().into_iter().zip(self.used.lanes()).filter(|(min, _)| *min > 0);
        named().next().is_some() && named().all(|(min, used)| used < min)
    }

    fn rank(&self, inverse_total: &[f64; 8]) -> Rank {
        Rank { is_beyond_min: !self.is_below_min(), share: self.share(self.used, inverse_total).to_bits() }
    }

    /// The largest share of anything that `amounts` are, by weight.
    fn share(&self, amounts: Resources, inverse_total: &[f64; 8]) -> f64 {
        largest_share(amounts, inverse_total) / self.weight
    }
}

fn largest_share(amounts: Resources, inverse_total: &[f64; 8]) -> f64 {
    let lanes = amounts.lanes();
    (0..8).map(|lane| lanes[lane] as f64 * inverse_total[lane]).fold(0.0, f64::max)
}

#[derive(Clone, Debug)]
pub(super) struct Groups {
    all: Vec<Group>,
    leaves: HashMap<QuotaId, GroupIdx>,
    /// What shares are shares of; follows the machines' total only roughly, so that all shares are seldom reckoned anew.
    total: Resources,
    inverse_total: [f64; 8],
}

impl std::ops::Index<GroupIdx> for Groups {
    type Output = Group;
    fn index(&self, group: GroupIdx) -> &Group {
        &self.all[group.0 as usize]
    }
}

impl std::ops::IndexMut<GroupIdx> for Groups {
    fn index_mut(&mut self, group: GroupIdx) -> &mut Group {
        &mut self.all[group.0 as usize]
    }
}

impl Groups {
    pub(super) const ALL: GroupIdx = GroupIdx(0);

    pub(super) fn new(tree: &QuotaTree) -> Self {
        let none = (Resources::default(), Resources::UNLIMITED);
        let nothing = (Resources::default(), Resources::default());
        let mut groups = Self {
            all: vec![Group::new(None, none, 1)],
            leaves: HashMap::new(),
            total: Resources::default(),
            inverse_total: [0.0; 8],
        };
        groups.add(Self::ALL, Group::new(Some(Self::ALL), none, 1));
        groups.add(Self::ALL, Group::new(Some(Self::ALL), nothing, 1));
        let mut by_name = HashMap::new();
        for quota in &tree.quotas {
            let parent =
                quota.parent.as_deref().and_then(|parent| by_name.get(parent)).copied().unwrap_or(Self::ALL);
            let group = groups.add(parent, Group::new(Some(parent), (quota.min, quota.max), quota.weight));
            by_name.insert(quota.name.as_str(), group);
            groups.leaves.insert(quota.id, group);
        }
        groups.leaves.retain(|_, group| groups.all[group.0 as usize].children.is_empty());
        groups
    }

    fn add(&mut self, parent: GroupIdx, mut group: Group) -> GroupIdx {
        let index = GroupIdx(u32::try_from(self.all.len()).expect("quotas have 32-bit numbers"));
        group.position = self[parent].children.len();
        self[parent].children.push(index);
        self.all.push(group);
        index
    }

    /// Where a unit belongs that names this quota.
    pub(super) fn leaf(&self, quota: Option<QuotaId>) -> GroupIdx {
        quota.map_or(FREE, |id| self.leaves.get(&id).copied().unwrap_or(LOST))
    }

    pub(super) fn of_quota(&self, id: QuotaId) -> Option<&Group> {
        self.leaves.get(&id).map(|group| &self[*group])
    }

    /// A group and all that it is a part of.
    pub(super) fn chain(&self, leaf: GroupIdx) -> impl Iterator<Item = GroupIdx> + '_ {
        std::iter::successors(Some(leaf), |group| self[*group].parent)
    }

    pub(super) fn for_chain(&mut self, leaf: GroupIdx, mut change: impl FnMut(&mut Group)) {
        let mut at = Some(leaf);
        while let Some(index) = at {
            change(&mut self[index]);
            at = self[index].parent;
        }
    }

    /// The largest share of anything that `amounts` are.
    pub(super) fn part_of_all(&self, amounts: Resources) -> f64 {
        largest_share(amounts, &self.inverse_total)
    }

    /// The share that `amounts` would be of one group.
    pub(super) fn share_of(&self, group: GroupIdx, amounts: Resources) -> f64 {
        self[group].share(amounts, &self.inverse_total)
    }

    /// The share that one group has when all that is revoked or kept has changed hands.
    pub(super) fn share(&self, group: GroupIdx) -> f64 {
        self.share_of(group, self[group].standing())
    }

    /// The groups whose units wait, in the order in which they are served.
    pub(super) fn waiting_leaves(&self) -> Vec<GroupIdx> {
        let (mut leaves, mut open) = (Vec::new(), vec![Self::ALL]);
        while let Some(index) = open.pop() {
            let group = &self[index];
            if group.n_waiting > 0 && group.children.is_empty() {
                leaves.push(index);
            }
            open.extend(group.children.iter().rev().filter(|child| self[**child].n_waiting > 0));
        }
        leaves
    }

    /// How much more a group may get.
    pub(super) fn headroom(&self, leaf: GroupIdx) -> Resources {
        self.chain(leaf).map(|group| self[group].headroom()).fold(Resources::UNLIMITED, Resources::least)
    }

    pub(super) fn spend(&mut self, leaf: GroupIdx, shape: Resources) {
        let mut at = Some(leaf);
        while let Some(group) = at {
            self[group].used = self[group].used.plus(shape);
            self.sort(group);
            at = self[group].parent;
        }
    }

    /// Takes note of what comes back; the outermost group that may have kept somebody waiting only by its max.
    pub(super) fn free(
        &mut self,
        leaf: GroupIdx,
        (shape, was_revoked): (Resources, bool),
    ) -> Option<GroupIdx> {
        let (mut at, mut relieved) = (Some(leaf), None);
        while let Some(index) = at {
            let group = &mut self[index];
            if group.is_narrow() {
                relieved = Some(index);
            }
            group.used = group.used.minus(shape);
            if was_revoked {
                group.revoked = group.revoked.minus(shape);
            }
            at = group.parent;
            self.sort(index);
        }
        relieved
    }

    /// Puts a group where it belongs among its neighbours, now that its use has changed.
    fn sort(&mut self, index: GroupIdx) {
        let Some(parent) = self[index].parent else { return };
        let rank = self[index].rank(&self.inverse_total);
        self[index].rank = rank;
        let mut position = self[index].position;
        let mut children = std::mem::take(&mut self[parent].children);
        let order = (rank, index);
        while position > 0 && (self[children[position - 1]].rank, children[position - 1]) > order {
            children.swap(position - 1, position);
            self[children[position]].position = position;
            position -= 1;
        }
        while position + 1 < children.len()
            && (self[children[position + 1]].rank, children[position + 1]) < order
        {
            children.swap(position, position + 1);
            self[children[position]].position = position;
            position += 1;
        }
        self[index].position = position;
        self[parent].children = children;
    }

    /// Shares are of `total` from now on, unless it is nearly what it was. Whether they have changed.
    pub(super) fn follow(&mut self, total: Resources) -> bool {
        let near = |(new, old): (u64, u64)| new.abs_diff(old) <= old / 64;
        if total.lanes().into_iter().zip(self.total.lanes()).all(near) {
            return false;
        }
        self.total = total;
        self.inverse_total = total.lanes().map(|amount| if amount == 0 { 0.0 } else { 1.0 / amount as f64 });
        for index in 0..self.all.len() {
            self.all[index].rank = self.all[index].rank(&self.inverse_total);
        }
        for index in 0..self.all.len() {
            let mut children = std::mem::take(&mut self.all[index].children);
            children.sort_by_key(|child| (self[*child].rank, *child));
            for (position, child) in children.iter().enumerate() {
                self[*child].position = position;
            }
            self.all[index].children = children;
        }
        true
    }

    pub(super) fn wait(&mut self, leaf: GroupIdx, shape: Resources) {
        let mut at = Some(leaf);
        while let Some(index) = at {
            let group = &mut self[index];
            let before = if group.n_waiting == 0 { Resources::default() } else { group.largest };
            group.largest = before.most(shape);
            group.n_waiting += 1;
            at = group.parent;
        }
    }

    pub(super) fn wait_no_more(&mut self, leaf: GroupIdx) {
        let mut at = Some(leaf);
        while let Some(index) = at {
            self[index].n_waiting -= 1;
            at = self[index].parent;
        }
    }

    /// What `choose` finds for the first group in order for which it finds something, given the part of `room` that
    /// the group may use.
    pub(super) fn first<T>(
        &self,
        room: Resources,
        choose: &mut impl FnMut(GroupIdx, Resources) -> Option<T>,
    ) -> Option<T> {
        self.first_below(Self::ALL, room, choose)
    }

    /// The same among the parts of one group; `room` must be narrowed by its ancestors already.
    fn first_below<T>(
        &self,
        index: GroupIdx,
        room: Resources,
        choose: &mut impl FnMut(GroupIdx, Resources) -> Option<T>,
    ) -> Option<T> {
        let group = &self[index];
        if group.n_waiting == 0 {
            return None;
        }
        let room = room.least(group.headroom());
        if group.children.is_empty() {
            return choose(index, room);
        }
        group.children.iter().find_map(|child| self.first_below(*child, room, choose))
    }

    /// The same among the parts of one group, with all the room that its ancestors leave it.
    pub(super) fn first_within<T>(
        &self,
        index: GroupIdx,
        choose: &mut impl FnMut(GroupIdx, Resources) -> Option<T>,
    ) -> Option<T> {
        self.first_below(index, self.headroom(index), choose)
    }
}
