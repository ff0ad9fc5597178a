//! One move, step by step. Pure: where the move stands and what is seen of it, in; the next step and what to do, out.
//!
//! ```text
//!   Holding ── room is held ──► Replacing ── successor ready ──► Evicting ── gone ──► Done
//!      │                            │ the pod goes by itself        ▲ │
//!      └── room is held, Evict ─────┼───────────────────────────────┘ │ gone, Evict
//!                                   └────────► Returning ◄────────────┘
//!                                                  └── successor ready ──► Done
//!   any of them ── it takes too long, or cannot be ──► Failed: what was begun is taken back
//! ```
//!
//! Everything that is done may be done twice, so that a controller that was killed in between goes on from the step
//! that its policy's status tells.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use model::rebalance_policy::{BEING_REPLACED, MoveKind, MoveStep, RebalanceMove};
use model::reservation::{Reservation, ReservationPhase};

use crate::pods;

/// What the world shows of a move.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen<'a> {
    /// The pod that is moved, with its uid; `None` once it is gone.
    pub(crate) pod: Option<&'a Pod>,
    /// The room for its successor.
    pub(crate) hold: Option<&'a Reservation>,
    /// The pod that takes its place.
    pub(crate) successor: Option<&'a Pod>,
}

/// What is to be done for a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Have room held.
    Hold,
    /// Mark the pod, so that its ReplicaSet makes another.
    Mark,
    /// Take the mark away.
    Unmark,
    /// Have the pod go, if its disruption budget lets it.
    Evict,
    /// Give the room back.
    Release,
}

/// Room that is not held after this part of the time for the whole move will not be.
const HOLD_PART: u32 = 4;

/// Brings the move as far as can be; what is to be done now.
pub(crate) fn step(each: &mut RebalanceMove, seen: &Seen<'_>, now: Timestamp, limit: Duration) -> Vec<Act> {
    let age = age(each, now);
    let acts = match each.step {
        MoveStep::Holding => hold(each, seen, age > limit / HOLD_PART),
        MoveStep::Replacing => replace(each, seen),
        MoveStep::Evicting => evict(each, seen),
        MoveStep::Returning => await_return(each, seen),
        MoveStep::Done | MoveStep::Failed => return Vec::new(),
    };
    if is_over(each) || age <= limit {
        return acts;
    }
    let waited_for = match each.step {
        MoveStep::Holding => "room for it was not held in time",
        MoveStep::Replacing | MoveStep::Returning => "the pod in its place was not ready in time",
        _ => "it was not gone in time: its disruption budget may not let it go",
    };
    fail(each, seen, waited_for.to_owned())
}

/// Whether nothing is left to do.
pub(crate) fn is_over(each: &RebalanceMove) -> bool {
    matches!(each.step, MoveStep::Done | MoveStep::Failed)
}

fn age(each: &RebalanceMove, now: Timestamp) -> Duration {
    let begun = each.begun_at.as_ref().map_or(now, |time| time.0);
    Duration::try_from(now.duration_since(begun)).unwrap_or_default()
}

fn hold(each: &mut RebalanceMove, seen: &Seen<'_>, is_late: bool) -> Vec<Act> {
    if !seen.pod.is_some_and(|pod| pods::is_active(pod) && pods::node_name(pod) == Some(&each.from)) {
        return fail(each, seen, "it went by itself".to_owned());
    }
    let Some(hold) = seen.hold else { return vec![Act::Hold] };
    let status = hold.status.clone().unwrap_or_default();
    match status.phase {
        ReservationPhase::Held => {
            each.message = None;
            match each.how {
                MoveKind::Replace => {
                    each.step = MoveStep::Replacing;
                    replace(each, seen)
                }
                MoveKind::Evict | MoveKind::Return => {
                    each.step = MoveStep::Evicting;
                    evict(each, seen)
                }
            }
        }
        ReservationPhase::Pending if !is_late => {
            each.message = status.message;
            Vec::new()
        }
        ReservationPhase::Pending | ReservationPhase::Expired => {
            let why = status.message.map(|message| format!(": {message}")).unwrap_or_default();
            fail(each, seen, format!("there is no room for it{why}"))
        }
    }
}

fn replace(each: &mut RebalanceMove, seen: &Seen<'_>) -> Vec<Act> {
    note_successor(each, seen);
    let Some(pod) = seen.pod.filter(|pod| pods::is_active(pod)) else {
        // Its ReplicaSet makes up for it: all that is left is to wait.
        each.step = MoveStep::Returning;
        return await_return(each, seen);
    };
    if is_up(seen) {
        each.step = MoveStep::Evicting;
        return evict(each, seen);
    }
    let annotations = pod.metadata.annotations.as_ref();
    let is_marked = annotations.is_some_and(|all| all.contains_key(BEING_REPLACED));
    if is_marked { Vec::new() } else { vec![Act::Mark] }
}

fn evict(each: &mut RebalanceMove, seen: &Seen<'_>) -> Vec<Act> {
    match seen.pod {
        Some(pod) if pods::is_terminating(pod) => Vec::new(),
        Some(_) => vec![Act::Evict],
        None => {
            each.step = MoveStep::Returning;
            await_return(each, seen)
        }
    }
}

fn await_return(each: &mut RebalanceMove, seen: &Seen<'_>) -> Vec<Act> {
    note_successor(each, seen);
    if !is_up(seen) {
        return Vec::new();
    }
    each.step = MoveStep::Done;
    let node = seen.successor.and_then(|pod| pods::node_name(pod)).unwrap_or_default();
    each.message = (node != each.to).then(|| format!("the scheduler chose {node}"));
    vec![Act::Release]
}

fn note_successor(each: &mut RebalanceMove, seen: &Seen<'_>) {
    each.successor = seen.successor.and_then(|pod| pod.metadata.name.clone());
}

fn is_up(seen: &Seen<'_>) -> bool {
    seen.successor.is_some_and(|pod| pods::is_active(pod) && pods::ready_since(pod).is_some())
}

/// What was begun is taken back: without the mark, the ReplicaSet has the lesser of the two pods go.
fn fail(each: &mut RebalanceMove, seen: &Seen<'_>, why: String) -> Vec<Act> {
    each.step = MoveStep::Failed;
    each.message = Some(why);
    match (each.how, seen.pod) {
        (MoveKind::Replace, Some(_)) => vec![Act::Unmark, Act::Release],
        _ => vec![Act::Release],
    }
}
