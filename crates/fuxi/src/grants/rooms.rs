//! Where there is room: a tournament in which every pair passes on the larger amount of each resource.
//!
//! A shape that does not fit in what a pair passes on fits in neither of the two. So the search for a machine goes
//! down where it can succeed, and a change goes up along one path.

use super::resources::Resources;

#[derive(Clone, Debug, Default)]
pub(super) struct Rooms {
    /// The root at 1, the children of `n` at `2n` and `2n + 1`, the players in the last half.
    nodes: Vec<Resources>,
}

impl Rooms {
    fn n_players(&self) -> usize {
        self.nodes.len() / 2
    }

    /// What a shape must fit in to fit anywhere.
    pub(super) fn most(&self) -> Resources {
        self.nodes.get(1).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, player: usize, room: Resources) {
        if player >= self.n_players() {
            self.grow(player + 1);
        }
        let mut node = self.n_players() + player;
        self.nodes[node] = room;
        while node > 1 {
            node /= 2;
            let most = self.nodes[2 * node].most(self.nodes[2 * node + 1]);
            if self.nodes[node] == most {
                return;
            }
            self.nodes[node] = most;
        }
    }

    fn grow(&mut self, n_players: usize) {
        let old = self.nodes.split_off(self.n_players());
        let n_players = n_players.next_power_of_two();
        self.nodes = vec![Resources::default(); 2 * n_players];
        self.nodes[n_players..][..old.len()].copy_from_slice(&old);
        for node in (1..n_players).rev() {
            self.nodes[node] = self.nodes[2 * node].most(self.nodes[2 * node + 1]);
        }
    }

    /// A player with room for `shape`; rather one with much CPU.
    pub(super) fn find(&self, shape: Resources) -> Option<usize> {
        self.find_where(shape, &mut |_| true)
    }

    /// The same among those that are `welcome`.
    pub(super) fn find_where(
        &self,
        shape: Resources,
        welcome: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        if self.nodes.is_empty() { None } else { self.find_below(1, shape, welcome) }
    }

    fn find_below(
        &self,
        node: usize,
        shape: Resources,
        welcome: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        if !shape.fits_in(self.nodes[node]) {
            return None;
        }
        if node >= self.n_players() {
            let player = node - self.n_players();
            return welcome(player).then_some(player);
        }
        let (left, right) = (2 * node, 2 * node + 1);
        let (first, second) =
            if self.nodes[right].cpu >= self.nodes[left].cpu { (right, left) } else { (left, right) };
        self.find_below(first, shape, welcome).or_else(|| self.find_below(second, shape, welcome))
    }
}
