//! A recorded cluster and its work in the engine's words, where the record knows no more than nodes and pods. A dump of
//! Kubernetes is a matter of the scheduler itself, which looks at much more.

use sigma::node::Node;
use sigma::{Bound, Cluster, Pending};

/// All that a placement starts from.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    pub nodes: Vec<Node>,
    /// Pods that hold their place already.
    pub bound: Vec<Bound>,
    /// Pods that wait, in the order of their arrival.
    pub pending: Vec<Pending>,
}

impl Scene {
    /// The engine's state before anything is placed. `seed` decides between nodes of equal score.
    pub fn cluster(&self, seed: u64) -> Cluster {
        let mut cluster = Cluster::new(seed);
        self.nodes.iter().for_each(|node| cluster.set_node(node));
        for bound in &self.bound {
            cluster.add_pod(&bound.id, &bound.pod, &bound.node);
            if let Some(gpus) = &bound.gpus {
                cluster.hold_gpus(&bound.id, gpus);
            }
        }
        cluster
    }
}
