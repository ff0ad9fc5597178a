//! Amounts of everything that is granted: a dense vector, so that sums and comparisons are a few instructions.

use model::{Bytes, MilliCpu};

/// How many resources beyond CPU, memory and workers there may be, such as GPUs.
pub const EXTENDED: usize = 5;
const LANES: usize = 3 + EXTENDED;
/// The most of anything on one machine or in one shape (64 TiB), so that sums over 2^18 full machines stay exact.
const MOST: u64 = 1 << 46;
/// No machine runs more workers than this. It bounds how many grants can follow from one event.
const MOST_WORKERS: u64 = 1 << 16;

/// An amount of everything that is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resources {
    pub cpu: MilliCpu,
    pub memory: Bytes,
    /// How many workers: a machine runs only so many containers.
    pub workers: u64,
    /// Of each resource in the place that [`ResourceNames`] gave it.
    pub extended: [u64; EXTENDED],
}

impl Resources {
    /// More than there is of anything.
    pub const UNLIMITED: Self = Self::from_lanes([u64::MAX; LANES]);

    pub const NOTHING: Self = Self::from_lanes([0; LANES]);

    const fn from_lanes([cpu, memory, workers, a, b, c, d, e]: [u64; LANES]) -> Self {
        Self { cpu: MilliCpu(cpu), memory: Bytes(memory), workers, extended: [a, b, c, d, e] }
    }

    pub(super) const fn lanes(&self) -> [u64; LANES] {
        let [a, b, c, d, e] = self.extended;
        [self.cpu.0, self.memory.0, self.workers, a, b, c, d, e]
    }

    fn zip(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let (a, b) = (self.lanes(), other.lanes());
        Self::from_lanes(std::array::from_fn(|lane| combine(a[lane], b[lane])))
    }

    pub fn fits_in(self, room: Self) -> bool {
        let (a, b) = (self.lanes(), room.lanes());
        // Without an early end, so that lanes are compared together.
        (0..LANES).fold(true, |fits, lane| fits & (a[lane] <= b[lane]))
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// What is left; nothing where `other` is more.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_sub)
    }

    #[must_use]
    pub fn times(self, count: u32) -> Self {
        self.zip(self, |amount, _| amount.saturating_mul(u64::from(count)))
    }

    /// Of each the smaller amount.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        self.zip(other, u64::min)
    }

    /// Of each the larger amount.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// What a machine may say that it has.
    pub(super) fn as_capacity(self) -> Self {
        let capped = self.least(Self::from_lanes([MOST; LANES]));
        Self { workers: capped.workers.min(MOST_WORKERS), ..capped }
    }

    /// What one worker may ask for: it is at least a worker.
    pub(super) fn as_shape(self) -> Self {
        let capped = self.least(Self::from_lanes([MOST; LANES]));
        Self { workers: capped.workers.max(1), ..capped }
    }

    /// Where there is anything of a resource in `mask`, the amount of `self`; nothing elsewhere.
    #[must_use]
    pub(super) fn only_where(self, mask: Self) -> Self {
        self.zip(mask, |amount, mask| if mask > 0 { amount } else { 0 })
    }
}

/// Which extended resource has which place in [`Resources::extended`]. Names keep their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceNames {
    names: Vec<String>,
}

/// A resource too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot count `{name}`: batch counts {} already, and no more than {EXTENDED} extended resources", .known.join(", "))]
pub struct TooManyResources {
    pub name: String,
    pub known: Vec<String>,
}

impl ResourceNames {
    /// The place of `name`, which is given one if it has none.
    pub fn intern(&mut self, name: &str) -> Result<usize, TooManyResources> {
        if let Some(place) = self.place(name) {
            return Ok(place);
        }
        if self.names.len() == EXTENDED {
            return Err(TooManyResources { name: name.to_owned(), known: self.names.clone() });
        }
        self.names.push(name.to_owned());
        Ok(self.names.len() - 1)
    }

    pub fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Every resource with its name, and how much of it is in `amounts`.
    pub fn named(&self, amounts: Resources) -> impl Iterator<Item = (&str, u64)> {
        let fixed = [("cpu", amounts.cpu.0), ("memory", amounts.memory.0), ("workers", amounts.workers)];
        let names = self.names.iter().map(String::as_str);
        fixed.into_iter().chain(names.zip(amounts.extended))
    }
}

#[cfg(test)]
mod tests;
