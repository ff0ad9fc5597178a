//! Starts every controller on one set of watches, or Sigma alone.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use kube::Client;
use model::names::SIGMA_SCHEDULER;
use tokio_util::sync::CancellationToken;

use crate::certificate::SigningAuthority;
use crate::world::{FirstState, World};
use crate::{
    autoscaler, certificate, cluster_role, cron_job, daemon_set, deployment, disruption, endpoints,
    ephemeral_volume, event_ttl, garbage, job, namespace, node_lifecycle, node_ttl, pod_gc, policy_status,
    quota, rebalancer, replica_set, service_account, sigma, stateful_set, tide, token_cleaner, volumes,
};

/// What the controllers need to know.
#[derive(Clone)]
pub struct Config {
    pub client: Client,
    /// The cluster's CA certificate, published to every namespace.
    pub root_ca_pem: String,
    /// Signs requests for certificates. Without it others do, or nobody.
    pub signing: Option<Arc<SigningAuthority>>,
    /// Decides between nodes of equal score.
    pub seed: u64,
    /// See [`sigma::Config::load`].
    pub load: Option<sigma::LoadPolicy>,
    /// Controllers that are left out, by the names that [`run`] gives them: where others do their work.
    pub without: Vec<String>,
    /// Where what the controllers have heard of is lent out, for explanations.
    pub known: sigma::explainer::Known,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("seed", &self.seed)
            .field("without", &self.without)
            .finish_non_exhaustive()
    }
}

/// Runs all controllers and Sigma until `token` is cancelled.
pub async fn run(config: Config, token: CancellationToken) {
    let world = World::new(config.client.clone(), FirstState::Streamed, &token);
    let wanted =
        controllers(&world, &config, &token).into_iter().filter(|(name, _)| !config.is_without(name));
    let tasks: Vec<_> = wanted.map(|(name, work)| kit::task::spawn(name, work)).collect();
    world.watch(&token);
    kit::task::spawn("known", config.known.clone().lend(world, token));
    for task in tasks {
        // A task that panicked was logged; the others go on.
        let _ended = task.await;
    }
}

/// Runs Sigma alone until `token` is cancelled, where others control the cluster.
pub async fn schedule(client: Client, config: sigma::Config, token: CancellationToken) {
    let world = World::new(client, FirstState::Paged, &token);
    let work = sigma::start(&world, config, token.clone());
    world.watch_what_placement_needs(&token);
    work.await;
}

impl Config {
    fn sigma(&self) -> sigma::Config {
        sigma::Config { scheduler_name: SIGMA_SCHEDULER.to_owned(), seed: self.seed, load: self.load }
    }

    fn is_without(&self, name: &str) -> bool {
        self.without.iter().any(|each| each == name)
    }
}

/// Every controller by its name. All subscribe, so that one that is left out costs no more than its copies of changes.
fn controllers(
    world: &World,
    config: &Config,
    token: &CancellationToken,
) -> Vec<(&'static str, BoxFuture<'static, ()>)> {
    let token = || token.clone();
    vec![
        ("sigma", sigma::start(world, config.sigma(), token()).boxed()),
        ("deployment", deployment::start(world, token()).boxed()),
        ("replicaset", replica_set::start(world, token()).boxed()),
        ("statefulset", stateful_set::start(world, token()).boxed()),
        ("daemonset", daemon_set::start(world, token()).boxed()),
        ("job", job::start(world, token()).boxed()),
        ("cronjob", cron_job::start(world, token()).boxed()),
        ("autoscaler", autoscaler::start(world, token()).boxed()),
        ("disruption", disruption::start(world, token()).boxed()),
        ("endpoints", endpoints::start(world, token()).boxed()),
        ("rebalancer", rebalancer::start(world, !config.is_without("replicaset"), token()).boxed()),
        ("tide", tide::start(world, token()).boxed()),
        ("quota", quota::start(world, token()).boxed()),
        ("volumes", volumes::start(world, token()).boxed()),
        ("ephemeral-volume", ephemeral_volume::start(world, token()).boxed()),
        ("certificate", certificate::start(world, config.signing.clone(), token()).boxed()),
        ("clusterrole-aggregation", cluster_role::start(world, token()).boxed()),
        ("policy-status", policy_status::start(world, token()).boxed()),
        ("namespace", namespace::start(world, token()).boxed()),
        ("serviceaccount", service_account::start(world, &config.root_ca_pem, token()).boxed()),
        ("node-lifecycle", node_lifecycle::start(world, token()).boxed()),
        ("ttl", node_ttl::start(world, token()).boxed()),
        ("pod-gc", pod_gc::start(world, token()).boxed()),
        ("event-ttl", event_ttl::start(world, token()).boxed()),
        ("token-cleaner", token_cleaner::start(world, token()).boxed()),
        ("garbage", garbage::run(world.clone(), token()).boxed()),
    ]
}
