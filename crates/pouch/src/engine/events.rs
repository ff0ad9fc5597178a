//! What happens to containers, told to whoever listens: who lists them all again and again learns of it late, and at a cost.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::Engine;
use super::record::Container;
use crate::cri::ContainerEventType;
use crate::disk;

/// So many are kept for who is slow; who is slower is told that he missed some.
const KEPT: usize = 256;

/// Something happened to a container.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub container: Arc<Container>,
    pub kind: ContainerEventType,
    /// In nanoseconds since 1970.
    pub at: i64,
}

pub(crate) fn channel() -> broadcast::Sender<Event> {
    broadcast::Sender::new(KEPT)
}

impl Engine {
    pub(super) fn tell(&self, container: &Arc<Container>, kind: ContainerEventType) {
        let event = Event { container: container.clone(), kind, at: disk::nanoseconds(kit::clock::wall()) };
        let _nobody_listens = self.inner.events.send(event).is_err();
    }
}
