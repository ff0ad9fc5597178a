//! How many replicas a workload is to have: what its metrics ask for, within what its behaviour allows.
//!
//! ```text
//!   usage of each pod ──► one proposal per metric ──► the largest ──► stabilised ──► within rates ──► within bounds
//! ```

mod behavior;
mod metric;

use std::collections::VecDeque;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) use metric::{PodUse, Usage, milli};

/// What the autoscaler remembers of a workload between rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// What was asked for, and when: the window of stabilisation looks back on it.
    pub(crate) proposals: VecDeque<(Timestamp, i32)>,
    /// By how much the size was changed, and when.
    pub(crate) changes: VecDeque<(Timestamp, i32)>,
}

/// An autoscaler and its workload.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) autoscaler: &'a HorizontalPodAutoscaler,
    /// The size that the workload is asked to have, and has.
    pub(crate) wanted: i32,
    pub(crate) actual: i32,
    /// What the pods use; an error says why nobody knows.
    pub(crate) usage: Result<&'a Usage, String>,
    pub(crate) now: Timestamp,
}

/// What is owed to the world.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The new size, and why.
    pub(crate) resize: Option<(i32, String)>,
    pub(crate) status: HorizontalPodAutoscalerStatus,
}

/// Decides on one autoscaler and notes what it must remember.
pub(crate) fn decide(view: &View<'_>, memory: &mut Memory) -> Plan {
    let spec = &view.autoscaler.spec;
    let (least, most) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
    let mut status = view.autoscaler.status.clone().unwrap_or_default();
    let mut conditions = Conditions { list: status.conditions.take().unwrap_or_default(), now: view.now };
    conditions.set(
        "AbleToScale",
        "True",
        ("SucceededGetScale", "the HPA controller was able to get the target's current scale"),
    );
    let (desired, reason) = if view.wanted == 0 && least != 0 {
        conditions.set(
            "ScalingActive",
            "False",
            ("ScalingDisabled", "scaling is disabled since the replica count of the target is zero"),
        );
        (0, String::new())
    } else if view.wanted > most {
        (most, "Current number of replicas above Spec.MaxReplicas".to_owned())
    } else if view.wanted < least {
        (least, "Current number of replicas below Spec.MinReplicas".to_owned())
    } else {
        by_metrics(view, memory, &mut status, &mut conditions)
    };
    status.current_replicas = Some(view.actual);
    status.desired_replicas = desired;
    status.observed_generation = view.autoscaler.metadata.generation;
    let resize = (desired != view.wanted).then_some((desired, reason));
    if resize.is_some() {
        conditions.set(
            "AbleToScale",
            "True",
            (
                "SucceededRescale",
                &format!("the HPA controller was able to update the target scale to {desired}"),
            ),
        );
        status.last_scale_time = Some(Time(view.now));
        memory.changes.push_back((view.now, desired - view.wanted));
    }
    status.conditions = Some(conditions.list);
    Plan { resize, status }
}

/// The size by metrics, and which one decided.
fn by_metrics(
    view: &View<'_>,
    memory: &mut Memory,
    status: &mut HorizontalPodAutoscalerStatus,
    conditions: &mut Conditions,
) -> (i32, String) {
    let spec = &view.autoscaler.spec;
    let mut proposals: Vec<metric::Proposal> = Vec::new();
    let mut failure = None;
    for metric in spec.metrics.iter().flatten() {
        match metric::propose(metric, view) {
            Ok(proposal) => proposals.push(proposal),
            Err(refusal) => failure = failure.or(Some(refusal)),
        }
    }
    let current: Vec<MetricStatus> = proposals.iter().map(|proposal| proposal.status.clone()).collect();
    status.current_metrics = (!current.is_empty()).then_some(current);
    let largest = proposals.into_iter().max_by_key(|proposal| proposal.replicas);
    let unknown = failure.filter(|_| largest.as_ref().is_none_or(|largest| largest.replicas < view.wanted));
    if let Some(refusal) = unknown {
        // Who does not know all must not shrink.
        conditions.set("ScalingActive", "False", (refusal.reason, &refusal.message));
        return (view.wanted, String::new());
    }
    let Some(largest) = largest else { return (view.wanted, String::new()) };
    let told = format!("the HPA was able to successfully calculate a replica count from {}", largest.told);
    conditions.set("ScalingActive", "True", ("ValidMetricFound", &told));
    let bounded = behavior::bound(view, memory, largest.replicas);
    conditions.set("AbleToScale", "True", bounded.able);
    conditions.set("ScalingLimited", bounded.limited.0, (bounded.limited.1, bounded.limited.2));
    let direction = if largest.replicas > view.wanted { "above" } else { "below" };
    let reason = if largest.replicas == view.wanted {
        "All metrics below target".to_owned()
    } else {
        format!("{} {direction} target", largest.told)
    };
    (bounded.replicas, reason)
}

/// The conditions; the time of one changes only when its status does.
struct Conditions {
    list: Vec<HorizontalPodAutoscalerCondition>,
    now: Timestamp,
}

impl Conditions {
    fn set(&mut self, kind: &str, status: &str, (reason, message): (&str, &str)) {
        let old = self.list.iter().find(|each| each.type_ == kind && each.status == status);
        let since = old.and_then(|old| old.last_transition_time.clone()).unwrap_or(Time(self.now));
        let condition = HorizontalPodAutoscalerCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(since),
        };
        match self.list.iter_mut().find(|each| each.type_ == kind) {
            Some(old) => *old = condition,
            None => self.list.push(condition),
        }
    }
}
