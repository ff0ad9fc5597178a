//! Volumes as placement sees them: where they can be reached, how many a node can attach, and who may share them.

use std::collections::BTreeSet;

use crate::label::NodeTerm;

/// What a pod's volumes ask of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Volumes {
    /// All of these must hold.
    pub places: Vec<Place>,
    /// What has to be attached to the node, if it is not already.
    pub attached: BTreeSet<Attachment>,
    /// Claims that only one pod of the cluster may use at a time.
    pub exclusive: BTreeSet<String>,
    pub disks: Vec<Disk>,
}

/// Where one volume can be reached, or made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// One of these terms must match the node.
    pub terms: Vec<NodeTerm>,
    /// The volume is there already; else it is found or made where the pod goes.
    pub is_bound: bool,
}

/// A volume that a storage driver attaches to nodes, of which each can hold so many.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attachment {
    pub driver: String,
    /// What tells it from the driver's other volumes.
    pub volume: String,
}

/// A disk that a pod names itself. Two pods of a node may share it only if neither writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    pub name: String,
    pub is_read_only: bool,
}

impl Disk {
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        self.name == other.name && !(self.is_read_only && other.is_read_only)
    }
}

impl Volumes {
    /// Whether they ask for anything that depends on other pods of a node.
    pub(crate) fn is_shared(&self) -> bool {
        !self.attached.is_empty() || !self.disks.is_empty()
    }
}
