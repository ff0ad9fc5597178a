//! Which container images are on which nodes, and what it is worth to a pod to find its own there.
//!
//! As kube-scheduler reckons it: the sizes of the images that are there, each by the part of all nodes that has it, so
//! that one node with a rare image does not draw all its pods. That part is kept in sixteenths: it changes so seldom
//! that scores of other nodes may be reckoned anew when it does.

use std::collections::{BTreeMap, HashMap};

use super::{Cluster, Row};

/// Less than this in sum is worth nothing.
const LEAST: u64 = 23 << 20;
/// More than this for each image is worth no more.
const MOST: u64 = 1000 << 20;
const PARTS: u64 = 16;

/// The images of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Images {
    /// The images of a row with their sizes, by number: every node has dozens, mostly the same.
    by_row: HashMap<Row, Box<[(u32, u64)]>>,
    numbers: HashMap<String, u32>,
    /// By number.
    known: Vec<Known>,
    free: Vec<u32>,
    /// Counts changes of which images there are, and of how many nodes have them.
    pub(crate) version: u64,
}

#[derive(Debug, Default)]
struct Known {
    name: String,
    n_rows: u64,
    /// Sixteenths of all nodes that have it.
    part: u64,
}

/// What the images of a class are worth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    /// Those that some node has, with the part of nodes that do.
    known: Vec<(u32, u64)>,
    n_images: u64,
}

impl Images {
    /// True when that is news.
    fn set(&mut self, row: Row, images: &BTreeMap<String, u64>) -> bool {
        let mut here: Vec<(u32, u64)> =
            images.iter().map(|(name, &size)| (self.number(name), size)).collect();
        here.sort_unstable();
        let before = self.by_row.remove(&row).unwrap_or_default();
        let is_news = *before != *here;
        // First what came, so that what stays is not forgotten in between.
        here.iter().for_each(|&(number, _)| self.known[number as usize].n_rows += 1);
        before.iter().for_each(|&(number, _)| self.lose(number));
        if !here.is_empty() {
            self.by_row.insert(row, here.into());
        }
        is_news
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.known.push(Known::default());
            u32::try_from(self.known.len() - 1).expect("fewer than 2^32 names of images fit in memory")
        });
        self.known[number as usize] = Known { name: name.to_owned(), ..Known::default() };
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn lose(&mut self, number: u32) {
        let known = &mut self.known[number as usize];
        known.n_rows -= 1;
        if known.n_rows == 0 {
            let gone = std::mem::take(known);
            self.numbers.remove(&gone.name);
            self.free.push(number);
            self.version += 1;
        }
    }

    /// Takes in how many of the nodes have each image.
    pub(crate) fn settle(&mut self, n_nodes: usize) {
        for known in self.known.iter_mut().filter(|known| known.n_rows > 0) {
            // At least one part: who has it is better off than who has not.
            let part = (known.n_rows * PARTS).checked_div(n_nodes as u64).unwrap_or(0).clamp(1, PARTS);
            self.version += u64::from(part != known.part);
            known.part = part;
        }
    }

    /// What finding `images` on a node is worth to a pod of as many containers.
    pub(crate) fn wanted(&self, images: &[String]) -> Wanted {
        let find = |name: &String| {
            let &number = self.numbers.get(name)?;
            Some((number, self.known[number as usize].part))
        };
        let mut known: Vec<(u32, u64)> = images.iter().filter_map(find).collect();
        known.sort_unstable();
        let n_images = if known.is_empty() { 0 } else { images.len() as u64 };
        Wanted { known, n_images }
    }

    /// What of it a row has, of `full`.
    pub(crate) fn score(&self, row: Row, wanted: &Wanted, full: u64) -> u64 {
        if wanted.known.is_empty() {
            return 0;
        }
        let Some(here) = self.by_row.get(&row) else { return 0 };
        let size = |number: u32| {
            here.binary_search_by_key(&number, |(number, _)| *number).map_or(0, |at| here[at].1)
        };
        let worth = |&(number, part): &(u32, u64)| size(number) / PARTS * part;
        let sum: u64 = wanted.known.iter().map(worth).fold(0, u64::saturating_add);
        let most = MOST.saturating_mul(wanted.n_images);
        let score = u128::from(sum.clamp(LEAST, most) - LEAST) * u128::from(full) / u128::from(most - LEAST);
        u64::try_from(score).unwrap_or(full)
    }
}

impl Cluster {
    /// The images that a node has, with their sizes in bytes. An image may be there by several names.
    pub(super) fn set_images(&mut self, row: Row, images: &BTreeMap<String, u64>) {
        if self.images.set(row, images) {
            self.are_images_settled = false;
            self.changes.touch(row, self.hosts.len());
        }
    }
}
