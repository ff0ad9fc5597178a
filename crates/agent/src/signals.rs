//! What the kernel counts of containers and of both classes, read when somebody asks and at most once a second: a host
//! that nobody watches pays nothing for it.
//!
//! ```text
//!   Pods of the registry ──► targets ──► cgroup files, one process's network ──► Signals ──► /metrics/cadvisor
//! ```
//!
//! Nine files a container at most, one a Pod, and one for each thread of a bounded number. Rates are for who reads counters
//! twice.

#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::QosClass;
use tokio::sync::Mutex;

use self::waiting::Waiting;
use crate::cgroup::{Counters, Groups};
use crate::pods::Registry;
use crate::resources;

/// Who asks again within this time is told the same.
const FRESH: Duration = Duration::from_secs(1);

/// One look at the host.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    pub classes: Vec<(QosClass, Counters)>,
    pub pods: Vec<PodSignals>,
}

#[derive(Clone, Debug)]
pub struct PodSignals {
    pub namespace: String,
    pub name: String,
    pub class: QosClass,
    /// `None` where its network is the host's.
    pub network: Option<Network>,
    /// By name.
    pub containers: Vec<(String, Counters)>,
}

/// What went through all devices of a network namespace but its loopback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub received_bytes: u64,
    pub received_packets: u64,
    pub sent_bytes: u64,
    pub sent_packets: u64,
}

/// A Pod to look at.
#[derive(Clone, Debug)]
struct Target {
    namespace: String,
    name: String,
    class: QosClass,
    has_network: bool,
    /// Name and group.
    containers: Vec<(String, String)>,
}

/// Reads signals for those who ask.
#[derive(Debug)]
pub struct Sampler {
    groups: Groups,
    registry: Registry,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    signals: Option<(Instant, Arc<Signals>)>,
    waiting: Waiting,
}

impl Sampler {
    pub fn new(groups: Groups, registry: Registry) -> Self {
        Self { groups, registry, last: Mutex::default() }
    }

    /// The signals of now, or of a moment ago.
    pub async fn signals(&self) -> Arc<Signals> {
        // Whoever comes while somebody reads waits for what that one reads.
        let mut last = self.last.lock().await;
        if let Some((_, signals)) = last.signals.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return signals.clone();
        }
        let (groups, targets) = (self.groups.clone(), self.targets());
        let mut waiting = std::mem::take(&mut last.waiting);
        let work = move || (read(&groups, targets, &mut waiting), waiting);
        let (signals, waiting) = tokio::task::spawn_blocking(work).await.unwrap_or_default();
        let signals = Arc::new(signals);
        *last = Last { signals: Some((kit::clock::monotonic(), signals.clone())), waiting };
        signals
    }

    fn targets(&self) -> Vec<Target> {
        let entries = self.registry.entries();
        let targets = entries.iter().filter_map(|entry| {
            let pod = entry.pod();
            let class = entry.class();
            let group = self.groups.pod(class, pod.metadata.uid.as_deref()?);
            let live = entry.live.borrow();
            let alive = live.containers.iter().filter(|instance| instance.is_alive());
            let in_group = |id: &str| self.groups.container(&group, id);
            let name = |text: &Option<String>| text.clone().unwrap_or_default();
            Some(Target {
                namespace: name(&pod.metadata.namespace),
                name: name(&pod.metadata.name),
                class,
                has_network: !pod.spec.as_ref().is_some_and(resources::uses_host_network),
                containers: alive.map(|run| (run.name.clone(), in_group(&run.id))).collect(),
            })
        });
        targets.collect()
    }
}

fn read(groups: &Groups, targets: Vec<Target>, waiting: &mut Waiting) -> Signals {
    let backend = groups.backend();
    let containers = targets
        .iter()
        .flat_map(|target| target.containers.iter().map(|(_, group)| (target.class, group.as_str())));
    waiting.look(groups, &containers.collect::<Vec<_>>());
    let counters = |group: &str, run_queue| Counters { run_queue, ..backend.counters(group) };
    let classes = [QosClass::Online, QosClass::Batch];
    let pod = |target: Target| PodSignals {
        network: target.has_network.then(|| network(groups, &target.containers)).flatten(),
        containers: target
            .containers
            .into_iter()
            .map(|(name, group)| (name, counters(&group, waiting.of_group(&group))))
            .collect(),
        namespace: target.namespace,
        name: target.name,
        class: target.class,
    };
    Signals {
        classes: classes
            .map(|class| (class, counters(&groups.class(class), waiting.of_class(class))))
            .to_vec(),
        pods: targets.into_iter().map(pod).collect(),
    }
}

/// As a process of the Pod sees it.
fn network(groups: &Groups, containers: &[(String, String)]) -> Option<Network> {
    let process = containers.iter().find_map(|(_, group)| groups.backend().some_process(group))?;
    devices(&std::fs::read_to_string(format!("/proc/{process}/net/dev")).ok()?)
}

/// `  eth0: 1296 12 0 0 0 0 0 0 856 9 0 0 0 0 0 0`, below two lines of headings
fn devices(text: &str) -> Option<Network> {
    let mut sum = None;
    for (device, numbers) in text.lines().skip(2).filter_map(|line| line.split_once(':')) {
        let numbers: Vec<u64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
        if let (true, [received_bytes, received_packets, _, _, _, _, _, _, sent_bytes, sent_packets, ..]) =
            (device.trim() != "lo", numbers.as_slice())
        {
            let sum = sum.get_or_insert_with(Network::default);
            sum.received_bytes = sum.received_bytes.saturating_add(*received_bytes);
            sum.received_packets = sum.received_packets.saturating_add(*received_packets);
            sum.sent_bytes = sum.sent_bytes.saturating_add(*sent_bytes);
            sum.sent_packets = sum.sent_packets.saturating_add(*sent_packets);
        }
    }
    sum
}
