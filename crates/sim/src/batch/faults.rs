//! What goes wrong: drawn for each instance, worker and machine by itself, so that it does not depend on the order in
//! which things happen.

use std::collections::BTreeSet;

use fuxi::protocol::Attempt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

const FAULTY: u64 = 0x6661_756c_7479;

/// How much goes wrong, as shares of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// So many instances are killed once, at a random moment of their first attempt.
    pub instances: f64,
    /// So many workers are killed at a random moment of the first instance that they run.
    pub workers: f64,
    /// On so many machines, rounded up, everything takes longer.
    pub slow_machines: f64,
    /// So many times as long.
    pub slow_factor: f64,
    /// On so many machines, rounded up, instances fail.
    pub faulty_machines: f64,
    /// So many attempts there, each at a random moment.
    pub faulty_share: f64,
}

impl Faults {
    /// Whether anything goes wrong at all.
    pub(super) fn any(&self) -> bool {
        self.instances > 0.0 || self.workers > 0.0 || self.slow_machines > 0.0 || self.faulty_machines > 0.0
    }
}

/// Decides by the seed.
#[derive(Clone, Debug)]
pub(super) struct Draws {
    pub(super) faults: Faults,
    seed: u64,
    slow_machines: BTreeSet<u32>,
    faulty_machines: BTreeSet<u32>,
}

impl Draws {
    pub(super) fn new(faults: Faults, seed: u64, n_machines: u32) -> Self {
        let slow_machines = some_of(n_machines, faults.slow_machines, seed);
        // Of another seed, so that the slow ones are not just these.
        let faulty_machines = some_of(n_machines, faults.faulty_machines, seed ^ FAULTY);
        Self { faults, seed, slow_machines, faulty_machines }
    }

    /// The share of its duration after which an instance's first attempt is killed, if it is.
    pub(super) fn instance(&self, job: usize, task: usize, index: u32) -> Option<f64> {
        self.hit(self.faults.instances, [1, job as u64, (task as u64) << 32 | u64::from(index)])
    }

    /// The same of a worker's first attempt.
    pub(super) fn worker(&self, number: u64) -> Option<f64> {
        self.hit(self.faults.workers, [2, number, 0])
    }

    /// The share of its duration after which an attempt fails because of the machine, if it does.
    pub(super) fn machine(&self, machine: u32, job: usize, attempt: (usize, Attempt)) -> Option<f64> {
        if !self.faulty_machines.contains(&machine) {
            return None;
        }
        let (task, Attempt { index, number }) = attempt;
        let who = [3, (job as u64) << 32 | task as u64, u64::from(index) << 32 | u64::from(number)];
        self.hit(self.faults.faulty_share, who)
    }

    /// How many times as long everything takes on a machine.
    pub(super) fn slowness(&self, machine: u32) -> f64 {
        if self.slow_machines.contains(&machine) { self.faults.slow_factor.max(1.0) } else { 1.0 }
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

/// Just as many as the share says, rounded up: of a few machines none might be drawn otherwise.
fn some_of(n_machines: u32, share: f64, seed: u64) -> BTreeSet<u32> {
    let count = (f64::from(n_machines) * share).ceil();
    let mut left: Vec<u32> = (0..n_machines).collect();
    left.shuffle(&mut StdRng::seed_from_u64(seed));
    left.into_iter()
        .zip(1_u32..)
        .take_while(|(_, number)| f64::from(*number) <= count)
        .map(|(machine, _)| machine)
        .collect()
}
