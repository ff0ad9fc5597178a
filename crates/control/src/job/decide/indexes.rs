//! Indexed Jobs: which pod has which index, and lists of indexes such as `0-2,5`.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::Pod;

use crate::pods;

pub(crate) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Annotation of a pod: how often those of its index have failed before it.
pub(crate) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

pub(crate) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// The index of a pod of an indexed Job.
pub(crate) fn of(pod: &Pod) -> Option<u32> {
    pods::annotation(pod, INDEX)?.parse().ok()
}

/// How often pods of its index had failed before this one was made, as far as it was noted.
pub(crate) fn failures_before(pod: &Pod) -> i32 {
    pods::annotation(pod, FAILURES).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Reads a list; what lies beyond `end` or is no number is left out.
pub(crate) fn parse(text: &str, end: u32) -> BTreeSet<u32> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            indexes.extend((first..=last).take_while(|&index| index < end));
        }
    }
    indexes
}

/// Writes a list: runs of three and more as a range, as Kubernetes does.
pub(crate) fn format(indexes: &BTreeSet<u32>) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    let shown = runs.iter().map(|&(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(",")
}
