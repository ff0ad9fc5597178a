//! The optimiser, continuously: for each RebalancePolicy it plans on the present state and moves pods in rounds.
//!
//! ```text
//!   RebalancePolicy, its pods ──► advance ──► a plan is due: rebalance::plan_of ──► rounds
//!                                    │
//!                                    └──► status written, if nobody else did meanwhile ──► acts: hold, mark, evict
//! ```
//!
//! What is about to be done stands in the policy's status before it is done, and everything may be done twice: a
//! restart in the middle goes on from there.

mod act;
mod decide;
mod scope;
mod step;
mod usage;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use model::rebalance_policy::{
    BEING_REPLACED, MoveKind, MoveStep, RebalanceBasis, RebalanceGoal, RebalanceMove, RebalancePolicy,
    RebalancePolicySpec, RebalancePolicyStatus, SUCCESSOR_OF,
};
use model::reservation::Reservation;
use sigma::optimise::Objective;
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, failed, only, post};
use crate::key::ObjectKey;
use crate::owner;
use crate::queue::{Next, Queue, queue};
use crate::rebalance::{Aim, Measured, PodMove, Report, View, plan_of};
use crate::record::{Note, Recorder};
use crate::world::World;

use decide::{Due, Terms, Turn, advance};
use scope::Scope;
use step::Seen;

const KIND: &str = "RebalancePolicy";

/// The reason of a policy that goes by what is measured, where nothing is.
const UNMEASURED: &str = "NoMeasurements";

/// What a plan may take. The best that is found until then counts.
const THINKING: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
struct Rebalancer {
    world: World,
    recorder: Recorder,
    /// Whether our own ReplicaSet controller runs, which makes another for a pod that is marked.
    replaces: bool,
}

/// Subscribes to `world` and returns the controller's work. `replaces` says whether ReplicaSets are our own controller's.
pub fn start(world: &World, replaces: bool, token: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let own = keys.clone();
    world.rebalance_policies.on_change(move |change| own.add(ObjectKey::of(&**change.object())));
    let (policies, by_pod) = (Arc::clone(&world.rebalance_policies), keys.clone());
    world.pods.on_change(move |change| note_pod(change.object(), &policies.all(), &by_pod));
    let by_hold = keys;
    world.reservations.on_change(move |change| {
        let owner = owner::controller(&change.object().metadata);
        if let Some(owner) = owner.filter(|owner| owner.kind == KIND) {
            by_hold.add(ObjectKey::cluster(&owner.name));
        }
    });
    let recorder = world.recorder.named("crest-rebalancer");
    let controller = Rebalancer { world: world.clone(), recorder, replaces };
    async move {
        let world = controller.world.clone();
        let ready =
            async { tokio::join!(world.knows_what_placement_needs(), world.rebalance_policies.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("rebalancer", 1, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

/// Policies look again when a pod of theirs changes: one that they move, or that takes the place of one.
fn note_pod(pod: &Pod, policies: &[Arc<RebalancePolicy>], keys: &Queue<ObjectKey>) {
    if let Some(policy) = pod.metadata.annotations.as_ref().and_then(|all| all.get(BEING_REPLACED)) {
        keys.add(ObjectKey::cluster(policy));
    }
    // Most clusters have none, and nobody else pays.
    if policies.is_empty() {
        return;
    }
    let (uid, owner) = (pod.metadata.uid.as_deref(), owner::controller_uid(&pod.metadata));
    let is_theirs = |policy: &&Arc<RebalancePolicy>| {
        let round = policy.status.iter().flat_map(|status| &status.round);
        let mut round = round.filter(|each| Some(&each.namespace) == pod.metadata.namespace.as_ref());
        round.any(|each| uid == Some(&each.uid) || owner == Some(&each.owner))
    };
    policies.iter().filter(is_theirs).for_each(|policy| keys.add(ObjectKey::of(&**policy)));
}

impl Rebalancer {
    async fn reconcile(self, key: ObjectKey) -> Result<Next, ActError> {
        self.sweep(&key.name).await?;
        let Some(policy) = self.world.rebalance_policies.get(&key) else { return Ok(Next::Rest) };
        if policy.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Rest);
        }
        let now = kit::clock::wall();
        let seeing = Seeing::of(&self.world, policy.status.as_ref());
        let mut turn = advance(&policy, now, |each| seeing.of_move(each));
        if let Due::Plan { in_all } = turn.next {
            match self.plan(&policy, in_all).await {
                Ok(report) => {
                    let seeing = Seeing::of_plan(&self.world, &report);
                    let (seen, how) =
                        (|each: &RebalanceMove| seeing.of_move(each), |each: &PodMove| self.how(each));
                    turn.take_plan(&policy, &report, now, (seen, how));
                }
                Err((reason, message)) => turn.cannot_plan(now, reason, message),
            }
        }
        self.write(&policy, &turn.status).await?;
        self.tell(&policy, &turn);
        for (each, act) in &turn.acts {
            self.act(&policy, each, *act).await?;
        }
        Ok(match turn.next {
            Due::Wait(wait) => Next::Again(wait),
            Due::Nothing | Due::Plan { .. } => Next::Rest,
        })
    }

    /// Replaces the status, if the policy is still what the decision was made on.
    async fn write(&self, policy: &RebalancePolicy, status: &RebalancePolicyStatus) -> Result<(), ActError> {
        if policy.status.as_ref() == Some(status) {
            return Ok(());
        }
        let api: Api<RebalancePolicy> = Api::all(self.world.act.client().clone());
        let updated = RebalancePolicy { status: Some(status.clone()), ..policy.clone() };
        let written = api.replace_status(&policy.name_any(), &post(), &updated).await.map(drop);
        written.map_err(failed::<RebalancePolicy>("update the status of", &ObjectKey::of(policy)))
    }

    /// Plans on the present state, beside all other work.
    async fn plan(&self, policy: &RebalancePolicy, in_all: usize) -> Result<Report, (&'static str, String)> {
        let measured = match policy.spec.by {
            RebalanceBasis::Requests => None,
            RebalanceBasis::MeasuredUse => {
                let measured = usage::measure(self.world.act.client()).await;
                let measured = measured.map_err(|error| (UNMEASURED, kit::Chain(&error).to_string()))?;
                if measured.pods.is_empty() {
                    return Err((UNMEASURED, "metrics.k8s.io knows of no pod".to_owned()));
                }
                Some(measured)
            }
        };
        let (world, name, spec) = (self.world.clone(), policy.name_any(), policy.spec.clone());
        let replaces = self.replaces;
        let planning = tokio::task::spawn_blocking(move || {
            look(&world, (&name, &spec), (measured.as_ref(), replaces), in_all)
        });
        match planning.await {
            Ok(report) => report,
            Err(error) => Err(("PlanFailed", error.to_string())),
        }
    }

    /// How a pod is moved: one of a ReplicaSet is replaced before it goes.
    fn how(&self, each: &PodMove) -> (MoveKind, String) {
        let pod = self.world.pods.get(&ObjectKey::new(&each.namespace, &each.pod));
        let owner = pod.as_ref().and_then(|pod| owner::controller(&pod.metadata));
        let how = match owner.map(|owner| owner.kind.as_str()) {
            Some("ReplicaSet") if self.replaces => MoveKind::Replace,
            Some("StatefulSet") => MoveKind::Return,
            _ => MoveKind::Evict,
        };
        (how, owner.map(|owner| owner.uid.clone()).unwrap_or_default())
    }

    fn tell(&self, policy: &RebalancePolicy, turn: &Turn) {
        for each in &turn.begun {
            let message = format!("Is moved from {} to {} for {}", each.from, each.to, policy.name_any());
            self.recorder.note(&act::reference(each), Note::normal("Moving", message));
        }
        for each in &turn.ended {
            let why = each.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
            let note = if each.step == MoveStep::Done {
                let successor = each.successor.as_deref().unwrap_or_default();
                Note::normal("Moved", format!("Moved from {} to {} as {successor}{why}", each.from, each.to))
            } else {
                Note::warning("MoveFailed", format!("Was not moved from {} to {}{why}", each.from, each.to))
            };
            self.recorder.note(&act::reference(each), note.clone());
            self.recorder.note(policy, note);
        }
    }

    /// Takes back what a policy that is gone, or a controller that was killed, has left: marks of pods and room that is
    /// held, for moves that are none of the policy's.
    async fn sweep(&self, policy: &str) -> Result<(), ActError> {
        let is_marked = |pod: &Arc<Pod>| {
            pod.metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(BEING_REPLACED))
                .is_some_and(|mark| mark == policy)
        };
        let marked: Vec<Arc<Pod>> = self.world.pods.all().into_iter().filter(is_marked).collect();
        let held: Vec<Arc<Reservation>> =
            self.world.reservations.all().into_iter().filter(|hold| is_hold_of(hold, policy)).collect();
        if marked.is_empty() && held.is_empty() {
            return Ok(());
        }
        // The copy in memory may be older than what was begun.
        let api: Api<RebalancePolicy> = Api::all(self.world.act.client().clone());
        let key = ObjectKey::cluster(policy);
        let living = api.get_opt(policy).await.map_err(failed::<RebalancePolicy>("get", &key))?;
        let status = living.and_then(|policy| policy.status).unwrap_or_default();
        let is_under_way = |uid: Option<&str>| status.round.iter().any(|each| Some(each.uid.as_str()) == uid);
        for pod in marked.iter().filter(|pod| !is_under_way(pod.metadata.uid.as_deref())) {
            self.set_mark(&ObjectKey::of(&**pod), None).await?;
        }
        for hold in held.iter().filter(|hold| !is_under_way(hold.name_any().strip_prefix(act::HOLD_PREFIX))) {
            self.world
                .act
                .delete::<Reservation>(&ObjectKey::of(&**hold), &only(hold.metadata.uid.as_deref()))
                .await?;
        }
        Ok(())
    }
}

/// Whether the room is held for a move of the policy.
fn is_hold_of(hold: &Reservation, policy: &str) -> bool {
    let owner = owner::controller(&hold.metadata).filter(|owner| owner.kind == KIND);
    owner.is_some_and(|owner| owner.name == policy)
}

/// A plan on what `world` knows. When one is made none of the policy's moves is under way: what is held for those that are
/// over has been taken by their successors, or is about to be given back.
fn look(
    world: &World,
    (policy, spec): (&str, &RebalancePolicySpec),
    (measured, replaces): (Option<&Measured>, bool),
    in_all: usize,
) -> Result<Report, (&'static str, String)> {
    let terms = Terms::of(spec);
    let (nodes, pods) = (world.nodes.all(), world.pods.all());
    let (namespaces, budgets) = (world.namespaces.all(), world.budgets.all());
    let (reservations, policies) = (world.reservations.all(), world.rebalance_policies.all());
    let rules = world.interference_rules.all();
    let statuses = policies.iter().filter_map(|policy| policy.status.as_ref());
    let on_the_move: BTreeSet<String> = statuses
        .flat_map(|status| status.round.iter().chain(status.next_rounds.iter().flatten()))
        .map(|each| each.uid.clone())
        .collect();
    let scope = Scope::of(spec, terms.leave_alone, &on_the_move, kit::clock::wall());
    let view = View {
        nodes: nodes.iter().map(|each| &**each).collect(),
        pods: pods.iter().map(|each| &**each).collect(),
        namespaces: namespaces.iter().map(|each| &**each).collect(),
        budgets: budgets.iter().map(|each| &**each).collect(),
        reservations: reservations
            .iter()
            .map(|each| &**each)
            .filter(|hold| !is_hold_of(hold, policy))
            .collect(),
        interference_rules: rules.iter().map(|each| &**each).collect(),
        holds: scope.holds(pods.iter().map(|pod| &**pod)),
        measured,
        replaces,
    };
    let begun = kit::clock::monotonic();
    let planned = plan_of(&view, &aim(spec, &terms, in_all), || begun.elapsed() >= THINKING);
    planned.map_err(|error| ("PlanFailed", kit::Chain(&error).to_string()))
}

fn aim(spec: &RebalancePolicySpec, terms: &Terms, in_all: usize) -> Aim {
    let percent = |said: Option<u32>, usual: u32| f64::from(said.unwrap_or(usual)) / 100.0;
    let (cpu, memory) = (percent(spec.cpu_threshold_percent, 80), percent(spec.memory_threshold_percent, 90));
    Aim {
        objective: match spec.goal {
            RebalanceGoal::FreeMachines => Objective::machines(cpu, memory),
            RebalanceGoal::RemoveHotSpots => Objective::hot_spots(cpu, memory),
        },
        at_once: terms.at_once,
        in_all,
        least_gain: terms.least_gain,
    }
}

/// The objects that moves are about, as they are.
struct Seeing {
    pods: Vec<Arc<Pod>>,
    holds: Vec<Arc<Reservation>>,
    /// Successors of other moves.
    taken: BTreeSet<String>,
}

impl Seeing {
    fn of(world: &World, status: Option<&RebalancePolicyStatus>) -> Self {
        let moves = status
            .into_iter()
            .flat_map(|status| status.round.iter().chain(status.next_rounds.first().into_iter().flatten()));
        Self::in_namespaces(world, moves.map(|each| each.namespace.clone()).collect())
    }

    fn of_plan(world: &World, report: &Report) -> Self {
        let moves = report.rounds.first().into_iter().flatten();
        Self::in_namespaces(world, moves.map(|each| each.namespace.clone()).collect())
    }

    fn in_namespaces(world: &World, namespaces: BTreeSet<String>) -> Self {
        let pods: Vec<_> = namespaces.iter().flat_map(|name| world.pods.in_namespace(name)).collect();
        let holds = namespaces.iter().flat_map(|name| world.reservations.in_namespace(name)).collect();
        let policies = world.rebalance_policies.all();
        let rounds = policies.iter().flat_map(|policy| policy.status.iter().flat_map(|status| &status.round));
        let taken = rounds.filter_map(|each| Some(format!("{}/{}", each.uid, each.successor.as_ref()?)));
        let taken = taken.collect();
        Self { pods, holds, taken }
    }

    fn of_move(&self, each: &RebalanceMove) -> Seen<'_> {
        let here = || self.pods.iter().filter(|pod| pod.metadata.namespace.as_ref() == Some(&each.namespace));
        let is_it = |pod: &&Arc<Pod>| pod.metadata.uid.as_ref() == Some(&each.uid);
        let hold = self.holds.iter().find(|hold| {
            hold.metadata.namespace.as_ref() == Some(&each.namespace)
                && hold.name_any() == act::hold_name(each)
        });
        Seen {
            pod: here().find(is_it).map(|pod| &**pod),
            hold: hold.map(|hold| &**hold),
            successor: here().find(|pod| self.succeeds(pod, each)).map(|pod| &**pod),
        }
    }

    /// Whether the pod takes the place of the one that is moved: it says so, or was made by the same owner since, and is
    /// no other's successor.
    fn succeeds(&self, pod: &Pod, each: &RebalanceMove) -> bool {
        let labels = pod.metadata.labels.as_ref();
        let name = pod.name_any();
        match each.how {
            MoveKind::Replace => return labels.and_then(|all| all.get(SUCCESSOR_OF)) == Some(&each.uid),
            MoveKind::Return => return name == each.pod && pod.metadata.uid.as_ref() != Some(&each.uid),
            MoveKind::Evict => {}
        }
        let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
        let begun = each.begun_at.as_ref().map(|time| time.0.as_second());
        let is_taken = self.taken.iter().any(|taken| {
            taken.split_once('/').is_some_and(|(uid, successor)| uid != each.uid && successor == name)
        });
        owner::controller_uid(&pod.metadata) == Some(&each.owner)
            && pod.metadata.uid.as_ref() != Some(&each.uid)
            && made >= begun
            && !is_taken
    }
}
