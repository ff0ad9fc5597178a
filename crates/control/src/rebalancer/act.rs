//! What is done for a move at the API: room held, pods marked, told to go.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Api;
use kube::ResourceExt;
use kube::api::EvictParams;
use model::names::HOSTNAME_LABEL;
use model::rebalance_policy::{BEING_REPLACED, MoveKind, RebalanceMove, RebalancePolicy, SUCCESSOR_OF};
use model::reservation::{Reservation, ReservationSpec};
use serde_json::json;
use sigma::resources::CPU;

use super::Rebalancer;
use super::decide::timeout_seconds;
use super::step::Act;
use crate::act::{ActError, failed, only, post, unless_gone};
use crate::key::ObjectKey;
use crate::owner;
use crate::record::Note;

/// Before the uid of the pod that is moved.
pub(super) const HOLD_PREFIX: &str = "move-";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";

impl Rebalancer {
    pub(super) async fn act(
        &self,
        policy: &RebalancePolicy,
        each: &RebalanceMove,
        act: Act,
    ) -> Result<(), ActError> {
        let key = ObjectKey::new(&each.namespace, &each.pod);
        match act {
            Act::Hold => match self.pod(each) {
                Some(pod) => self.hold(&reservation(policy, each, &pod, self.hostname(&each.to))).await,
                None => Ok(()),
            },
            Act::Mark => self.set_mark(&key, Some(&policy.name_any())).await,
            Act::Unmark => match self.pod(each) {
                Some(_) => self.set_mark(&key, None).await,
                None => Ok(()),
            },
            Act::Evict => self.evict(&key, each).await,
            Act::Release => {
                let key = ObjectKey::new(&each.namespace, &hold_name(each));
                self.world.act.delete::<Reservation>(&key, &only(None)).await
            }
        }
    }

    /// The pod of a move, and no namesake.
    fn pod(&self, each: &RebalanceMove) -> Option<std::sync::Arc<Pod>> {
        let pod = self.world.pods.get(&ObjectKey::new(&each.namespace, &each.pod))?;
        (pod.metadata.uid.as_ref() == Some(&each.uid)).then_some(pod)
    }

    /// What the node calls itself in its label.
    fn hostname(&self, node: &str) -> String {
        let node_object = self.world.nodes.get(&ObjectKey::cluster(node));
        let label = node_object.and_then(|node| node.metadata.labels.as_ref()?.get(HOSTNAME_LABEL).cloned());
        label.unwrap_or_else(|| node.to_owned())
    }

    async fn hold(&self, reservation: &Reservation) -> Result<(), ActError> {
        match self.world.act.create(reservation).await {
            // It was made before a restart.
            Err(error) if error.code() == Some(409) => Ok(()),
            other => other.map(drop),
        }
    }

    pub(super) async fn set_mark(&self, key: &ObjectKey, policy: Option<&str>) -> Result<(), ActError> {
        let patch = json!({ "metadata": { "annotations": { BEING_REPLACED: policy } } });
        unless_gone(self.world.act.patch::<Pod>(key, &patch).await.map(drop))
    }

    /// Asks for the eviction. A budget that does not let the pod go now is asked again later.
    async fn evict(&self, key: &ObjectKey, each: &RebalanceMove) -> Result<(), ActError> {
        let api: Api<Pod> = Api::namespaced(self.world.act.client().clone(), &key.namespace);
        let how = EvictParams { delete_options: Some(only(Some(&each.uid))), post_options: post() };
        let evicted = api.evict(&key.name, &how).await.map(drop).map_err(failed::<Pod>("evict", key));
        match unless_gone(evicted) {
            Err(error) if error.code() == Some(429) => {
                let message = format!("Waits to be moved to {}: {}", each.to, error.source);
                self.recorder.note(&reference(each), Note::normal("MoveWaits", message));
                Ok(())
            }
            // Another pod has the name by now.
            Err(error) if error.code() == Some(409) => Ok(()),
            other => other,
        }
    }
}

/// The pod of a move for events, whether it is still there or not.
pub(super) fn reference(each: &RebalanceMove) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some(each.pod.clone());
    pod.metadata.namespace = Some(each.namespace.clone());
    pod.metadata.uid = Some(each.uid.clone());
    pod
}

/// What the room for the successor is called.
pub(super) fn hold_name(each: &RebalanceMove) -> String {
    format!("{HOLD_PREFIX}{}", each.uid)
}

/// Room on the node where the successor is to go, for the successor alone.
pub(super) fn reservation(
    policy: &RebalancePolicy,
    each: &RebalanceMove,
    pod: &Pod,
    hostname: String,
) -> Reservation {
    let of_one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let match_labels = match each.how {
        MoveKind::Replace => of_one(SUCCESSOR_OF, &each.uid),
        MoveKind::Return => of_one(POD_NAME, &each.pod),
        // Nobody knows what the successor will be called: its siblings may use the room as well.
        MoveKind::Evict => pod.metadata.labels.clone().unwrap_or_default(),
    };
    let requests = crate::sigma::pod(pod).requests;
    let quantity = |(name, amount): (String, u64)| {
        let text = if name == CPU { format!("{amount}m") } else { amount.to_string() };
        (name, Quantity(text))
    };
    let spec = ReservationSpec {
        resources: requests.into_iter().map(quantity).collect(),
        owners: LabelSelector { match_labels: Some(match_labels), match_expressions: None },
        ttl_seconds: Some(timeout_seconds(&policy.spec).saturating_mul(2)),
        node_selector: of_one(HOSTNAME_LABEL, &hostname),
        tolerations: pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default(),
    };
    let metadata = ObjectMeta {
        name: Some(hold_name(each)),
        namespace: Some(each.namespace.clone()),
        // When the policy goes, so does what is held for it.
        owner_references: Some(vec![owner::controller_reference(policy)]),
        ..ObjectMeta::default()
    };
    Reservation { metadata, spec, status: None }
}
