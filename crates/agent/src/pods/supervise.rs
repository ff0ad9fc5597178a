//! Gives each Pod bound to this host its caretaker, and tells caretakers what changed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::lane::Lane;
use super::observed::label;
use super::plan::policy;
use super::registry::{Entry, Live, Order};
use super::{Context, Shared};
use crate::engine::Glance;

/// How often to glance at the engine while something may end any moment, and else.
const BUSY: Duration = Duration::from_millis(200);
const CALM: Duration = Duration::from_secs(1);

/// Takes care of all Pods of this host until `token` is cancelled. Containers run on after that.
pub async fn supervise(context: Shared, token: CancellationToken) {
    let pods: Api<Pod> = Api::all(context.client.clone());
    let selector = format!("spec.nodeName={}", context.node_name);
    let events = watch_objects(pods, watcher::Config::default().fields(&selector)).default_backoff();
    let mut events = std::pin::pin!(events.into_stream());
    let mut supervisor =
        Supervisor { context, token: token.clone(), synced: false, listed: HashSet::new(), seen: Vec::new() };
    loop {
        let pause = supervisor.pause();
        tokio::select! {
            () = token.cancelled() => break,
            event = events.try_next() => match event {
                Ok(Some(event)) => supervisor.take(event).await,
                Ok(None) => break,
                Err(error) => tracing::warn!(error = %kit::Chain(&error), "Watch of Pods broke; trying again"),
            },
            () = tokio::time::sleep(pause) => supervisor.glance().await,
        }
    }
    supervisor.context.lanes.close();
    supervisor.context.lanes.wait().await;
}

struct Supervisor {
    context: Shared,
    token: CancellationToken,
    /// Until the first list is complete, no one is an orphan.
    synced: bool,
    listed: HashSet<String>,
    seen: Vec<Glance>,
}

impl Supervisor {
    async fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                self.listed.extend(pod.metadata.uid.clone());
                self.apply(pod);
            }
            Event::InitDone => {
                self.synced = true;
                let listed = std::mem::take(&mut self.listed);
                for uid in self.context.registry.uids().into_iter().filter(|uid| !listed.contains(uid)) {
                    self.gone(&uid);
                }
                self.glance().await;
            }
            Event::Apply(pod) => self.apply(pod),
            Event::Delete(pod) => self.gone(pod.metadata.uid.as_deref().unwrap_or_default()),
        }
    }

    fn apply(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let pod = Arc::new(pod);
        self.retire_namesakes(&pod, &uid);
        match self.context.registry.get(&uid) {
            Some(entry) => {
                entry.orders.send_if_modified(|order| {
                    let matters = changed_for_us(&order.pod, &pod);
                    order.pod = pod;
                    matters
                });
            }
            // Over and cleaned up in an earlier life of the agent, unless the engine still has something of it.
            None => self.adopt(uid, Order { pod, gone: false, verdict: None }),
        }
    }

    /// A Pod whose name is in use by another now is gone, even if the watch never said so.
    fn retire_namesakes(&self, pod: &Pod, uid: &str) {
        let metadata = &pod.metadata;
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        let namesake = self.context.registry.find(namespace.unwrap_or_default(), name.unwrap_or_default());
        let old = namesake.and_then(|entry| entry.pod().metadata.uid.clone()).filter(|old| old != uid);
        if let Some(old) = old {
            self.gone(&old);
        }
    }

    fn gone(&self, uid: &str) {
        if let Some(entry) = self.context.registry.get(uid) {
            entry.orders.send_modify(|order| order.gone = true);
        }
    }

    fn adopt(&self, uid: String, order: Order) {
        let (orders, receiver) = watch::channel(order);
        let (live_sender, live) = watch::channel(Live::default());
        let poke = Arc::new(Notify::new());
        self.context.registry.insert(uid.clone(), Entry { orders, poke: poke.clone(), live });
        let lane = Lane::new(self.context.clone(), receiver, poke, live_sender);
        let registry = self.context.registry.clone();
        let token = self.token.clone();
        let work = async move {
            lane.run(token).await;
            registry.remove(&uid);
        };
        kit::task::spawn("pod", self.context.lanes.track_future(work));
    }

    /// Looks at the engine and pokes the caretakers of what changed.
    async fn glance(&mut self) {
        let glances = match self.context.engine.glance().await {
            Ok(glances) => glances,
            Err(error) => {
                tracing::debug!(error = %kit::Chain(&error), "Engine not reached");
                return;
            }
        };
        if glances == self.seen {
            return;
        }
        let uids: HashSet<String> = changed_uids(&self.seen, &glances);
        self.seen = glances;
        for uid in uids {
            match self.context.registry.get(&uid) {
                Some(entry) => entry.poke.notify_one(),
                None if self.synced => self.adopt_orphan(uid).await,
                None => {}
            }
        }
    }

    /// The API does not know this Pod: it was deleted while the agent was away. It is ended.
    async fn adopt_orphan(&self, uid: String) {
        let selector = HashMap::from([(label::POD_UID.to_owned(), uid.clone())]);
        let sandboxes = self.context.engine.list_sandboxes(selector).await.unwrap_or_default();
        let Some(metadata) = sandboxes.into_iter().find_map(|sandbox| sandbox.metadata) else { return };
        tracing::info!(pod = %metadata.name, namespace = %metadata.namespace, uid = %uid, "Ending an orphan");
        let pod = Pod {
            metadata: ObjectMeta {
                name: Some(metadata.name),
                namespace: Some(metadata.namespace),
                uid: Some(uid.clone()),
                labels: Some(BTreeMap::new()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec::default()),
            status: None,
        };
        self.adopt(uid, Order { pod: Arc::new(pod), gone: true, verdict: None });
    }

    fn pause(&self) -> Duration {
        if self.context.registry.entries().iter().any(may_end_soon) { BUSY } else { CALM }
    }
}

/// Pods that run to an end, or are on their way up or down, change any moment; services do not.
fn may_end_soon(entry: &Entry) -> bool {
    let order = entry.orders.borrow();
    let finite = order.pod.spec.as_ref().is_some_and(|spec| policy(spec) != "Always");
    let ending = order.gone || order.pod.metadata.deletion_timestamp.is_some();
    (finite || ending) && entry.live.borrow().sandbox.is_some()
}

fn changed_uids(before: &[Glance], after: &[Glance]) -> HashSet<String> {
    let (before, after): (HashSet<&Glance>, HashSet<&Glance>) =
        (before.iter().collect(), after.iter().collect());
    let changed = before.symmetric_difference(&after).map(|glance| glance.pod_uid.clone());
    changed.filter(|uid| !uid.is_empty()).collect()
}

/// Whether a new version of a Pod asks its caretaker for anything: the echo of its own status does not.
fn changed_for_us(old: &Pod, new: &Pod) -> bool {
    let foreign = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let gates: Vec<&str> = pod
            .spec
            .iter()
            .flat_map(|spec| spec.readiness_gates.iter().flatten())
            .map(|gate| gate.condition_type.as_str())
            .collect();
        conditions.filter(|condition| gates.contains(&condition.type_.as_str())).cloned().collect::<Vec<_>>()
    };
    old.spec != new.spec
        || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || old.metadata.deletion_grace_period_seconds != new.metadata.deletion_grace_period_seconds
        || old.metadata.labels != new.metadata.labels
        || old.metadata.annotations != new.metadata.annotations
        || foreign(old) != foreign(new)
}

impl Context {
    pub(super) fn pod_dir(&self, uid: &str) -> std::path::PathBuf {
        self.volumes.join(uid)
    }
}
