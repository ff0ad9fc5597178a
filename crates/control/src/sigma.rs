//! Sigma at the API: pods and nodes in by watch, bindings and reasons out.
//!
//! One task owns all state, so nothing is locked; bindings run beside it and report back to it.

pub mod app;
mod bind;
mod convert;
mod cpus;
mod decide;
pub mod explainer;
mod gpus;
mod group;
mod groups;
mod load;
mod news;
mod policies;
mod preempt;
mod quotas;
pub mod rehearsal;
mod reservations;
pub mod snapshot;
mod storage;

#[cfg(test)]
mod tests;

pub use ::sigma::LoadPolicy;
pub(crate) use bind::{binding_to, post_alone as bind_alone};
pub(crate) use convert::{amount, node, node_term, pod, taint, toleration};
pub use decide::{PodExplanation, PodState};
pub(crate) use group::{Membership, kubernetes as group_of_kubernetes, ours as our_group};
pub(crate) use policies::interference;
pub(crate) use preempt::post as preempt_by_batch;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PatchParams;
use model::reservation::{Reservation, ReservationStatus};
use sigma::PodId;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::act::{Act, ActError};
use crate::key::ObjectKey;
use crate::record::{Note, Recorder};
use crate::world::World;

use bind::{Bind, Binder, Groups};
use decide::{Decision, Report, Scheduler};
use groups::Teller;
use news::{News, PodNews, take_all};
use preempt::Preemptor;
use quotas::Account;

/// What is under way at once, batches of bindings aside. More waits: the server is the bottleneck then.
const MAX_IN_FLIGHT: usize = 64;
/// Bindings that wait for volumes to be made at once: they are no work for the server.
const MAX_WAITING: usize = 1024;
/// Batches of bindings under way at once: while these are stored, the next one fills.
const MAX_BATCHES: usize = 2;

/// The pod that stands for a reservation.
pub(crate) fn stand_in(reservation: &Reservation) -> Pod {
    reservations::stand_in(reservation, model::names::SIGMA_SCHEDULER)
}

/// Which Pods are Sigma's, and how it decides between nodes of equal score.
#[derive(Clone, Debug)]
pub struct Config {
    /// What Pods call it in `spec.schedulerName`.
    pub scheduler_name: String,
    pub seed: u64,
    /// From which measured use on nodes take no more Pods; without it, use does not matter.
    pub load: Option<LoadPolicy>,
}

/// Subscribes to `world` and returns the scheduler's work.
pub fn start(world: &World, config: Config, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (news, mut received) = mpsc::unbounded_channel();
    let nodes = news.clone();
    world.nodes.on_change(move |change| {
        let name = change.object().metadata.name.clone().unwrap_or_default();
        // Nobody listens any more: the process is going down.
        let _stopped = nodes.send(News::Node(name, change.after.cloned()));
    });
    let namespaces = news.clone();
    world.namespaces.on_change(move |change| {
        let name = change.object().metadata.name.clone().unwrap_or_default();
        let _stopped = namespaces.send(News::Namespace(name, change.after.cloned()));
    });
    let budgets = news.clone();
    world.budgets.on_change(move |change| {
        let key = ObjectKey::of(&**change.object());
        let _stopped = budgets.send(News::Budget(key, change.after.cloned()));
    });
    groups::follow(world, &news);
    policies::follow(world, &news);
    quotas::follow(world, &news);
    reservations::follow(world, &news);
    let of_usage = news.clone();
    let pods = PodNews { world: world.clone(), news, turn: Arc::default() };
    storage::follow(&pods);
    world.pods.on_change(move |change| pods.changed(change));
    let recorder = world.recorder.named(&config.scheduler_name);
    let (teller, told) = mpsc::unbounded_channel();
    let (bookkeeper, booked) = mpsc::unbounded_channel();
    let edge = Edge {
        act: world.act.clone(),
        recorder: recorder.clone(),
        binder: Binder::new(world.clone(), recorder.clone()),
        preemptor: Preemptor::new(world.act.clone(), recorder.clone()),
        groups: Teller(teller),
        quotas: bookkeeper,
    };
    let world = world.clone();
    async move {
        let mut scheduler = Scheduler::new(&config);
        let ready = learn(&mut scheduler, &mut received, world.knows_what_placement_needs());
        if token.run_until_cancelled(ready).await.is_some() {
            if config.load.is_some() {
                let client = world.act.client().clone();
                kit::task::spawn("node-usage", load::follow(client, of_usage, token.clone()));
            }
            kit::task::spawn("elastic-quotas", quotas::tell(world.clone(), booked));
            kit::task::spawn("pod-groups", groups::tell(world, recorder, told));
            edge.run(scheduler, received, token).await;
        }
    }
}

/// Takes in what is told until all is known. Nothing is decided yet: a half-known cluster would look emptier than it is.
async fn learn(
    scheduler: &mut Scheduler,
    news: &mut mpsc::UnboundedReceiver<News>,
    ready: impl Future<Output = ()>,
) {
    let mut ready = std::pin::pin!(ready);
    loop {
        tokio::select! {
            biased;
            () = &mut ready => return,
            Some(first) = news.recv() => take_all(scheduler, first, news),
        }
    }
}

#[derive(Clone, Debug)]
struct Edge {
    act: Act,
    recorder: Recorder,
    binder: Binder,
    preemptor: Preemptor,
    groups: Teller,
    quotas: mpsc::UnboundedSender<Account>,
}

/// What was decided and is still to be done.
#[derive(Debug, Default)]
struct Owed {
    binds: Groups,
    others: VecDeque<Task>,
}

/// One thing to do.
#[derive(Debug)]
enum Task {
    BindAll(String, Vec<Bind>),
    One(Decision),
}

impl Task {
    fn is_still_meant(&self, scheduler: &Scheduler) -> bool {
        match self {
            Self::BindAll(..) => true,
            Self::One(decision) => scheduler.still_means(decision),
        }
    }

    /// What is to be told yet though the rest is not to be done any more.
    fn left_to_tell(self, scheduler: &Scheduler) -> Option<Self> {
        let Self::One(Decision::Preempt { pod, report: Some(report), .. }) = self else { return None };
        scheduler.is_waiting(&pod).then_some(Self::One(Decision::Report { pod, report }))
    }

    /// What is to be taken for its end if that is never heard of: whatever keeps a task from it, no pod is lost.
    fn unheard(&self) -> Acted {
        match self {
            Self::BindAll(_, binds) => Acted::not_bound(binds.iter().map(|bind| bind.id.clone())),
            Self::One(Decision::Bind(bind)) => Acted::not_bound([bind.id.clone()]),
            Self::One(Decision::Preempt { victims, .. }) => {
                let staying = victims.iter().map(|victim| victim.id.clone()).collect();
                Acted { staying, ..Acted::default() }
            }
            Self::One(Decision::Report { pod, .. }) => {
                Acted { untold: decide::id_of(pod), ..Acted::default() }
            }
            Self::One(Decision::Reserve { key, status }) => {
                Acted { unheld: Some((key.clone(), status.clone())), ..Acted::default() }
            }
            Self::One(Decision::Tell { .. } | Decision::Account(_)) => Acted::default(),
        }
    }
}

impl Edge {
    async fn run(
        self,
        mut scheduler: Scheduler,
        mut news: mpsc::UnboundedReceiver<News>,
        token: CancellationToken,
    ) {
        let (mut batches, mut acts) = (FuturesUnordered::new(), FuturesUnordered::new());
        let mut waiting = FuturesUnordered::new();
        let mut owed = Owed::default();
        loop {
            while batches.len() < MAX_BATCHES
                && let Some((namespace, binds)) = owed.binds.next_batch()
            {
                batches.push(self.begin(Task::BindAll(namespace, binds), &token));
            }
            while acts.len() < MAX_IN_FLIGHT
                && let Some(task) = owed.others.pop_front()
            {
                let waits = matches!(&task, Task::One(Decision::Bind(bind)) if self.binder.waits(bind));
                if waits && waiting.len() < MAX_WAITING {
                    waiting.push(self.begin(task, &token));
                } else if task.is_still_meant(&scheduler) {
                    acts.push(self.begin(task, &token));
                } else {
                    task.unheard().tell(&mut scheduler);
                    owed.others.extend(task.left_to_tell(&scheduler));
                }
            }
            let pause_end = scheduler.next_pause_end();
            tokio::select! {
                () = token.cancelled() => return,
                Some(acted) = batches.next() => acted.tell(&mut scheduler),
                Some(acted) = acts.next() => acted.tell(&mut scheduler),
                Some(acted) = waiting.next() => acted.tell(&mut scheduler),
                received = news.recv() => match received {
                    Some(first) => take_all(&mut scheduler, first, &mut news),
                    None => return,
                },
                () = sleep_until(pause_end) => {}
            }
            for decision in scheduler.decide(kit::clock::monotonic()) {
                match decision {
                    Decision::Bind(bind) if self.binder.goes_in_batch(&bind) => owed.binds.add(bind),
                    decision => owed.others.push_back(Task::One(decision)),
                }
            }
        }
    }

    /// Begins to do what was decided, on whichever core is free; yields what became of it.
    fn begin(&self, task: Task, token: &CancellationToken) -> impl Future<Output = Acted> + use<> {
        let unheard = task.unheard();
        let (teller, told) = oneshot::channel();
        let (edge, token) = (self.clone(), token.clone());
        kit::task::spawn("binding", async move {
            if let Some(acted) = token.run_until_cancelled(edge.act(task)).await {
                // Nobody listens any more: the process is going down.
                let _stopped = teller.send(acted);
            }
        });
        async move { told.await.unwrap_or(unheard) }
    }

    /// Does what was decided.
    async fn act(self, task: Task) -> Acted {
        let decision = match task {
            Task::BindAll(namespace, binds) => {
                return Acted::not_bound(self.binder.bind_all(&namespace, binds).await);
            }
            Task::One(decision) => decision,
        };
        match decision {
            Decision::Bind(bind) => Acted::not_bound(self.binder.bind_or_tell(bind).await),
            Decision::Preempt { pod, node, victims, report } => {
                let untold = self.nominate(&pod, &node, report).await;
                let staying = self.preemptor.preempt(&pod, victims).await;
                Acted { untold, staying, ..Acted::default() }
            }
            Decision::Reserve { key, status } => {
                let told = reservations::tell(self.act.client(), &self.recorder, &key, &status).await;
                let Err(error) = told else { return Acted::default() };
                tracing::warn!(error = %kit::Chain(&error), "The status of a Reservation was not written");
                Acted { unheld: Some((key, status)), ..Acted::default() }
            }
            Decision::Account(account) => {
                // Nobody listens any more: the process is going down.
                let _stopped = self.quotas.send(account);
                Acted::default()
            }
            Decision::Tell { key, origin, standing } => {
                self.groups.tell((key, origin), standing);
                Acted::default()
            }
            Decision::Report { pod, report } => {
                let mut status = serde_json::json!({ "conditions": [not_scheduled(&report)] });
                if report.ends_nomination {
                    status["nominatedNodeName"] = serde_json::Value::Null;
                }
                let untold = self.tell_or_not(&pod, status, Some(report)).await;
                Acted { untold, ..Acted::default() }
            }
        }
    }

    /// Names the node in the status of `pod`, and why it waits if that is news; the pod if it is to be told again.
    async fn nominate(&self, pod: &Pod, node: &str, report: Option<Report>) -> Option<PodId> {
        let mut status = serde_json::json!({ "nominatedNodeName": node });
        if let Some(report) = &report {
            status["conditions"] = serde_json::json!([not_scheduled(report)]);
        }
        // Only a word to readers: the room is held all the same.
        self.tell_or_not(pod, status, report).await
    }

    /// The pod if its status was not written, and is to be.
    async fn tell_or_not(
        &self,
        pod: &Pod,
        status: serde_json::Value,
        report: Option<Report>,
    ) -> Option<PodId> {
        let error = self.tell(pod, status, report).await.err()?;
        tracing::warn!(error = %kit::Chain(&error), pod = %decide::key_of(pod), "Why a pod waits was not written");
        // A namesake has taken its place.
        if error.code() == Some(409) { None } else { decide::id_of(pod) }
    }

    /// Writes what the status of a pod that waits must say, and an event.
    async fn tell(
        &self,
        pod: &Pod,
        status: serde_json::Value,
        report: Option<Report>,
    ) -> Result<(), ActError> {
        // A namesake that was made meanwhile is told nothing of this.
        let patch = serde_json::json!({ "metadata": { "uid": pod.metadata.uid }, "status": status });
        let result = self.patch_status(&decide::key_of(pod), patch).await;
        if let Some(report) = report {
            self.recorder.note(pod, Note::warning("FailedScheduling", report.message));
        }
        result
    }

    /// Merges `patch` into the status of a pod.
    async fn patch_status(&self, key: &ObjectKey, patch: serde_json::Value) -> Result<(), ActError> {
        let how = PatchParams { field_manager: manager(), ..PatchParams::default() };
        self.act.patch_status::<Pod>(key, &patch, &how).await
    }
}

fn not_scheduled(report: &Report) -> PodCondition {
    condition(("PodScheduled", "False"), report.reason, report.message.clone())
}

fn condition((type_, status): (&str, &str), reason: &str, message: String) -> PodCondition {
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(kit::clock::wall())),
        ..PodCondition::default()
    }
}

/// What did not come about of a decision.
#[derive(Debug, Default)]
struct Acted {
    /// These pods could not be bound.
    not_bound: Vec<PodId>,
    /// These pods could not be made to go.
    staying: Vec<PodId>,
    /// This pod could not be told why it waits.
    untold: Option<PodId>,
    /// This reservation could not tell how it stands.
    unheld: Option<(ObjectKey, ReservationStatus)>,
}

impl Acted {
    fn not_bound(pods: impl IntoIterator<Item = PodId>) -> Self {
        Self { not_bound: pods.into_iter().collect(), ..Self::default() }
    }

    fn tell(&self, scheduler: &mut Scheduler) {
        let now = kit::clock::monotonic();
        self.not_bound.iter().for_each(|id| scheduler.bind_failed(id, now));
        self.staying.iter().for_each(|id| scheduler.stays(id, now));
        self.untold.iter().for_each(|id| scheduler.untold(id, now));
        if let Some((key, status)) = &self.unheld {
            scheduler.reservation_untold(key.clone(), status.clone(), now);
        }
    }
}

/// In whose name the scheduler owns fields: the name of Kubernetes' own.
fn manager() -> Option<String> {
    Some("kube-scheduler".to_owned())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
