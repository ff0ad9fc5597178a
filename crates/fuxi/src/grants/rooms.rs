//! Where there is room: a tournament in which every pair passes on the larger amount of each resource.
//!
//! A shape that does not fit in what a pair passes on fits in neither of the two. So the search for a machine goes
//! down where it can succeed, and a change goes up along one path.
//!
//! In a full cluster some machines have CPU left and others memory, so that together they seem to have both. Hence a
//! pair also passes on how much *evenly* filled room one of the two has: CPU with so much memory for each core.

use super::resources::Resources;

/// So many GiB for each core.
const EVEN: [u64; 4] = [1, 2, 4, 8];

/// What is there at most below a node of the tournament.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Most {
    amounts: Resources,
    /// For each of [`EVEN`], milli-cores that have their memory.
    even: [u64; 4],
}

impl From<Resources> for Most {
    fn from(amounts: Resources) -> Self {
        let mib = amounts.memory.0 >> 20;
        Self { amounts, even: EVEN.map(|gib| amounts.cpu.0.min(mib / gib)) }
    }
}

impl Most {
    fn or(&self, other: &Self) -> Self {
        let even = std::array::from_fn(|ratio| self.even[ratio].max(other.even[ratio]));
        Self { amounts: self.amounts.most(other.amounts), even }
    }

    fn may_hold(&self, shape: &Self) -> bool {
        let evenly = (0..EVEN.len()).fold(true, |fits, ratio| fits & (shape.even[ratio] <= self.even[ratio]));
        evenly & shape.amounts.fits_in(self.amounts)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Rooms {
    /// The root at 1, the children of `n` at `2n` and `2n + 1`, the players in the last half.
    nodes: Vec<Most>,
}

impl Rooms {
    fn n_players(&self) -> usize {
        self.nodes.len() / 2
    }

    /// What a shape must fit in to fit anywhere.
    pub(super) fn most(&self) -> Most {
        self.nodes.get(1).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, player: usize, room: Most) {
        if player >= self.n_players() {
            self.grow(player + 1);
        }
        let mut node = self.n_players() + player;
        self.nodes[node] = room;
        while node > 1 {
            node /= 2;
            let most = self.nodes[2 * node].or(&self.nodes[2 * node + 1]);
            if self.nodes[node] == most {
                return;
            }
            self.nodes[node] = most;
        }
    }

    fn grow(&mut self, n_players: usize) {
        let old = self.nodes.split_off(self.n_players());
        let n_players = n_players.next_power_of_two();
        self.nodes = vec![Most::default(); 2 * n_players];
        self.nodes[n_players..][..old.len()].copy_from_slice(&old);
        for node in (1..n_players).rev() {
            self.nodes[node] = self.nodes[2 * node].or(&self.nodes[2 * node + 1]);
        }
    }

    /// A player with room for `shape`; rather one with much CPU.
    pub(super) fn find(&self, shape: &Most) -> Option<usize> {
        self.find_where(shape, &mut |_| true)
    }

    /// The same among those that are `welcome`.
    pub(super) fn find_where(&self, shape: &Most, welcome: &mut impl FnMut(usize) -> bool) -> Option<usize> {
        if self.nodes.is_empty() { None } else { self.find_below(1, shape, welcome) }
    }

    fn find_below(
        &self,
        node: usize,
        shape: &Most,
        welcome: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        if !self.nodes[node].may_hold(shape) {
            return None;
        }
        if node >= self.n_players() {
            let player = node - self.n_players();
            return welcome(player).then_some(player);
        }
        let (left, right) = (2 * node, 2 * node + 1);
        let is_right_first = self.nodes[right].amounts.cpu >= self.nodes[left].amounts.cpu;
        let (first, second) = if is_right_first { (right, left) } else { (left, right) };
        self.find_below(first, shape, welcome).or_else(|| self.find_below(second, shape, welcome))
    }
}

#[cfg(test)]
mod tests;
