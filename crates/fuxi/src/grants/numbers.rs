//! Maps from the numbers that the edge gives: small and mostly consecutive, so that one multiplication spreads them. The
//! edge makes the numbers itself; nobody outside can choose them so that they collide.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(super) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        // The map looks at the highest bits and at the lowest.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // Of 2^64 the golden section: neighbours end up far from each other.
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// The hash of one number.
pub(super) fn spread(number: u64) -> u64 {
    let mut hasher = NumberHasher::default();
    hasher.write_u64(number);
    hasher.finish()
}
