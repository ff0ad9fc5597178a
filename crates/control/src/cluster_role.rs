//! The aggregation controller: a ClusterRole with an aggregation rule has the rules of all roles that it selects.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, failed, unless_gone};
use crate::key::ObjectKey;
use crate::queue::{Next, queue};
use crate::world::World;

use decide::rules;

const MANAGER: &str = "clusterrole-aggregation-controller";

#[derive(Clone, Debug)]
struct ClusterRoles {
    world: World,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let roles = Arc::clone(&world.cluster_roles);
    world.cluster_roles.on_change(move |_| {
        // Any role may be part of any aggregate, and there are few.
        let aggregates = roles.all().into_iter().filter(|role| role.aggregation_rule.is_some());
        aggregates.for_each(|role| keys.add(ObjectKey::of(&*role)));
    });
    let controller = ClusterRoles { world: world.clone() };
    async move {
        let roles = Arc::clone(&controller.world.cluster_roles);
        if token.run_until_cancelled(roles.synced()).await.is_some() {
            work.run("clusterrole-aggregation", 1, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl ClusterRoles {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(role) = self.world.cluster_roles.get(&key) else { return Ok(Next::Rest) };
        let Some(rules) = rules(&role, &self.world.cluster_roles.all()) else { return Ok(Next::Rest) };
        let api: Api<ClusterRole> = Api::all(self.world.act.client().clone());
        let applied = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": key.name },
            "rules": rules,
        });
        let how = PatchParams::apply(MANAGER).force();
        let patched = api.patch(&key.name, &how, &Patch::Apply(applied)).await.map(drop);
        unless_gone(patched.map_err(failed::<ClusterRole>("aggregate", &key)))?;
        Ok(Next::Rest)
    }
}
