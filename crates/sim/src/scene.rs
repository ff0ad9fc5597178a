//! A cluster and its work in the engine's words: what every importer makes of its files.

use std::collections::BTreeMap;

use sigma::label::Labels;
use sigma::node::Node;
use sigma::pod::PodTerm;
use sigma::{Bound, Cluster, Interference, Pending, PodId};

/// All that a placement starts from.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    pub nodes: Vec<Node>,
    /// Pods that hold their place already.
    pub bound: Vec<Bound>,
    /// Pods that wait, in the order of their arrival.
    pub pending: Vec<Pending>,
    /// The labels of namespaces that terms may select by.
    pub namespaces: BTreeMap<String, Labels>,
    /// Rules against interference, by name.
    pub interferences: BTreeMap<String, Interference>,
    /// Of the pods that hold their place, those that only reserve it, and for whom.
    pub reservations: BTreeMap<PodId, PodTerm>,
}

impl Scene {
    /// The engine's state before anything is placed. `seed` decides between nodes of equal score.
    pub fn cluster(&self, seed: u64) -> Cluster {
        let mut cluster = Cluster::new(seed);
        self.namespaces.iter().for_each(|(name, labels)| cluster.set_namespace(name, labels));
        self.nodes.iter().for_each(|node| cluster.set_node(node));
        self.interferences.iter().for_each(|(name, rule)| cluster.set_interference(name, rule.clone()));
        self.reservations.iter().for_each(|(id, owners)| cluster.set_reservation(id, owners.clone()));
        for bound in &self.bound {
            cluster.add_pod(&bound.id, &bound.pod, &bound.node);
            if let Some(gpus) = &bound.gpus {
                cluster.hold_gpus(&bound.id, gpus);
            }
        }
        cluster
    }
}
