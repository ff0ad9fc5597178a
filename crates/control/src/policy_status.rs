//! Tells the authors of validating admission policies what their expressions cannot mean: once for each generation.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, failed, unless_gone};
use crate::key::ObjectKey;
use crate::queue::{Next, queue};
use crate::world::World;

use decide::status;

const MANAGER: &str = "validatingadmissionpolicy-status";

#[derive(Clone, Debug)]
struct Policies {
    world: World,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    world.policies.on_change(move |change| {
        if let Some(policy) = change.after {
            keys.add(ObjectKey::of(&**policy));
        }
    });
    let controller = Policies { world: world.clone() };
    async move {
        let policies = Arc::clone(&controller.world.policies);
        if token.run_until_cancelled(policies.synced()).await.is_some() {
            work.run("policy-status", 1, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl Policies {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(policy) = self.world.policies.get(&key) else { return Ok(Next::Rest) };
        let Some(status) = status(&policy) else { return Ok(Next::Rest) };
        let api: Api<ValidatingAdmissionPolicy> = Api::all(self.world.act.client().clone());
        let applied = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": key.name },
            "status": status,
        });
        let how = PatchParams::apply(MANAGER).force();
        let patched = api.patch_status(&key.name, &how, &Patch::Apply(applied)).await.map(drop);
        unless_gone(patched.map_err(failed::<ValidatingAdmissionPolicy>("tell the types of", &key)))?;
        Ok(Next::Rest)
    }
}
