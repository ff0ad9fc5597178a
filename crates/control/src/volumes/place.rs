//! Where a pod must run because of its volumes.

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorTerm, Pod, VolumeNodeAffinity};
use kube::ResourceExt;

use super::decide::volume_name;
use crate::key::ObjectKey;
use crate::world::World;

/// The names of the claims that the pod uses, generic ephemeral volumes included.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.name_any(), volume.name)),
        (None, None) => None,
    })
}

/// The pod with the places of its bound volumes among its own requirements; `None` when they add none.
pub(crate) fn with_volumes(world: &World, pod: &Pod) -> Option<Pod> {
    let namespace = pod.namespace().unwrap_or_default();
    let bound = claims_of(pod).filter_map(|name| {
        let claim = world.claims.get(&ObjectKey::new(&namespace, &name))?;
        let volume = world.volumes.get(&ObjectKey::cluster(volume_name(&claim)?))?;
        volume.spec.as_ref()?.node_affinity.clone()
    });
    let places: Vec<VolumeNodeAffinity> = bound.collect();
    if places.is_empty() {
        return None;
    }
    let mut placed = pod.clone();
    for place in places.into_iter().filter_map(|place| place.required) {
        require(&mut placed, &place);
    }
    Some(placed)
}

/// Both the pod's terms and the volume's must hold: every pair of one of each.
fn require(pod: &mut Pod, place: &NodeSelector) {
    let spec = pod.spec.get_or_insert_default();
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    let required = &mut affinity.required_during_scheduling_ignored_during_execution;
    let own = required.take().map(|selector| selector.node_selector_terms).unwrap_or_default();
    let pairs = if own.is_empty() {
        place.node_selector_terms.clone()
    } else {
        own.iter()
            .flat_map(|one| place.node_selector_terms.iter().map(move |other| both(one, other)))
            .collect()
    };
    *required = Some(NodeSelector { node_selector_terms: pairs });
}

fn both(one: &NodeSelectorTerm, other: &NodeSelectorTerm) -> NodeSelectorTerm {
    let join = |one: &Option<Vec<_>>, other: &Option<Vec<_>>| {
        let all: Vec<_> = one.iter().chain(other).flatten().cloned().collect();
        (!all.is_empty()).then_some(all)
    };
    NodeSelectorTerm {
        match_expressions: join(&one.match_expressions, &other.match_expressions),
        match_fields: join(&one.match_fields, &other.match_fields),
    }
}
