//! What the host, its Pods and their containers use, measured every few seconds, so that whoever asks hears a rate and
//! not a sum alone.
//!
//! ```text
//!   counters (engine's CRI for containers, cgroups for Pods and the host) ──► rate since the last look ──► Snapshot
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pouch::cri;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::host::meminfo;
use crate::pods::Shared;
use crate::pods::observed::label;

/// How often all is measured. Rates are over this time.
const PERIOD: Duration = Duration::from_secs(10);

/// What the kernel has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub at: Timestamp,
    pub core_nanoseconds: u64,
    /// Memory that cannot be dropped at once.
    pub working_set: u64,
    /// All memory, that of caches too, and what of it is of no file. Known of containers only.
    pub memory: Option<u64>,
    pub anonymous: Option<u64>,
}

/// Counters, and what they say beside the ones before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    pub counters: Counters,
    /// Billionths of a core in use; `None` at the first look.
    pub nano_cores: Option<u64>,
    /// The time over which that was.
    pub window: SignedDuration,
}

impl Measured {
    /// The rate since `before`, if these are later counters of the same thing.
    fn since(before: Option<&Self>, counters: Counters) -> Self {
        let first = Self { counters, ..Self::default() };
        let Some(before) = before else { return first };
        let window = counters.at.duration_since(before.counters.at);
        let (Ok(nanoseconds @ 1..), Some(used)) = (
            u64::try_from(window.as_nanos()),
            counters.core_nanoseconds.checked_sub(before.counters.core_nanoseconds),
        ) else {
            return first;
        };
        let rate = u128::from(used) * 1_000_000_000 / u128::from(nanoseconds);
        Self { counters, nano_cores: u64::try_from(rate).ok(), window }
    }
}

/// One Pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodUse {
    pub whole: Measured,
    /// The containers that run, by name.
    pub containers: BTreeMap<String, Measured>,
}

/// Everything on this host at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub node: Measured,
    /// By uid.
    pub pods: HashMap<String, PodUse>,
    /// The same containers by their ids: a restarted one counts anew.
    pub(crate) by_id: HashMap<String, Measured>,
}

/// Measures until told to stop.
#[derive(Debug)]
pub struct Meter {
    pub context: Shared,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Meter {
    pub async fn run(self, token: CancellationToken) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while token.run_until_cancelled(ticks.tick()).await.is_some() {
            let stats = match self.context.engine.stats().await {
                Ok(stats) => stats,
                Err(error) => {
                    // The engine may be on its way back; what is known stays known, with its time.
                    tracing::debug!(error = %kit::Chain(&error), "Containers not measured");
                    continue;
                }
            };
            let before = Arc::clone(&self.snapshots.borrow());
            self.snapshots.send_replace(Arc::new(self.measure(&before, stats)));
        }
    }

    fn measure(&self, before: &Snapshot, stats: Vec<cri::ContainerStats>) -> Snapshot {
        // Nothing was measured before the first look.
        let node_before = Some(&before.node).filter(|node| **node != Measured::default());
        let node = self.node().map_or(before.node, |counters| Measured::since(node_before, counters));
        let mut snapshot = Snapshot { node, ..Snapshot::default() };
        for stats in stats {
            let Some((container, counters)) = counters(&stats) else { continue };
            let measured = Measured::since(before.by_id.get(&container.id), counters);
            snapshot.by_id.insert(container.id, measured);
            let pod = snapshot.pods.entry(container.pod_uid).or_default();
            pod.containers.insert(container.name, measured);
        }
        for (uid, pod) in &mut snapshot.pods {
            if let Some(counters) = self.pod(uid) {
                let before = before.pods.get(uid).map(|pod| &pod.whole);
                pod.whole = Measured::since(before, counters);
            }
        }
        snapshot
    }

    fn node(&self) -> Option<Counters> {
        let total = self.context.facts.memory;
        let available = meminfo("MemAvailable").unwrap_or(total);
        self.group("", Some(total.saturating_sub(available)))
    }

    fn pod(&self, uid: &str) -> Option<Counters> {
        let class = self.context.registry.get(uid)?.class();
        self.group(&self.context.groups.pod(class, uid), None)
    }

    fn group(&self, group: &str, working_set: Option<u64>) -> Option<Counters> {
        let backend = self.context.groups.backend();
        let used = backend.cpu_time(group).ok()?;
        let working_set = match working_set {
            Some(known) => known,
            None => backend.memory(group).ok()?.0,
        };
        Some(Counters {
            at: kit::clock::wall(),
            core_nanoseconds: u64::try_from(used.as_nanos()).unwrap_or(u64::MAX),
            working_set,
            ..Counters::default()
        })
    }
}

struct Container {
    id: String,
    name: String,
    pod_uid: String,
}

/// `None` for a container that has ended, or that is no Pod's.
fn counters(stats: &cri::ContainerStats) -> Option<(Container, Counters)> {
    let (attributes, cpu, memory) = (stats.attributes.as_ref()?, stats.cpu.as_ref()?, stats.memory.as_ref()?);
    let container = Container {
        id: attributes.id.clone(),
        name: attributes.metadata.as_ref()?.name.clone(),
        pod_uid: attributes.labels.get(label::POD_UID)?.clone(),
    };
    let value = |number: Option<&cri::UInt64Value>| number.map(|number| number.value);
    let counters = Counters {
        at: Timestamp::from_nanosecond(cpu.timestamp.into()).ok()?,
        core_nanoseconds: value(cpu.usage_core_nano_seconds.as_ref())?,
        working_set: value(memory.working_set_bytes.as_ref())?,
        memory: value(memory.usage_bytes.as_ref()),
        anonymous: value(memory.rss_bytes.as_ref()),
    };
    Some((container, counters))
}
