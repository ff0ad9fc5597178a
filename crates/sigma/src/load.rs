//! Measured use of nodes: nodes that are hot take no more pods, cool ones are better.
//!
//! ```text
//!   use of a node, as measured ─┐
//!   pods placed since, at a share of what they ask for ─┴─► load ──► hot? how cool with one pod more?
//! ```

/// From which use on a node takes no more pods, in percent of what it offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadPolicy {
    pub cpu_percent: u8,
    pub memory_percent: u8,
}

impl Default for LoadPolicy {
    fn default() -> Self {
        Self { cpu_percent: 65, memory_percent: 95 }
    }
}

/// What is in use of a node, or by a pod: milli-cores and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    pub cpu: u64,
    pub memory: u64,
}

impl Usage {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_add(other.cpu), memory: self.memory.saturating_add(other.memory) }
    }

    /// Never below nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(other.cpu), memory: self.memory.saturating_sub(other.memory) }
    }
}
