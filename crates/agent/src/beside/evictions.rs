//! Sends Pods away that have to go, through the API: budgets are asked, and whoever owns the Pod makes it anew elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams, Preconditions};
use kube::core::Status;
use kube::{Api, Client};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::colocation::EVICTED;
use crate::events::Recorder;
use crate::pods::{Registry, has_ended};

use super::pods::is_mirror;

/// How often it is looked at who has to go.
const PERIOD: Duration = Duration::from_millis(500);
/// After so long it is asked again, where nobody answered.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Evictions {
    client: Client,
    registry: Registry,
    recorder: Recorder,
    /// When it was asked last for a Pod, by uid.
    asked: HashMap<String, Instant>,
}

impl Evictions {
    pub(super) fn new(client: Client, registry: Registry, recorder: Recorder) -> Self {
        Self { client, registry, recorder, asked: HashMap::new() }
    }

    pub(super) async fn run(mut self, token: CancellationToken) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while token.run_until_cancelled(ticks.tick()).await.is_some() {
            let condemned = self.condemned();
            self.asked.retain(|uid, _| self.registry.get(uid).is_some());
            for (uid, pod, message) in condemned {
                if self.asked.get(&uid).is_some_and(|asked| asked.elapsed() < PAUSE) {
                    continue;
                }
                if token.run_until_cancelled(self.evict(&uid, &pod, message)).await.is_none() {
                    return;
                }
                self.asked.insert(uid, kit::clock::monotonic());
            }
        }
    }

    /// Those that have to go, and are not on their way already; and why.
    fn condemned(&self) -> Vec<(String, Arc<Pod>, String)> {
        let entries = self.registry.entries();
        let condemned = entries.iter().filter_map(|entry| {
            let order = entry.orders.borrow();
            let is_leaving = order.pod.metadata.deletion_timestamp.is_some() || has_ended(&order.pod);
            // The image of a Pod from a file may go, and the Pod stays.
            let verdict = order.verdict.as_ref().filter(|_| !is_leaving && !is_mirror(&order.pod))?;
            Some((order.pod.metadata.uid.clone()?, order.pod.clone(), verdict.message.clone()))
        });
        condemned.collect()
    }

    async fn evict(&self, uid: &str, pod: &Pod, message: String) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        // Another may have its name by now.
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let delete_options = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let params = EvictParams { delete_options: Some(delete_options), ..EvictParams::default() };
        let answer = tokio::time::timeout(PAUSE, pods.evict(&name, &params)).await;
        match answer {
            Ok(Ok(_)) => {
                tracing::info!(namespace, pod = name, "Evicted");
                self.recorder.warning(pod, None, EVICTED, message);
            }
            Ok(Err(kube::Error::Api(refusal))) if refusal.code == 404 => {}
            // It stays, then, unless it is found to have to go once more.
            Ok(Err(kube::Error::Api(refusal))) if is_of_budget(&refusal) => {
                tracing::warn!(
                    namespace,
                    pod = name,
                    why = refusal.message,
                    "A disruption budget keeps a batch Pod"
                );
                if let Some(entry) = self.registry.get(uid) {
                    entry.orders.send_modify(|order| order.verdict = None);
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(namespace, pod = name, error = %kit::Chain(&error), "Not evicted; asking again");
            }
            Err(_elapsed) => tracing::warn!(namespace, pod = name, "Not evicted: no answer; asking again"),
        }
    }
}

/// Whether a budget keeps the Pod: a server that has too much to do refuses by the same code.
fn is_of_budget(refusal: &Status) -> bool {
    let causes = refusal.details.iter().flat_map(|details| &details.causes);
    refusal.code == 429 && causes.into_iter().any(|cause| cause.reason == "DisruptionBudget")
}
