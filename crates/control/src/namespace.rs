//! The namespace controller: empties a namespace that is deleted, says what holds it, then lets it go.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, failed, unless_gone};
use crate::catalog::{CatalogError, KindEntry, kinds};
use crate::key::ObjectKey;
use crate::queue::{Next, queue};
use crate::world::World;

use decide::{Remains, status};

const N_WORKERS: usize = 4;
/// How often a namespace that is not empty yet is looked at again. Pods that end are noticed at once.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const FINALIZER: &str = "kubernetes";

#[derive(Clone, Debug)]
struct Namespaces {
    world: World,
}

/// A namespace could not be emptied.
#[derive(Debug, thiserror::Error)]
enum EmptyError {
    #[error("cannot empty namespace `{namespace}`")]
    Catalog { namespace: String, source: CatalogError },
    #[error("cannot finish namespace `{namespace}`")]
    Finish { namespace: String, source: ActError },
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let own = keys.clone();
    world.namespaces.on_change(move |change| {
        if change.after.is_some_and(|namespace| is_going(namespace)) {
            own.add(ObjectKey::of(&**change.object()));
        }
    });
    let namespaces = Arc::clone(&world.namespaces);
    world.pods.on_change(move |change| {
        let key = ObjectKey::cluster(&change.object().namespace().unwrap_or_default());
        if change.after.is_none() && namespaces.get(&key).is_some_and(|namespace| is_going(&namespace)) {
            keys.add(key);
        }
    });
    let controller = Namespaces { world: world.clone() };
    async move {
        work.run("namespace", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
    }
}

fn is_going(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
}

fn has_finalizer(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    finalizers.is_some_and(|all| all.iter().any(|each| each == FINALIZER))
}

impl Namespaces {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, EmptyError> {
        let Some(namespace) = self.world.namespaces.get(&key) else { return Ok(Next::Rest) };
        if !is_going(&namespace) || !has_finalizer(&namespace) {
            return Ok(Next::Rest);
        }
        let remains = self.empty(&key.name).await?;
        let finish = |source| EmptyError::Finish { namespace: key.name.clone(), source };
        if remains.is_empty() {
            self.finish(&namespace).await.map_err(finish)?;
            return Ok(Next::Rest);
        }
        self.report(&namespace, &remains).await.map_err(finish)?;
        Ok(Next::Again(LOOK_AGAIN))
    }

    /// Deletes all that is in the namespace and tells what is left: first the pods, so that what they use outlives
    /// them.
    async fn empty(&self, name: &str) -> Result<Remains, EmptyError> {
        let client = self.world.act.client();
        let all = kinds(client)
            .await
            .map_err(|source| EmptyError::Catalog { namespace: name.to_owned(), source })?;
        let mut remains = Remains::default();
        let (pods, others): (Vec<KindEntry>, Vec<KindEntry>) =
            all.into_iter().filter(|kind| kind.is_namespaced).partition(|kind| kind.name() == "pods");
        for stage in [pods, others] {
            for kind in &stage {
                // What cannot be read, for want of whoever converts it perhaps, keeps nothing else from going.
                if let Err(error) = self.empty_kind(name, kind, &mut remains).await {
                    remains.failures.push(format!("{}: {error}", kind.name()));
                }
            }
            if !remains.is_empty() {
                break;
            }
        }
        Ok(remains)
    }

    async fn empty_kind(
        &self,
        name: &str,
        kind: &KindEntry,
        remains: &mut Remains,
    ) -> Result<(), kube::Error> {
        let api = kind.api(self.world.act.client(), Some(name));
        let before = api.list(&ListParams::default()).await?;
        if before.items.is_empty() {
            return Ok(());
        }
        let how = DeleteParams::background();
        if kind.can_delete_collection {
            if let Err(error) = api.delete_collection(&how, &ListParams::default()).await {
                remains.failures.push(format!("{}: {error}", kind.name()));
            }
        } else {
            for object in before.items.iter().filter(|object| object.metadata.deletion_timestamp.is_none()) {
                if let Err(error) = api.delete(&object.name_any(), &how).await {
                    remains.failures.push(format!("{}: {error}", kind.name()));
                }
            }
        }
        let left = api.list(&ListParams::default()).await?;
        if !left.items.is_empty() {
            remains.objects.insert(kind.name(), left.items.len());
        }
        for finalizer in left.items.iter().flat_map(ResourceExt::finalizers) {
            *remains.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        Ok(())
    }

    async fn report(&self, namespace: &Namespace, remains: &Remains) -> Result<(), ActError> {
        let status = status(namespace, remains, kit::clock::wall());
        if namespace.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let (key, api) = (ObjectKey::of(namespace), Api::<Namespace>::all(self.world.act.client().clone()));
        let patch = Patch::Merge(serde_json::json!({ "status": status }));
        let patched = api.patch_status(&key.name, &crate::act::patch(), &patch).await.map(drop);
        unless_gone(patched.map_err(failed::<Namespace>("update the status of", &key)))
    }

    /// Takes our finalizer away; the server then deletes the namespace.
    async fn finish(&self, namespace: &Namespace) -> Result<(), ActError> {
        let key = ObjectKey::of(namespace);
        let mut finished = namespace.clone();
        finished
            .spec
            .get_or_insert_default()
            .finalizers
            .get_or_insert_default()
            .retain(|each| each != FINALIZER);
        let request = serde_json::to_vec(&finished).map_err(kube::Error::SerdeError).and_then(|body| {
            kube::core::Request::new("/api/v1/namespaces")
                .replace_subresource("finalize", &key.name, &crate::act::post(), body)
                .map_err(kube::Error::BuildRequest)
        });
        let sent = match request {
            Ok(request) => self.world.act.client().request::<serde_json::Value>(request).await.map(drop),
            Err(error) => Err(error),
        };
        unless_gone(sent.map_err(failed::<Namespace>("finalize", &key)))
    }
}
