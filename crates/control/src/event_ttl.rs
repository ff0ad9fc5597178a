//! Events are deleted an hour after they were last written.

mod decide;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Resource};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, only};
use crate::informer::Informer;
use crate::key::ObjectKey;
use crate::queue::{Next, queue};
use crate::world::World;

use decide::time_left;

const N_WORKERS: usize = 2;

/// The metadata of events: all that this controller keeps.
pub type EventMeta = PartialObjectMeta<Event>;

#[derive(Clone, Debug)]
struct EventTtl {
    world: World,
    events: Arc<Informer<EventMeta>>,
    /// When an event was seen to change: it carries no such time itself.
    written: Arc<Mutex<HashMap<ObjectKey, Timestamp>>>,
}

/// Starts a watch on events and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let events: Arc<Informer<EventMeta>> = Arc::default();
    let written: Arc<Mutex<HashMap<ObjectKey, Timestamp>>> = Arc::default();
    let times = Arc::clone(&written);
    events.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        match (change.before, change.after) {
            (_, None) => drop(times.lock().remove(&key)),
            (Some(_), Some(_)) => drop(times.lock().insert(key, kit::clock::wall())),
            (None, Some(_)) => keys.add(key),
        }
    });
    let controller = EventTtl { world: world.clone(), events, written };
    async move {
        let api = Api::all(controller.world.act.client().clone());
        let events = Arc::clone(&controller.events);
        let watch = events.run(api, watcher::Config::default(), token.clone());
        let work = work.run("event-ttl", N_WORKERS, token, move |key| controller.clone().reconcile(key));
        tokio::join!(watch, work);
    }
}

impl EventTtl {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(event) = self.events.get(&key) else { return Ok(Next::Rest) };
        let written = self.written.lock().get(&key).copied();
        if let Some(left) = time_left(event.meta(), written, kit::clock::wall()) {
            return Ok(Next::Again(left));
        }
        self.world.act.delete::<Event>(&key, &only(event.meta().uid.as_deref())).await?;
        Ok(Next::Rest)
    }
}
