//! What a policy is at: when to plan, which round to begin, when to stop. Pure.
//!
//! ```text
//!            interval over            rounds               all of the last round Done
//!   Idle ──────────────────► plan ───────────► Moving ──────────────────────────────────► Idle
//!    ▲                        │  the last plan gained less than it cost, or a move Failed
//!    └──── leftAlone over ────┴──────────────► Resting
//! ```
//!
//! What keeps it from going to and fro: pods that came lately stay (see [`super::scope`]), a move must gain more than a
//! margin, and a plan that did not bring what it promised is followed by rest.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use model::rebalance_policy::{
    MoveKind, MoveStep, RebalanceMove, RebalancePhase, RebalancePlan, RebalancePolicy, RebalancePolicySpec,
    RebalancePolicyStatus, RebalanceWindow,
};

use super::step::{self, Act, Seen};
use crate::condition;
use crate::rebalance::{PodMove, Report};

/// Moves that are remembered after they ended.
const REMEMBERED: usize = 20;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// How often moves are looked at although nothing seems to change: who was refused asks again then.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What a policy leaves unsaid.
pub(crate) struct Terms {
    pub(crate) at_once: usize,
    per_hour: usize,
    interval: SignedDuration,
    pub(crate) leave_alone: SignedDuration,
    timeout: Duration,
    /// What a move must gain at least, as a part of a machine.
    pub(crate) least_gain: f64,
}

impl Terms {
    pub(crate) fn of(spec: &RebalancePolicySpec) -> Self {
        let seconds = |said: Option<u32>, usual: u32| SignedDuration::from_secs(said.unwrap_or(usual).into());
        Self {
            at_once: spec.max_moves_at_once.unwrap_or(5) as usize,
            per_hour: spec.max_moves_per_hour.unwrap_or(20) as usize,
            interval: seconds(spec.interval_seconds, 300),
            leave_alone: seconds(spec.leave_alone_seconds, 3600),
            timeout: Duration::from_secs(timeout_seconds(spec).into()),
            least_gain: f64::from(spec.least_gain_percent.unwrap_or(5)) / 100.0,
        }
    }
}

/// What a move may take.
pub(crate) fn timeout_seconds(spec: &RebalancePolicySpec) -> u32 {
    spec.move_timeout_seconds.unwrap_or(600)
}

/// What comes of looking at a policy.
#[derive(Debug)]
pub(crate) struct Turn {
    /// To be written before anything is done.
    pub(crate) status: RebalancePolicyStatus,
    pub(crate) acts: Vec<(RebalanceMove, Act)>,
    /// To be told of.
    pub(crate) begun: Vec<RebalanceMove>,
    pub(crate) ended: Vec<RebalanceMove>,
    pub(crate) next: Due,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// To look again after this time, if nothing happens before.
    Wait(Duration),
    /// Only a change of the policy brings anything.
    Nothing,
    /// A plan of so many moves at most.
    Plan { in_all: usize },
}

/// Brings the moves under way forward and begins those that are due.
pub(crate) fn advance<'a>(
    policy: &RebalancePolicy,
    now: Timestamp,
    seen: impl Fn(&RebalanceMove) -> Seen<'a>,
) -> Turn {
    let terms = Terms::of(&policy.spec);
    let mut status = policy.status.clone().unwrap_or_default();
    status.observed_generation = policy.metadata.generation;
    status.begun.retain(|time| now.duration_since(time.0) < HOUR);
    status.resting_until = status.resting_until.filter(|until| until.0 > now);
    let mut turn =
        Turn { status, acts: Vec::new(), begun: Vec::new(), ended: Vec::new(), next: Due::Wait(LOOK_AGAIN) };
    turn.step_all(&terms, now, &seen);
    if turn.status.round.is_empty() {
        turn.next_round(policy, (&terms, now), &seen);
    }
    turn
}

impl Turn {
    fn step_all<'a>(&mut self, terms: &Terms, now: Timestamp, seen: &impl Fn(&RebalanceMove) -> Seen<'a>) {
        let had_round = !self.status.round.is_empty();
        self.step_round(terms, now, seen);
        // All of a round are seen through before any of the next begins.
        if had_round && self.status.round.iter().all(step::is_over) {
            self.end_round(terms, now);
        }
    }

    fn step_round<'a>(&mut self, terms: &Terms, now: Timestamp, seen: &impl Fn(&RebalanceMove) -> Seen<'a>) {
        for each in &mut self.status.round {
            let acts = step::step(each, &seen(each), now, terms.timeout);
            self.acts.extend(acts.into_iter().map(|act| (each.clone(), act)));
        }
    }

    fn end_round(&mut self, terms: &Terms, now: Timestamp) {
        let status = &mut self.status;
        let round = std::mem::take(&mut status.round);
        let failed = round.iter().filter(|each| each.step == MoveStep::Failed).count();
        let moved = count(round.len() - failed);
        status.moved = status.moved.saturating_add(moved);
        status.failed = status.failed.saturating_add(count(failed));
        if let Some(plan) = &mut status.plan {
            plan.made = plan.made.saturating_add(moved);
        }
        status.ended.splice(0..0, round.iter().cloned());
        status.ended.truncate(REMEMBERED);
        if failed > 0 {
            status.next_rounds.clear();
            self.rest(terms, now, ("RoundFailed", format!("{failed} of {} moves failed", round.len())));
        }
        self.ended = round;
    }

    fn rest(&mut self, terms: &Terms, now: Timestamp, (reason, message): (&str, String)) {
        let until = now.checked_add(terms.leave_alone).unwrap_or(Timestamp::MAX);
        self.status.resting_until = Some(Time(until));
        self.stand(RebalancePhase::Resting, now, (reason, message));
    }

    /// The phase, and the condition that says why.
    fn stand(&mut self, phase: RebalancePhase, now: Timestamp, (reason, message): (&str, String)) {
        self.status.phase = phase;
        let status = if phase == RebalancePhase::Moving { "True" } else { "False" };
        let since = condition::since(&self.status.conditions, ("Progressing", status), Time(now));
        self.status.conditions = vec![Condition {
            type_: "Progressing".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since,
            observed_generation: self.status.observed_generation,
        }];
    }

    fn next_round<'a>(
        &mut self,
        policy: &RebalancePolicy,
        (terms, now): (&Terms, Timestamp),
        seen: &impl Fn(&RebalanceMove) -> Seen<'a>,
    ) {
        let spec = &policy.spec;
        if spec.suspend {
            self.status.next_rounds.clear();
            self.stand(RebalancePhase::Suspended, now, ("Suspended", "spec.suspend is true".to_owned()));
            self.next = Due::Nothing;
            return;
        }
        if let Some(until) = &self.status.resting_until {
            self.next = Due::Wait(wait_until(until.0, now));
            return;
        }
        if let Some(wait) = spec.window.as_ref().and_then(|window| until_open(window, now)) {
            // By then it would be old.
            self.status.next_rounds.clear();
            self.stand(RebalancePhase::Idle, now, ("OutsideWindow", "moves begin in spec.window".to_owned()));
            self.next = Due::Wait(wait);
            return;
        }
        if spec.dry_run {
            self.status.next_rounds.clear();
        }
        if let Some(wait) = self.hour_is_full(terms, now) {
            self.stand(
                RebalancePhase::Idle,
                now,
                ("HourlyLimit", "spec.maxMovesPerHour is reached".to_owned()),
            );
            self.next = Due::Wait(wait);
            return;
        }
        if self.status.next_rounds.is_empty() {
            self.next = self.planning(terms, now);
            if self.status.phase != RebalancePhase::Idle {
                self.stand(RebalancePhase::Idle, now, ("Waiting", "the next plan is not due yet".to_owned()));
            }
        } else {
            self.begin_round(terms, now, seen);
        }
    }

    /// How long until another move may begin, if none may now.
    fn hour_is_full(&self, terms: &Terms, now: Timestamp) -> Option<Duration> {
        let begun = &self.status.begun;
        let needed = self.status.next_rounds.first().map_or(1, Vec::len).min(terms.per_hour);
        let too_many = (begun.len() + needed).checked_sub(terms.per_hour).filter(|&excess| excess > 0)?;
        let first = begun.get(too_many - 1)?;
        Some(wait_until(first.0.checked_add(HOUR).unwrap_or(now), now))
    }

    fn planning(&self, terms: &Terms, now: Timestamp) -> Due {
        let made_at = self.status.plan.as_ref().and_then(|plan| plan.made_at.as_ref());
        let due = made_at.and_then(|time| time.0.checked_add(terms.interval).ok());
        match due.filter(|due| *due > now) {
            Some(due) => Due::Wait(wait_until(due, now)),
            None => Due::Plan { in_all: terms.per_hour - self.status.begun.len().min(terms.per_hour) },
        }
    }

    /// Begins the next round with those of its pods that are where they were.
    fn begin_round<'a>(&mut self, terms: &Terms, now: Timestamp, seen: &impl Fn(&RebalanceMove) -> Seen<'a>) {
        let mut round = self.status.next_rounds.remove(0);
        round.retain(|each| seen(each).pod.is_some());
        round.iter_mut().for_each(|each| each.begun_at = Some(Time(now)));
        self.status.begun.extend(round.iter().map(|_| Time(now)));
        let (n_moves, left) = (round.len(), self.status.next_rounds.len());
        let message = format!("{n_moves} moves are under way, {left} rounds come after");
        self.stand(RebalancePhase::Moving, now, ("Moving", message));
        self.begun.clone_from(&round);
        self.status.round = round;
        self.next = Due::Wait(LOOK_AGAIN);
        self.step_round(terms, now, seen);
    }

    /// A plan was made on the present state. The one before is judged by it first.
    pub(crate) fn take_plan<'a>(
        &mut self,
        policy: &RebalancePolicy,
        report: &Report,
        now: Timestamp,
        (seen, how): (impl Fn(&RebalanceMove) -> Seen<'a>, impl Fn(&PodMove) -> (MoveKind, String)),
    ) {
        let terms = Terms::of(&policy.spec);
        let verdict = self.status.plan.as_ref().and_then(|plan| disappointment(&terms, plan, report));
        let move_of = |each: &PodMove| {
            let (how, owner) = how(each);
            RebalanceMove {
                namespace: each.namespace.clone(),
                pod: each.pod.clone(),
                uid: each.uid.clone(),
                owner,
                from: each.from.clone(),
                to: each.to.clone(),
                how,
                ..RebalanceMove::default()
            }
        };
        let rounds: Vec<Vec<RebalanceMove>> =
            report.rounds.iter().map(|round| round.iter().map(move_of).collect()).collect();
        let held = report.held_pods.iter().map(|(hold, n_pods)| (format!("{hold:?}"), count(*n_pods)));
        self.status.plan = Some(RebalancePlan {
            made_at: Some(Time(now)),
            moves: count(report.moves),
            rounds: count(rounds.len()),
            freed_nodes: report.freed_nodes.clone(),
            cooled_nodes: report.cooled_nodes.clone(),
            used_nodes: count(report.before.used_nodes),
            hot_nodes: count(report.before.hot_nodes),
            made: 0,
            proposed: if policy.spec.dry_run {
                rounds.iter().flatten().cloned().collect()
            } else {
                Vec::new()
            },
            held_pods: held.collect(),
        });
        self.next = Due::Wait(wait_until(now.checked_add(terms.interval).unwrap_or(now), now));
        if let Some(message) = verdict {
            self.rest(&terms, now, ("GainedLittle", message));
        } else if rounds.is_empty() {
            let message = "no move within the limits gains enough".to_owned();
            self.stand(RebalancePhase::Idle, now, ("NothingToGain", message));
        } else if policy.spec.dry_run {
            let message = format!("{} moves would be made", report.moves);
            self.stand(RebalancePhase::Idle, now, ("DryRun", message));
        } else {
            self.status.next_rounds = rounds;
            self.begin_round(&terms, now, &seen);
        }
    }

    /// There is nothing to plan by.
    pub(crate) fn cannot_plan(&mut self, now: Timestamp, reason: &str, message: String) {
        self.stand(RebalancePhase::Idle, now, (reason, message));
        self.next = Due::Wait(Duration::from_secs(30));
    }
}

/// Why the moves of the last plan were not worth it, if they were not: what it promised must be, at least as much of it
/// as its moves cost by the policy's own margin.
fn disappointment(terms: &Terms, plan: &RebalancePlan, now: &Report) -> Option<String> {
    let kept =
        |promised: &[String], still: &[String]| promised.iter().filter(|node| !still.contains(node)).count();
    let gained = kept(&plan.freed_nodes, &now.in_use) + kept(&plan.cooled_nodes, &now.hot);
    let promised = plan.freed_nodes.len() + plan.cooled_nodes.len();
    let cost = terms.least_gain * f64::from(plan.made);
    let is_enough = promised == 0 || gained > 0 && gained as f64 >= cost;
    (plan.made > 0 && !is_enough)
        .then(|| format!("{} pods were moved, and {gained} of {promised} nodes are as planned", plan.made))
}

fn wait_until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default().max(Duration::from_millis(100))
}

/// How long until the window opens; `None` while it is open.
fn until_open(window: &RebalanceWindow, now: Timestamp) -> Option<Duration> {
    const DAY: i64 = 24 * 3600;
    let [start, end] = [&window.start, &window.end].map(|text| RebalanceWindow::minutes(text));
    let (start, end) = (i64::from(start?) * 60, i64::from(end?) * 60);
    let second = now.as_second().rem_euclid(DAY);
    let since_start = (second - start).rem_euclid(DAY);
    let length = (end - start).rem_euclid(DAY);
    let wait = (since_start >= length).then(|| DAY - since_start)?;
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
