//! One Pod's caretaker: observes, plans, acts, reports; then waits until something changes.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::backoff::Retry;
use super::hooks;
use super::last_words;
use super::observed::{Observed, Sandbox};
use super::order::PodId;
use super::plan::{Memory, Plan, Step, Wish, grace_seconds, plan};
use super::prober::{Probers, Report};
use super::registry::{Live, Order};
use super::start::{self, Starter};
use super::status::{Facts, OWN_CONDITIONS, status};
use super::{Context, Shared, has_ended, leftovers};
use crate::probes::{Kind, Outcome};

/// The caretaker of one Pod.
pub(super) struct Lane {
    context: Shared,
    id: PodId,
    orders: watch::Receiver<Order>,
    poke: Arc<Notify>,
    live: watch::Sender<Live>,
    memory: Memory,
    probers: Probers,
    reports: mpsc::Receiver<Report>,
    writer: Writer,
    starter: Starter,
    /// How often the host could not be cleared of the ended Pod.
    n_clearings: u32,
}

/// What cannot be cleared away after so many tries is left to the next start of the agent.
const CLEARINGS: u32 = 10;
/// A status that was not taken is told again after this time.
const RETELL: Duration = Duration::from_secs(2);
/// Pause before asking an engine again that did not answer.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);
/// ConfigMaps and Secrets reach running containers within this time.
const REFRESH: Duration = Duration::from_secs(60);

/// What comes after a round.
enum Round {
    /// Nothing of the Pod is left.
    Over,
    Again,
    /// Nothing is to be done for so long, unless something changes.
    Pause(Duration),
}

impl Lane {
    pub(super) fn new(
        context: Shared,
        orders: watch::Receiver<Order>,
        poke: Arc<Notify>,
        live: watch::Sender<Live>,
    ) -> Self {
        let pod = orders.borrow().pod.clone();
        let id = PodId::of(&pod);
        let (sender, reports) = mpsc::channel(16);
        let probers = Probers::new(context.clone(), sender);
        let client = context.client.clone();
        let writer = Writer { client, id: id.clone(), written: None, is_behind: false };
        let starter = Starter::new(context.clone(), id.clone());
        let memory = remembered(&pod);
        let n_clearings = 0;
        Self { context, id, orders, poke, live, memory, probers, reports, writer, starter, n_clearings }
    }

    /// Takes care until nothing of the Pod is left, or until `token` is cancelled.
    pub(super) async fn run(mut self, token: CancellationToken) {
        while !token.is_cancelled() {
            // A round is large, with all that it reads and may do, and most of the time there is none: it stands apart, so that
            // who waits keeps nothing of it.
            match Box::pin(self.round(&token)).await {
                Round::Over => break,
                Round::Again => {}
                Round::Pause(pause) => self.wait(pause, &token).await,
            }
        }
    }

    /// Observes, plans and acts once.
    async fn round(&mut self, token: &CancellationToken) -> Round {
        let order = self.orders.borrow_and_update().clone();
        let observed = match self.context.engine.observe(&self.id.uid).await {
            Ok(mut observed) => {
                let logs = self.context.pod_logs.join(self.id.log_dir_name());
                let pod_dir = self.context.pod_dir(&self.id.uid);
                last_words::hear(&order.pod, &mut observed, &pod_dir, &logs);
                observed
            }
            Err(error) => {
                tracing::debug!(pod = %self.id.name, error = %kit::Chain(&error), "Engine not reached");
                return Round::Pause(ENGINE_PAUSE);
            }
        };
        let pod = self.writer.with_written(&order.pod);
        let wish = wish(&order);
        self.notice(&pod, &observed, &wish);
        let now = kit::clock::wall();
        let plan = plan(&pod, &wish, &observed, &mut self.memory, now);
        let report = (!is_over(&order)).then(|| self.status(&pod, &order, &observed));
        let work = Work { pod: &pod, order: &order, plan: &plan, sandbox: observed.sandbox() };
        match self.act(work, report, token).await {
            true => Round::Over,
            false if plan.steps.is_empty() => Round::Pause(self.pause(&pod, &plan)),
            false => Round::Again,
        }
    }

    fn status(&self, pod: &Pod, order: &Order, observed: &Observed) -> PodStatus {
        let facts = Facts {
            observed,
            memory: &self.memory,
            verdict: order.verdict.as_ref(),
            host_ip: &self.context.host.ip,
            now: kit::clock::wall(),
        };
        status(pod, &facts)
    }

    /// Lets others see what there is, and sees to it that what runs is probed.
    fn notice(&mut self, pod: &Pod, observed: &Observed, wish: &Wish) {
        let sandbox = observed.sandbox().map(|sandbox| sandbox.id.clone());
        self.live.send_replace(Live { sandbox, containers: observed.containers.clone() });
        if *wish == Wish::Run {
            self.probers.tend(pod, observed, &mut self.memory);
        } else {
            self.probers.stop();
        }
    }

    fn pause(&self, pod: &Pod, plan: &Plan) -> Duration {
        let now = kit::clock::wall();
        let due = plan.wake.map(|wake| Duration::try_from(wake.duration_since(now)).unwrap_or_default());
        let refresh = if start::has_changing_volumes(pod) { REFRESH } else { REFRESH * 10 };
        let refresh = if self.writer.is_behind { RETELL } else { refresh };
        // A little late rather than a little early: early would mean to plan the same pause again.
        due.map_or(refresh, |due| due.min(refresh) + Duration::from_millis(5))
    }

    /// Waits for `pause`, or until an order, a poke or a probe's report comes before.
    async fn wait(&mut self, pause: Duration, token: &CancellationToken) {
        tokio::select! {
            () = token.cancelled() => {}
            () = self.poke.notified() => {}
            changed = self.orders.changed() => if changed.is_err() { token.cancelled().await },
            Some(report) = self.reports.recv() => self.learn(report),
            () = tokio::time::sleep(pause) => {
                let order = self.orders.borrow().clone();
                if wish(&order) == Wish::Run {
                    Box::pin(self.starter.refresh(&order.pod)).await;
                }
            }
        }
    }

    fn learn(&mut self, report: Report) {
        let memory = &mut self.memory;
        match (report.kind, report.outcome) {
            (Kind::Startup, Outcome::Passing) => {
                memory.started.insert(report.id);
            }
            (Kind::Readiness, Outcome::Passing) => {
                memory.ready.insert(report.id);
            }
            (Kind::Readiness, Outcome::Failing) => {
                memory.ready.remove(&report.id);
            }
            (Kind::Startup | Kind::Liveness, Outcome::Failing) => {
                let why = format!(
                    "Container {} failed {} probe, will be restarted",
                    report.container,
                    report.kind.as_str().to_lowercase()
                );
                memory.unhealthy.insert(report.id, why);
            }
            (Kind::Liveness, Outcome::Passing) => {}
        }
    }

    /// Does what is planned and reports beside it. True when nothing is left to care for.
    async fn act(&mut self, work: Work<'_>, report: Option<PodStatus>, token: &CancellationToken) -> bool {
        let Work { pod, order, plan, sandbox } = work;
        let mut orders = self.orders.clone();
        let wish = wish(order);
        let changed = async {
            while orders.changed().await.is_ok() {
                if self::wish(&orders.borrow_and_update()) != wish {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        let making = self.starter.making();
        let overruled = async {
            tokio::select! {
                () = changed => {}
                () = token.cancelled() => {}
            }
            making.lock_owned().await
        };
        let report = self.writer.write(report);
        let mut acting = Acting {
            context: &self.context,
            starter: &mut self.starter,
            memory: &mut self.memory,
            pod,
            sandbox,
        };
        let steps = async {
            tokio::select! {
                done = acting.steps(&plan.steps) => done,
                // A new wish, such as an end while an image is pulled, makes the rest of the plan void.
                _whole = overruled => false,
            }
        };
        let (finished, ()) = tokio::join!(steps, report);
        finished && self.finish(order).await
    }

    /// Nothing of the Pod runs any more: its traces on the host go, then its object. False when that is to be tried
    /// again.
    async fn finish(&mut self, order: &Order) -> bool {
        if !leftovers::clear(&self.context, &self.id.uid) && self.n_clearings < CLEARINGS {
            self.n_clearings += 1;
            tokio::time::sleep(ENGINE_PAUSE).await;
            return false;
        }
        // Without their Pod no one can ask for its logs.
        let _logs = std::fs::remove_dir_all(self.context.pod_logs.join(self.id.log_dir_name()));
        let done = order.gone || self.writer.delete().await;
        if !done {
            tokio::time::sleep(ENGINE_PAUSE).await;
        }
        done
    }
}

/// What is to be done in one round.
struct Work<'a> {
    pod: &'a Pod,
    order: &'a Order,
    plan: &'a Plan,
    sandbox: Option<&'a Sandbox>,
}

/// The hands of a caretaker for one plan.
struct Acting<'a> {
    context: &'a Context,
    starter: &'a mut Starter,
    memory: &'a mut Memory,
    pod: &'a Pod,
    sandbox: Option<&'a Sandbox>,
}

impl Acting<'_> {
    /// True when the plan ended the Pod.
    async fn steps(&mut self, steps: &[Step]) -> bool {
        let kills = steps.iter().filter_map(|step| match step {
            Step::Kill { id, container, grace_seconds, why } => {
                Some(hooks::kill(self.context, self.pod, (id, container), *grace_seconds, why))
            }
            _ => None,
        });
        join_all(kills).await;
        for step in steps {
            if let Err(error) = self.step(step).await {
                tracing::warn!(pod = %self.pod.metadata.name.as_deref().unwrap_or_default(), error = %kit::Chain(&error), "Step failed; trying again");
                tokio::time::sleep(ENGINE_PAUSE).await;
                return false;
            }
        }
        steps.contains(&Step::Finish)
    }

    async fn step(&mut self, step: &Step) -> Result<(), crate::engine::EngineError> {
        let engine = &self.context.engine;
        match step {
            Step::Kill { .. } | Step::Finish => Ok(()),
            Step::StopSandbox { id } => engine.stop_sandbox(id).await,
            Step::RemoveSandbox { id } => engine.remove_sandbox(id).await,
            Step::Remove { id } => engine.remove_container(id).await,
            Step::RunSandbox { attempt } => {
                let result = self.starter.sandbox(self.pod, *attempt).await;
                self.remember("", result);
                Ok(())
            }
            Step::Resize { id, container } => {
                let resized = self.starter.resize(self.pod, container, id).await;
                self.note_size(container, id, resized).await;
                Ok(())
            }
            Step::Start { container, attempt } => {
                // Containers are planned only where a sandbox stands.
                if let Some(sandbox) = self.sandbox {
                    let result = self.starter.container(self.pod, container, *attempt, sandbox).await;
                    if let Ok(id) = &result {
                        self.note_size(container, id, Ok(())).await;
                    }
                    self.remember(container, result.map(drop));
                }
                Ok(())
            }
        }
    }

    /// Remembers what a run was given; what it could not be given is tried again after a pause.
    async fn note_size(&mut self, container: &str, id: &str, resized: Result<(), start::Failure>) {
        match (resized, hooks::find(self.pod, container)) {
            (Ok(()), Some(container)) => {
                let resources = container.resources.clone().unwrap_or_default();
                self.memory.sized.insert(id.to_owned(), resources);
            }
            (Ok(()), None) => {}
            (Err(_told), _) => tokio::time::sleep(ENGINE_PAUSE).await,
        }
    }

    /// Remembers why something could not be started, so that it is tried again later and users see the reason.
    fn remember(&mut self, name: &str, result: Result<(), start::Failure>) {
        match result {
            Ok(()) => {
                self.memory.retries.remove(name);
            }
            Err(failure) => {
                let before = self.memory.retries.get(name);
                let now = kit::clock::wall();
                let retry = Retry::after(before, failure.reason, failure.message, now);
                self.memory.retries.insert(name.to_owned(), retry);
            }
        }
    }
}

fn wish(order: &Order) -> Wish {
    let metadata = &order.pod.metadata;
    let own_grace = order.pod.spec.as_ref().map_or(30, grace_seconds);
    if order.gone {
        // Deleted without waiting for us: by force, or as an orphan.
        return Wish::End {
            grace_seconds: metadata.deletion_grace_period_seconds.unwrap_or(1).min(own_grace),
        };
    }
    if metadata.deletion_timestamp.is_some() {
        return Wish::End { grace_seconds: metadata.deletion_grace_period_seconds.unwrap_or(own_grace) };
    }
    if order.verdict.is_some() {
        return Wish::Rest { grace_seconds: own_grace.min(10) };
    }
    if is_over(order) { Wish::Rest { grace_seconds: own_grace } } else { Wish::Run }
}

/// The API has its last word on this Pod; nothing is to be added.
fn is_over(order: &Order) -> bool {
    order.gone || has_ended(&order.pod)
}

/// What an earlier life of the agent knew and wrote: adopted containers stay ready.
fn remembered(pod: &Pod) -> Memory {
    let mut memory = Memory::default();
    let status = pod.status.iter();
    let containers = status
        .flat_map(|status| status.container_statuses.iter().chain(&status.init_container_statuses).flatten());
    for container in containers {
        let id = container
            .container_id
            .as_deref()
            .and_then(|id| id.split_once("://"))
            .map(|(_, id)| id.to_owned());
        let Some(id) = id else { continue };
        if container.started == Some(true) {
            memory.started.insert(id.clone());
        }
        if let Some(resources) = &container.resources {
            memory.sized.insert(id.clone(), resources.clone());
        }
        if container.ready {
            memory.ready.insert(id);
        }
    }
    memory
}

/// Writes the status, and only when it changed.
struct Writer {
    client: Client,
    id: PodId,
    written: Option<PodStatus>,
    /// The last status could not be written.
    is_behind: bool,
}

impl Writer {
    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.id.namespace)
    }

    /// `pod` with the status that we wrote last, for the watch may lag behind; conditions of others are the watch's.
    fn with_written(&self, pod: &Pod) -> Pod {
        let mut pod = pod.clone();
        if let Some(written) = &self.written {
            let status = pod.status.get_or_insert_default();
            status.start_time.clone_from(&written.start_time);
            let ours = written.conditions.clone().unwrap_or_default();
            let others = status.conditions.take().unwrap_or_default();
            let foreign = others.into_iter().filter(|other| ours.iter().all(|own| own.type_ != other.type_));
            let foreign: Vec<_> = foreign.collect();
            status.conditions = Some(ours.into_iter().chain(foreign).collect());
        }
        pod
    }

    async fn write(&mut self, status: Option<PodStatus>) {
        let Some(status) = status.filter(|status| self.written.as_ref() != Some(status)) else { return };
        let patch = json!({ "metadata": { "uid": self.id.uid }, "status": change(&status) });
        let told =
            self.api().patch_status(&self.id.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        self.is_behind = false;
        match told {
            Ok(_) => self.written = Some(status),
            // Gone, or another Pod of that name: the watch is about to say so.
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => {}
            Err(kube::Error::Api(refusal))
                if refusal.code == 422 && refusal.message.contains("metadata.uid") => {}
            Err(error) => {
                tracing::warn!(pod = %self.id.name, error = %kit::Chain(&error), "Status not written; trying again");
                self.is_behind = true;
            }
        }
    }

    /// Removes the object of a Pod that has ended as it was asked to. False when the API did not do it.
    async fn delete(&self) -> bool {
        let preconditions = Preconditions { uid: Some(self.id.uid.clone()), resource_version: None };
        let params =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }.grace_period(0);
        match self.api().delete(&self.id.name, &params).await {
            Ok(_) => true,
            // Gone already, or another Pod of that name: both are as wanted.
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => true,
            Err(error) => {
                tracing::warn!(pod = %self.id.name, error = %kit::Chain(&error), "Ended Pod not deleted; trying again");
                false
            }
        }
    }
}

/// The strategic merge patch that makes `status` so. Conditions of others are left out: they may have changed since
/// they were read.
fn change(status: &PodStatus) -> Value {
    let mut change = json!(status);
    if let Some(Value::Array(conditions)) = change.get_mut("conditions") {
        conditions.retain(|condition| OWN_CONDITIONS.iter().any(|own| condition["type"] == *own));
    }
    for list in ["podIPs", "hostIPs"] {
        if let Some(Value::Array(items)) = change.get_mut(list) {
            // Addresses of an earlier sandbox go.
            items.insert(0, json!({ "$patch": "replace" }));
        }
    }
    change
}
