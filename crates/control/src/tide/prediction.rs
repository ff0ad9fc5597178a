//! Windows ahead of what services will need: what they take of Nodes is learnt hour by hour, kept in the Tide's status, and
//! told again a week later. Pure.
//!
//! What services take of a Node is what it has less what it offers batch, as Level-0 has reckoned it from their measured
//! and predicted use.

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use level0::season::{SLOTS, Season, Sizing, Watch, hour_of, swell};
use model::names::BATCH_CPU;
use model::tide::{PredictedWindow, PredictionStatus, Tide, TidePrediction, TideSpec};
use model::{MilliCpu, Quantity};
use serde::Serialize;

use crate::fuxi::machines;
use crate::owner;

/// What the Nodes of a tide have for services, and what these take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    n_selected: usize,
    /// Those that are at work and offer batch something: of others nobody knows.
    n_measured: u64,
    has: u64,
    milli_cpu: u64,
}

/// An hour that is to come, and what is expected of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HourPlan {
    pub start: Timestamp,
    /// What services are expected to need; none if that hour was never seen.
    pub milli_cpu: Option<u64>,
    /// Known of this day of the week; otherwise it is the most of that hour on other days.
    pub is_of_the_day: bool,
    pub with_margin: u64,
    /// So many hosts are to be free: none if these are fewer than `minHosts`.
    pub hosts: usize,
}

/// A Tide's prediction with what it follows from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arithmetic {
    pub message: String,
    pub margin_percent: u32,
    pub host_milli_cpu: u64,
    pub min_hosts: usize,
    pub max_hosts: usize,
    /// The day to come.
    pub hours: Vec<HourPlan>,
}

/// What a Tide knows by `now`, and its next window; nothing of one that predicts nothing.
pub(super) fn renewed(
    tide: &Tide,
    nodes: &[&Node],
    watch: &mut Watch,
    now: Timestamp,
) -> Option<PredictionStatus> {
    let prediction = tide.spec.prediction.as_ref()?;
    let before = tide.status.as_ref().and_then(|status| status.prediction.clone()).unwrap_or_default();
    let (mut season, zone, taken) = (season(&before), zone(&tide.spec)?, taken(&tide.spec, nodes));
    if taken.n_measured > 0
        && let Some(passed) = watch.observe(taken.milli_cpu, now)
    {
        season.learn(slot(passed.start, &zone), passed.milli_cpu);
    }
    let window = window(tide, &before, (&season, &zone, &taken), now);
    let message = message(prediction, &season, window.as_ref());
    Some(PredictionStatus { hours: season.hours, milli_cpu: lines(&season), window, message })
}

/// The window that is announced stays; otherwise it is the next one that is needed.
fn window(
    tide: &Tide,
    before: &PredictionStatus,
    (season, zone, taken): (&Season, &TimeZone, &Taken),
    now: Timestamp,
) -> Option<PredictedWindow> {
    let spec = &tide.spec;
    let prediction = spec.prediction.as_ref().filter(|_| !spec.suspend)?;
    let skip_until = spec.skip_until.as_ref().map_or(Timestamp::MIN, |time| time.0);
    let ready = now.saturating_add(spec.lead()).unwrap_or(Timestamp::MAX);
    let announced = before
        .window
        .as_ref()
        .filter(|window| window.from.0 <= ready && now < window.to.0 && window.from.0 >= skip_until);
    if announced.is_some() || season.days() < prediction.min_days() {
        return announced.cloned();
    }
    let sizing = sizing(spec, prediction, taken);
    let hours: Vec<usize> = ahead(season, zone, &sizing, now).take(SLOTS).map(|hour| hour.hosts).collect();
    // The next whole second, so that hosts have all of their lead.
    let ready = Timestamp::from_second(ready.as_second().saturating_add(1)).unwrap_or(ready);
    let found = swell(hour_of(now), &hours, ready.max(skip_until))?;
    let hosts = u32::try_from(found.hosts).unwrap_or(u32::MAX);
    Some(PredictedWindow { from: Time(found.from), to: Time(found.to), hosts })
}

fn message(prediction: &TidePrediction, season: &Season, window: Option<&PredictedWindow>) -> String {
    let (days, needed) = (season.days(), prediction.min_days());
    match window {
        Some(PredictedWindow { from, to, hosts }) => {
            format!("{hosts} hosts will be needed from {} to {}, as {days} days have shown", from.0, to.0)
        }
        None if days < needed => format!("nothing is predicted yet: {days} of {needed} days were watched"),
        None => format!("no hour to come needs {} hosts, as {days} days have shown", prediction.min_hosts()),
    }
}

/// The prediction of a Tide hour by hour, for the day to come.
pub(super) fn arithmetic(tide: &Tide, nodes: &[&Node], now: Timestamp) -> Option<Arithmetic> {
    let prediction = tide.spec.prediction.as_ref()?;
    let known = tide.status.as_ref().and_then(|status| status.prediction.clone()).unwrap_or_default();
    let (season, zone, taken) = (season(&known), zone(&tide.spec)?, taken(&tide.spec, nodes));
    let sizing = sizing(&tide.spec, prediction, &taken);
    Some(Arithmetic {
        message: message(prediction, &season, known.window.as_ref()),
        margin_percent: sizing.margin_percent,
        host_milli_cpu: sizing.host_milli_cpu,
        min_hosts: sizing.floor,
        max_hosts: sizing.ceiling,
        hours: ahead(&season, &zone, &sizing, now).take(24).collect(),
    })
}

fn ahead(
    season: &Season,
    zone: &TimeZone,
    sizing: &Sizing,
    now: Timestamp,
) -> impl Iterator<Item = HourPlan> {
    let hour = SignedDuration::from_hours(1);
    let starts = std::iter::successors(Some(hour_of(now)), move |start| start.checked_add(hour).ok());
    starts.map(move |start| {
        let expected = season.expected(slot(start, zone));
        let milli_cpu = expected.map(|expected| expected.milli_cpu);
        HourPlan {
            start,
            milli_cpu,
            is_of_the_day: expected.is_some_and(|expected| expected.is_of_the_day),
            with_margin: sizing.with_margin(milli_cpu.unwrap_or(0)),
            hosts: sizing.hosts(milli_cpu.unwrap_or(0)),
        }
    })
}

fn sizing(spec: &TideSpec, prediction: &TidePrediction, taken: &Taken) -> Sizing {
    Sizing {
        margin_percent: prediction.margin_percent(),
        host_milli_cpu: taken.has.checked_div(taken.n_measured).unwrap_or(0),
        floor: usize::try_from(prediction.min_hosts()).unwrap_or(usize::MAX),
        ceiling: spec.wanted(taken.n_selected).unwrap_or(0),
    }
}

/// What cannot be read was refused when it was written.
fn zone(spec: &TideSpec) -> Option<TimeZone> {
    spec.time_zone.as_deref().map_or(Some(TimeZone::UTC), |zone| TimeZone::get(zone).ok())
}

/// The hour of the week, from Monday on.
fn slot(start: Timestamp, zone: &TimeZone) -> usize {
    let local = start.to_zoned(zone.clone());
    let (day, hour) = (local.weekday().to_monday_zero_offset(), local.hour());
    usize::try_from(i32::from(day) * 24 + i32::from(hour)).unwrap_or(0)
}

fn taken(spec: &TideSpec, nodes: &[&Node]) -> Taken {
    let selector = spec.selector.as_ref().map(owner::selector);
    let mut taken = Taken::default();
    for node in nodes {
        let labels = node.metadata.labels.clone().unwrap_or_default();
        if !selector.as_ref().is_none_or(|selector| selector.matches(&labels)) {
            continue;
        }
        taken.n_selected += 1;
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let Some(allocatable) = allocatable.filter(|all| all.contains_key(BATCH_CPU)) else { continue };
        let cpu = allocatable.get("cpu").and_then(|text| Quantity::parse(&text.0).ok());
        let Some(MilliCpu(has)) = cpu.map(MilliCpu::from).filter(|_| machines::is_open(node)) else {
            continue;
        };
        taken.n_measured += 1;
        taken.has = taken.has.saturating_add(has);
        taken.milli_cpu = taken.milli_cpu.saturating_add(has.saturating_sub(machines::capacity(node).cpu.0));
    }
    taken
}

fn season(status: &PredictionStatus) -> Season {
    let slots = status.milli_cpu.iter().flat_map(|line| line.split(' ')).map(|word| word.parse().ok());
    Season::restored(slots.collect(), status.hours)
}

fn lines(season: &Season) -> Vec<String> {
    let words: Vec<String> =
        season.slots().map(|slot| slot.map_or("-".to_owned(), |milli| milli.to_string())).collect();
    if season.hours == 0 { Vec::new() } else { words.chunks(24).map(|day| day.join(" ")).collect() }
}
