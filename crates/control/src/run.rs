//! Starts every controller on one set of watches.

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::world::World;
use crate::{deployment, event_ttl, garbage, job, namespace, node_lifecycle, pod_gc, replica_set};
use crate::{service_account, sigma};

/// What the controllers need to know.
#[derive(Clone)]
pub struct Config {
    pub client: Client,
    /// The cluster's CA certificate, published to every namespace.
    pub root_ca_pem: String,
    /// Decides between nodes of equal score.
    pub seed: u64,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Runs all controllers and Sigma until `token` is cancelled.
pub async fn run(config: Config, token: CancellationToken) {
    let world = World::new(config.client, &token);
    let tasks = [
        kit::task::spawn("sigma", sigma::start(&world, config.seed, token.clone())),
        kit::task::spawn("deployment", deployment::start(&world, token.clone())),
        kit::task::spawn("replicaset", replica_set::start(&world, token.clone())),
        kit::task::spawn("job", job::start(&world, token.clone())),
        kit::task::spawn("namespace", namespace::start(&world, token.clone())),
        kit::task::spawn(
            "serviceaccount",
            service_account::start(&world, &config.root_ca_pem, token.clone()),
        ),
        kit::task::spawn("node-lifecycle", node_lifecycle::start(&world, token.clone())),
        kit::task::spawn("pod-gc", pod_gc::start(&world, token.clone())),
        kit::task::spawn("event-ttl", event_ttl::start(&world, token.clone())),
        kit::task::spawn("garbage", garbage::run(world.clone(), token.clone())),
    ];
    world.watch(&token);
    for task in tasks {
        // A task that panicked was logged; the others go on.
        let _ended = task.await;
    }
}
