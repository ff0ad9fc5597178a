//! The service account controller: each namespace has a `default` ServiceAccount and the cluster's CA certificate.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::act::ActError;
use crate::key::ObjectKey;
use crate::queue::{Next, queue};
use crate::world::{ROOT_CERTIFICATE, World};

use decide::{Certificate, DEFAULT, decide};

const N_WORKERS: usize = 2;

#[derive(Clone, Debug)]
struct ServiceAccounts {
    world: World,
    root_ca_pem: Arc<str>,
}

/// Subscribes to `world` and returns the controller's work. Keys are namespaces.
pub fn start(world: &World, root_ca_pem: &str, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let (by_namespace, by_account) = (keys.clone(), keys.clone());
    world.namespaces.on_change(move |change| {
        if change.after.is_some() {
            by_namespace.add(ObjectKey::of(&**change.object()));
        }
    });
    world.service_accounts.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        if change.after.is_none() && key.name == DEFAULT {
            by_account.add(ObjectKey::cluster(&key.namespace));
        }
    });
    world.root_certificates.on_change(move |change| {
        keys.add(ObjectKey::cluster(&ObjectKey::of(&**change.object()).namespace));
    });
    let controller = ServiceAccounts { world: world.clone(), root_ca_pem: root_ca_pem.into() };
    async move {
        let world = controller.world.clone();
        let ready = async {
            tokio::join!(
                world.namespaces.synced(),
                world.service_accounts.synced(),
                world.root_certificates.synced()
            )
        };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("serviceaccount", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl ServiceAccounts {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let world = &self.world;
        let Some(namespace) = world.namespaces.get(&key) else { return Ok(Next::Rest) };
        let account = world.service_accounts.get(&ObjectKey::new(&key.name, DEFAULT));
        let certificate_key = ObjectKey::new(&key.name, ROOT_CERTIFICATE);
        let certificate = world.root_certificates.get(&certificate_key);
        let missing = decide(&namespace, account.as_deref(), certificate.as_deref(), &self.root_ca_pem);
        if let Some(account) = &missing.account {
            unless_there(world.act.create(account).await.map(drop))?;
        }
        match &missing.certificate {
            Some(Certificate::Create(map)) => unless_there(world.act.create(&**map).await.map(drop))?,
            Some(Certificate::Correct(data)) => {
                let patch = json!({ "data": data });
                world.act.patch::<ConfigMap>(&certificate_key, &patch).await?;
            }
            None => {}
        }
        Ok(Next::Rest)
    }
}

/// Made meanwhile: there is nothing to do. Any other refusal is tried again; a namespace that has gone is no work then.
fn unless_there(result: Result<(), ActError>) -> Result<(), ActError> {
    match result {
        Err(error) if matches!(error.code(), Some(409)) => Ok(()),
        other => other,
    }
}
