//! What a co-location run measured, as text for people, JSON for programs and a page with plots.

mod html;
mod plot;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::latency::Percentiles;

/// A whole run: the same service load in every phase, with different company.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When and on what it was measured, for example `2 CPUs, Linux 6.18, cgroup hybrid`.
    pub machine: String,
    pub at: String,
    /// What was offered in every phase.
    pub requests_per_second: u32,
    pub phases: Vec<Phase>,
}

/// One phase. The first phase of a report is the one that the others are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    pub name: String,
    /// Share of all processors that was busy, from 0 to 1.
    pub cpu_busy: f64,
    pub requests_per_second: f64,
    pub failed_requests: u64,
    pub latency: Percentiles,
    /// Latency in microseconds against the share of requests above it.
    pub tail: Vec<(u64, f64)>,
    pub batch_instances_per_minute: f64,
    /// Seconds into the phase against the busy share then.
    pub cpu_over_time: Vec<(f64, f64)>,
}

impl Report {
    /// How much worse a phase's p99 is than the first phase's, as a share: 0.1 means 10% worse.
    pub fn p99_harm(&self, phase: &Phase) -> Option<f64> {
        let alone = self.phases.first()?.latency.p99_us;
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a request are far below 2^52")]
        let ratio = phase.latency.p99_us as f64 / alone.max(1) as f64;
        Some(ratio - 1.0)
    }

    /// A table for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{}\nMeasured {} with {} requests per second offered in every phase.\n\n",
            self.machine, self.at, self.requests_per_second
        );
        let _infallible = writeln!(
            text,
            "{:<28} {:>6} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7} {:>12}",
            "PHASE", "CPU", "REQ/S", "P50", "P99", "P99.9", "P99 +/-", "FAILED", "BATCH/MIN"
        );
        for phase in &self.phases {
            let _infallible = writeln!(
                text,
                "{:<28} {:>5.0}% {:>9.0} {:>9} {:>9} {:>9} {:>+7.0}% {:>7} {:>12.0}",
                phase.name,
                phase.cpu_busy * 100.0,
                phase.requests_per_second,
                milliseconds(phase.latency.p50_us),
                milliseconds(phase.latency.p99_us),
                milliseconds(phase.latency.p999_us),
                self.p99_harm(phase).unwrap_or(0.0) * 100.0,
                phase.failed_requests,
                phase.batch_instances_per_minute,
            );
        }
        text
    }

    /// A page that stands alone: no script, no outside reference.
    pub fn to_html(&self) -> String {
        html::page(self)
    }
}

/// Microseconds as people read them.
fn milliseconds(micros: u64) -> String {
    format!("{}.{:02}ms", micros / 1000, micros % 1000 / 10)
}

#[cfg(test)]
mod tests;
