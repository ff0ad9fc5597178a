//! Tides: hosts leave batch for a window of time, and come back.
//!
//! ```text
//!   Tide, Nodes, Pods of batch ──► view: hosts and their work ──► level0::tide::step ──► status written
//!                                                                                          │
//!        Node: annotation crest.dev/tide ◄── who grants batch its places keeps to it ◄─────┤
//!        Pods of batch deleted, with the tide's grace ◄─── at the last moment ─────────────┘
//! ```
//!
//! What is about to be done stands in the status before it is done, and everything may be done twice: a restart in the
//! middle goes on from there. A Node that says of a Tide that it has it, when there is none of that name, is freed.

mod act;
mod calendar;
mod decide;
mod plan;
mod prediction;
mod services;
mod view;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};
use level0::season::Watch;
use model::dagjob::DagJob;
use model::tide::{MarkState, ResizeMark, Tide, TideMark, TideSpec, TideStatus};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, failed, post, unless_gone};
use crate::key::ObjectKey;
use crate::pods;
use crate::queue::{Next, queue};
use crate::record::{Note, Recorder};
use crate::world::World;

use calendar::Calendar;
pub use calendar::CalendarError;
use decide::{Decision, decide};
pub use plan::{HostPlan, Listed, Plan, WorkPlan, plan};
pub use prediction::{Arithmetic, HourPlan};
pub use services::ResizePlan;
pub use view::Jobs;
use view::View;

/// So many jobs are asked for at once.
const ASKED_AT_ONCE: usize = 8;
/// So many Nodes and Pods are told at once.
const TOLD_AT_ONCE: usize = 32;

#[derive(Clone, Debug)]
struct TideController {
    world: World,
    recorder: Recorder,
    /// The hour that is running, of each Tide that predicts.
    watches: Arc<Mutex<BTreeMap<ObjectKey, Watch>>>,
}

/// Subscribes to `world` and returns the controller's work.
pub fn start(world: &World, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let own = keys.clone();
    world.tides.on_change(move |change| own.add(ObjectKey::of(&**change.object())));
    let (by_node, by_pod, nodes) = (keys.clone(), keys, Arc::clone(&world.nodes));
    world.pods.on_change(move |change| {
        let Some(pod) = change.after else { return };
        let resized = ResizeMark::of(pod.metadata.annotations.as_ref());
        if let Some(mark) = resized.filter(|_| !change.before.is_some_and(|old| services::is_alike(old, pod)))
        {
            by_pod.add(ObjectKey::cluster(&mark.tide));
        }
        // Batch that comes to a host that a tide has goes at once, and services that come to theirs are resized.
        let name = pods::node_name(pod);
        if change.before.is_some_and(|before| pods::node_name(before) == name) {
            return;
        }
        let mark = name.and_then(|name| mark_of(&*nodes.get(&ObjectKey::cluster(name))?));
        let is_meant = |mark: &TideMark| mark.state == MarkState::HandedOver || view::is_batch_work(pod);
        if let Some(mark) = mark.filter(|mark| !mark.tide.is_empty() && is_meant(mark)) {
            by_pod.add(ObjectKey::cluster(&mark.tide));
        }
    });
    world.nodes.on_change(move |change| {
        // Most Nodes are in no tide, and then nobody pays.
        for node in [change.before, change.after].into_iter().flatten() {
            // One that cannot be read names nobody: it stays closed until it is mended by hand.
            let Some(mark) = mark_of(node).filter(|mark| !mark.tide.is_empty()) else { continue };
            let is_alike = change.before.zip(change.after).is_some_and(|(old, new)| view::is_alike(old, new));
            if !is_alike {
                by_node.add(ObjectKey::cluster(&mark.tide));
            }
        }
    });
    let recorder = world.recorder.named("crest-tide");
    let controller = TideController { world: world.clone(), recorder, watches: Arc::default() };
    async move {
        let world = controller.world.clone();
        let ready = async { tokio::join!(world.tides.synced(), world.nodes.synced(), world.pods.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            // One at a time: two tides must not reach for the same host.
            work.run("tide", 1, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl TideController {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        let tide = self.world.tides.get(&key);
        let Some(stored) = tide.filter(|tide| tide.metadata.deletion_timestamp.is_none()) else {
            self.watches.lock().remove(&key);
            self.free_all(&key.name).await?;
            return Ok(Next::Rest);
        };
        let (nodes, pods) = (self.world.nodes.all(), self.world.pods.all());
        let now = kit::clock::wall();
        let (tide, watch) = self.predicted(&stored, &nodes, now);
        let calendar = match Calendar::of(&tide) {
            Ok(calendar) => Some(calendar),
            Err(error) => {
                // Stored before it was checked; what it has goes back to batch.
                self.recorder
                    .note(&*tide, Note::warning("UnreadableCalendar", kit::Chain(&error).to_string()));
                None
            }
        };
        let has_window = calendar.as_ref().is_some_and(|calendar| calendar.present(now).is_some());
        let mut view = View {
            nodes: nodes.iter().map(|node| &**node).collect(),
            pods: pods.iter().map(|pod| &**pod).collect(),
            jobs: &Jobs::new(),
            now,
        };
        let jobs = if has_window { self.jobs(view.jobs_of(&tide)).await } else { Jobs::new() };
        view.jobs = &jobs;
        let Decision { status, revoked, resized, notes, again } = decide(&tide, calendar.as_ref(), &view);
        self.write(&stored, &status).await?;
        // Only now: an hour that is over and could not be written is told again.
        watch.map(|watch| self.watches.lock().insert(key.clone(), watch));
        notes.into_iter().for_each(|note| self.recorder.note(&*tide, note));
        // One Node or Pod that cannot be told keeps none of the others waiting.
        let marked = self.mark(&tide, &status, &nodes).await;
        let leaving = pods.iter().filter_map(|pod| Some((pod, *revoked.get(pod.metadata.uid.as_ref()?)?)));
        let (controller, key) = (&self, &key);
        let told = leaving.map(|(pod, grace)| async move {
            let message = format!("Its host leaves batch for the tide `{key}`");
            controller.recorder.note(&**pod, Note::normal("TideComes", message));
            controller.revoke(pod, grace).await
        });
        let revoked = first_error(told.collect()).await;
        let resized = self.resize(&tide, resized).await;
        marked.and(revoked).and(resized).map(|()| Next::Again(again))
    }

    /// The Tide as it stands, with what it predicts by now.
    fn predicted<'a>(
        &self,
        tide: &'a Tide,
        nodes: &[Arc<Node>],
        now: Timestamp,
    ) -> (Cow<'a, Tide>, Option<Watch>) {
        if tide.spec.prediction.is_none() {
            return (Cow::Borrowed(tide), None);
        }
        let nodes: Vec<&Node> = nodes.iter().map(|node| &**node).collect();
        let mut watch = self.watches.lock().get(&ObjectKey::of(tide)).copied().unwrap_or_default();
        let prediction = prediction::renewed(tide, &nodes, &mut watch, now);
        let status = TideStatus { prediction, ..tide.status.clone().unwrap_or_default() };
        (Cow::Owned(Tide { status: Some(status), ..tide.clone() }), Some(watch))
    }

    /// Replaces the status, if the Tide is still what the decision was made on.
    async fn write(&self, tide: &Tide, status: &TideStatus) -> Result<(), ActError> {
        if tide.status.as_ref() == Some(status) {
            return Ok(());
        }
        let api: Api<Tide> = Api::all(self.world.act.client().clone());
        let updated = Tide { status: Some(status.clone()), ..tide.clone() };
        let written = api.replace_status(&tide.name_any(), &post(), &updated).await.map(drop);
        unless_gone(written.map_err(failed::<Tide>("update the status of", &ObjectKey::of(tide))))
    }

    /// Has every Node of the tide say how far it is.
    async fn mark(&self, tide: &Tide, status: &TideStatus, nodes: &[Arc<Node>]) -> Result<(), ActError> {
        let name = tide.name_any();
        let by_name: HashMap<String, &Arc<Node>> = nodes.iter().map(|node| (node.name_any(), node)).collect();
        let mut changes = Vec::new();
        for host in &status.hosts {
            let Some(&node) = by_name.get(&host.node) else { continue };
            // Another tide was faster.
            if mark_of(node).is_some_and(|mark| mark.tide != name) {
                continue;
            }
            let wanted = act::wanted_mark(&name, &tide.spec, host.phase);
            changes.extend(
                act::owed(node, wanted, tide.spec.taint.as_ref()).map(|change| (node.clone(), change)),
            );
        }
        self.change_all(changes).await
    }

    /// Takes back what Nodes and Pods say of a Tide that is not there.
    async fn free_all(&self, tide: &str) -> Result<(), ActError> {
        let nodes = self.world.nodes.all().into_iter();
        let held = nodes.filter(|node| mark_of(node).is_some_and(|mark| mark.tide == tide));
        let changes = held.filter_map(|node| act::owed(&node, None, None).map(|change| (node, change)));
        let freed = self.change_all(changes.collect()).await;
        let (gone, pods) = (Tide::new(tide, TideSpec::default()), self.world.pods.all());
        let view = View {
            nodes: Vec::new(),
            pods: pods.iter().map(|pod| &**pod).collect(),
            jobs: &Jobs::new(),
            now: kit::clock::wall(),
        };
        let resized = services::resized(&gone, &view, &BTreeSet::new());
        freed.and(self.resize(&gone, resized).await)
    }

    async fn change_all(&self, changes: Vec<(Arc<Node>, Value)>) -> Result<(), ActError> {
        let told = changes.into_iter().map(|(node, change)| async move { self.change(&node, &change).await });
        first_error(told.collect()).await
    }

    /// These jobs, as they stand. One that cannot be read tells nothing, and its work counts as unknown.
    async fn jobs(&self, keys: BTreeSet<ObjectKey>) -> Jobs {
        let client = self.world.act.client();
        let asked = futures::stream::iter(keys).map(async |key| {
            let api: Api<DagJob> = Api::namespaced(client.clone(), &key.namespace);
            Some((key.clone(), api.get_opt(&key.name).await.ok()??))
        });
        asked.buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready).collect().await
    }
}

/// Does all, some at a time; what went wrong first is told.
async fn first_error(all: Vec<impl Future<Output = Result<(), ActError>>>) -> Result<(), ActError> {
    let mut outcomes = futures::stream::iter(all).buffer_unordered(TOLD_AT_ONCE);
    let mut first = Ok(());
    while let Some(outcome) = outcomes.next().await {
        first = first.and(outcome);
    }
    first
}

fn mark_of(node: &Node) -> Option<TideMark> {
    TideMark::of(node.metadata.annotations.as_ref())
}
