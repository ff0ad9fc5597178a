//! Reservations at the API: followed, put into the engine's words, and told how they stand.

use std::time::Duration;

use k8s_openapi::api::core::v1 as k8s;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use model::rebalance_policy::{RebalancePolicy, SUCCESSOR_OF};
use model::reservation::{Reservation, ReservationPhase, ReservationStatus};
use sigma::PodId;
use sigma::pod::PodTerm;
use tokio::sync::mpsc;

use super::News;
use crate::act::{ActError, failed, unless_gone};
use crate::key::ObjectKey;
use crate::record::{Note, Recorder};
use crate::world::World;

/// Has `news` tell of every change.
pub(super) fn follow(world: &World, news: &mpsc::UnboundedSender<News>) {
    let news = news.clone();
    world.reservations.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        let left = change.after.and_then(|reservation| time_left(reservation, kit::clock::wall()));
        // Nobody listens any more: the process is going down.
        let _stopped = news.send(News::Reservation(key, change.after.cloned(), left));
    });
}

/// How long it is to be held from `now` on; `None` where there is no end.
pub(super) fn time_left(reservation: &Reservation, now: jiff::Timestamp) -> Option<Duration> {
    let ttl = i64::from(reservation.spec.ttl_seconds?);
    let made = reservation.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let left = made.as_second().saturating_add(ttl).saturating_sub(now.as_second());
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

/// What stands for it in the engine.
pub(crate) fn id(reservation: &Reservation) -> Option<PodId> {
    reservation.metadata.uid.as_deref().map(PodId::new)
}

/// Whose it is.
pub(crate) fn owners(reservation: &Reservation) -> PodTerm {
    PodTerm {
        selector: Some(crate::owner::selector(&reservation.spec.owners)),
        namespaces: reservation.metadata.namespace.iter().cloned().collect(),
        namespace_selector: None,
        topology_key: String::new(),
    }
}

/// The pod in whose place its owners come, where the room is held for a move.
pub(crate) fn replaced(reservation: &Reservation) -> Option<PodId> {
    crate::owner::controller(&reservation.metadata)
        .filter(|owner| owner.kind == RebalancePolicy::kind(&()))?;
    let uid = reservation.spec.owners.match_labels.as_ref()?.get(SUCCESSOR_OF)?;
    Some(PodId::new(uid))
}

/// A pod that asks for what is to be held. It is of no namespace, so that no rule about pods names it, and nobody is more
/// important.
pub(crate) fn stand_in(reservation: &Reservation, scheduler_name: &str) -> k8s::Pod {
    let spec = &reservation.spec;
    let requests = Some(spec.resources.clone());
    let container = k8s::Container {
        resources: Some(k8s::ResourceRequirements { requests, ..Default::default() }),
        ..k8s::Container::default()
    };
    let mut pod = k8s::Pod::default();
    pod.metadata.name.clone_from(&reservation.metadata.name);
    pod.metadata.uid.clone_from(&reservation.metadata.uid);
    pod.spec = Some(k8s::PodSpec {
        containers: vec![container],
        node_selector: Some(spec.node_selector.clone()),
        tolerations: Some(spec.tolerations.clone()),
        priority: Some(i32::MAX),
        preemption_policy: Some("Never".to_owned()),
        scheduler_name: Some(scheduler_name.to_owned()),
        ..k8s::PodSpec::default()
    });
    pod
}

/// Writes how it stands.
pub(super) async fn tell(
    client: &kube::Client,
    recorder: &Recorder,
    key: &ObjectKey,
    status: &ReservationStatus,
) -> Result<(), ActError> {
    let api: Api<Reservation> = Api::namespaced(client.clone(), &key.namespace);
    let how = PatchParams { field_manager: super::manager(), ..PatchParams::default() };
    // What is not said any more goes.
    let patch = serde_json::json!({ "status": {
        "phase": status.phase, "nodeName": status.node_name, "message": status.message } });
    let patched = api.patch_status(&key.name, &how, &Patch::Merge(patch)).await;
    if let Ok(reservation) = &patched {
        let node = status.node_name.as_deref().unwrap_or_default();
        recorder.note(
            reservation,
            match status.phase {
                ReservationPhase::Pending => {
                    Note::warning("Unschedulable", status.message.clone().unwrap_or_default())
                }
                ReservationPhase::Held => Note::normal("Held", format!("Room is held on {node}")),
                ReservationPhase::Expired => Note::normal("Expired", "The room is given back"),
            },
        );
    }
    unless_gone(patched.map(drop).map_err(failed::<Reservation>("report on", key)))
}
