//! What goes wrong: drawn for each instance, worker and machine by itself, so that it does not depend on the order in
//! which things happen.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How much goes wrong, as shares of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// So many instances are killed once, at a random moment of their first attempt.
    pub instances: f64,
    /// So many workers are killed at a random moment of the first instance that they run.
    pub workers: f64,
    /// On so many machines everything takes longer.
    pub slow_machines: f64,
    /// So many times as long.
    pub slow_factor: f64,
}

impl Faults {
    /// Whether anything goes wrong at all.
    pub(super) fn any(&self) -> bool {
        self.instances > 0.0 || self.workers > 0.0 || self.slow_machines > 0.0
    }
}

/// Decides by the seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws {
    pub(super) faults: Faults,
    pub(super) seed: u64,
}

impl Draws {
    /// The share of its duration after which an instance's first attempt is killed, if it is.
    pub(super) fn instance(&self, job: usize, task: usize, index: u32) -> Option<f64> {
        self.hit(self.faults.instances, [1, job as u64, (task as u64) << 32 | u64::from(index)])
    }

    /// The same of a worker's first attempt.
    pub(super) fn worker(&self, number: u64) -> Option<f64> {
        self.hit(self.faults.workers, [2, number, 0])
    }

    /// How many times as long everything takes on a machine.
    pub(super) fn slowness(&self, machine: u32) -> f64 {
        let hit = self.hit(self.faults.slow_machines, [3, u64::from(machine), 0]);
        hit.map_or(1.0, |_| self.faults.slow_factor.max(1.0))
    }

    fn hit(&self, share: f64, who: [u64; 3]) -> Option<f64> {
        if share <= 0.0 {
            return None;
        }
        let mut seed = [0; 32];
        for (part, number) in seed.chunks_exact_mut(8).zip([self.seed].into_iter().chain(who)) {
            part.copy_from_slice(&number.to_le_bytes());
        }
        let mut random = StdRng::from_seed(seed);
        (random.random::<f64>() < share).then(|| random.random())
    }
}
