//! The Node object of this host. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use model::names;

use crate::host::Facts;
use crate::pods::status::whole_second;

/// What the Node says of itself for as long as the agent runs.
#[derive(Clone, Debug)]
pub struct Description {
    pub name: String,
    pub ip: String,
    pub kubelet_port: u16,
    pub max_pods: u32,
    pub labels: BTreeMap<String, String>,
    pub facts: Facts,
    pub cgroup_version: &'static str,
    /// What the kernel lacks for isolation, and what stands in for it.
    pub missing: Vec<String>,
    /// Where batch workers whose master is on another host find their program and their socket.
    pub worker_folder: Option<PathBuf>,
}

/// Whether Pods can run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Ready { runtime: String },
    NoEngine { why: String },
}

/// What the host offers to batch now, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    pub milli_cpu: i64,
    pub memory: i64,
    /// To the mid tier.
    pub mid_milli_cpu: i64,
    pub mid_memory: i64,
    pub memory_is_short: bool,
    /// What NUMA zones offer, if there are several.
    pub zones: Option<String>,
    pub explanation: String,
}

impl Description {
    /// The object as it is created; the status follows on its own.
    pub fn node(&self) -> Node {
        let mut labels = BTreeMap::from([
            (names::HOSTNAME_LABEL.to_owned(), self.name.clone()),
            ("kubernetes.io/os".to_owned(), "linux".to_owned()),
            ("kubernetes.io/arch".to_owned(), architecture().to_owned()),
        ]);
        labels.extend(self.labels.clone());
        Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..Node::default()
        }
    }

    /// What a Node that is registered says in annotations, whoever made it; `None` takes away what an earlier kernel could do,
    /// or an agent that was set otherwise.
    pub(crate) fn annotations(
        &self,
        topology: Option<String>,
        offer: &Offer,
    ) -> BTreeMap<&'static str, Option<String>> {
        let folder = self.worker_folder.as_ref().map(|folder| folder.to_string_lossy().into_owned());
        let zones = is_known(offer).then(|| (names::NUMA_ZONES, offer.zones.clone()));
        [(names::CPU_TOPOLOGY, topology), (names::WORKER_FOLDER, folder)].into_iter().chain(zones).collect()
    }

    /// The whole status; `before` tells since when a condition holds, and keeps conditions of others.
    pub fn status(&self, before: &NodeStatus, health: &Health, offer: &Offer, now: Timestamp) -> NodeStatus {
        let old = before.conditions.clone().unwrap_or_default();
        let ours = self.conditions(health, offer);
        let others = old.iter().filter(|old| ours.iter().all(|own| own.type_ != old.type_)).cloned();
        let conditions = ours.iter().map(|own| dated(own, &old, now)).chain(others).collect();
        let runtime = match health {
            Health::Ready { runtime } => runtime.clone(),
            Health::NoEngine { .. } => "unknown://".to_owned(),
        };
        NodeStatus {
            addresses: Some(vec![address("InternalIP", &self.ip), address("Hostname", &self.name)]),
            capacity: Some(self.resources(offer)),
            allocatable: Some(self.resources(offer)),
            conditions: Some(conditions),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(self.kubelet_port) }),
            }),
            node_info: Some(self.system_info(runtime)),
            ..NodeStatus::default()
        }
    }

    fn resources(&self, offer: &Offer) -> BTreeMap<String, Quantity> {
        let facts = &self.facts;
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(model::MilliCpu(facts.milli_cpu).to_string())),
            ("memory".to_owned(), Quantity(format!("{}Ki", facts.memory / 1024))),
            ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", facts.disk / 1024))),
            ("pods".to_owned(), Quantity(self.max_pods.to_string())),
        ])
        .into_iter()
        .chain(is_known(offer).then(|| offered(offer)).into_iter().flatten())
        .collect()
    }

    fn system_info(&self, runtime: String) -> NodeSystemInfo {
        let facts = &self.facts;
        NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: facts.boot_id.clone(),
            container_runtime_version: runtime,
            kernel_version: facts.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: format!("v{}+crest", env!("CARGO_PKG_VERSION")),
            machine_id: facts.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: facts.os_image.clone(),
            system_uuid: facts.machine_id.clone(),
            ..NodeSystemInfo::default()
        }
    }

    fn conditions(&self, health: &Health, offer: &Offer) -> Vec<NodeCondition> {
        let ready = match health {
            Health::Ready { .. } => {
                condition("Ready", true, "AgentReady", "The agent and the container engine are up".to_owned())
            }
            Health::NoEngine { why } => condition("Ready", false, "ContainerRuntimeNotReady", why.clone()),
        };
        let pressure = if offer.memory_is_short {
            condition(
                "MemoryPressure",
                true,
                "MemoryIsShort",
                "Batch is being evicted to make room".to_owned(),
            )
        } else {
            condition("MemoryPressure", false, "MemorySufficient", "There is memory available".to_owned())
        };
        let mut conditions = vec![
            pressure,
            condition("DiskPressure", false, "DiskSufficient", "Disk pressure is not watched yet".to_owned()),
            condition("PIDPressure", false, "PIDSufficient", "PID pressure is not watched yet".to_owned()),
            isolation(self.cgroup_version, &self.missing),
        ];
        conditions.extend(is_known(offer).then(|| batch_offered(offer)));
        conditions.push(ready);
        conditions
    }
}

/// Whether anything was measured yet. Until then, what an agent before this one has told stands.
pub(crate) fn is_known(offer: &Offer) -> bool {
    !offer.explanation.is_empty()
}

/// What is lent: to batch, and to the mid tier.
pub(crate) fn offered(offer: &Offer) -> BTreeMap<String, Quantity> {
    BTreeMap::from([
        (names::BATCH_CPU.to_owned(), Quantity(offer.milli_cpu.to_string())),
        (names::BATCH_MEMORY.to_owned(), Quantity(offer.memory.to_string())),
        (names::MID_CPU.to_owned(), Quantity(offer.mid_milli_cpu.to_string())),
        (names::MID_MEMORY.to_owned(), Quantity(offer.mid_memory.to_string())),
    ])
}

/// What this agent does on no host, whatever the kernel has.
const NO_HANDS: &str = "Nowhere used: core scheduling (batch may run on the other thread of a core beside a service), \
                        resctrl (batch shares the last cache and memory bandwidth), memory.reclaim ahead of need, \
                        process priorities; and io.cost only where it is switched on already";

/// What the kernel lacks for isolation.
pub(crate) fn isolation(cgroup_version: &str, missing: &[String]) -> NodeCondition {
    if missing.is_empty() {
        let message =
            format!("cgroup {cgroup_version}: all that Crest uses for isolation is there. {NO_HANDS}");
        condition("IsolationDegraded", false, "Complete", message)
    } else {
        let message = format!("cgroup {cgroup_version}: {}. {NO_HANDS}", missing.join("; "));
        condition("IsolationDegraded", true, "KernelLacks", message)
    }
}

/// What batch is offered, and why.
pub(crate) fn batch_offered(offer: &Offer) -> NodeCondition {
    condition("BatchOffered", offer.milli_cpu > 0, "Measured", offer.explanation.clone())
}

fn condition(type_: &str, status: bool, reason: &str, message: String) -> NodeCondition {
    NodeCondition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        ..NodeCondition::default()
    }
}

pub(crate) fn dated(condition: &NodeCondition, before: &[NodeCondition], now: Timestamp) -> NodeCondition {
    let now = Time(whole_second(now));
    let same = before.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
    let since = same.and_then(|same| same.last_transition_time.clone()).unwrap_or_else(|| now.clone());
    NodeCondition { last_heartbeat_time: Some(now), last_transition_time: Some(since), ..condition.clone() }
}

fn address(type_: &str, address: &str) -> NodeAddress {
    NodeAddress { type_: type_.to_owned(), address: address.to_owned() }
}

/// Go's names, which Kubernetes uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn description(worker_folder: Option<PathBuf>) -> Description {
        Description {
            name: "host".into(),
            ip: "10.0.0.1".into(),
            kubelet_port: 10250,
            max_pods: 110,
            labels: BTreeMap::new(),
            facts: Facts { milli_cpu: 2000, memory: 4096, ..Facts::default() },
            cgroup_version: "v2",
            missing: vec!["cpu.idle is missing".into()],
            worker_folder,
        }
    }

    #[test]
    fn a_node_that_is_there_has_its_zones_told_once_they_are_known() {
        let check = |offer: Offer, expected: &[(&str, Option<&str>)]| {
            let told = description(Some("/workers".into())).annotations(Some("cpus".into()), &offer);
            let told: Vec<_> = told.iter().map(|(name, value)| (*name, value.as_deref())).collect();
            assert_eq!(told, expected);
        };
        let known = Offer { explanation: "because".into(), ..Offer::default() };
        let topology = ("crest.dev/cpu-topology", Some("cpus"));
        let folder = ("crest.dev/worker-folder", Some("/workers"));
        check(Offer::default(), &[topology, folder]);
        check(known.clone(), &[topology, ("crest.dev/numa-zones", None), folder]);
        let divided = Offer { zones: Some("zones".into()), ..known };
        check(divided, &[topology, ("crest.dev/numa-zones", Some("zones")), folder]);
    }

    #[test]
    fn a_condition_keeps_its_date_and_foreign_ones_stay() {
        let description = description(None);
        let at = |second| Timestamp::from_second(second).unwrap();
        let health = Health::Ready { runtime: "pouch://1".into() };
        let offer = Offer {
            milli_cpu: 900,
            memory: 2048,
            mid_milli_cpu: 70,
            explanation: "because".into(),
            ..Offer::default()
        };
        let mut first = description.status(&NodeStatus::default(), &health, &offer, at(100));
        first
            .conditions
            .as_mut()
            .unwrap()
            .push(NodeCondition { type_: "Foreign".into(), ..NodeCondition::default() });
        let lost = Health::NoEngine { why: "gone".into() };
        let second = description.status(&first, &lost, &offer, at(200));
        // An agent that has just come back knows no offer yet.
        let third = description.status(&second, &lost, &Offer::default(), at(300));
        let offered = |status: &NodeStatus| {
            status.conditions.iter().flatten().find(|each| each.type_ == "BatchOffered").cloned()
        };
        assert_eq!(offered(&third), offered(&second));
        assert!(!third.allocatable.unwrap().contains_key(names::BATCH_CPU));
        let shown: Vec<String> = second
            .conditions
            .iter()
            .flatten()
            .map(|condition| {
                let since = condition.last_transition_time.as_ref().map_or(0, |time| time.0.as_second());
                format!("{}={} since {since}", condition.type_, condition.status)
            })
            .collect();
        expect![[r#"
            MemoryPressure=False since 100
            DiskPressure=False since 100
            PIDPressure=False since 100
            IsolationDegraded=True since 100
            BatchOffered=True since 100
            Ready=False since 200
            Foreign= since 0"#]]
        .assert_eq(&shown.join("\n"));
        let told = second.conditions.iter().flatten().find(|each| each.type_ == "IsolationDegraded");
        let told = told.and_then(|condition| condition.message.as_deref()).unwrap();
        assert!(told.contains("cpu.idle is missing. Nowhere used: core scheduling"), "{told}");
        let capacity = second.capacity.unwrap();
        assert_eq!(capacity[names::BATCH_CPU].0, "900");
        assert_eq!((&capacity[names::MID_CPU].0[..], &capacity[names::MID_MEMORY].0[..]), ("70", "0"));
        assert_eq!(capacity["cpu"].0, "2");
    }
}
