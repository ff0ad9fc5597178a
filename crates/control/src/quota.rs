//! The quota controller: counts again what every ResourceQuota limits, so that what is gone is given back.
//!
//! ```text
//!   quota is new or changed ───┐
//!   pod ended, object deleted ─┴──► queue ──► all objects of the namespace ──► decide ──► status
//! ```
//! Admission charges before it stores; this alone gives back, because it sees what is really there.

mod decide;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::ApiResource;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use kinds::Kind;

use crate::act::{ActError, failed};
use crate::catalog::{self, Meta};
use crate::informer::{Change, Informer};
use crate::key::ObjectKey;
use crate::pods;
use crate::queue::{Next, Queue, queue};
use crate::world::World;

use decide::{counted, counted_elsewhere, decide};

const N_WORKERS: usize = 3;
/// Deletions come in crowds: one count is enough for all of a moment.
const PAUSE: Duration = Duration::from_millis(50);
/// Counted again even when nothing was heard: what was charged for an object that was then not stored is given back.
const RESYNC: Duration = Duration::from_secs(300);
/// After use has shrunk: an object that was charged but not seen yet was left out, and is seen by then.
const SECOND_LOOK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct Quotas {
    world: World,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let own = keys.clone();
    world.quotas.on_change(move |change| {
        // A charge of admission is no news: it counted what it charged.
        if change.before.map(|quota| &quota.spec) != change.after.map(|quota| &quota.spec) {
            own.add(ObjectKey::of(&**change.object()));
        }
    });
    let quotas = Quotas { world: world.clone() };
    let (of_pods, by_pod) = (quotas.clone(), keys.clone());
    world.pods.on_change(move |change| {
        if is_release(change) {
            of_pods.wake(&by_pod, change.object().metadata.namespace.as_deref());
        }
    });
    let (of_others, by_other) = (quotas.clone(), keys);
    world.departures.on(move |namespace| of_others.wake(&by_other, namespace));
    async move {
        let world = quotas.world.clone();
        let ready = async {
            tokio::join!(
                world.quotas.synced(),
                world.pods.synced(),
                world.services.synced(),
                world.claims.synced()
            )
        };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("quota", N_WORKERS, token, move |key| quotas.clone().reconcile(key)).await;
        }
    }
}

/// Whether a pod uses less than before: it ended, or its containers were given less.
fn is_release(change: &Change<'_, k8s_openapi::api::core::v1::Pod>) -> bool {
    let (Some(before), Some(after)) = (change.before, change.after) else { return change.after.is_none() };
    pods::is_active(before) != pods::is_active(after)
        || before.metadata.deletion_timestamp != after.metadata.deletion_timestamp
        || before.spec.as_ref().map(|spec| &spec.containers)
            != after.spec.as_ref().map(|spec| &spec.containers)
}

impl Quotas {
    fn wake(&self, keys: &Queue<ObjectKey>, namespace: Option<&str>) {
        let quotas = self.world.quotas.in_namespace(namespace.unwrap_or_default());
        quotas.iter().for_each(|quota| keys.add_after(ObjectKey::of(&**quota), PAUSE));
    }

    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(quota) = self.world.quotas.get(&key) else { return Ok(Next::Rest) };
        let mut objects: Vec<(&'static Kind, Value)> = Vec::new();
        for kind in counted(&quota) {
            let found = match (kind.group, kind.plural) {
                ("", "pods") => all(&self.world.pods, &key.namespace),
                ("", "services") => all(&self.world.services, &key.namespace),
                ("", "persistentvolumeclaims") => all(&self.world.claims, &key.namespace),
                _ => self.listed(kind, &key).await?,
            };
            objects.extend(found.into_iter().map(|object| (kind, object)));
        }
        let mut counts = BTreeMap::new();
        for (plural, group, name) in counted_elsewhere(&quota) {
            counts.insert(name.to_owned(), self.count(plural, group, &key).await?);
        }
        let Some(status) = decide(&quota, &objects, &counts, kit::clock::wall()) else {
            return Ok(Next::Again(RESYNC));
        };
        self.world.act.update_status(&ResourceQuota { status: Some(status), ..(*quota).clone() }).await?;
        Ok(Next::Again(SECOND_LOOK))
    }

    /// Of most kinds only how many there are is limited.
    async fn listed(&self, kind: &Kind, key: &ObjectKey) -> Result<Vec<Value>, ActError> {
        let resource = ApiResource {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            api_version: kind.api_version(),
            kind: kind.kind.to_owned(),
            plural: kind.plural.to_owned(),
        };
        let objects = self.metadata(&resource, key).await?;
        Ok(objects.into_iter().map(|object| json!({ "metadata": object })).collect())
    }

    /// How many objects there are of a kind that a user may have defined.
    async fn count(&self, plural: &str, group: &str, key: &ObjectKey) -> Result<usize, ActError> {
        let found = catalog::find(self.world.act.client(), group, plural).await;
        let found = found.map_err(failed::<ResourceQuota>("look for what is limited by", key))?;
        match found.filter(|kind| kind.is_namespaced) {
            Some(kind) => Ok(self.metadata(&kind.resource, key).await?.len()),
            None => Ok(0),
        }
    }

    async fn metadata(&self, resource: &ApiResource, key: &ObjectKey) -> Result<Vec<ObjectMeta>, ActError> {
        let client = self.world.act.client().clone();
        let api: kube::Api<Meta> = kube::Api::namespaced_with(client, &key.namespace, resource);
        let list = api.list_metadata(&ListParams::default()).await;
        let list = list.map_err(failed::<ResourceQuota>("count what is limited by", key))?;
        Ok(list.items.into_iter().map(|object| object.metadata).collect())
    }
}

fn all<K>(informer: &Informer<K>, namespace: &str) -> Vec<Value>
where
    K: kube::Resource
        + Clone
        + serde::de::DeserializeOwned
        + Serialize
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let objects = informer.in_namespace(namespace);
    // What came as JSON is JSON again.
    objects.iter().filter_map(|object| serde_json::to_value(&**object).ok()).collect()
}
