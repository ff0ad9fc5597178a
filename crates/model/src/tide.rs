//! `Tide`: whole hosts, or a share of each, go from batch to services for some hours, and back on time.
//!
//! ```text
//!   Calm ──lead begins──► Announced ──what runs needs the rest──► Draining ──free──► Verified ──still free──► HandedOver
//!     ▲                       │                                      │                  │                        │
//!     └──── the host says so ─┴──────────────── Returning ◄──────────┴───── the window is over, or it was undone ┘
//! ```

mod resize;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use resize::{RESIZE_MARK, ResizeMark, ResizeStatus, TideResize};

/// Annotation of a Node that a tide has: a [`TideMark`] as JSON. Who grants batch its places keeps to it.
pub const TIDE_MARK: &str = "crest.dev/tide";
/// Annotation of a batch Pod: how long it runs, in seconds, as its owner expects.
pub const EXPECTED_SECONDS: &str = "crest.dev/expected-seconds";
/// The condition of a Tide whose hosts will not be free on time.
pub const AT_RISK: &str = "AtRisk";
/// The condition of a Tide whose hosts were not free on time.
pub const MISSED: &str = "Missed";

/// How long before a window its hosts are announced, where the Tide says nothing.
pub const DEFAULT_LEAD: SignedDuration = SignedDuration::from_mins(30);
/// What work gets to end once it is told to, where the Tide says nothing.
pub const DEFAULT_GRACE: SignedDuration = SignedDuration::from_secs(30);
/// A lead is longer than the grace by at least this: it takes a moment until all have heard.
pub const LEAST_SLACK: SignedDuration = SignedDuration::from_secs(10);

/// Which hosts, how many of them, and when.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "Tide",
    plural = "tides",
    singular = "tide",
    status = "TideStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct TideSpec {
    /// The Nodes that it may take. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// How many of these are to be free of batch: a number, or a percentage that is rounded up. A Tide has this or
    /// `sharePercent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<IntOrString>,
    /// Instead: this share of what each of them offers batch is taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<u32>,
    /// When a window begins, as a CronJob has it; the hosts are free by then. Needs `durationSeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of the schedule, as `Europe/Paris`. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// How long a window of the schedule lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u32>,
    /// Windows beside those of the schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<TideWindow>,
    /// Windows ahead of what services will need, by weeks before. Needs `hosts`, which is the most that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<TidePrediction>,
    /// So long before a window its hosts get no new batch work. Default: 1800.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_seconds: Option<u32>,
    /// What batch work that has to go gets to end by itself. Default: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u32>,
    /// A taint that keeps services away from these hosts: taken off a host that is handed over, and put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taint: Option<Taint>,
    /// Services on hosts that are handed over are made bigger for as long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resize: Vec<TideResize>,
    /// Nothing begins, and what has begun is taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// Windows that begin before are passed over; one that has begun is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_until: Option<Time>,
}

/// How windows follow from what services needed in the same hours of weeks before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TidePrediction {
    /// What is added to the need, in percent. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin_percent: Option<u32>,
    /// There is a window in the hours that need at least so many hosts. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_hosts: Option<u32>,
    /// Nothing is predicted before so many days were watched. Default: 7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_days: Option<u32>,
}

impl TidePrediction {
    pub fn margin_percent(&self) -> u32 {
        self.margin_percent.unwrap_or(10)
    }

    pub fn min_hosts(&self) -> u32 {
        self.min_hosts.unwrap_or(1).max(1)
    }

    pub fn min_days(&self) -> u32 {
        self.min_days.unwrap_or(7)
    }
}

impl TideSpec {
    pub fn lead(&self) -> SignedDuration {
        self.lead_seconds.map_or(DEFAULT_LEAD, |seconds| SignedDuration::from_secs(seconds.into()))
    }

    pub fn grace(&self) -> SignedDuration {
        self.grace_seconds.map_or(DEFAULT_GRACE, |seconds| SignedDuration::from_secs(seconds.into()))
    }

    /// How many of `n_selected` hosts are to be free, or to give up a share, be they there or not; `None` where the count is
    /// none.
    pub fn wanted(&self, n_selected: usize) -> Option<usize> {
        match &self.hosts {
            None => Some(n_selected),
            Some(IntOrString::Int(count)) => usize::try_from(*count).ok(),
            Some(IntOrString::String(text)) => {
                let percent = parse_percent(text)?;
                Some((n_selected * percent).div_ceil(100))
            }
        }
    }
}

/// `60` of `60%`; `None` where it is none, or beyond the whole.
pub fn parse_percent(text: &str) -> Option<usize> {
    let digits = text.strip_suffix('%')?;
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|percent| is_plain && *percent <= 100)
}

/// From when to when the hosts are the services'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TideWindow {
    /// The hosts are free by then.
    pub from: Time,
    /// Batch has them back from then on.
    pub to: Time,
}

impl TideWindow {
    pub fn new(from: Timestamp, to: Timestamp) -> Self {
        Self { from: Time(from), to: Time(to) }
    }
}

/// What a Tide, or one host of it, is at.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum TidePhase {
    /// All is batch's.
    #[default]
    Calm,
    /// Going back to batch.
    Returning,
    /// No new batch work comes; what is there goes on.
    Announced,
    /// What is there ends, or has to go.
    Draining,
    /// No batch work was found.
    Verified,
    /// The services' own.
    HandedOver,
}

impl TidePhase {
    /// Whether it is on its way to the services, or theirs.
    pub fn is_forward(self) -> bool {
        !matches!(self, Self::Calm | Self::Returning)
    }
}

/// What a Node says of the tide that has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TideMark {
    pub tide: String,
    pub state: MarkState,
    /// The share of its offer that batch loses: 100 is all.
    pub percent: u32,
    /// The taint that was taken off the Node when it was handed over, and is put back with the mark's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taint: Option<Taint>,
}

/// How far a host is, as far as it matters to who grants places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkState {
    /// Nothing new is granted.
    Announced,
    /// What was granted goes.
    Draining,
    HandedOver,
}

impl TideMark {
    pub fn new(tide: &str, state: MarkState, percent: u32) -> Self {
        Self { tide: tide.to_owned(), state, percent, taint: None }
    }

    /// The mark among a Node's annotations. What cannot be read closes the host all the same: better idle than taken back.
    pub fn of(annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        let text = annotations?.get(TIDE_MARK)?;
        let unreadable = Self::new("", MarkState::Announced, 100);
        Some(serde_json::from_str(text).unwrap_or(unreadable))
    }

    /// As the annotation has it.
    pub fn to_annotation(&self) -> String {
        serde_json::to_string(self).expect("a few words and a number are JSON")
    }

    /// Whether batch loses all of the host.
    pub fn is_whole(&self) -> bool {
        self.percent >= 100
    }

    /// What is left of an amount once the share is gone.
    pub fn left_of(percent: u32, amount: u64) -> u64 {
        let left = u128::from(amount) * u128::from(100_u32.saturating_sub(percent)) / 100;
        u64::try_from(left).unwrap_or(amount)
    }
}

/// How it stands. Written by the controller, which also goes on from here after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TideStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// That of the host that is behind the others.
    #[serde(default)]
    pub phase: TidePhase,
    /// The window that is announced or has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<TideWindow>,
    /// When the next window begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Time>,
    /// How many hosts are to be handed over.
    #[serde(default)]
    pub wanted: u32,
    /// How many are.
    #[serde(default)]
    pub handed_over: u32,
    /// When the last of them is expected to be free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_free: Option<Time>,
    /// When all of them were handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Time>,
    /// What was learnt of the hours of the week, and what follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<PredictionStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<TideHost>,
    /// How many services have their size for the window; none where none is to have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeStatus>,
    /// How the last windows went, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<PastWindow>,
    /// `AtRisk` and `Missed`, with why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What a Tide has learnt. Written once an hour, and when its window changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PredictionStatus {
    /// How many hours were watched, in all weeks.
    #[serde(default)]
    pub hours: u32,
    /// What services needed, in milli-cores: a line for each day from Monday on, a number for each hour, `-` for what was
    /// never seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub milli_cpu: Vec<String>,
    /// The window that is predicted; it stays as it is once it is announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<PredictedWindow>,
    /// Why there is a window, or none.
    #[serde(default)]
    pub message: String,
}

/// A window that was predicted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PredictedWindow {
    pub from: Time,
    pub to: Time,
    /// So many hosts are to be free.
    pub hosts: u32,
}

/// One host that a tide has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TideHost {
    pub node: String,
    pub phase: TidePhase,
    /// When it came to this phase.
    pub since: Time,
    /// Pods of batch that are there.
    #[serde(default)]
    pub batch_pods: u32,
}

/// A window that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastWindow {
    pub from: Time,
    /// When batch had its hosts back.
    pub returned: Time,
    /// When all hosts were handed over; none where they never were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<Time>,
    pub outcome: TideOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TideOutcome {
    /// All were free on time.
    Met,
    /// Some were not.
    Missed,
    /// It was taken back before its time.
    Undone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_counted_or_shared() {
        let check = |hosts: Option<IntOrString>, n: usize, wanted: Option<usize>| {
            assert_eq!(TideSpec { hosts, ..TideSpec::default() }.wanted(n), wanted);
        };
        let percent = |text: &str| Some(IntOrString::String(text.to_owned()));
        check(None, 5, Some(5));
        check(Some(IntOrString::Int(2)), 5, Some(2));
        check(Some(IntOrString::Int(9)), 5, Some(9));
        check(Some(IntOrString::Int(-1)), 5, None);
        check(percent("60%"), 5, Some(3));
        check(percent("1%"), 5, Some(1));
        check(percent("0%"), 5, Some(0));
        for bad in ["60", "101%", "-1%", "%", "x%", "+5%"] {
            check(percent(bad), 5, None);
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = TideMark::new("evening", MarkState::Draining, 40);
        let annotations = BTreeMap::from([(TIDE_MARK.to_owned(), mark.to_annotation())]);
        assert_eq!(TideMark::of(Some(&annotations)), Some(mark));
        assert_eq!(TideMark::of(None), None);
        let spoilt = BTreeMap::from([(TIDE_MARK.to_owned(), "?".to_owned())]);
        let read = TideMark::of(Some(&spoilt)).unwrap();
        assert!(read.is_whole() && read.state == MarkState::Announced && read.tide.is_empty());
    }

    #[test]
    fn what_is_left_is_never_more_than_there_was() {
        for (percent, amount, left) in
            [(40, 1000, 600), (100, 7, 0), (0, 7, 7), (200, 7, 0), (1, u64::MAX, 18_262_276_632_972_456_098)]
        {
            assert_eq!(TideMark::left_of(percent, amount), left);
        }
    }
}
