//! This host as a Node: registered at start, kept alive by a Lease, its status told only when it changes.

pub(crate) mod describe;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use model::CpuTopology;
use model::names::{CPU_TOPOLOGY, NUMA_ZONES};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub use describe::{Description, Health, Offer};

use crate::engine::Engine;

/// The Node could not be registered or told about.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} node `{node}`")]
pub struct NodeError {
    attempt: &'static str,
    node: String,
    source: Box<kube::Error>,
}

const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A status that did not change is told again after this time.
const STATUS_INTERVAL: Duration = Duration::from_secs(300);
/// The status is told at most this often.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// Keeps the Node object.
pub struct Keeper {
    pub client: Client,
    pub engine: Engine,
    pub description: Description,
    pub offers: watch::Receiver<Offer>,
    pub topology: watch::Receiver<Option<Arc<CpuTopology>>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("description", &self.description).finish_non_exhaustive()
    }
}

impl Keeper {
    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    fn failed(&self, attempt: &'static str) -> impl FnOnce(kube::Error) -> NodeError + use<> {
        let node = self.description.name.clone();
        move |source| NodeError { attempt, node, source: Box::new(source) }
    }

    /// Makes the Node known, or brings what is known up to date. What users set on it stays.
    pub async fn register(&self) -> Result<Node, NodeError> {
        let topology = self.told_topology();
        let annotations = self.description.annotations(topology, &self.offers.borrow());
        let mut node = self.description.node();
        let told = annotations.iter().filter_map(|(name, told)| Some(((*name).to_owned(), told.clone()?)));
        node.metadata.annotations = Some(told.collect());
        let name = &self.description.name;
        match self.nodes().create(&PostParams::default(), &node).await {
            Ok(_) => {}
            Err(kube::Error::Api(refusal)) if refusal.code == 409 => {
                let patch =
                    json!({ "metadata": { "labels": node.metadata.labels, "annotations": annotations } });
                let patched = self.nodes().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
                patched.map_err(self.failed("update the labels of"))?;
            }
            Err(error) => return Err(self.failed("register")(error)),
        }
        let node = self.nodes().get(name).await.map_err(self.failed("read"))?;
        Ok(node)
    }

    /// As the annotation has it.
    fn told_topology(&self) -> Option<String> {
        let topology = self.topology.borrow().clone()?;
        serde_json::to_string(&*topology).ok()
    }

    /// Tells how CPUs lie now that some were switched on or off. True when that was taken.
    async fn tell_topology(&self) -> bool {
        self.annotate(CPU_TOPOLOGY, self.told_topology().as_deref()).await
    }

    /// Tells what each zone offers, where `told` says something else.
    async fn tell_zones(&self, told: &mut Option<Option<String>>) {
        let offer = self.offers.borrow().clone();
        // What an agent before this one has told stands until there is an offer.
        if !describe::is_known(&offer) {
            return;
        }
        let zones = offer.zones;
        if told.as_ref() != Some(&zones) && self.annotate(NUMA_ZONES, zones.as_deref()).await {
            *told = Some(zones);
        }
    }

    /// True when that was taken; `None` takes an annotation away.
    async fn annotate(&self, annotation: &str, value: Option<&str>) -> bool {
        let patch = json!({ "metadata": { "annotations": { annotation: value } } });
        let name = &self.description.name;
        let patched = self.nodes().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched
            .inspect_err(|error| {
                tracing::warn!(node = %name, annotation, error = %kit::Chain(error), "Node not annotated");
            })
            .is_ok()
    }

    /// Tells the status and renews the lease until `token` is cancelled.
    pub async fn run(mut self, token: CancellationToken) {
        let mut node = loop {
            match self.register().await {
                Ok(node) => break node,
                Err(error) => tracing::warn!(error = %kit::Chain(&error), "Not registered yet"),
            }
            if token.run_until_cancelled(tokio::time::sleep(STATUS_PAUSE)).await.is_none() {
                return;
            }
        };
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told: Option<(Health, std::time::Instant)> = None;
        let mut beat = kit::clock::wall();
        let mut topology_is_told = true;
        let mut zones: Option<Option<String>> = None;
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = heartbeat.tick() => {
                    let before = std::mem::replace(&mut beat, kit::clock::wall());
                    let was_silent = beat.duration_since(before) >= SignedDuration::from_secs(LEASE_SECONDS.into());
                    // Others may have judged a silent node, and a missing lease may mean that the Node was deleted.
                    if !self.renew(&node).await || was_silent {
                        told = None;
                    }
                    if !topology_is_told {
                        topology_is_told = self.tell_topology().await;
                    }
                    self.tell_zones(&mut zones).await;
                    let health = self.health().await;
                    let due = told.as_ref().is_none_or(|(old, at)| *old != health || at.elapsed() >= STATUS_INTERVAL);
                    if due {
                        told = self.tell(&mut node, &health).await.then(|| (health, kit::clock::monotonic()));
                    }
                }
                Ok(()) = self.topology.changed() => topology_is_told = self.tell_topology().await,
                changed = self.offers.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.tell_zones(&mut zones).await;
                    let health = self.health().await;
                    told = self.tell(&mut node, &health).await.then(|| (health, kit::clock::monotonic()));
                    if token.run_until_cancelled(tokio::time::sleep(STATUS_PAUSE)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    async fn health(&self) -> Health {
        match self.engine.version().await {
            Ok(version) => {
                Health::Ready { runtime: format!("{}://{}", version.runtime_name, version.runtime_version) }
            }
            Err(error) => Health::NoEngine { why: kit::Chain(&error).to_string() },
        }
    }

    /// True when the status was taken.
    async fn tell(&mut self, node: &mut Node, health: &Health) -> bool {
        let offer = self.offers.borrow_and_update().clone();
        let before = node.status.clone().unwrap_or_default();
        let status = self.description.status(&before, health, &offer, kit::clock::wall());
        let patch = json!({ "status": status });
        let name = &self.description.name;
        match self.nodes().patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(told) => {
                *node = told;
                true
            }
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => {
                tracing::info!(node = %name, "The Node was deleted; registering it again");
                match self.register().await {
                    Ok(registered) => *node = registered,
                    Err(error) => tracing::warn!(error = %kit::Chain(&error), "Not registered"),
                }
                false
            }
            Err(error) => {
                tracing::warn!(node = %name, error = %kit::Chain(&error), "Status of the Node not written");
                false
            }
        }
    }

    /// True when there was a lease and it was renewed.
    async fn renew(&self, node: &Node) -> bool {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASE_NAMESPACE);
        let name = &self.description.name;
        let now = kit::clock::wall();
        let patch = json!({ "spec": { "renewTime": MicroTime(now) } });
        let renewed = match leases.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => {
                leases.create(&PostParams::default(), &lease(node, now)).await.map(|_| false)
            }
            other => other.map(|_| true),
        };
        renewed
            .inspect_err(
                |error| tracing::warn!(node = %name, error = %kit::Chain(error), "Lease not renewed"),
            )
            .unwrap_or(false)
    }
}

fn lease(node: &Node, now: Timestamp) -> Lease {
    let name = node.name_any();
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid: node.uid().unwrap_or_default(),
        ..OwnerReference::default()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(LEASE_NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}
