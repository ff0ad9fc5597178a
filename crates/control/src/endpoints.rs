//! The endpoints controller: where the pods of a Service listen, as EndpointSlices and, for older clients, Endpoints.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, only};
use crate::expectations::Expectations;
use crate::informer::Change;
use crate::key::ObjectKey;
use crate::queue::{Next, Queue, queue};
use crate::world::World;

use decide::{Plan, View, decide, selects};

const N_WORKERS: usize = 5;
/// The label of a slice with the name of its Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// The label of a slice with who keeps it.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

#[derive(Clone, Debug)]
struct Controller {
    world: World,
    /// Slices that were made and not yet seen: another round would make them twice.
    expectations: Arc<Expectations>,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let expectations: Arc<Expectations> = Arc::default();
    let (by_service, forgotten) = (keys.clone(), Arc::clone(&expectations));
    world.services.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        if change.after.is_none() {
            forgotten.forget(&key);
        }
        by_service.add(key);
    });
    let (services, by_pod) = (Arc::clone(&world.services), keys.clone());
    world.pods.on_change(move |change| note_pod(change, &services.in_namespace(&namespace(change)), &by_pod));
    let (seen, by_slice) = (Arc::clone(&expectations), keys.clone());
    world.endpoint_slices.on_change(move |change| {
        let slice = change.object();
        if let Some(service) = slice.labels().get(SERVICE) {
            let key = ObjectKey::new(&slice.namespace().unwrap_or_default(), service);
            if change.before.is_none() {
                seen.created(&key);
            }
            by_slice.add(key);
        }
    });
    world.endpoints.on_change(move |change| keys.add(ObjectKey::of(&**change.object())));
    let controller = Controller { world: world.clone(), expectations };
    async move {
        let world = controller.world.clone();
        let ready = async {
            tokio::join!(
                world.services.synced(),
                world.pods.synced(),
                world.endpoint_slices.synced(),
                world.endpoints.synced()
            )
        };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("endpoints", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

fn namespace(change: &Change<'_, Pod>) -> String {
    change.object().namespace().unwrap_or_default()
}

/// A pod concerns the Services that select it, or did, when something changed that they tell.
fn note_pod(change: &Change<'_, Pod>, services: &[Arc<Service>], keys: &Queue<ObjectKey>) {
    if change.before.map(|pod| decide::facts(pod)) == change.after.map(|pod| decide::facts(pod)) {
        return;
    }
    let pods = || [change.before, change.after].into_iter().flatten();
    for service in services.iter().filter(|service| pods().any(|pod| selects(service, pod))) {
        keys.add(ObjectKey::of(&**service));
    }
}

impl Controller {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let known = self.world.endpoints.get(&key);
        let Some(service) = self.world.services.get(&key) else {
            // Slices have the Service as their owner, Endpoints do not.
            let orphan = known.filter(|known| decide::is_ours(known));
            if let Some(orphan) = orphan {
                self.world.act.delete::<Endpoints>(&key, &only(orphan.metadata.uid.as_deref())).await?;
            }
            return Ok(Next::Rest);
        };
        if !self.expectations.are_met(&key, kit::clock::monotonic()) {
            // The slice that is awaited adds the key again.
            return Ok(Next::Rest);
        }
        let slices = self.slices(&service);
        let pods = self.world.pods.in_namespace(&key.namespace);
        let zone = |node: &str| {
            let node = self.world.nodes.get(&ObjectKey::cluster(node))?;
            node.labels().get("topology.kubernetes.io/zone").cloned()
        };
        let view = View {
            service: &service,
            pods: &pods,
            slices: &slices,
            endpoints: known.as_deref(),
            zone: &zone,
        };
        self.carry_out(&key, decide(&view)).await.map(|()| Next::Rest)
    }

    fn slices(&self, service: &Service) -> Vec<Arc<EndpointSlice>> {
        let owned = self.world.endpoint_slices.controlled_by(&service.uid().unwrap_or_default());
        let is_ours = |slice: &Arc<EndpointSlice>| {
            let labels = slice.labels();
            labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
                && labels.get(SERVICE) == service.metadata.name.as_ref()
        };
        owned.into_iter().filter(is_ours).collect()
    }

    async fn carry_out(&self, key: &ObjectKey, plan: Plan) -> Result<(), ActError> {
        let act = &self.world.act;
        for slice in &plan.update {
            act.replace(slice).await?;
        }
        for slice in &plan.create {
            self.expectations.will_create(key, 1, kit::clock::monotonic());
            if let Err(error) = act.create(slice).await {
                self.expectations.created(key);
                return Err(error);
            }
        }
        for slice in &plan.delete {
            act.delete::<EndpointSlice>(&ObjectKey::of(&**slice), &only(slice.metadata.uid.as_deref()))
                .await?;
        }
        match &plan.endpoints {
            Some(endpoints) if endpoints.metadata.resource_version.is_some() => {
                act.replace(endpoints).await.map(drop)
            }
            Some(endpoints) => act.create(endpoints).await.map(drop),
            None => Ok(()),
        }
    }
}
