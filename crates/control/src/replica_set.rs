//! The ReplicaSet controller: as many pods of a template as asked for.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use model::rebalance_policy::SUCCESSOR_OF;
use tokio_util::sync::CancellationToken;

use crate::act::ActError;
use crate::keeper::Keeper;
use crate::key::ObjectKey;
use crate::owner;
use crate::pods;
use crate::queue::Next;
use crate::world::World;

use decide::{Plan, Step, decide};

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keeper, keys, work) = Keeper::subscribe(world, &world.replica_sets, "replicaset-controller");
    keeper.watch_orphans(&keys);
    keeper.run(work, token, reconcile)
}

async fn reconcile(
    keeper: Keeper<ReplicaSet>,
    replica_set: Arc<ReplicaSet>,
    key: ObjectKey,
) -> Result<Next, ActError> {
    let Some(spec) = &replica_set.spec else { return Ok(Next::Rest) };
    let owned = keeper.claim(&replica_set, &spec.selector, |_| true).await?;
    let Plan { step, status, check_after } = decide(&replica_set, &owned, kit::clock::wall());
    let is_settled = keeper.is_settled(&key);
    let done = match step.filter(|_| is_settled) {
        Some(Step::Create { count, in_place_of }) => {
            let others = in_place_of.into_iter().map(Some).chain(std::iter::repeat(None));
            let pods: Vec<Pod> = others.take(count).map(|other| pod(&replica_set, other)).collect();
            keeper.create(&replica_set, &pods).await
        }
        Some(Step::Delete { pods }) => keeper.delete(&replica_set, &pods).await,
        None => Ok(()),
    };
    update_status(&keeper, &replica_set, status, done.as_ref().err()).await?;
    done?;
    Ok(check_after.map_or(Next::Rest, Next::Again))
}

/// A pod of the set, in the place of the one with this uid.
fn pod(replica_set: &ReplicaSet, in_place_of: Option<String>) -> Pod {
    let template = replica_set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let (namespace, name) = (replica_set.namespace().unwrap_or_default(), replica_set.name_any());
    let mut pod = pods::from_template(&template, &namespace, &name, owner::controller_reference(replica_set));
    if let Some(uid) = in_place_of {
        pod.metadata.labels.get_or_insert_default().insert(SUCCESSOR_OF.to_owned(), uid);
    }
    pod
}

async fn update_status(
    keeper: &Keeper<ReplicaSet>,
    replica_set: &ReplicaSet,
    mut status: ReplicaSetStatus,
    failure: Option<&ActError>,
) -> Result<(), ActError> {
    let conditions = status.conditions.take().unwrap_or_default();
    status.conditions = with_failure(conditions, failure);
    if replica_set.status.as_ref() == Some(&status) {
        return Ok(());
    }
    keeper.world.act.update_status(&ReplicaSet { status: Some(status), ..replica_set.clone() }).await
}

/// The conditions with `ReplicaFailure` exactly while pods cannot be created or deleted.
fn with_failure(
    mut conditions: Vec<ReplicaSetCondition>,
    failure: Option<&ActError>,
) -> Option<Vec<ReplicaSetCondition>> {
    let is_failure = |condition: &ReplicaSetCondition| condition.type_ == "ReplicaFailure";
    match failure {
        None => conditions.retain(|condition| !is_failure(condition)),
        Some(_) if conditions.iter().any(is_failure) => {}
        Some(error) => conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(if error.verb == "delete" { "FailedDelete" } else { "FailedCreate" }.to_owned()),
            message: Some(error.source.to_string()),
            last_transition_time: Some(Time(kit::clock::wall())),
        }),
    }
    (!conditions.is_empty()).then_some(conditions)
}
