//! Why a pod was not placed, worded as kube-scheduler words it: people search for these sentences.

use std::collections::BTreeMap;
use std::fmt;

use model::pinning::PinningError;

use crate::cpu::Misfit;
use crate::node::Taint;
use crate::quota::OverQuota;

/// Why one node was ruled out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    Unschedulable,
    UntoleratedTaint(Taint),
    NodeAffinity,
    HostPorts,
    TooManyPods,
    Insufficient(String),
    /// The node uses too much of the resource already.
    HighLoad(String),
    /// Enough of GPUs is free in sum, but not in the pieces that the pod asks for.
    GpuFragments,
    GpuModel,
    /// The node has no CPUs for the pod alone, as it asks for them.
    Pinning(Misfit),
    /// The pod asks for CPUs of its own, but may not have any as it stands.
    Unpinnable(PinningError),
    /// A pod of the node holds a disk that only one may write to.
    DiskInUse,
    TooManyVolumes,
    /// Another pod uses a claim that only one may use.
    ClaimInUse,
    /// A volume that is there already cannot be reached.
    VolumeAffinity,
    /// No volume is there for a claim, nor can one be made.
    NoVolume,
    Spread,
    SpreadMissingLabel,
    PodAffinity,
    PodAntiAffinity,
    /// Pods that are there keep this one away.
    ExistingAntiAffinity,
    /// Too many pods would be beside each other, by the rule of this name.
    Interference(String),
}

impl Reason {
    /// Whether taking pods off the node could lift the reason: what preemption looks at.
    pub fn yields_to_eviction(&self) -> bool {
        match self {
            Self::HostPorts
            | Self::TooManyPods
            | Self::Insufficient(_)
            | Self::GpuFragments
            | Self::DiskInUse
            | Self::TooManyVolumes
            | Self::ClaimInUse
            | Self::Spread
            | Self::PodAntiAffinity
            | Self::ExistingAntiAffinity
            | Self::Interference(_) => true,
            Self::Pinning(misfit) => misfit.yields_to_eviction(),
            Self::Unschedulable
            | Self::UntoleratedTaint(_)
            | Self::NodeAffinity
            | Self::HighLoad(_)
            | Self::GpuModel
            | Self::Unpinnable(_)
            | Self::VolumeAffinity
            | Self::NoVolume
            | Self::SpreadMissingLabel
            | Self::PodAffinity => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::UntoleratedTaint(taint) => {
                write!(f, "node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value)
            }
            Self::NodeAffinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::HostPorts => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
            Self::HighLoad(resource) => write!(f, "node(s) {resource} usage exceed threshold"),
            Self::GpuFragments => f.write_str("node(s) had too little left of each single GPU"),
            Self::GpuModel => f.write_str("node(s) didn't have a GPU of a requested model"),
            Self::Pinning(misfit) => misfit.fmt(f),
            Self::Unpinnable(error) => write!(f, "{} of the pod {error}", error.annotation()),
            Self::DiskInUse => f.write_str("node(s) had no available disk"),
            Self::TooManyVolumes => f.write_str("node(s) exceed max volume count"),
            Self::ClaimInUse => f.write_str(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            ),
            Self::VolumeAffinity => f.write_str("node(s) didn't match PersistentVolume's node affinity"),
            Self::NoVolume => f.write_str("node(s) didn't find available persistent volumes to bind"),
            Self::Spread => f.write_str("node(s) didn't match pod topology spread constraints"),
            Self::SpreadMissingLabel => {
                f.write_str("node(s) didn't match pod topology spread constraints (missing required label)")
            }
            Self::PodAffinity => f.write_str("node(s) didn't match pod affinity rules"),
            Self::PodAntiAffinity => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Self::ExistingAntiAffinity => {
                f.write_str("node(s) didn't satisfy existing pods anti-affinity rules")
            }
            Self::Interference(rule) => write!(f, "node(s) didn't keep the interference rule {rule}"),
        }
    }
}

/// Why no node could take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// The pod asks for what only the batch scheduler may spend.
    BatchResource(String),
    /// No node passed all filters.
    NoFit(NoFit),
    /// Too few of its gang find room together.
    HalfGang(HalfGang),
    /// The elastic quota of its namespace leaves too little.
    OverQuota(OverQuota),
}

/// A gang that does not fit as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HalfGang {
    pub name: String,
    pub min_member: usize,
    /// Members that have room already.
    pub n_bound: usize,
    /// As many as could be had, those among them.
    pub n_fitting: usize,
    /// Why the first of the others does not fit; `None` when there are no others.
    pub cause: Option<Box<Unplaced>>,
}

/// How many nodes each reason ruled out. A node that lacks several resources counts under each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoFit {
    pub n_nodes: usize,
    pub reasons: BTreeMap<Reason, usize>,
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BatchResource(name) => {
                write!(f, "{name} is spent by the batch scheduler only: submit the work as a DagJob")
            }
            Self::NoFit(no_fit) => no_fit.fmt(f),
            Self::HalfGang(half) => half.fmt(f),
            Self::OverQuota(over) => over.fmt(f),
        }
    }
}

impl fmt::Display for HalfGang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gang {}: {} of {} fit", self.name, self.n_fitting, self.min_member)?;
        if self.n_bound > 0 {
            write!(f, ", {} of them bound already", self.n_bound)?;
        }
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => f.write_str(": there are no more pods of it"),
        }
    }
}

impl fmt::Display for NoFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.n_nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        // Reasons that read alike (a taint with two effects) are one to the reader.
        let mut by_text: BTreeMap<String, usize> = BTreeMap::new();
        for (reason, count) in &self.reasons {
            *by_text.entry(reason.to_string()).or_default() += count;
        }
        let mut counts: Vec<String> =
            by_text.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        counts.sort();
        write!(f, "0/{} nodes are available: {}.", self.n_nodes, counts.join(", "))
    }
}
