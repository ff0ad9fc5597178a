//! The disruption controller: how many pods of each PodDisruptionBudget may be evicted now. The API server spends what
//! stands here.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use crate::act::ActError;
use crate::informer::Change;
use crate::key::ObjectKey;
use crate::owner;
use crate::queue::{Next, Queue, queue};
use crate::world::World;

pub(crate) use decide::selects;
use decide::{Plan, View, decide};

const N_WORKERS: usize = 2;

#[derive(Clone, Debug)]
struct Budgets {
    world: World,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let own = keys.clone();
    world.budgets.on_change(move |change| own.add(ObjectKey::of(&**change.object())));
    let (budgets, by_pod) = (Arc::clone(&world.budgets), keys.clone());
    world.pods.on_change(move |change| note_pod(change, &budgets.in_namespace(&namespace(change)), &by_pod));
    note_sizes(world, &keys);
    let controller = Budgets { world: world.clone() };
    async move {
        let world = controller.world.clone();
        let ready = async {
            tokio::join!(
                world.budgets.synced(),
                world.pods.synced(),
                world.deployments.synced(),
                world.replica_sets.synced(),
                world.stateful_sets.synced()
            )
        };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("disruption", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

fn namespace(change: &Change<'_, Pod>) -> String {
    change.object().namespace().unwrap_or_default()
}

fn note_pod(change: &Change<'_, Pod>, budgets: &[Arc<PodDisruptionBudget>], keys: &Queue<ObjectKey>) {
    let pods = || [change.before, change.after].into_iter().flatten();
    for budget in budgets.iter().filter(|budget| pods().any(|pod| selects(budget, pod))) {
        keys.add(ObjectKey::of(&**budget));
    }
}

/// A workload of another size has another share of pods that may be missing.
fn note_sizes(world: &World, keys: &Queue<ObjectKey>) {
    let (budgets, by_deployment) = (Arc::clone(&world.budgets), keys.clone());
    world.deployments.on_change(move |change| {
        let size = |each: &Arc<Deployment>| each.spec.as_ref()?.replicas;
        if change.before.and_then(size) != change.after.and_then(size) {
            add_all(&budgets.in_namespace(&change.object().namespace().unwrap_or_default()), &by_deployment);
        }
    });
    let (budgets, by_set) = (Arc::clone(&world.budgets), keys.clone());
    world.stateful_sets.on_change(move |change| {
        let size = |each: &Arc<StatefulSet>| each.spec.as_ref()?.replicas;
        if change.before.and_then(size) != change.after.and_then(size) {
            add_all(&budgets.in_namespace(&change.object().namespace().unwrap_or_default()), &by_set);
        }
    });
}

fn add_all(budgets: &[Arc<PodDisruptionBudget>], keys: &Queue<ObjectKey>) {
    budgets.iter().for_each(|budget| keys.add(ObjectKey::of(&**budget)));
}

impl Budgets {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(budget) = self.world.budgets.get(&key) else { return Ok(Next::Rest) };
        let mut pods = self.world.pods.in_namespace(&key.namespace);
        pods.retain(|pod| selects(&budget, pod));
        let size_of = |pod: &Pod| self.size_of(pod);
        let view = View { budget: &budget, pods: &pods, size_of: &size_of, now: kit::clock::wall() };
        let Plan { status, check_after } = decide(&view);
        if budget.status.as_ref() != Some(&status) {
            let updated = PodDisruptionBudget { status: Some(status), ..(*budget).clone() };
            self.world.act.update_status(&updated).await?;
        }
        Ok(check_after.map_or(Next::Rest, Next::Again))
    }

    /// The uid and wanted size of the workload that the pod is of, where it has one that can be scaled.
    fn size_of(&self, pod: &Pod) -> Option<(String, i32)> {
        let namespace = pod.namespace().unwrap_or_default();
        let reference = owner::controller(&pod.metadata)?;
        let key = ObjectKey::new(&namespace, &reference.name);
        match reference.kind.as_str() {
            "StatefulSet" => {
                let set = self.world.stateful_sets.get(&key)?;
                Some((set.uid()?, set.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            "ReplicaSet" => {
                let set = self.world.replica_sets.get(&key)?;
                let above = owner::controller(&set.metadata).filter(|owner| owner.kind == "Deployment");
                let deployment = above
                    .and_then(|owner| self.world.deployments.get(&ObjectKey::new(&namespace, &owner.name)));
                match deployment {
                    Some(deployment) => {
                        Some((deployment.uid()?, deployment.spec.as_ref()?.replicas.unwrap_or(1)))
                    }
                    None => Some((set.uid()?, set.spec.as_ref()?.replicas.unwrap_or(1))),
                }
            }
            _ => None,
        }
    }
}
