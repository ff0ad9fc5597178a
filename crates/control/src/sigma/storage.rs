//! Storage as Sigma follows it: whose claim, class or volume changes, those pods are told of anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use parking_lot::Mutex;

use crate::informer::Change;
use crate::key::ObjectKey;
use crate::volumes;

use super::{News, PodNews};

/// Sends news of pods whose storage changes, and of what nodes can attach.
pub(super) fn follow(pods: &PodNews) {
    let world = &pods.world;
    let again = Again { pods: pods.clone(), users: Arc::default() };
    let users = Arc::clone(&again.users);
    world.pods.on_change(move |change| note_user(&mut users.lock(), change));
    let by_claim = again.clone();
    world.claims.on_change(move |change| by_claim.users_of(&ObjectKey::of(&**change.object())));
    let by_class = again.clone();
    world.storage_classes.on_change(move |change| {
        let name = change.object().metadata.name.clone();
        by_class.users_waiting(|claim| volumes::class_name(claim) == name.as_deref());
    });
    world.volumes.on_change(move |change| {
        let volume = change.object();
        let claim = change.after.and_then(|volume| volumes::claim_of(volume));
        let name = volume.metadata.name.clone().unwrap_or_default();
        again.pods.send(News::Volume(name, claim));
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
    let limits = pods.clone();
    world.csi_nodes.on_change(move |change| {
        let name = change.object().metadata.name.clone().unwrap_or_default();
        let known = change.after.map_or_else(BTreeMap::new, |node| volumes::limits(node));
        limits.send(News::Limits(name, known));
    });
}

/// The pods that use each claim.
type Users = HashMap<ObjectKey, BTreeSet<ObjectKey>>;

fn note_user(users: &mut Users, change: &Change<'_, Pod>) {
    let pod = ObjectKey::of(&**change.object());
    for claim in volumes::claims_of(change.object()) {
        let claim = ObjectKey::new(&pod.namespace, &claim);
        if change.after.is_some() {
            users.entry(claim).or_default().insert(pod.clone());
        } else if let Some(pods) = users.get_mut(&claim) {
            pods.remove(&pod);
            if pods.is_empty() {
                users.remove(&claim);
            }
        }
    }
}

#[derive(Clone)]
struct Again {
    pods: PodNews,
    users: Arc<Mutex<Users>>,
}

impl Again {
    /// The pods that use a claim, waiting or not: those on nodes have their volumes attached there.
    fn users_of(&self, claim: &ObjectKey) {
        let users: Vec<ObjectKey> = self.users.lock().get(claim).into_iter().flatten().cloned().collect();
        users.iter().for_each(|key| self.pods.again(key));
    }

    /// The pods whose claims have no volume yet, where the claim is `meant`.
    fn users_waiting(&self, meant: impl Fn(&PersistentVolumeClaim) -> bool) {
        let claims = self.pods.world.claims.all();
        let waiting = claims.iter().filter(|claim| volumes::is_waiting(claim) && meant(claim));
        waiting.for_each(|claim: &Arc<PersistentVolumeClaim>| self.users_of(&ObjectKey::of(&**claim)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(claims: &[&str]) -> Arc<Pod> {
        let volume = |claim: &&str| json!({ "name": claim, "persistentVolumeClaim": { "claimName": claim } });
        let volumes: Vec<_> = claims.iter().map(volume).collect();
        let metadata = json!({ "name": "p", "namespace": "n" });
        let object = json!({ "metadata": metadata, "spec": { "containers": [], "volumes": volumes } });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn who_uses_a_claim_is_known_while_it_does() {
        let mut users = Users::new();
        let both = pod(&["a", "b"]);
        note_user(&mut users, &Change { before: None, after: Some(&both) });
        note_user(&mut users, &Change { before: Some(&both), after: Some(&both) });
        let known: Vec<String> =
            users.keys().map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect();
        assert_eq!(known, ["n/a", "n/b"]);
        assert_eq!(users[&ObjectKey::new("n", "a")], [ObjectKey::new("n", "p")].into());
        note_user(&mut users, &Change { before: Some(&both), after: None });
        assert!(users.is_empty());
    }
}
