//! Which Pods are in care here, for those who ask by name: the kubelet server and the arbiter.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use model::QosClass;
use model::qos::is_mid;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

use super::observed::{Instance, State};
use super::status::Verdict;

/// What is wanted of a Pod.
#[derive(Clone, Debug)]
pub struct Order {
    pub pod: Arc<Pod>,
    /// That of `pod`, which is asked for ten times a second.
    class: QosClass,
    /// The API no longer knows it.
    pub gone: bool,
    /// The agent ends it.
    pub verdict: Option<Verdict>,
}

impl Order {
    /// For a Pod that the API knows.
    pub fn new(pod: Arc<Pod>) -> Self {
        Self { class: QosClass::of(&pod), pod, gone: false, verdict: None }
    }

    /// The Pod was changed.
    pub fn renew(&mut self, pod: Arc<Pod>) {
        self.class = QosClass::of(&pod);
        self.pod = pod;
    }
}

/// What a Pod has on this host now.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub sandbox: Option<String>,
    pub containers: Vec<Instance>,
}

impl Live {
    /// The newest run of `container`, if it runs.
    pub fn running(&self, container: &str) -> Option<&Instance> {
        let newest = self.containers.iter().filter(|instance| instance.name == container);
        newest.max_by_key(|run| run.attempt).filter(|run| matches!(run.state, State::Running { .. }))
    }
}

/// One Pod in care.
#[derive(Clone, Debug)]
pub struct Entry {
    pub orders: watch::Sender<Order>,
    pub poke: Arc<Notify>,
    pub live: watch::Receiver<Live>,
}

impl Entry {
    pub fn pod(&self) -> Arc<Pod> {
        self.orders.borrow().pod.clone()
    }

    pub fn class(&self) -> QosClass {
        self.orders.borrow().class
    }

    /// Whether it has processes.
    pub fn is_alive(&self) -> bool {
        self.live.borrow().containers.iter().any(Instance::is_alive)
    }
}

/// All Pods in care, by uid.
#[derive(Clone, Default)]
pub struct Registry {
    entries: Arc<RwLock<HashMap<String, Entry>>>,
    changed: Arc<Notify>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("pods", &self.entries.read().len()).finish()
    }
}

impl Registry {
    pub fn get(&self, uid: &str) -> Option<Entry> {
        self.entries.read().get(uid).cloned()
    }

    pub fn insert(&self, uid: String, entry: Entry) {
        self.entries.write().insert(uid, entry);
        self.changed.notify_waiters();
    }

    pub fn remove(&self, uid: &str) {
        self.entries.write().remove(uid);
        self.changed.notify_waiters();
    }

    pub fn uids(&self) -> Vec<String> {
        self.entries.read().keys().cloned().collect()
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.entries.read().values().cloned().collect()
    }

    /// The Pod of that name; of several, as while one replaces another, the one that the API knows.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Entry> {
        let matches = |entry: &&Entry| {
            let pod = entry.pod();
            pod.metadata.namespace.as_deref() == Some(namespace) && pod.metadata.name.as_deref() == Some(name)
        };
        let entries = self.entries.read();
        let found = entries.values().filter(matches).min_by_key(|entry| entry.orders.borrow().gone);
        found.cloned()
    }

    /// Tells the caretaker of `uid` to end it for `verdict`.
    pub fn condemn(&self, uid: &str, verdict: &Verdict) {
        if let Some(entry) = self.get(uid) {
            entry.orders.send_modify(|order| order.verdict = Some(verdict.clone()));
        }
    }

    /// Pods of batch class, whether they have processes or not.
    pub fn batch(&self) -> Vec<Arc<Pod>> {
        self.filtered(|entry| entry.class() == QosClass::Batch)
    }

    /// Pods of batch class that have processes.
    pub fn batch_at_work(&self) -> Vec<Arc<Pod>> {
        self.filtered(|entry| entry.class() == QosClass::Batch && entry.is_alive())
    }

    /// Pods of the mid tier that have processes.
    pub fn mid_at_work(&self) -> Vec<Arc<Pod>> {
        self.filtered(|entry| {
            entry.class() == QosClass::Online && is_mid(&entry.orders.borrow().pod) && entry.is_alive()
        })
    }

    fn filtered(&self, is_wanted: impl Fn(&Entry) -> bool) -> Vec<Arc<Pod>> {
        self.entries.read().values().filter(|entry| is_wanted(entry)).map(Entry::pod).collect()
    }

    /// Resolves when a Pod comes or goes.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
