//! Nodes as the ledger's machines.

use std::collections::BTreeMap;

use fuxi::grants::{Event, MachineId, RackId, Resources};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::{Bytes, MilliCpu, Quantity, names};

/// The label that tells a Node's rack, or as close as its owner describes it.
const RACK_LABEL: &str = "topology.kubernetes.io/zone";
/// Pods of a Node that workers leave to others.
const PODS_KEPT_FREE: u64 = 20;

/// The numbers of Nodes and racks. Numbers are not used again for another name.
#[derive(Debug, Default)]
pub(super) struct Machines {
    machines: BTreeMap<String, MachineId>,
    racks: BTreeMap<String, RackId>,
}

impl Machines {
    pub(super) fn id(&mut self, node: &str) -> MachineId {
        let next = MachineId(u32::try_from(self.machines.len()).unwrap_or(u32::MAX));
        *self.machines.entry(node.to_owned()).or_insert(next)
    }

    pub(super) fn name(&self, id: MachineId) -> Option<&str> {
        self.machines.iter().find(|(_, machine)| **machine == id).map(|(name, _)| name.as_str())
    }

    /// What the ledger is to know of a Node.
    pub(super) fn event(&mut self, node: &Node) -> Event {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let labels = node.metadata.labels.as_ref();
        let rack = labels.and_then(|labels| labels.get(RACK_LABEL)).cloned().unwrap_or_default();
        let next = RackId(u32::try_from(self.racks.len()).unwrap_or(u32::MAX));
        let rack = *self.racks.entry(rack).or_insert(next);
        Event::Machine { machine: self.id(name), rack, capacity: capacity(node), is_open: is_open(node) }
    }
}

fn capacity(node: &Node) -> Resources {
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

fn is_open(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready =
        conditions.into_iter().flatten().any(|each| each.type_ == "Ready" && each.status == "True");
    is_ready && !cordoned && node.metadata.deletion_timestamp.is_none()
}
