//! One tournament per cell: the best seat is known at once, and a changed one costs the logarithm of the cell's size.
//!
//! A tournament over k seats, k made a power of two, is 2k numbers: the seats' own at k.., and at i the larger of 2i
//! and 2i + 1. So the first of several best seats is found, whatever the tournament's size.

/// Nobody may sit here. Scores are kept one higher.
const NOBODY: u64 = 0;

/// The scores of all seats, in tournaments.
#[derive(Debug, Default)]
pub(super) struct Forest {
    nodes: Vec<u64>,
    trees: Vec<Tree>,
}

/// The seats of one cell, which are neighbours.
#[derive(Clone, Copy, Debug)]
struct Tree {
    first: usize,
    /// Where its numbers start.
    start: usize,
    width: usize,
}

impl Tree {
    fn leaf(self, seat: usize) -> usize {
        self.width + seat - self.first
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start..self.start + 2 * self.width
    }
}

impl Forest {
    /// Tournaments over cells of so many seats, one after another. Nobody may sit anywhere yet.
    pub(super) fn new(sizes: &[usize]) -> Self {
        let (mut first, mut start) = (0, 0);
        let mut plant = |&n_seats: &usize| {
            let tree = Tree { first, start, width: n_seats.next_power_of_two() };
            first += n_seats;
            start += 2 * tree.width;
            tree
        };
        let trees = sizes.iter().map(&mut plant).collect();
        Self { nodes: vec![NOBODY; start], trees }
    }

    /// The seat's score; `None` when it can take nobody. What is above it is only right after [`Forest::grow`].
    pub(super) fn put(&mut self, cell: usize, seat: usize, score: Option<u64>) {
        let tree = self.trees[cell];
        self.nodes[tree.start + tree.leaf(seat)] = kept(score);
    }

    /// Plays all matches.
    pub(super) fn grow(&mut self) {
        for tree in &self.trees {
            let nodes = &mut self.nodes[tree.range()];
            for match_ in (1..tree.width).rev() {
                nodes[match_] = nodes[2 * match_].max(nodes[2 * match_ + 1]);
            }
        }
    }

    /// As [`Forest::put`], and plays the matches that this changes.
    pub(super) fn set(&mut self, cell: usize, seat: usize, score: Option<u64>) {
        let tree = self.trees[cell];
        let nodes = &mut self.nodes[tree.range()];
        let mut at = tree.leaf(seat);
        nodes[at] = kept(score);
        while at > 1 {
            at /= 2;
            let winner = nodes[2 * at].max(nodes[2 * at + 1]);
            if nodes[at] == winner {
                break;
            }
            nodes[at] = winner;
        }
    }

    /// The best score in the cell.
    pub(super) fn top(&self, cell: usize) -> Option<u64> {
        let tree = self.trees[cell];
        self.nodes[tree.start + 1].checked_sub(1)
    }

    /// The first seat that has it.
    pub(super) fn best(&self, cell: usize) -> usize {
        let tree = self.trees[cell];
        let nodes = &self.nodes[tree.range()];
        let mut at = 1;
        while at < tree.width {
            at = if nodes[2 * at] == nodes[at] { 2 * at } else { 2 * at + 1 };
        }
        at - tree.width + tree.first
    }
}

fn kept(score: Option<u64>) -> u64 {
    score.map_or(NOBODY, |score| score.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_best_of_each_cell_is_found(
            sizes in proptest::collection::vec(1..9_usize, 1..4),
            sets in proptest::collection::vec((any::<prop::sample::Index>(), proptest::option::of(0..5_u64)), 0..60),
        ) {
            let cells: Vec<usize> =
                sizes.iter().enumerate().flat_map(|(cell, &n)| std::iter::repeat_n(cell, n)).collect();
            let mut forest = Forest::new(&sizes);
            let mut plain = vec![None; cells.len()];
            for (index, score) in sets {
                let seat = index.index(cells.len());
                forest.set(cells[seat], seat, score);
                plain[seat] = score;
                let mut grown = Forest::new(&sizes);
                plain.iter().enumerate().for_each(|(seat, &score)| grown.put(cells[seat], seat, score));
                grown.grow();
                prop_assert_eq!(&grown.nodes, &forest.nodes);
                for cell in 0..sizes.len() {
                    let of_cell = (0..cells.len()).filter(|&seat| cells[seat] == cell);
                    let best = of_cell.clone().filter_map(|seat| plain[seat]).max();
                    prop_assert_eq!(forest.top(cell), best);
                    if best.is_some() {
                        let first = of_cell.filter(|&seat| plain[seat] == best).min();
                        prop_assert_eq!(Some(forest.best(cell)), first);
                    }
                }
            }
        }
    }
}
