//! Counts that may be given as a percentage: `maxSurge: 25%` of ten pods.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What becomes of a fraction of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Up,
    Down,
}

/// How many of `of` the value means. What is no number means none.
pub(crate) fn share(value: &IntOrString, of: i32, rounding: Rounding) -> i32 {
    let text = match value {
        IntOrString::Int(count) => return (*count).max(0),
        IntOrString::String(text) => text,
    };
    let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
    let hundredfold = percent.max(0).saturating_mul(i64::from(of));
    let extra = if rounding == Rounding::Up { 99 } else { 0 };
    i32::try_from(hundredfold.saturating_add(extra) / 100).unwrap_or(i32::MAX)
}
