//! Which gang a Pod names, and what the gang's object asks for, whichever of several kinds it is.

use std::time::Duration;

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::api::scheduling::v1alpha2 as workload;
use model::names::POD_GROUP_LABEL;
use model::pod_group::{PodGroup, PodGroupPhase};

use crate::key::ObjectKey;
use crate::pods;

/// The label of the coscheduling plugin.
const COSCHEDULING_LABEL: &str = "scheduling.x-k8s.io/pod-group";
/// Koordinator's annotations, by which a gang needs no object of its own.
const KOORDINATOR_NAME: &str = "gang.scheduling.koordinator.sh/name";
const KOORDINATOR_LEAST: &str = "gang.scheduling.koordinator.sh/min-available";

/// Whose kind of object it is. Where a name is taken in both, Kubernetes' own counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// `PodGroup` of `scheduling.k8s.io/v1alpha2`.
    Kubernetes,
    /// `PodGroup` of `crest.dev/v1alpha1`.
    Ours,
}

/// What is asked for a gang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// `None`: each pod is placed for itself.
    pub(crate) min_member: Option<usize>,
    /// How long room is held while others leave it.
    pub(crate) timeout: Option<Duration>,
}

/// How a gang stands, as its object is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) phase: PodGroupPhase,
    pub(crate) members: usize,
    pub(crate) scheduled: usize,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What a Pod says of its gang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) key: ObjectKey,
    /// Where the Pod says itself what is asked for.
    pub(crate) declared: Option<Group>,
}

impl Membership {
    /// The gang that the Pod belongs to.
    pub(crate) fn of(pod: &k8s::Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).map(String::as_str);
        let annotation = |key: &str| pods::annotation(pod, key);
        let named = spec.scheduling_group.as_ref().and_then(|group| group.pod_group_name.as_deref());
        let elsewhere = || annotation(KOORDINATOR_NAME).or_else(|| label(KOORDINATOR_NAME));
        let name = named
            .or_else(|| label(POD_GROUP_LABEL))
            .or_else(|| label(COSCHEDULING_LABEL))
            .or_else(elsewhere)
            .filter(|name| !name.is_empty())?;
        let least = annotation(KOORDINATOR_LEAST).and_then(|least| least.parse().ok());
        Some(Self {
            key: ObjectKey::new(pod.metadata.namespace.as_deref().unwrap_or_default(), name),
            declared: least.map(|least: usize| Group { min_member: Some(least), timeout: None }),
        })
    }
}

/// Our kind.
pub(crate) fn ours(group: &PodGroup) -> Group {
    let timeout = group.spec.schedule_timeout_seconds;
    Group {
        min_member: Some(group.spec.min_member as usize),
        timeout: timeout.map(|seconds| Duration::from_secs(u64::from(seconds))),
    }
}

/// Kubernetes' kind: a gang, or pods that only belong together.
pub(crate) fn kubernetes(group: &workload::PodGroup) -> Group {
    let gang = group.spec.scheduling_policy.gang.as_ref();
    Group { min_member: gang.map(|gang| usize::try_from(gang.min_count).unwrap_or(0)), timeout: None }
}
