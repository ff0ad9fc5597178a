//! The conditions of a namespace that is going away, and whether it may go.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What is still in the namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remains {
    /// Objects by kind.
    pub(crate) objects: BTreeMap<String, usize>,
    /// Objects by finalizer that holds them.
    pub(crate) finalizers: BTreeMap<String, usize>,
    /// What went wrong while deleting.
    pub(crate) failures: Vec<String>,
}

impl Remains {
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.failures.is_empty()
    }
}

/// The status that tells why the namespace is still there.
pub(crate) fn status(namespace: &Namespace, remains: &Remains, now: Timestamp) -> NamespaceStatus {
    let old = namespace.status.clone().unwrap_or_default();
    let known = old.conditions.unwrap_or_default();
    let conditions = verdicts(remains).into_iter().map(|(kind, status, reason, message)| {
        let before = known.iter().find(|each| each.type_ == kind && each.status == status);
        NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: before
                .map_or_else(|| Some(Time(now)), |before| before.last_transition_time.clone()),
        }
    });
    NamespaceStatus { phase: Some("Terminating".to_owned()), conditions: Some(conditions.collect()) }
}

type Verdict = (&'static str, &'static str, &'static str, String);

fn verdicts(remains: &Remains) -> Vec<Verdict> {
    let list = |counts: &BTreeMap<String, usize>, text: &dyn Fn(&str, usize) -> String| {
        counts.iter().map(|(name, count)| text(name, *count)).collect::<Vec<_>>().join(", ")
    };
    let deleted = "All content successfully deleted, may be waiting on finalization".to_owned();
    let content = match remains.failures.is_empty() {
        true => ("NamespaceDeletionContentFailure", "False", "ContentDeleted", deleted),
        false => {
            let message = format!(
                "Failed to delete all resource types, {} remaining: {}",
                remains.failures.len(),
                remains.failures.join(", ")
            );
            ("NamespaceDeletionContentFailure", "True", "ContentDeletionFailed", message)
        }
    };
    let remaining = if remains.objects.is_empty() {
        let message = "All content successfully removed".to_owned();
        ("NamespaceContentRemaining", "False", "ContentRemoved", message)
    } else {
        let each = list(&remains.objects, &|kind, count| {
            // Kubernetes writes the group after a dot even where it is empty.
            let dot = if kind.contains('.') { "" } else { "." };
            format!("{kind}{dot} has {count} resource instances")
        });
        let message = format!("Some resources are remaining: {each}");
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain", message)
    };
    let held = if remains.finalizers.is_empty() {
        let message = "All content-preserving finalizers finished".to_owned();
        ("NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", message)
    } else {
        let each = list(&remains.finalizers, &|name, count| format!("{name} in {count} resource instances"));
        let message = format!("Some content in the namespace has finalizers remaining: {each}");
        ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message)
    };
    vec![
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        content,
        remaining,
        held,
    ]
}
