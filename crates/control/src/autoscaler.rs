//! The autoscaler: sizes workloads by what their pods use.

mod decide;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, Patch};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::act::{self, ActError, failed};
use crate::catalog;
use crate::key::ObjectKey;
use crate::metrics::{self, Amounts, ContainerMetrics, PodMetrics};
use crate::pods;
use crate::queue::{Next, queue};
use crate::record::{Note, Recorder};
use crate::world::World;

use decide::{Memory, Plan, PodUse, Usage, View, decide, milli};

const N_WORKERS: usize = 5;
/// How often a workload is looked at.
const PERIOD: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
struct Autoscalers {
    world: World,
    recorder: Recorder,
    memories: Arc<Mutex<HashMap<ObjectKey, Memory>>>,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let memories: Arc<Mutex<HashMap<ObjectKey, Memory>>> = Arc::default();
    let forgotten = Arc::clone(&memories);
    world.autoscalers.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        if change.after.is_none() {
            forgotten.lock().remove(&key);
        }
        let spec = |each: &Arc<HorizontalPodAutoscaler>| each.metadata.generation;
        // Its own status is no news.
        if change.before.map(spec) != change.after.map(spec) {
            keys.add(key);
        }
    });
    let recorder = world.recorder.named("horizontal-pod-autoscaler");
    let controller = Autoscalers { world: world.clone(), recorder, memories };
    async move {
        let autoscalers = Arc::clone(&controller.world.autoscalers);
        if token.run_until_cancelled(autoscalers.synced()).await.is_some() {
            work.run("autoscaler", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl Autoscalers {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(autoscaler) = self.world.autoscalers.get(&key) else { return Ok(Next::Rest) };
        if autoscaler.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Rest);
        }
        let (api, name) = self.target(&autoscaler).await;
        let scale = match api.get_scale(&name).await {
            Ok(scale) => scale,
            Err(error) => {
                self.tell_no_scale(&autoscaler, &error).await?;
                return Ok(Next::Again(PERIOD));
            }
        };
        let (usage, selector) = (self.usage(&key.namespace, &scale).await, scale.status.as_ref());
        let view = View {
            autoscaler: &autoscaler,
            wanted: scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0),
            actual: selector.map_or(0, |status| status.replicas),
            usage: usage.as_ref().map_err(ToString::to_string),
            now: kit::clock::wall(),
        };
        let Plan { resize, status } = {
            let mut memories = self.memories.lock();
            decide(&view, memories.entry(key.clone()).or_default())
        };
        if let Some((replicas, reason)) = resize {
            let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
            let resized = api.patch_scale(&name, &act::patch(), &patch).await;
            resized.map_err(failed::<HorizontalPodAutoscaler>("scale the target of", &key))?;
            let message = format!("New size: {replicas}; reason: {reason}");
            self.recorder.note(&*autoscaler, Note::normal("SuccessfulRescale", message));
        }
        if autoscaler.status.as_ref() != Some(&status) {
            let updated = HorizontalPodAutoscaler { status: Some(status), ..(*autoscaler).clone() };
            self.world.act.update_status(&updated).await?;
        }
        Ok(Next::Again(PERIOD))
    }

    /// The objects among which the workload is, and its name.
    async fn target(&self, autoscaler: &HorizontalPodAutoscaler) -> (Api<DynamicObject>, String) {
        let target = &autoscaler.spec.scale_target_ref;
        let api_version = target.api_version.as_deref().unwrap_or("v1");
        let resource = catalog::named(self.world.act.client(), api_version, &target.kind).await;
        let namespace = autoscaler.namespace().unwrap_or_default();
        (Api::namespaced_with(self.world.act.client().clone(), &namespace, &resource), target.name.clone())
    }

    async fn tell_no_scale(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        error: &kube::Error,
    ) -> Result<(), ActError> {
        let message = format!("the HPA controller was unable to get the target's current scale: {error}");
        self.recorder.note(autoscaler, Note::warning("FailedGetScale", message.clone()));
        let mut status = autoscaler.status.clone().unwrap_or_default();
        let conditions = status.conditions.get_or_insert_default();
        let known = conditions.iter_mut().find(|condition| condition.type_ == "AbleToScale");
        if known.as_ref().is_some_and(|known| known.status == "False") {
            return Ok(());
        }
        let told = HorizontalPodAutoscalerCondition {
            type_: "AbleToScale".to_owned(),
            status: "False".to_owned(),
            reason: Some("FailedGetScale".to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(kit::clock::wall())),
        };
        match known {
            Some(known) => *known = told,
            None => conditions.push(told),
        }
        let updated = HorizontalPodAutoscaler { status: Some(status), ..autoscaler.clone() };
        self.world.act.update_status(&updated).await
    }

    /// What the pods of the workload use, as the metrics API tells it.
    async fn usage(&self, namespace: &str, scale: &Scale) -> Result<Usage, kube::Error> {
        let selector = scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default();
        let which = ListParams::default().labels(&selector);
        let client = self.world.act.client();
        let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&which).await?;
        let path = format!("namespaces/{namespace}/pods");
        let measured: Vec<PodMetrics> = metrics::list(client, &path, &which).await?;
        let named = measured.into_iter().map(|pod| (pod.metadata.name.unwrap_or_default(), pod.containers));
        let mut used: HashMap<String, Vec<ContainerMetrics>> = named.collect();
        let counted = pods.items.iter().filter(|pod| pods::is_active(pod));
        let uses = counted.map(|pod| pod_use(pod, used.remove(&pod.name_any()).unwrap_or_default()));
        Ok(Usage { pods: uses.collect() })
    }
}

fn pod_use(pod: &Pod, measured: Vec<ContainerMetrics>) -> PodUse {
    let amounts = |quantities: Amounts| {
        quantities.into_iter().filter_map(|(name, quantity)| Some((name, milli(&quantity)?))).collect()
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let requested = containers.map(|container| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.clone());
        (container.name.clone(), amounts(requests.unwrap_or_default()))
    });
    PodUse {
        is_ready: pods::ready_since(pod).is_some(),
        requested: requested.collect(),
        used: measured.into_iter().map(|container| (container.name, amounts(container.usage))).collect(),
    }
}
