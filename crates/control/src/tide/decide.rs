//! What a Tide owes: its status, what Nodes are to say, what has to go, and what its owner is told. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use level0::tide::{Held, Host, Outlook, Sight, Terms, Turn, Window, step};
use model::tide::{
    AT_RISK, MISSED, PastWindow, Tide, TideHost, TideOutcome, TidePhase, TideSpec, TideStatus, TideWindow,
};

use super::calendar::Calendar;
use super::services::{self, Resized};
use super::view::View;
use crate::condition;
use crate::record::Note;

/// So often a tide looks at hosts that are on their way.
const LOOK: Duration = Duration::from_secs(1);
/// So long it sleeps at most: clocks are set, and Pods come.
const LONGEST_SLEEP: SignedDuration = SignedDuration::from_secs(30);
/// So many windows that are over are told.
const MAX_PAST: usize = 5;
/// So many hosts that are late are named.
const NAMED: usize = 3;

/// What is owed.
#[derive(Debug)]
pub(super) struct Decision<'a> {
    pub(super) status: TideStatus,
    /// Pods that have to go, by uid, and what each gets to end.
    pub(super) revoked: BTreeMap<String, SignedDuration>,
    /// Services that are resized, or have their size.
    pub(super) resized: Vec<Resized<'a>>,
    pub(super) notes: Vec<Note>,
    pub(super) again: Duration,
}

/// What its owner asks for, of so many hosts that he means, and no more than `most`.
pub(super) fn terms(spec: &TideSpec, hosts: &[Host], most: Option<usize>) -> Terms {
    let n_selected = hosts.iter().filter(|host| host.is_selected).count();
    Terms {
        // What is no count was refused when it was written.
        wanted: spec.wanted(n_selected).unwrap_or(0).min(most.unwrap_or(usize::MAX)),
        percent: spec.share_percent.unwrap_or(100).min(100),
        lead: spec.lead(),
        grace: spec.grace(),
    }
}

/// Times are kept in whole seconds, as everywhere in the API.
fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

pub(super) fn decide<'a>(tide: &Tide, calendar: Option<&Calendar<'_>>, view: &View<'a>) -> Decision<'a> {
    let (now, hosts) = (view.now, view.hosts(tide));
    let before = tide.status.clone().unwrap_or_default();
    let held: Vec<Held> = before.hosts.iter().map(held).collect();
    let window = calendar.and_then(|calendar| calendar.present(now));
    let has_hosts = hosts.iter().any(|host| host.is_selected);
    let most = calendar.and_then(|calendar| calendar.most(window));
    let sight = Sight { terms: terms(&tide.spec, &hosts, most), window, hosts: &hosts, now };
    let turn = step(&held, &sight);
    let mut status = TideStatus {
        observed_generation: tide.metadata.generation,
        phase: phase(&turn, window),
        window: window.map(|window| TideWindow { from: whole(window.from), to: whole(window.to) }),
        next: calendar.and_then(|calendar| calendar.next(now)).map(|next| whole(next.from)),
        wanted: count(turn.outlook.wanted),
        handed_over: count(turn.outlook.handed_over),
        expected_free: turn.outlook.expected.map(whole),
        free: None,
        prediction: before.prediction.clone().filter(|_| tide.spec.prediction.is_some()),
        hosts: turn.held.iter().map(|held| told(held, &hosts)).collect(),
        resize: None,
        past: before.past.clone(),
        conditions: Vec::new(),
    };
    let goes_on = before.window == status.window;
    if goes_on {
        status.free.clone_from(&before.free);
    } else {
        status.past.splice(0..0, ended(&before, now));
        status.past.truncate(MAX_PAST);
        status.free = window.filter(|_| is_whole(&before)).map(|window| whole(now.min(window.from)));
    }
    if window.is_some() && turn.outlook.is_complete() && has_hosts {
        status.free.get_or_insert(whole(now));
    } else if !goes_on {
        status.free = None;
    }
    status.conditions = conditions(&before, &status, (&turn.outlook, has_hosts), now);
    let handed_over = turn.held.iter().filter(|held| held.phase == TidePhase::HandedOver);
    let resized = services::resized(tide, view, &handed_over.map(|held| held.name.as_str()).collect());
    status.resize = services::status(tide, &resized);
    let notes = notes(&before, &status);
    let again = again(&status, &sight, calendar);
    Decision { status, revoked: turn.revoked, resized, notes, again }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn held(host: &TideHost) -> Held {
    Held { name: host.node.clone(), phase: host.phase, since: host.since.0 }
}

fn told(held: &Held, hosts: &[Host]) -> TideHost {
    let host = hosts.iter().find(|host| host.name == held.name);
    TideHost {
        node: held.name.clone(),
        phase: held.phase,
        since: whole(held.since),
        batch_pods: count(host.map_or(0, |host| host.units.len())),
    }
}

/// That of the host that is behind the others.
fn phase(turn: &Turn, window: Option<Window>) -> TidePhase {
    let otherwise = if window.is_some() { TidePhase::Announced } else { TidePhase::Calm };
    turn.held.iter().map(|held| held.phase).min().unwrap_or(otherwise)
}

/// Whether all hosts were handed over at that look: where windows meet, they are so from one to the next.
fn is_whole(status: &TideStatus) -> bool {
    status.free.is_some() && status.handed_over >= status.wanted
}

/// How the window went that was there before.
fn ended(before: &TideStatus, now: Timestamp) -> Option<PastWindow> {
    let window = before.window.as_ref()?;
    let missed = before.conditions.iter().any(|each| each.type_ == MISSED && each.status == "True");
    let outcome = if missed {
        TideOutcome::Missed
    } else if now < window.to.0 {
        TideOutcome::Undone
    } else {
        TideOutcome::Met
    };
    Some(PastWindow { from: window.from.clone(), returned: whole(now), free: before.free.clone(), outcome })
}

fn conditions(
    before: &TideStatus,
    status: &TideStatus,
    (outlook, has_hosts): (&Outlook, bool),
    now: Timestamp,
) -> Vec<Condition> {
    let from = status.window.as_ref().map(|window| window.from.0);
    let is_over = from.is_some_and(|from| now >= from);
    // The promise is about the beginning: of hosts that go or come later, the counts tell.
    let was_in_time = from.is_some_and(|from| status.free.as_ref().is_some_and(|free| free.0 <= from));
    let is_missed = is_over && !was_in_time;
    let is_at_risk =
        from.is_some() && !is_over && (outlook.n_missing() > 0 || !outlook.late.is_empty() || !has_hosts);
    let why = if has_hosts { why_late(outlook, from) } else { "no Node matches spec.selector".to_owned() };
    let all = [
        (AT_RISK, is_at_risk, ("WillBeLate", why.clone()), "OnTime"),
        (MISSED, is_missed, ("WasLate", why), "OnTime"),
    ];
    let made = all.into_iter().map(|(type_, is, (reason, message), otherwise)| {
        let value = if is { "True" } else { "False" };
        Condition {
            type_: type_.to_owned(),
            status: value.to_owned(),
            reason: if is { reason } else { otherwise }.to_owned(),
            message: if is { message } else { String::new() },
            last_transition_time: condition::since(&before.conditions, (type_, value), whole(now)),
            observed_generation: status.observed_generation,
        }
    });
    made.collect()
}

fn why_late(outlook: &Outlook, from: Option<Timestamp>) -> String {
    let Outlook { wanted, handed_over, .. } = outlook;
    let mut why = vec![format!("{handed_over} of {wanted} hosts are handed over")];
    if outlook.n_missing() > 0 {
        let missing = outlook.n_missing();
        why.push(format!("{missing} more are wanted than are ready, selected and in no other tide"));
    }
    if let (Some(expected), Some(from), false) = (outlook.expected, from, outlook.late.is_empty()) {
        let late = expected.duration_since(from).as_secs();
        let mut hosts = outlook.late.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if outlook.late.len() > NAMED {
            hosts = format!("{hosts} and {} more", outlook.late.len() - NAMED);
        }
        why.push(format!("{hosts} will be free at {expected:.0}, {late} s late"));
    }
    why.join("; ")
}

/// What has turned.
fn notes(before: &TideStatus, status: &TideStatus) -> Vec<Note> {
    let mut notes = Vec::new();
    let window = status.window.as_ref();
    if before.window != status.window
        && let Some(TideWindow { from, to }) = window
    {
        let message = format!("{} hosts are to be free of batch from {} to {}", status.wanted, from.0, to.0);
        notes.push(Note::normal("Announced", message));
    }
    if before.free.is_none() && status.free.is_some() {
        let message = format!("{} hosts are handed over to services", status.handed_over);
        notes.push(Note::normal("HandedOver", message));
    }
    if before.phase != TidePhase::Calm && status.phase == TidePhase::Calm {
        notes.push(Note::normal("Returned", "Batch has all hosts back"));
    }
    let is = |status: &TideStatus, kind: &str| {
        status.conditions.iter().find(|each| each.type_ == kind && each.status == "True").cloned()
    };
    for kind in [AT_RISK, MISSED] {
        if let (None, Some(condition)) = (is(before, kind), is(status, kind)) {
            notes.push(Note::warning(kind, condition.message));
        }
    }
    notes
}

/// When to look again.
fn again(status: &TideStatus, sight: &Sight<'_>, calendar: Option<&Calendar<'_>>) -> Duration {
    let is_settled = status.hosts.iter().all(|host| host.phase == TidePhase::HandedOver);
    let is_complete = sight.window.is_none() || status.handed_over >= status.wanted;
    if !is_settled || !is_complete {
        return LOOK;
    }
    let end = sight.window.map(|window| window.to);
    let next = calendar.and_then(|calendar| calendar.next(sight.now));
    let announced = next.and_then(|next| next.from.saturating_sub(sight.terms.lead).ok());
    let due = [end, announced].into_iter().flatten().min();
    let sleep = due.map_or(LONGEST_SLEEP, |due| due.duration_since(sight.now).min(LONGEST_SLEEP));
    // A moment later, so that it is not a moment too early.
    Duration::try_from(sleep).unwrap_or_default() + Duration::from_millis(20)
}
