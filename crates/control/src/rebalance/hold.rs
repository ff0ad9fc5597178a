//! Why a Pod stays where it is, whatever its move would gain. In doubt it stays.

use k8s_openapi::api::core::v1::{Pod, Volume};
use model::names::{BATCH_CPU, BATCH_MEMORY};
use model::rebalance_policy::DO_NOT_MOVE;
use serde::Serialize;
use sigma::optimise::Tie;
use sigma::pod::WhenUnsatisfiable;

use crate::owner;

/// The word of cluster-autoscaler's users for Pods whose local volumes may be lost.
const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// From here up priorities are the system's own.
const SYSTEM_PRIORITY: i32 = 2_000_000_000;

/// Why a Pod stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Hold {
    /// One of its node's own: of a DaemonSet, or run by the node itself.
    OfTheNode,
    /// No controller would make it anew.
    NoController,
    /// It ends already.
    Terminating,
    /// It is essential to the cluster.
    SystemCritical,
    /// Its owner says so.
    SafeToEvictFalse,
    /// Its owner says so of moves alone.
    DoNotMove,
    /// It keeps data on its node.
    LocalVolume,
    /// Its claims may bind it to its node.
    VolumeClaim,
    /// It is Fuxi's.
    Batch,
    /// It holds GPUs, or a share of one: which is free where is not weighed here.
    Gpu,
    /// It has CPUs of its own: which are free where is not weighed here.
    OwnCpus,
    /// It must be near other Pods, or away from them in domains larger than a node, or spread.
    Neighbours,
    /// Several budgets cover it: an eviction would be refused.
    SeveralBudgets,
    /// It is being moved.
    OnTheMove,
    /// It is of nobody that the policy is about.
    NotSelected,
    /// It is not ready, and so shows nothing of how it would fare elsewhere.
    NotReady,
    /// It has come too lately.
    Young,
}

impl Hold {
    /// What the Pod itself says; `None` lets it go.
    pub(super) fn of(pod: &Pod, seen: &sigma::Pod) -> Option<Self> {
        let annotations = pod.metadata.annotations.as_ref();
        let safe = annotations.and_then(|all| all.get(SAFE_TO_EVICT)).map(String::as_str);
        let is_mirror = annotations.is_some_and(|all| all.contains_key("kubernetes.io/config.mirror"));
        let controller = owner::controller(&pod.metadata);
        let of_job = controller.is_some_and(|owner| matches!(owner.kind.as_str(), "Job" | "DagJob"));
        let spec = pod.spec.as_ref();
        let volumes = || spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let is_held = [
            (
                Self::OfTheNode,
                is_mirror
                    || controller.is_some_and(|owner| matches!(owner.kind.as_str(), "DaemonSet" | "Node")),
            ),
            (Self::Terminating, pod.metadata.deletion_timestamp.is_some()),
            (Self::NoController, controller.is_none()),
            (Self::SystemCritical, seen.priority >= SYSTEM_PRIORITY),
            (Self::SafeToEvictFalse, safe == Some("false")),
            (Self::DoNotMove, is_to_stay(annotations.and_then(|all| all.get(DO_NOT_MOVE)))),
            (
                Self::Batch,
                of_job || seen.requests.keys().any(|name| name == BATCH_CPU || name == BATCH_MEMORY),
            ),
            (Self::Gpu, seen.gpu.is_some()),
            (Self::OwnCpus, seen.pinning.is_some()),
            (Self::VolumeClaim, volumes().any(is_claim)),
            (Self::LocalVolume, safe != Some("true") && volumes().any(is_local)),
            (Self::Neighbours, is_bound_to_others(seen)),
        ];
        is_held.into_iter().find_map(|(hold, applies)| applies.then_some(hold))
    }

    /// The reason in words, after a number of Pods.
    pub fn because(self) -> &'static str {
        match self {
            Self::OfTheNode => "of a node itself",
            Self::NoController => "that no controller would make anew",
            Self::Terminating => "that end already",
            Self::SystemCritical => "essential to the cluster",
            Self::SafeToEvictFalse => "that say they are not safe to evict",
            Self::DoNotMove => "that are annotated not to be moved",
            Self::OnTheMove => "that are being moved",
            Self::NotSelected => "that the policy is not about",
            Self::NotReady => "that are not ready",
            Self::Young => "that have come too lately",
            Self::LocalVolume => "with data on their node",
            Self::VolumeClaim => "with volume claims",
            Self::Batch => "of batch",
            Self::Gpu => "with GPUs",
            Self::OwnCpus => "with CPUs of their own",
            Self::Neighbours => "bound to where others are",
            Self::SeveralBudgets => "under several disruption budgets",
        }
    }

    pub(super) fn tie(self) -> Tie {
        if self == Self::OfTheNode { Tie::Resident } else { Tie::Pinned }
    }
}

fn is_to_stay(annotation: Option<&String>) -> bool {
    annotation.is_some_and(|text| text != "false")
}

fn is_claim(volume: &Volume) -> bool {
    volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
}

fn is_local(volume: &Volume) -> bool {
    let on_disk = |medium: Option<&String>| medium.is_none_or(|medium| medium != "Memory");
    volume.host_path.is_some() || volume.empty_dir.as_ref().is_some_and(|dir| on_disk(dir.medium.as_ref()))
}

fn is_bound_to_others(seen: &sigma::Pod) -> bool {
    !seen.required_pods.is_empty()
        || seen.forbidden_pods.iter().any(|term| term.topology_key != super::convert::HOSTNAME)
        || seen.spread.iter().any(|spread| spread.unsatisfiable == WhenUnsatisfiable::DoNotSchedule)
}
