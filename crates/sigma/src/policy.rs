//! Policies: what counts how much when several nodes can take a pod. They decide between nodes, never whether one fits.

/// How the nodes that can take a pod are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Policy {
    pub fill: Fill,
    pub weights: Weights,
    /// Whether pods of one owner that ask for nothing else keep apart, by host and by zone.
    pub spreads_siblings: bool,
}

/// Which of two nodes is better, as far as room is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fill {
    /// The emptier one.
    #[default]
    Spread,
    /// The fuller one, so that others stay whole.
    Pack,
}

/// How much each score counts. The defaults are kube-scheduler's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Weights {
    /// How full the node is, in the sense of [`Fill`].
    pub fill: u32,
    /// How evenly CPU and memory are used.
    pub balance: u32,
    /// How few of the pod's like are near, where it or its owner asks for that.
    pub apart: u32,
    /// How many of the pods are near that it prefers.
    pub company: u32,
    /// Preferred node labels.
    pub node_affinity: u32,
    /// Taints that only dislike.
    pub taints: u32,
    /// Images that are there already.
    pub images: u32,
}

impl Weights {
    /// The largest weight that makes sense: many times another one.
    pub const MOST: u32 = 100;
}

impl Default for Weights {
    fn default() -> Self {
        Self { fill: 1, balance: 1, apart: 2, company: 2, node_affinity: 2, taints: 3, images: 1 }
    }
}

impl Policy {
    /// The usual weights; siblings keep apart unless nodes are filled one after another.
    pub fn of(fill: Fill) -> Self {
        Self { fill, weights: Weights::default(), spreads_siblings: fill == Fill::Spread }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::of(Fill::Spread)
    }
}
