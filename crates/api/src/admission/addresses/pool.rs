//! Numbers of which each has one holder at most.
//!
//! ```text
//!   take ──► Claim (held) ──keep──► held by a stored object ──free──► free
//!                 └──drop──► free
//! ```

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;

/// Which numbers are held.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: HashSet<u32>,
    /// Those of objects that are about to be stored.
    claimed: HashSet<u32>,
}

impl Held {
    fn claim(&mut self, number: u32) -> bool {
        let is_free = self.all.insert(number);
        if is_free {
            self.claimed.insert(number);
        }
        is_free
    }
}

impl Pool {
    /// Learns what others gave out and took back: `stored` are all that stored objects hold. Two servers that give out
    /// one number at the very same moment are not told apart; of thousands of random ones that is as good as never.
    pub(super) fn refresh(&self, stored: impl Iterator<Item = u32>) {
        let mut held = self.held.lock();
        held.all = stored.chain(held.claimed.iter().copied()).collect();
    }

    pub(super) fn free(&self, number: u32) {
        let mut held = self.held.lock();
        held.all.remove(&number);
        held.claimed.remove(&number);
    }

    fn settle(&self, number: u32) {
        self.held.lock().claimed.remove(&number);
    }
}

/// Numbers that are free again when this is dropped before [`Claim::keep`].
#[derive(Debug, Default)]
pub(crate) struct Claim {
    taken: Vec<(Pool, u32)>,
    /// What the object held before; free once the claim is kept.
    freed: Vec<(Pool, u32)>,
}

impl Claim {
    /// Takes one number; false if another holds it.
    pub(super) fn take(&mut self, pool: &Pool, number: u32) -> bool {
        let is_free = pool.held.lock().claim(number);
        if is_free {
            self.taken.push((pool.clone(), number));
        }
        is_free
    }

    /// Takes a random free number of `range`, so that one that was just released is not given out at once; `None` if
    /// all are held.
    pub(super) fn take_any(&mut self, pool: &Pool, range: Range<u32>) -> Option<u32> {
        let room = range.end.checked_sub(range.start).filter(|room| *room > 0)?;
        let start = rand::rng().random_range(0..room);
        let number = {
            let mut held = pool.held.lock();
            let mut candidates = (0..room).map(|step| range.start + (start + step) % room);
            let free = candidates.find(|number| !held.all.contains(number))?;
            held.claim(free);
            free
        };
        self.taken.push((pool.clone(), number));
        Some(number)
    }

    /// Gives a number back once the claim is kept.
    pub(super) fn give_back(&mut self, pool: &Pool, number: u32) {
        self.freed.push((pool.clone(), number));
    }

    /// The object is stored: what was taken is its own now.
    pub(crate) fn keep(mut self) {
        for (pool, number) in self.taken.drain(..) {
            pool.settle(number);
        }
        for (pool, number) in self.freed.drain(..) {
            pool.free(number);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for (pool, number) in self.taken.drain(..) {
            pool.free(number);
        }
    }
}
