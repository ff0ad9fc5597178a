//! Single changes to a pod, or to the cluster, that could give the pod a node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use model::pinning::{CoreShape, NumaPolicy, Pinning};

use crate::cluster::Cluster;
use crate::cpu::Misfit;
use crate::node::{Effect, Taint};
use crate::pod::{Pod, Toleration, TolerationMatch};
use crate::reason::Reason;
use crate::resources::{CPU, text};

use super::Verdicts;

/// One thing to change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase", tag = "do")]
pub enum Remedy {
    /// Ask for that much less of these resources, which is as much as this node has free.
    Lower {
        by: BTreeMap<String, u64>,
        node: String,
    },
    Tolerate {
        key: String,
        value: String,
        effect: String,
    },
    /// Let the pod onto nodes that are cordoned; or uncordon one.
    Uncordon,
    DropNodeAffinity,
    DropSpread,
    DropPodAffinity,
    DropPodAntiAffinity,
    DropHostPorts,
    DropGpuModels,
    /// Take any CPUs, not only whole cores or cores of its own.
    DropCoreShape,
    /// Take CPUs of several NUMA nodes.
    DropSingleNuma,
    /// Share CPUs with others.
    Unpin,
    AddNode {
        like: String,
    },
    /// Allow the pod's quota that much more.
    RaiseMax {
        quota: String,
        by: BTreeMap<String, u64>,
    },
    /// Guarantee the pod's quota that much more.
    RaiseMin {
        quota: String,
        by: BTreeMap<String, u64>,
    },
    /// So much must come back of what these quotas have borrowed.
    GiveBack {
        amounts: BTreeMap<String, u64>,
        borrowers: BTreeSet<String>,
    },
}

impl Remedy {
    /// How much is asked of people, for the order in which changes are told.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Self::Lower { .. } => 1,
            Self::Tolerate { .. } | Self::Uncordon | Self::GiveBack { .. } => 2,
            Self::RaiseMax { .. }
            | Self::RaiseMin { .. }
            | Self::DropSpread
            | Self::DropHostPorts
            | Self::DropGpuModels
            | Self::DropCoreShape
            | Self::DropSingleNuma => 3,
            Self::DropNodeAffinity | Self::DropPodAffinity | Self::DropPodAntiAffinity | Self::Unpin => 4,
            Self::AddNode { .. } => 5,
        }
    }

    pub(super) fn apply(&self, pod: &mut Pod) {
        match self {
            Self::Lower { by, .. } => {
                for (name, less) in by {
                    if let Some(amount) = pod.requests.get_mut(name) {
                        *amount = amount.saturating_sub(*less);
                    }
                }
            }
            Self::Tolerate { key, value, .. } => pod.tolerations.push(Toleration {
                key: key.clone(),
                matches: TolerationMatch::Equal(value.clone()),
                effect: None,
            }),
            Self::Uncordon => pod.tolerations.push(Toleration {
                key: "node.kubernetes.io/unschedulable".to_owned(),
                ..Toleration::default()
            }),
            Self::DropNodeAffinity => (pod.required_nodes, pod.node_selector) = (None, BTreeMap::new()),
            Self::DropSpread => pod.spread.clear(),
            Self::DropPodAffinity => pod.required_pods.clear(),
            Self::DropPodAntiAffinity => pod.forbidden_pods.clear(),
            Self::DropHostPorts => pod.host_ports.clear(),
            Self::DropGpuModels => {
                if let Some(gpu) = &mut pod.gpu {
                    gpu.models.clear();
                }
            }
            Self::DropCoreShape => repin(pod, |pinning| pinning.shape = CoreShape::Any),
            Self::DropSingleNuma => repin(pod, |pinning| pinning.numa = NumaPolicy::Preferred),
            Self::Unpin => pod.pinning = None,
            // Not of the pod.
            Self::AddNode { .. } | Self::RaiseMax { .. } | Self::RaiseMin { .. } | Self::GiveBack { .. } => {}
        }
    }
}

fn repin(pod: &mut Pod, change: impl FnOnce(&mut Pinning)) {
    if let Some(Ok(pinning)) = &mut pod.pinning {
        change(pinning);
    }
}

/// What the reasons of all nodes suggest.
pub(super) fn suggested_by(cluster: &Cluster, pod: &Pod, verdicts: &Verdicts) -> Vec<Remedy> {
    let reasons: BTreeSet<&Reason> = verdicts.values().flatten().collect();
    let mut remedies: BTreeSet<Remedy> = reasons.into_iter().filter_map(of_reason).collect();
    remedies.extend(lower(cluster, pod, verdicts));
    remedies.into_iter().collect()
}

fn of_reason(reason: &Reason) -> Option<Remedy> {
    match reason {
        Reason::Unschedulable => Some(Remedy::Uncordon),
        Reason::UntoleratedTaint(Taint { key, value, effect }) => Some(Remedy::Tolerate {
            key: key.clone(),
            value: value.clone(),
            effect: match effect {
                Effect::NoSchedule => "NoSchedule",
                Effect::PreferNoSchedule => "PreferNoSchedule",
                Effect::NoExecute => "NoExecute",
            }
            .to_owned(),
        }),
        Reason::NodeAffinity => Some(Remedy::DropNodeAffinity),
        Reason::HostPorts => Some(Remedy::DropHostPorts),
        Reason::Spread | Reason::SpreadMissingLabel => Some(Remedy::DropSpread),
        Reason::PodAffinity => Some(Remedy::DropPodAffinity),
        Reason::PodAntiAffinity => Some(Remedy::DropPodAntiAffinity),
        Reason::GpuModel => Some(Remedy::DropGpuModels),
        Reason::Pinning(Misfit::WholeCores | Misfit::UnevenCores | Misfit::OwnCores) => {
            Some(Remedy::DropCoreShape)
        }
        Reason::Pinning(Misfit::OneNumaNode | Misfit::NumaMemory) => Some(Remedy::DropSingleNuma),
        Reason::Pinning(Misfit::NoTopology | Misfit::TooFewCpus) | Reason::Unpinnable(_) => {
            Some(Remedy::Unpin)
        }
        // It passes by itself, or other pods have to move.
        Reason::HighLoad(_) => None,
        // A matter of storage, not of this pod's spec.
        Reason::DiskInUse
        | Reason::TooManyVolumes
        | Reason::ClaimInUse
        | Reason::VolumeAffinity
        | Reason::NoVolume => None,
        // Others declared it; no change of this pod's spec lifts it.
        Reason::ExistingAntiAffinity | Reason::Interference(_) => None,
        // How much less is a matter of the single node, see `lower`; of pods and GPUs there is no less than one.
        Reason::TooManyPods | Reason::Insufficient(_) | Reason::GpuFragments => None,
    }
}

/// Of the nodes that lack nothing but resources, the one for which the pod would have to give up the least, as a share
/// of what it asks for.
pub(super) fn lower(cluster: &Cluster, pod: &Pod, verdicts: &Verdicts) -> Option<Remedy> {
    let lacking = |reasons: &[Reason]| -> Option<Vec<String>> {
        let name = |reason: &Reason| match reason {
            Reason::Insufficient(name) if pod.requests.contains_key(name) => Some(name.clone()),
            _ => None,
        };
        reasons.iter().map(name).collect::<Option<Vec<_>>>().filter(|names| !names.is_empty())
    };
    let options = verdicts.iter().filter_map(|(node, reasons)| {
        let mut by = BTreeMap::new();
        let mut worst = 0;
        for name in lacking(reasons)? {
            let asked = pod.requests[&name];
            let free = cluster.free(node, &name)?;
            let less = asked.saturating_sub(free);
            if free == 0 {
                return None; // Nothing left of it: asking for none at all is another pod.
            }
            worst = worst.max(u128::from(less) * 1_000_000 / u128::from(asked.max(1)));
            by.insert(name, less);
        }
        Some((worst, by, node))
    });
    let (_, by, node) = options.min()?;
    Some(Remedy::Lower { by, node: node.clone() })
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lower { by, .. } => {
                let less = |(name, amount): (&String, &u64)| match name.as_str() {
                    CPU => format!("{name} by {amount}m"),
                    _ => format!("{name} by {amount}"),
                };
                write!(f, "lower the request for {}", by.iter().map(less).collect::<Vec<_>>().join(" and "))
            }
            Self::Tolerate { key, value, effect } if value.is_empty() => {
                write!(f, "tolerate the taint {key}:{effect}")
            }
            Self::Tolerate { key, value, effect } => write!(f, "tolerate the taint {key}={value}:{effect}"),
            Self::Uncordon => f.write_str("uncordon a node"),
            Self::DropNodeAffinity => f.write_str("drop the node selector and the required node affinity"),
            Self::DropSpread => f.write_str("drop the topology spread constraints"),
            Self::DropPodAffinity => f.write_str("drop the required pod affinity"),
            Self::DropPodAntiAffinity => f.write_str("drop the required pod anti-affinity"),
            Self::DropHostPorts => f.write_str("drop the host ports"),
            Self::DropGpuModels => f.write_str("let any GPU model do"),
            Self::DropCoreShape => f.write_str("let any CPUs do (crest.dev/cpu-policy: pinned)"),
            Self::DropSingleNuma => {
                f.write_str("let several NUMA nodes do (crest.dev/numa-policy: preferred)")
            }
            Self::Unpin => f.write_str("share CPUs with other pods (without crest.dev/cpu-policy)"),
            Self::AddNode { like } => write!(f, "add a node like {like}"),
            Self::RaiseMax { quota, by } => write!(f, "raise max of quota {quota} by {}", listed(by)),
            Self::RaiseMin { quota, by } => write!(f, "raise min of quota {quota} by {}", listed(by)),
            Self::GiveBack { amounts, borrowers } => {
                let names = borrowers.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                let (noun, verb) = if borrowers.len() == 1 { ("quota", "has") } else { ("quotas", "have") };
                write!(f, "{} must come back of what {noun} {names} {verb} borrowed", listed(amounts))
            }
        }
    }
}

fn listed(amounts: &BTreeMap<String, u64>) -> String {
    let each = |(name, amount): (&String, &u64)| format!("{} {name}", text(name, u128::from(*amount)));
    amounts.iter().map(each).collect::<Vec<_>>().join(" and ")
}
