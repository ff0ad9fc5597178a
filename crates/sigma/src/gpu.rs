//! GPUs by count and by share: what a node offers, what a pod asks for, and which ones it holds.
//!
//! A GPU is 1000 milli. A pod holds whole GPUs, or a share of a single one; which GPU that is belongs to its placement.

use std::collections::BTreeSet;
use std::fmt;

/// Whole GPUs, as their device plugin offers them.
pub const GPU: &str = "nvidia.com/gpu";

/// A whole GPU.
pub const WHOLE_MILLI: u32 = 1000;

/// More GPUs than this on one node are not told apart: no machine has them, but a quantity may say so.
pub const MOST_GPUS: u16 = 256;

/// What a node offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeGpus {
    pub count: u16,
    /// Empty where it is not known.
    pub model: String,
}

/// What a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GpuRequest {
    pub ask: GpuAsk,
    /// Models that will do; none named means any.
    pub models: BTreeSet<String>,
}

/// How much of how many GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GpuAsk {
    /// So many GPUs, each for itself alone.
    Whole(u16),
    /// So many milli of one GPU.
    Share(u16),
}

impl GpuAsk {
    pub fn count(self) -> usize {
        match self {
            Self::Whole(count) => usize::from(count),
            Self::Share(_) => 1,
        }
    }

    /// What it takes of each of its GPUs.
    pub fn milli_each(self) -> u32 {
        match self {
            Self::Whole(_) => WHOLE_MILLI,
            Self::Share(milli) => u32::from(milli),
        }
    }
}

/// GPUs of one node by their index, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GpuSet(Vec<u16>);

impl GpuSet {
    /// Indices beyond [`MOST_GPUS`] are left out.
    pub fn new(indices: impl IntoIterator<Item = u16>) -> Self {
        let unique: BTreeSet<u16> = indices.into_iter().filter(|&index| index < MOST_GPUS).collect();
        Self(unique.into_iter().collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|&index| usize::from(index))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for GpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, index) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{index}")?;
        }
        Ok(())
    }
}
