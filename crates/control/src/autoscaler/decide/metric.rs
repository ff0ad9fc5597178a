//! One metric: how many replicas would bring its value to the target.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
    ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::View;

/// A value this near to its target is at its target.
const TOLERANCE: f64 = 0.1;

/// What one pod uses and asked for, in thousandths of a core and of a byte, by resource and container.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodUse {
    pub(crate) is_ready: bool,
    /// By container, by resource; empty when nobody measured the pod.
    pub(crate) used: BTreeMap<String, BTreeMap<String, i64>>,
    pub(crate) requested: BTreeMap<String, BTreeMap<String, i64>>,
}

/// The pods of a workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) pods: Vec<PodUse>,
}

/// The size that a metric asks for.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    pub(super) status: MetricStatus,
    /// The metric in words.
    pub(super) told: String,
}

/// Why a metric says nothing.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What is measured: a resource of whole pods or of one container in each.
struct Measure<'a> {
    resource: &'a str,
    container: Option<&'a str>,
    target: &'a MetricTarget,
}

impl Measure<'_> {
    fn sum(&self, amounts: &BTreeMap<String, BTreeMap<String, i64>>) -> Option<i64> {
        let of = |container: &BTreeMap<String, i64>| container.get(self.resource).copied();
        match self.container {
            Some(name) => amounts.get(name).and_then(of),
            None if amounts.is_empty() => None,
            None => amounts.values().map(of).sum(),
        }
    }
}

pub(super) fn propose(metric: &MetricSpec, view: &View<'_>) -> Result<Proposal, Refusal> {
    let (measure, reason) = match (&metric.resource, &metric.container_resource) {
        (Some(source), _) => {
            let measure = Measure { resource: &source.name, container: None, target: &source.target };
            (measure, "FailedGetResourceMetric")
        }
        (None, Some(source)) => {
            let container = Some(source.container.as_str());
            (
                Measure { resource: &source.name, container, target: &source.target },
                "FailedGetContainerResourceMetric",
            )
        }
        (None, None) => {
            // Such metrics come from adapters; where there is none, so says the real thing too.
            let reason = match metric.type_.as_str() {
                "Pods" => "FailedGetPodsMetric",
                "Object" => "FailedGetObjectMetric",
                "External" => "FailedGetExternalMetric",
                _ => "InvalidMetricSourceType",
            };
            return Err(Refusal {
                reason,
                message: format!("no server for metrics of type {}", metric.type_),
            });
        }
    };
    let refuse = |message: String| Refusal { reason, message };
    let usage = view.usage.as_ref().map_err(|message| refuse(message.clone()))?;
    let samples = Samples::of(usage, &measure).map_err(refuse)?;
    let replicas = samples.replicas(view.wanted);
    Ok(Proposal { replicas, status: status(metric, &measure, &samples), told: told(&measure) })
}

fn told(measure: &Measure<'_>) -> String {
    let of = if measure.target.average_utilization.is_some() {
        "resource utilization (percentage of request)"
    } else {
        "resource average value"
    };
    match measure.container {
        Some(container) => format!("{} container {container} {of}", measure.resource),
        None => format!("{} {of}", measure.resource),
    }
}

/// The values of the pods against the target, all in the same unit.
struct Samples {
    /// Value and share of the target for each pod that was measured and counts.
    measured: Vec<(f64, f64)>,
    /// Shares of the target of pods that run but were not measured, and of those that are not ready.
    missing: Vec<f64>,
    unready: Vec<f64>,
    is_utilization: bool,
}

impl Samples {
    fn of(usage: &Usage, measure: &Measure<'_>) -> Result<Self, String> {
        let utilization = measure.target.average_utilization;
        let value = measure.target.average_value.as_ref().and_then(milli);
        let mut samples = Self {
            measured: Vec::new(),
            missing: Vec::new(),
            unready: Vec::new(),
            is_utilization: utilization.is_some(),
        };
        for pod in &usage.pods {
            let target = match (utilization, value) {
                (Some(percent), _) => {
                    let requested = measure.sum(&pod.requested).filter(|&request| request > 0);
                    let request =
                        requested.ok_or_else(|| format!("missing request for {}", measure.resource))?;
                    float(request) * f64::from(percent) / 100.0
                }
                (None, Some(value)) => float(value),
                (None, None) => return Err(format!("the target for {} names no value", measure.resource)),
            };
            match measure.sum(&pod.used) {
                _ if !pod.is_ready && measure.resource == "cpu" => samples.unready.push(target),
                Some(used) => samples.measured.push((float(used), target)),
                None => samples.missing.push(target),
            }
        }
        if samples.measured.is_empty() {
            return Err(format!("no metrics returned from resource metrics API for {}", measure.resource));
        }
        Ok(samples)
    }

    fn ratio(&self) -> f64 {
        let (used, target) = self.measured.iter().fold((0.0, 0.0), |sum, pod| (sum.0 + pod.0, sum.1 + pod.1));
        if target > 0.0 { used / target } else { 1.0 }
    }

    /// The size that brings the value to the target.
    fn replicas(&self, current: i32) -> i32 {
        let ratio = self.ratio();
        let is_complete = self.missing.is_empty() && (self.unready.is_empty() || ratio <= 1.0);
        if is_complete {
            return if near(ratio) { current } else { times(ratio, self.measured.len()) };
        }
        // What nobody measured is taken to be as harmless as it can: full when shrinking, idle when growing.
        let (mut used, mut target) =
            self.measured.iter().fold((0.0, 0.0), |sum, pod| (sum.0 + pod.0, sum.1 + pod.1));
        let mut count = self.measured.len() + self.missing.len();
        for share in &self.missing {
            used += if ratio < 1.0 { *share } else { 0.0 };
            target += share;
        }
        if ratio > 1.0 {
            target += self.unready.iter().sum::<f64>();
            count += self.unready.len();
        }
        let careful = if target > 0.0 { used / target } else { 1.0 };
        let is_turned = ratio > 1.0 && careful < 1.0 || ratio < 1.0 && careful > 1.0;
        if near(careful) || is_turned {
            return current;
        }
        let wanted = times(careful, count);
        // Care must not turn a growth into a shrinking, nor the other way round.
        if careful > 1.0 && wanted < current || careful < 1.0 && wanted > current { current } else { wanted }
    }
}

fn near(ratio: f64) -> bool {
    (1.0 - ratio).abs() <= TOLERANCE
}

#[expect(clippy::cast_possible_truncation, reason = "a float that is too large becomes the largest number")]
fn times(ratio: f64, count: usize) -> i32 {
    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    (ratio * count).ceil() as i32
}

#[expect(clippy::cast_precision_loss, reason = "amounts need no more than a float's 15 digits")]
fn float(amount: i64) -> f64 {
    amount as f64
}

/// A quantity in thousandths.
pub(crate) fn milli(quantity: &Quantity) -> Option<i64> {
    let milli = model::Quantity::parse(&quantity.0).ok()?.to_milli();
    i64::try_from(milli).ok()
}

fn status(metric: &MetricSpec, measure: &Measure<'_>, samples: &Samples) -> MetricStatus {
    let count = f64::from(u32::try_from(samples.measured.len()).unwrap_or(u32::MAX));
    let used: f64 = samples.measured.iter().map(|pod| pod.0).sum();
    let percent = f64::from(measure.target.average_utilization.unwrap_or(0));
    let current = MetricValueStatus {
        average_value: Some(Quantity(format!("{}m", times(used / count.max(1.0), 1)))),
        average_utilization: samples.is_utilization.then(|| times(samples.ratio() * percent, 1)),
        value: None,
    };
    let name = measure.resource.to_owned();
    let container_resource = measure.container.map(|container| ContainerResourceMetricStatus {
        container: container.to_owned(),
        current: current.clone(),
        name: name.clone(),
    });
    let resource = container_resource.is_none().then_some(ResourceMetricStatus { current, name });
    MetricStatus { type_: metric.type_.clone(), resource, container_resource, ..MetricStatus::default() }
}
