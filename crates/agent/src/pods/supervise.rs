//! Gives each Pod bound to this host its caretaker, and tells caretakers what changed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::hearing::{self, Heard};
use super::lane::Lane;
use super::observed::label;
use super::plan::policy;
use super::registry::{Entry, Live, Order};
use super::{Context, Shared, leftovers, log_files};
use crate::engine::Glance;

/// How often to glance at an engine that tells of no change while something may end any moment, while Pods run on, and
/// without any.
const BUSY: Duration = Duration::from_millis(200);
const CALM: Duration = Duration::from_secs(1);
const EMPTY: Duration = Duration::from_secs(5);
/// After one that was heard: others are about to come with it.
const SOON: Duration = Duration::from_millis(50);
/// While none is heard.
const HEARING: Duration = Duration::from_secs(10);
/// What has not ended this long after the last change is not expected to end any moment.
const SETTLED: Duration = Duration::from_secs(30);
/// How often logs are looked at for their size: within it a loud one may write some hundred megabytes.
const ROTATION: Duration = Duration::from_secs(1);

/// Takes care of all Pods of this host until `token` is cancelled. Containers run on after that.
pub async fn supervise(context: Shared, token: CancellationToken) {
    let pods: Api<Pod> = Api::all(context.client.clone());
    let selector = format!("spec.nodeName={}", context.node_name);
    let events = watch_objects(pods, watcher::Config::default().fields(&selector)).default_backoff();
    let mut events = std::pin::pin!(events.into_stream());
    let now = kit::clock::monotonic();
    let (heard, mut hearing) = watch::channel(Heard::default());
    kit::task::spawn("engine events", hearing::listen(context.engine.clone(), heard, token.clone()));
    let mut supervisor = Supervisor {
        context,
        token: token.clone(),
        synced: false,
        swept: false,
        listed: HashSet::new(),
        seen: Vec::new(),
        heard: Some(Heard::default()),
        times: Times { glance: now, look: now, change: now, rotation: now },
    };
    loop {
        let look = CALM.saturating_sub(supervisor.times.look.elapsed());
        let pause = supervisor.pause(*hearing.borrow()).min(look);
        tokio::select! {
            () = token.cancelled() => break,
            event = events.try_next() => match event {
                Ok(Some(event)) => supervisor.take(event).await,
                Ok(None) => break,
                Err(error) => tracing::warn!(error = %kit::Chain(&error), "Watch of Pods broke; trying again"),
            },
            Ok(()) = hearing.changed() => {}
            () = tokio::time::sleep(pause) => {
                let heard = *hearing.borrow();
                supervisor.look(heard).await;
            }
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
    /// Of the engine, before that; `None` if it could not be looked at.
    heard: Option<Heard>,
    /// Whether leftovers of Pods that ended while no agent was there are gone.
    swept: bool,
    times: Times,
}

/// When something was last done or seen.
struct Times {
    glance: Instant,
    look: Instant,
    change: Instant,
    rotation: Instant,
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
                let _again_soon = self.glance().await;
            }
            Event::Apply(pod) => self.apply(pod),
            Event::Delete(pod) => self.gone(pod.metadata.uid.as_deref().unwrap_or_default()),
        }
    }

    fn apply(&mut self, mut pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        // Who wrote which field is more than half of a Pod, and nobody asks for it here.
        pod.metadata.managed_fields = None;
        self.times.change = kit::clock::monotonic();
        let pod = Arc::new(pod);
        self.retire_namesakes(&pod, &uid);
        match self.context.registry.get(&uid) {
            Some(entry) => {
                entry.orders.send_if_modified(|order| {
                    let matters = changed_for_us(&order.pod, &pod);
                    order.renew(pod);
                    matters
                });
            }
            // Over and cleaned up in an earlier life of the agent, unless the engine still has something of it.
            None => self.adopt(uid, Order::new(pod)),
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

    /// Sees to what has its time: the engine, CPUs and logs.
    async fn look(&mut self, heard: Heard) {
        self.times.look = kit::clock::monotonic();
        if self.pause(heard).is_zero() {
            self.heard = self.glance().await.then_some(heard);
        }
        if self.synced {
            self.context.pinner.reconcile(&self.context.registry);
        }
        if self.times.rotation.elapsed() >= ROTATION {
            self.times.rotation = kit::clock::monotonic();
            log_files::rotate(&self.context).await;
        }
    }

    /// Looks at the engine and pokes the caretakers of what changed. False if that cannot be.
    async fn glance(&mut self) -> bool {
        self.times.glance = kit::clock::monotonic();
        let glances = match self.context.engine.glance().await {
            Ok(glances) => glances,
            Err(error) => {
                tracing::debug!(error = %kit::Chain(&error), "Engine not reached");
                return false;
            }
        };
        if glances != self.seen {
            self.times.change = self.times.glance;
            for uid in changed_uids(&self.seen, &glances) {
                if let Some(entry) = self.context.registry.get(&uid) {
                    entry.poke.notify_one();
                }
            }
            self.seen = glances;
        }
        if self.synced {
            self.end_orphans().await;
        }
        true
    }

    /// Ends what the engine has of Pods in no one's care. That can appear at any time: an engine may finish what it
    /// was asked for after the Pod's caretaker has seen the end of all else and left.
    async fn end_orphans(&mut self) {
        let seen: HashSet<&str> = self.seen.iter().map(|glance| glance.pod_uid.as_str()).collect();
        let cared_for = self.context.registry.uids();
        if !self.swept {
            self.swept = true;
            let known = seen.iter().copied().chain(cared_for.iter().map(String::as_str)).collect();
            leftovers::sweep(&self.context, &known);
        }
        let orphans =
            seen.into_iter().filter(|uid| !uid.is_empty() && cared_for.iter().all(|own| own != uid));
        for uid in orphans {
            self.adopt_orphan(uid.to_owned()).await;
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
        let mut order = Order::new(Arc::new(pod));
        order.gone = true;
        self.adopt(uid, order);
    }

    /// The time left until the next glance. It counts from the last one: events must not put it off for ever.
    fn pause(&self, heard: Heard) -> Duration {
        let entries = self.context.registry.entries();
        let moves = self.times.change.elapsed() < SETTLED;
        let interval = match () {
            () if self.heard.is_some_and(|before| before.n_changes != heard.n_changes) => SOON,
            () if self.heard.is_some() && heard.is_open => HEARING,
            () if entries.is_empty() && self.seen.is_empty() => EMPTY,
            () if moves && entries.iter().any(may_end_soon) => BUSY,
            () => CALM,
        };
        interval.saturating_sub(self.times.glance.elapsed())
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
