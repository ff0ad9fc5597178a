//! Storage as Sigma follows it: whose claim, class or volume changes, those pods are told of anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use tokio::sync::mpsc;

use crate::key::ObjectKey;
use crate::volumes;
use crate::world::World;

use super::{News, pod_as_it_is};

/// Sends news of pods whose storage changes, and of what nodes can attach.
pub(super) fn follow(world: &World, news: &mpsc::UnboundedSender<News>) {
    let again = Again { world: world.clone(), news: news.clone() };
    let by_claim = again.clone();
    world.claims.on_change(move |change| by_claim.users_of(&ObjectKey::of(&**change.object())));
    let by_class = again.clone();
    world.storage_classes.on_change(move |change| {
        let name = change.object().metadata.name.clone();
        by_class.users_waiting(|claim| volumes::class_name(claim) == name.as_deref());
    });
    world.volumes.on_change(move |change| {
        let volume = change.object();
        match volumes::claim_of(volume) {
            Some(claim) => again.users_of(&claim),
            None => {
                let class = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
                again.users_waiting(|claim| {
                    volumes::class_name(claim) == class.filter(|name| !name.is_empty())
                });
            }
        }
    });
    let limits = news.clone();
    world.csi_nodes.on_change(move |change| {
        let name = change.object().metadata.name.clone().unwrap_or_default();
        let known = change.after.map_or_else(BTreeMap::new, |node| volumes::limits(node));
        // Nobody listens any more: the process is going down.
        let _stopped = limits.send(News::Limits(name, known));
    });
}

#[derive(Clone)]
struct Again {
    world: World,
    news: mpsc::UnboundedSender<News>,
}

impl Again {
    /// The pods that use a claim, waiting or not: those on nodes have their volumes attached there.
    fn users_of(&self, claim: &ObjectKey) {
        for pod in self.world.pods.in_namespace(&claim.namespace) {
            if volumes::claims_of(&pod).any(|name| name == claim.name) {
                let _stopped = self.news.send(pod_as_it_is(&self.world, &pod));
            }
        }
    }

    /// The pods whose claims have no volume yet, where the claim is `meant`.
    fn users_waiting(&self, meant: impl Fn(&PersistentVolumeClaim) -> bool) {
        let claims = self.world.claims.all();
        let waiting = claims.iter().filter(|claim| volumes::is_waiting(claim) && meant(claim));
        waiting.for_each(|claim: &Arc<PersistentVolumeClaim>| self.users_of(&ObjectKey::of(&**claim)));
    }
}
