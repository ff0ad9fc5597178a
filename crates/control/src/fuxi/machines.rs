//! Nodes as the ledger's machines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fuxi::grants::{Event, MachineId, RackId, Resources};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::{Bytes, MilliCpu, Quantity, names};
use sigma::node::{Node as Selectable, Taint};

use super::tides::{self, Left};

/// The label that tells a Node's rack, or as close as its owner describes it.
const RACK_LABEL: &str = "topology.kubernetes.io/zone";
/// Pods of a Node that workers leave to others.
const PODS_KEPT_FREE: u64 = 20;

/// The numbers of Nodes and racks. Numbers are not used again for another name.
#[derive(Debug, Default)]
pub(super) struct Machines {
    machines: BTreeMap<String, MachineId>,
    /// By number.
    names: Vec<String>,
    racks: BTreeMap<String, RackId>,
    /// The Nodes that there are, as far as Pods select by it.
    nodes: BTreeMap<String, (MachineId, Selectable)>,
    /// Those that are open to batch and offer it something.
    offering: BTreeSet<MachineId>,
    /// Where workers find their program and socket, on those that can have any.
    folders: BTreeMap<MachineId, PathBuf>,
    /// Those that have taints which keep batch away.
    pub(super) taints: BTreeMap<MachineId, Vec<Taint>>,
    /// Those of them that are open all the same, as somebody tolerates them.
    pub(super) tolerated: BTreeSet<MachineId>,
}

impl Machines {
    pub(super) fn id(&mut self, node: &str) -> MachineId {
        if let Some(id) = self.machines.get(node) {
            return *id;
        }
        let id = MachineId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push(node.to_owned());
        self.machines.insert(node.to_owned(), id);
        id
    }

    pub(super) fn name(&self, id: MachineId) -> Option<&str> {
        self.names.get(usize::try_from(id.0).ok()?).map(String::as_str)
    }

    pub(super) fn nodes(&self) -> &BTreeMap<String, (MachineId, Selectable)> {
        &self.nodes
    }

    /// Takes note of what Pods may select a Node by; whether that is news.
    pub(super) fn note(&mut self, name: &str, node: Option<&Node>) -> bool {
        let Some(node) = node else { return self.nodes.remove(name).is_some() };
        let node = crate::sigma::node(node);
        let selectable = Selectable { name: node.name, labels: node.labels, ..Selectable::default() };
        let entry = (self.id(name), selectable);
        if self.nodes.get(name) == Some(&entry) {
            return false;
        }
        self.nodes.insert(name.to_owned(), entry);
        true
    }

    /// Takes note of where workers find their own on a machine; whether that is news.
    pub(super) fn note_folder(&mut self, machine: MachineId, folder: Option<PathBuf>) -> bool {
        let before = match folder.clone() {
            Some(folder) => self.folders.insert(machine, folder),
            None => self.folders.remove(&machine),
        };
        before != folder
    }

    pub(super) fn folder(&self, machine: MachineId) -> Option<&Path> {
        self.folders.get(&machine).map(PathBuf::as_path)
    }

    /// Those that offer batch something and can have no workers: only Pods that others have made.
    pub(super) fn without_workers(&self) -> impl Iterator<Item = MachineId> {
        self.offering.iter().filter(|machine| !self.folders.contains_key(machine)).copied()
    }

    /// What the ledger is to know of a Node.
    pub(super) fn event(&mut self, node: &Node, is_avoided: bool) -> Event {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let labels = node.metadata.labels.as_ref();
        let rack = labels.and_then(|labels| labels.get(RACK_LABEL)).cloned().unwrap_or_default();
        let next = RackId(u32::try_from(self.racks.len()).unwrap_or(u32::MAX));
        let rack = *self.racks.entry(rack).or_insert(next);
        let machine = self.id(name);
        let Left { capacity, is_open: is_left } = tides::left(node, capacity(node));
        let is_tainted = self.taints.contains_key(&machine) && !self.tolerated.contains(&machine);
        let is_open = is_open(node) && !is_tainted && is_left;
        if is_open && capacity.cpu.0 > 0 {
            self.offering.insert(machine);
        } else {
            self.offering.remove(&machine);
        }
        Event::Machine { machine, rack, capacity, is_open: is_open && !is_avoided }
    }

    /// A Node is gone.
    pub(super) fn remove(&mut self, machine: MachineId) -> Event {
        self.offering.remove(&machine);
        Event::MachineGone { machine }
    }

    /// How many machines offer batch anything, avoided ones included.
    pub(super) fn n_offering(&self) -> u32 {
        u32::try_from(self.offering.len()).unwrap_or(u32::MAX)
    }

    /// How many of these are not `avoided`.
    pub(super) fn n_open(&self, is_avoided: impl Fn(MachineId) -> bool) -> u32 {
        let open = self.offering.iter().filter(|machine| !is_avoided(**machine)).count();
        u32::try_from(open).unwrap_or(u32::MAX)
    }
}

/// What a Node offers batch.
pub(crate) fn capacity(node: &Node) -> Resources {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let units = |name: &str| {
        let Text(text) = allocatable?.get(name)?;
        u64::try_from(Quantity::parse(text).ok()?.to_units()).ok()
    };
    Resources {
        // Published in milli-cores as a plain number.
        cpu: MilliCpu(units(names::BATCH_CPU).unwrap_or(0)),
        memory: Bytes(units(names::BATCH_MEMORY).unwrap_or(0)),
        workers: units("pods").unwrap_or(110).saturating_sub(PODS_KEPT_FREE).max(1),
        ..Resources::default()
    }
}

/// Whether a Node is at work and takes new Pods.
pub(crate) fn is_open(node: &Node) -> bool {
    let spec = node.spec.as_ref();
    let cordoned = spec.and_then(|spec| spec.unschedulable) == Some(true);
    is_ready(node) && !cordoned && node.metadata.deletion_timestamp.is_none()
}

/// Whether a Node is at work.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|each| each.type_ == "Ready" && each.status == "True")
}
