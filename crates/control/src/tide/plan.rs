//! What a Tide would do: its hosts in the order in which it takes them, what batch loses on each, and when each is free.
//! A dry run on what was listed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use level0::tide::{Fate, Forecast, Host, Window, forecast};
use model::tide::{Tide, TidePhase};
use serde::Serialize;

use super::calendar::{Calendar, CalendarError};
use super::decide::terms;
use super::prediction::{Arithmetic, arithmetic};
use super::services::{self, ResizePlan};
use super::view::{Jobs, View};

/// A cluster as it was listed.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    pub nodes: Vec<Node>,
    pub pods: Vec<Pod>,
    pub jobs: Jobs,
}

/// What a Tide would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// When the hosts are to be free, and until when.
    pub from: Timestamp,
    pub to: Timestamp,
    /// When they are announced, as far as that is to come.
    pub announced: Timestamp,
    /// How many hosts are to be free, of those that it may take.
    pub wanted: usize,
    pub selected: usize,
    pub share_percent: u32,
    /// When the last of them is free.
    pub free: Option<Timestamp>,
    /// In order; those beyond `wanted` stay batch's.
    pub hosts: Vec<HostPlan>,
    /// What its predicted windows follow from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Arithmetic>,
    /// Services that are resized on its hosts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resizes: Vec<ResizePlan>,
    /// Hosts that it may not take now: not ready, cordoned, or in another tide.
    pub unable: Vec<String>,
}

/// What becomes of a host.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPlan {
    pub host: String,
    pub phase: TidePhase,
    pub is_taken: bool,
    /// In time.
    pub is_on_time: bool,
    pub free: Timestamp,
    /// Processor time of batch that is lost, in core seconds.
    pub lost_core_seconds: f64,
    pub work: Vec<WorkPlan>,
}

/// What becomes of a Pod of batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkPlan {
    pub pod: String,
    /// It ends by itself; otherwise it is told to go then.
    pub ends: bool,
    pub at: Timestamp,
    pub lost_seconds: i64,
}

/// Plans the Tide's present window, or its next one; or `begins` instead. `None` if there is none.
pub fn plan(
    tide: &Tide,
    listed: &Listed,
    begins: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Result<Option<Plan>, CalendarError> {
    let calendar = Calendar::of(tide)?;
    let said = begins.map(|(from, to)| Window { from, to });
    let Some(window) = said.or_else(|| calendar.coming(now)) else { return Ok(None) };
    let view = View {
        nodes: listed.nodes.iter().collect(),
        pods: listed.pods.iter().collect(),
        jobs: &listed.jobs,
        now,
    };
    let hosts = view.hosts(tide);
    let terms = terms(&tide.spec, &hosts, calendar.most(Some(window)));
    let announced = window.from.saturating_sub(terms.lead).unwrap_or(Timestamp::MIN).max(now);
    let names: BTreeMap<&str, String> = listed.pods.iter().filter_map(name).collect();
    let phases: BTreeMap<&str, TidePhase> = tide
        .status
        .iter()
        .flat_map(|status| &status.hosts)
        .map(|host| (host.node.as_str(), host.phase))
        .collect();
    let phase = |host: &Host| phases.get(host.name.as_str()).copied().unwrap_or_default();
    let (able, unable): (Vec<&Host>, Vec<&Host>) =
        hosts.iter().filter(|host| host.is_selected).partition(|host| host.is_able);
    let selected = able.len() + unable.len();
    let mut forecasts: Vec<(TidePhase, Forecast)> =
        able.into_iter().map(|host| (phase(host), forecast(host, &terms, window, announced))).collect();
    // Who is on the way stays there; the others come as a tide would take them.
    forecasts.sort_by(|(one_phase, one), (other_phase, other)| {
        other_phase.cmp(one_phase).then_with(|| one.order().cmp(&other.order()))
    });
    let told = (0..).zip(&forecasts).map(|(position, (phase, forecast))| HostPlan {
        host: forecast.host.clone(),
        phase: *phase,
        is_taken: position < terms.wanted,
        is_on_time: forecast.free_at <= window.from,
        free: whole(forecast.free_at),
        lost_core_seconds: core_seconds(forecast.lost),
        work: forecast.fates.iter().map(|(id, fate)| work(names.get(id.as_str()), fate)).collect(),
    });
    let told: Vec<HostPlan> = told.collect();
    let taken = told.iter().filter(|host| host.is_taken).map(|host| host.host.as_str()).collect();
    let resizes = services::planned(&services::resized(tide, &view, &taken));
    Ok(Some(Plan {
        from: window.from,
        to: window.to,
        announced: whole(announced),
        wanted: terms.wanted,
        selected,
        share_percent: terms.percent,
        free: told.iter().filter(|host| host.is_taken).map(|host| host.free).max(),
        hosts: told,
        prediction: arithmetic(tide, &view.nodes, now),
        resizes,
        unable: unable.into_iter().map(|host| host.name.clone()).collect(),
    }))
}

fn name(pod: &Pod) -> Option<(&str, String)> {
    let meta = &pod.metadata;
    Some((meta.uid.as_deref()?, format!("{}/{}", meta.namespace.as_deref()?, meta.name.as_deref()?)))
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[expect(clippy::cast_precision_loss, reason = "told to people, in tenths")]
fn core_seconds(milli: i128) -> f64 {
    (milli as f64 / 100.0).round() / 10.0
}

fn work(pod: Option<&String>, fate: &Fate) -> WorkPlan {
    let (ends, at, lost) = match *fate {
        Fate::Goes { by } | Fate::Ends { by } => (true, by, 0),
        Fate::Revoked { at, lost, .. } => (false, at, lost.as_secs()),
    };
    WorkPlan { pod: pod.cloned().unwrap_or_default(), ends, at: whole(at), lost_seconds: lost }
}
