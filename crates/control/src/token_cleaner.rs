//! Bootstrap tokens that have expired are deleted. They let nobody in any longer; gone, they tempt nobody either.

mod decide;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher;
use kube::{Api, Resource};
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, only};
use crate::informer::Informer;
use crate::key::ObjectKey;
use crate::queue::{Next, queue};
use crate::world::World;

use decide::{Fate, fate};

const N_WORKERS: usize = 1;
const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";

#[derive(Clone, Debug)]
struct TokenCleaner {
    world: World,
    tokens: Arc<Informer<Secret>>,
}

/// Starts a watch on bootstrap tokens and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let tokens: Arc<Informer<Secret>> = Arc::default();
    tokens.on_change(move |change| keys.add(ObjectKey::of(&**change.object())));
    let controller = TokenCleaner { world: world.clone(), tokens };
    async move {
        let api = Api::namespaced(controller.world.act.client().clone(), NAMESPACE);
        let only_tokens = watcher::Config::default().fields(&format!("type={TYPE}"));
        let tokens = Arc::clone(&controller.tokens);
        let watch = tokens.run(api, only_tokens, token.clone());
        let work = work.run("token-cleaner", N_WORKERS, token, move |key| controller.clone().reconcile(key));
        tokio::join!(watch, work);
    }
}

impl TokenCleaner {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let Some(token) = self.tokens.get(&key) else { return Ok(Next::Rest) };
        match fate(&token, kit::clock::wall()) {
            Fate::Stays => Ok(Next::Rest),
            Fate::LivesFor(left) => Ok(Next::Again(left)),
            Fate::Expired => {
                self.world.act.delete::<Secret>(&key, &only(token.meta().uid.as_deref())).await?;
                Ok(Next::Rest)
            }
        }
    }
}
