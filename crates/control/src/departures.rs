//! Says that objects are gone, whatever their kind: for controllers that count rather than look.

use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::RwLock;

type Listener = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// Those who want to hear of it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Departures(Arc<RwLock<Vec<Listener>>>);

impl Debug for Departures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Departures").field("n_listeners", &self.0.read().len()).finish()
    }
}

impl Departures {
    /// Calls `listener` with the namespace of each object that goes. It must only note what to do.
    pub fn on(&self, listener: impl Fn(Option<&str>) + Send + Sync + 'static) {
        self.0.write().push(Box::new(listener));
    }

    pub(crate) fn tell(&self, namespace: Option<&str>) {
        self.0.read().iter().for_each(|listener| listener(namespace));
    }
}
