//! What the optimiser would move on a real cluster: Nodes, Pods and PodDisruptionBudgets in, rounds of moves out. Pure,
//! and a dry run: nothing is evicted here.
//!
//! ```text
//!   Nodes, Pods, budgets ──► convert: machines, apps, ties ──► sigma::optimise::rebalance ──► Report with names
//! ```

mod convert;
mod hold;
mod listed;
mod measured;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use model::interference_rule::InterferenceRule;
use model::reservation::Reservation;
use serde::Serialize;
use sigma::optimise::{Evaluation, Limits, Objective, ProblemError, rebalance};

pub use hold::Hold;
pub use listed::Listed;
pub use measured::Measured;

/// A cluster as the optimiser looks at it.
#[derive(Debug, Default)]
pub(crate) struct View<'a> {
    pub(crate) nodes: Vec<&'a Node>,
    pub(crate) pods: Vec<&'a Pod>,
    pub(crate) namespaces: Vec<&'a Namespace>,
    pub(crate) budgets: Vec<&'a PodDisruptionBudget>,
    /// Nothing is moved into the room that they hold.
    pub(crate) reservations: Vec<&'a Reservation>,
    /// Whom they name stays.
    pub(crate) interference_rules: Vec<&'a InterferenceRule>,
    /// Pods that stay for reasons that they do not know of themselves, by uid.
    pub(crate) holds: BTreeMap<&'a str, Hold>,
    /// By what nodes are judged, if not by what pods ask for.
    pub(crate) measured: Option<&'a Measured>,
    /// Whether Pods of ReplicaSets go only when another is up.
    pub(crate) replaces: bool,
}

/// What to aim at, and how far to go for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aim {
    pub objective: Objective,
    /// Moves of one round.
    pub at_once: usize,
    pub in_all: usize,
    /// What a plan must gain per move; a freed node counts 1.
    pub least_gain: f64,
}

/// A plan in the cluster's own names.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub moves: usize,
    /// Each begins when all Pods of the one before run again.
    pub rounds: Vec<Vec<PodMove>>,
    pub freed_nodes: Vec<String>,
    pub cooled_nodes: Vec<String>,
    pub before: Standing,
    pub after: Standing,
    /// How many Pods stay whatever it would gain, and why.
    pub held_pods: BTreeMap<Hold, usize>,
    /// Nodes with Pods that do not belong to the node itself, as it is.
    #[serde(skip)]
    pub in_use: Vec<String>,
    /// Nodes above a threshold, as it is.
    #[serde(skip)]
    pub hot: Vec<String>,
}

/// One Pod goes from node to node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodMove {
    pub namespace: String,
    pub pod: String,
    pub from: String,
    pub to: String,
    #[serde(skip)]
    pub uid: String,
}

/// How the cluster fares by the objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    pub cost: f64,
    /// Nodes with Pods that do not belong to the node itself.
    pub used_nodes: usize,
    /// Nodes of whose CPU or memory more is promised than the threshold.
    pub hot_nodes: usize,
}

/// Plans moves for the cluster. `should_stop` ends the search; what was found until then counts.
pub fn plan(listed: &Listed, aim: &Aim, should_stop: impl FnMut() -> bool) -> Result<Report, ProblemError> {
    let view = View {
        nodes: listed.nodes.iter().collect(),
        pods: listed.pods.iter().collect(),
        namespaces: listed.namespaces.iter().collect(),
        budgets: listed.budgets.iter().collect(),
        reservations: listed.reservations.iter().collect(),
        interference_rules: listed.interference_rules.iter().collect(),
        ..View::default()
    };
    plan_of(&view, aim, should_stop)
}

/// As [`plan`].
pub(crate) fn plan_of(
    view: &View<'_>,
    aim: &Aim,
    should_stop: impl FnMut() -> bool,
) -> Result<Report, ProblemError> {
    let converted = convert::convert(view)?;
    let limits = Limits {
        at_once: aim.at_once,
        in_all: aim.in_all,
        least_gain: aim.least_gain,
        budgets: converted.budgets,
    };
    let plan = rebalance(&converted.problem, &aim.objective, &converted.placement, &limits, should_stop);
    let node = |machine: &sigma::optimise::MachineId| converted.nodes[machine.at()].clone();
    let nodes = |machines: Vec<_>| machines.iter().map(node).collect();
    let named = |each: &sigma::optimise::Move| {
        let meta = &converted.pods[each.item.at()].metadata;
        let uid = meta.uid.clone().unwrap_or_default();
        PodMove {
            namespace: meta.namespace.clone().unwrap_or_default(),
            pod: meta.name.clone().unwrap_or_default(),
            from: node(&each.from),
            to: node(&each.to),
            uid,
        }
    };
    Ok(Report {
        moves: plan.moves(),
        rounds: plan.rounds.iter().map(|round| round.iter().map(named).collect()).collect(),
        freed_nodes: nodes(plan.freed()),
        cooled_nodes: nodes(plan.cooled()),
        before: Standing::of(&plan.before),
        after: Standing::of(&plan.after),
        held_pods: converted.held,
        in_use: plan.before.used.iter().map(node).collect(),
        hot: plan.before.hot.iter().map(node).collect(),
    })
}

impl Standing {
    fn of(evaluation: &Evaluation) -> Self {
        Self { cost: evaluation.cost, used_nodes: evaluation.used.len(), hot_nodes: evaluation.hot.len() }
    }
}
