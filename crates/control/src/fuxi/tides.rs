//! Machines that a tide has: closed to batch, or smaller for it, as their Nodes say.
//!
//! | mark | whole machines | a share of each |
//! |---|---|---|
//! | `Announced` | nothing new is granted | nothing new is granted |
//! | `Draining`, `HandedOver` | workers end with what they run | the machine is smaller: the ledger takes back what is too much |

use fuxi::WorkerId;
use fuxi::grants::Resources;
use fuxi::job::Event;
use k8s_openapi::api::core::v1::Node;
use model::tide::{MarkState, TideMark};
use model::{Bytes, MilliCpu};

use super::master::Master;
use crate::key::ObjectKey;

/// What a tide leaves of a machine.
pub(super) struct Left {
    pub(super) capacity: Resources,
    pub(super) is_open: bool,
}

/// A machine that offers `capacity`, as the tide leaves it.
pub(super) fn left(node: &Node, capacity: Resources) -> Left {
    let Some(mark) = TideMark::of(node.metadata.annotations.as_ref()) else {
        return Left { capacity, is_open: true };
    };
    if mark.is_whole() || mark.state == MarkState::Announced {
        return Left { capacity, is_open: false };
    }
    let left = |amount: u64| TideMark::left_of(mark.percent, amount);
    let (cpu, memory) = (MilliCpu(left(capacity.cpu.0)), Bytes(left(capacity.memory.0)));
    Left { capacity: Resources { cpu, memory, ..capacity }, is_open: true }
}

fn is_drained(node: &Node) -> bool {
    let mark = TideMark::of(node.metadata.annotations.as_ref());
    mark.is_some_and(|mark| mark.is_whole() && mark.state != MarkState::Announced)
}

impl Master {
    /// Workers on a machine that is drained begin nothing more.
    pub(super) fn drain_for_tide(&mut self, name: &str, node: &Node) {
        if !is_drained(node) {
            return;
        }
        for id in self.workers.on_node(name) {
            if let Some(uid) = self.workers.job_of(id) {
                self.tell(&uid, Event::Drain { worker: id });
            }
        }
    }

    /// Before a worker is heard of, so that it gets nothing with its hello.
    pub(super) fn drain_if_tide_has_it(&mut self, id: WorkerId) {
        let Some(name) = self.workers.node_of(id).map(str::to_owned) else { return };
        if let Some(node) = self.watched.nodes.get(&ObjectKey::cluster(&name)) {
            self.drain_for_tide(&name, &node);
        }
    }

    /// Once per second: workers may have come to drained machines.
    pub(super) fn drain_for_tides(&mut self) {
        for node in self.watched.nodes.all() {
            let name = node.metadata.name.clone().unwrap_or_default();
            self.drain_for_tide(&name, &node);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::tide::TIDE_MARK;

    use super::*;

    #[test]
    fn a_tide_closes_a_machine_or_makes_it_smaller() {
        let capacity = Resources { cpu: MilliCpu(1000), memory: Bytes(500), ..Resources::default() };
        let check = |mark: &str, cpu: u64, is_open: bool, drained: bool| {
            let mut node = Node::default();
            node.metadata.annotations = (!mark.is_empty()).then(|| [(TIDE_MARK.into(), mark.into())].into());
            let left = left(&node, capacity);
            assert_eq!(
                (left.capacity.cpu.0, left.is_open, is_drained(&node)),
                (cpu, is_open, drained),
                "{mark}"
            );
        };
        let mark =
            |state: &str, percent: u32| format!(r#"{{"tide":"t","state":"{state}","percent":{percent}}}"#);
        check("", 1000, true, false);
        check(&mark("Announced", 100), 1000, false, false);
        check(&mark("Draining", 100), 1000, false, true);
        check(&mark("HandedOver", 100), 1000, false, true);
        check(&mark("Announced", 40), 1000, false, false);
        check(&mark("Draining", 40), 600, true, false);
        check(&mark("HandedOver", 40), 600, true, false);
        check("what is this", 1000, false, false);
    }
}
