//! How long agents may keep what they have read, by the number of nodes.

pub(crate) const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// From how many nodes on a step is left downwards, up to how many it holds, and its seconds. They overlap, so that a
/// node that comes and goes does not rewrite all others.
const STEPS: [(usize, usize, u32); 6] = [
    (0, 100, 0),
    (90, 500, 15),
    (450, 1000, 30),
    (900, 2000, 60),
    (1800, 10_000, 300),
    (9000, usize::MAX, 600),
];

/// Where on the stairs the cluster stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step(usize);

impl Step {
    /// The step with so many nodes, coming from this one.
    pub(crate) fn of(self, n_nodes: usize) -> Self {
        let mut step = self.0;
        while n_nodes > STEPS[step].1 {
            step += 1;
        }
        while n_nodes < STEPS[step].0 {
            step -= 1;
        }
        Self(step)
    }

    pub(crate) fn seconds(self) -> u32 {
        STEPS[self.0].2
    }
}
