//! Claims that have no volume yet, and the volumes that each could have: which one it gets shows once its pod has a node.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt;
use sigma::label::NodeTerm;
use sigma::node::Node;
use sigma::volume::Place;

use super::decide;
use crate::key::ObjectKey;
use crate::sigma::node_term;

/// A claim, and what it could have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) claim: ObjectKey,
    /// The best first.
    pub(crate) volumes: Vec<Candidate>,
    /// Where a volume would be made for it; `None`: anywhere.
    pub(crate) made: Option<Vec<NodeTerm>>,
}

/// A volume that is free.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) name: String,
    /// Where it can be reached; `None`: anywhere.
    terms: Option<Vec<NodeTerm>>,
}

impl Choice {
    pub(crate) fn of(claim: ObjectKey, free: &[Arc<PersistentVolume>], made: Option<Vec<NodeTerm>>) -> Self {
        let mut free: Vec<&PersistentVolume> = free.iter().map(|volume| &**volume).collect();
        free.sort_by_key(|volume| decide::rank(volume));
        Self { claim, volumes: free.into_iter().map(Candidate::of).collect(), made }
    }

    /// Where the pod may go, if the claim can have those volumes only that are `left`.
    pub(crate) fn place(&self, left: impl Fn(&Candidate) -> bool) -> Option<Place> {
        let there = self.volumes.iter().filter(|volume| left(volume)).map(|volume| volume.terms.as_ref());
        let terms: Option<Vec<&Vec<NodeTerm>>> = there.chain([self.made.as_ref()]).collect();
        let mut terms: Vec<NodeTerm> = terms?.into_iter().flatten().cloned().collect();
        terms.sort_by_key(|term| format!("{term:?}"));
        terms.dedup();
        Some(Place { terms, is_bound: false })
    }

    /// Whether a volume would be made for it on the node.
    pub(crate) fn is_made_on(&self, node: &Node) -> bool {
        is_within(self.made.as_ref(), node)
    }
}

impl Candidate {
    fn of(volume: &PersistentVolume) -> Self {
        let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
        let terms = affinity.map(|required| required.node_selector_terms.iter().map(node_term).collect());
        Self { name: volume.name_any(), terms }
    }

    pub(crate) fn is_within_reach(&self, node: &Node) -> bool {
        is_within(self.terms.as_ref(), node)
    }
}

fn is_within(terms: Option<&Vec<NodeTerm>>, node: &Node) -> bool {
    sigma::Pod { required_nodes: terms.cloned(), ..sigma::Pod::default() }.admits(node)
}
