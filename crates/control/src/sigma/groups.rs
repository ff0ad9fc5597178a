//! The objects of gangs at the API: followed, and told how their gangs stand.
//!
//! One task writes, one object after another, the newest standing of each: a gang whose pods come one by one is not
//! told a thousand times, and never of an older state last.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::scheduling::v1alpha2 as workload;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use model::pod_group::{PodGroup, PodGroupPhase};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::News;
use super::group::{self, Group, Origin, Standing};
use crate::act::{ActError, failed};
use crate::informer::Informer;
use crate::key::ObjectKey;
use crate::record::{Note, Recorder};
use crate::world::World;

/// Between attempts to write what could not be written.
const PAUSE: Duration = Duration::from_secs(1);

/// A standing that an object is to tell.
pub(super) type Told = ((ObjectKey, Origin), Standing);

/// Has `news` tell of every change of these objects.
pub(super) fn follow(world: &World, news: &mpsc::UnboundedSender<News>) {
    follow_kind(&world.pod_groups, news, Origin::Ours, group::ours);
    follow_kind(&world.workload_groups, news, Origin::Kubernetes, group::kubernetes);
}

fn follow_kind<K>(
    informer: &Informer<K>,
    news: &mpsc::UnboundedSender<News>,
    origin: Origin,
    convert: fn(&K) -> Group,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let news = news.clone();
    informer.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        // Nobody listens any more: the process is going down.
        let _stopped = news.send(News::Group(key, origin, change.after.map(|group| convert(group))));
    });
}

/// Writes standings until nobody sends any.
pub(super) async fn tell(world: World, recorder: Recorder, mut told: mpsc::UnboundedReceiver<Told>) {
    let mut owed = BTreeMap::new();
    loop {
        let next = if owed.is_empty() {
            told.recv().await
        } else {
            // Something could not be written: it is tried again, with what has come meanwhile.
            tokio::select! {
                next = told.recv() => next,
                () = tokio::time::sleep(PAUSE) => owed.pop_first(),
            }
        };
        let Some((object, standing)) = next else { return };
        owed.insert(object, standing);
        while let Ok((object, standing)) = told.try_recv() {
            owed.insert(object, standing);
        }
        for (object, standing) in std::mem::take(&mut owed) {
            if let Err(error) = write(&world, &recorder, &object, &standing).await {
                tracing::warn!(error = %kit::Chain(&error), "The status of a PodGroup was not written");
                owed.insert(object, standing);
            }
        }
    }
}

async fn write(
    world: &World,
    recorder: &Recorder,
    (key, origin): &(ObjectKey, Origin),
    standing: &Standing,
) -> Result<(), ActError> {
    match origin {
        Origin::Ours => {
            let Some(group) = world.pod_groups.get(key) else { return Ok(()) };
            let known = group.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
            note(recorder, &*group, &known, "Scheduled", standing);
            let status = json!({ "status": {
                "phase": standing.phase,
                "members": standing.members,
                "scheduled": standing.scheduled,
                "conditions": conditions(known, "Scheduled", standing),
            }});
            patch::<PodGroup>(world, key, status).await
        }
        Origin::Kubernetes => {
            let Some(group) = world.workload_groups.get(key) else { return Ok(()) };
            let known =
                group.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
            note(recorder, &*group, &known, "PodGroupScheduled", standing);
            let status =
                json!({ "status": { "conditions": conditions(known, "PodGroupScheduled", standing) } });
            patch::<workload::PodGroup>(world, key, status).await
        }
    }
}

/// An event where the condition changes.
fn note<K: Resource<DynamicType = ()>>(
    recorder: &Recorder,
    group: &K,
    known: &[Condition],
    condition: &str,
    standing: &Standing,
) {
    let before = known.iter().find(|each| each.type_ == condition).map(|each| each.reason.as_str());
    if before == Some(standing.reason) {
        return;
    }
    let message = standing.message.clone();
    recorder.note(
        group,
        match standing.phase {
            PodGroupPhase::Scheduled => Note::normal("Scheduled", message),
            PodGroupPhase::Pending | PodGroupPhase::Waiting => Note::warning(standing.reason, message),
        },
    );
}

/// `known` with the one condition as it is now.
fn conditions(mut known: Vec<Condition>, condition: &str, standing: &Standing) -> Vec<Condition> {
    let status = if standing.phase == PodGroupPhase::Scheduled { "True" } else { "False" };
    let since = crate::condition::since(&known, (condition, status), Time(kit::clock::wall()));
    known.retain(|each| each.type_ != condition);
    known.push(Condition {
        type_: condition.to_owned(),
        status: status.to_owned(),
        reason: standing.reason.to_owned(),
        message: standing.message.clone(),
        last_transition_time: since,
        observed_generation: None,
    });
    known
}

async fn patch<K>(world: &World, key: &ObjectKey, status: Value) -> Result<(), ActError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(world.act.client().clone(), &key.namespace);
    let how = PatchParams { field_manager: super::manager(), ..PatchParams::default() };
    let patched = api.patch_status(&key.name, &how, &Patch::Merge(status)).await;
    crate::act::unless_gone(patched.map(drop).map_err(failed::<K>("report on", key)))
}

/// How the scheduler's task hands standings over.
#[derive(Clone, Debug)]
pub(super) struct Teller(pub(super) mpsc::UnboundedSender<Told>);

impl Teller {
    pub(super) fn tell(&self, object: (ObjectKey, Origin), standing: Standing) {
        // Nobody listens any more: the process is going down.
        let _stopped = self.0.send((object, standing));
    }
}
