//! What a scheduler is given to do, end to end: nodes, Pods that are there before, Pods whose placing is measured. The
//! shapes are those of the workloads that Kubernetes publishes for its own scheduler (`scheduler_perf`).

use serde_json::{Value, json};

use crate::objects;

/// One workload. Each number of Pods is that of the published case, but for `plain`.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    pub nodes: usize,
    /// Pods that are placed before the clock starts.
    pub before: (usize, Shape),
    pub measured: (usize, Shape),
    /// Nodes, Services and Pods that nobody can place come and go meanwhile.
    pub has_churn: bool,
    /// kube-scheduler, with kube-apiserver and etcd.
    pub peer: Peer,
}

/// Bindings per second of the peer, and where they are from.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// On a quiet machine of this kind.
    Here { binds: f64, cpu_ms: f64, p99_ms: f64 },
    /// The threshold of the published case, on the hardware of its authors.
    Published(f64),
    /// The published case is switched off, since it does not finish.
    Unfinished,
}

/// What a Pod asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Plain,
    /// In one of two zones.
    NodeAffinity,
    /// In the zone of its like.
    Affinity,
    /// On no host of its like.
    AntiAffinity,
    /// At most five more in one zone than in another.
    Spread,
    PreferredSpread,
    PreferredAffinity,
    PreferredAntiAffinity,
    /// Small and of low priority: four fill a node's CPU.
    Low,
    /// Large and of high priority.
    High,
    /// Waits at a gate for good.
    Gated,
    /// Asks for more than any node has.
    Impossible,
}

const fn same(name: &'static str, before: usize, count: usize, shape: Shape, published: f64) -> Workload {
    Workload {
        name,
        nodes: 5000,
        before: (before, shape),
        measured: (count, shape),
        has_churn: false,
        peer: Peer::Published(published),
    }
}

const fn plain(name: &'static str, nodes: usize, count: usize, peer: Peer) -> Workload {
    let measured = (count, Shape::Plain);
    Workload { name, nodes, before: (0, Shape::Plain), measured, has_churn: false, peer }
}

/// All of them, by name.
pub const ALL: &[Workload] = &[
    plain("plain-1000", 1000, 5000, Peer::Here { binds: 286.0, cpu_ms: 6.5, p99_ms: 3072.0 }),
    plain("plain-5000", 5000, 50_000, Peer::Here { binds: 251.0, cpu_ms: 7.4, p99_ms: 5938.0 }),
    same("node-affinity", 5000, 10_000, Shape::NodeAffinity, 220.0),
    same("affinity", 5000, 5000, Shape::Affinity, 35.0),
    same("anti-affinity", 1000, 2000, Shape::AntiAffinity, 60.0),
    same("preferred-affinity", 5000, 5000, Shape::PreferredAffinity, 90.0),
    same("preferred-anti-affinity", 5000, 5000, Shape::PreferredAntiAffinity, 90.0),
    Workload { before: (5000, Shape::Plain), ..same("spread", 0, 5000, Shape::Spread, 85.0) },
    Workload {
        before: (5000, Shape::Plain),
        ..same("preferred-spread", 0, 5000, Shape::PreferredSpread, 125.0)
    },
    Workload {
        before: (20_000, Shape::Low),
        peer: Peer::Unfinished,
        ..same("preemption", 0, 5000, Shape::High, 0.0)
    },
    Workload { before: (10_000, Shape::Gated), ..same("gated", 0, 10_000, Shape::Plain, 270.0) },
    Workload { before: (200, Shape::Impossible), ..same("unschedulable", 0, 5000, Shape::Plain, 170.0) },
    Workload { has_churn: true, ..same("churn", 0, 10_000, Shape::Plain, 265.0) },
];

impl Workload {
    pub fn find(name: &str) -> Option<Self> {
        ALL.iter().find(|workload| workload.name == name).copied()
    }

    /// A node; where priorities count, a small one.
    pub fn node(&self, number: usize) -> Value {
        let mut node = objects::node(number);
        if self.before.1 == Shape::Low {
            for amounts in ["capacity", "allocatable"] {
                node["status"][amounts]["cpu"] = json!("4");
            }
        }
        node
    }
}

impl Shape {
    /// Whether Pods of this shape are ever bound.
    pub fn is_placed(self) -> bool {
        !matches!(self, Self::Gated | Self::Impossible)
    }

    /// The Pod `name` of this shape.
    pub fn pod(self, name: &str) -> Value {
        let mut pod = objects::pod(0, None);
        pod["metadata"] = json!({"name": name, "labels": {"color": "blue"}});
        let spec = &mut pod["spec"];
        // Nobody runs them, so nobody would say that they have stopped.
        spec["terminationGracePeriodSeconds"] = json!(0);
        let like = json!({"matchLabels": {"color": "blue"}});
        let zone = "topology.kubernetes.io/zone";
        let near = |key: &str| json!({"labelSelector": like, "topologyKey": key});
        match self {
            Self::Plain => {}
            Self::NodeAffinity => {
                let zones = json!({"key": zone, "operator": "In", "values": ["zone-0", "zone-1"]});
                let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [zones]}]});
                spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = terms;
            }
            Self::Affinity => {
                spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!([near(zone)]);
            }
            Self::AntiAffinity => {
                spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                    json!([near("kubernetes.io/hostname")]);
            }
            Self::PreferredAffinity | Self::PreferredAntiAffinity => {
                let term = json!([{"weight": 1, "podAffinityTerm": near("kubernetes.io/hostname")}]);
                let side = if self == Self::PreferredAffinity { "podAffinity" } else { "podAntiAffinity" };
                spec["affinity"][side]["preferredDuringSchedulingIgnoredDuringExecution"] = term;
            }
            Self::Spread | Self::PreferredSpread => {
                let otherwise = if self == Self::Spread { "DoNotSchedule" } else { "ScheduleAnyway" };
                spec["topologySpreadConstraints"] = json!([{"maxSkew": 5, "topologyKey": zone,
                    "whenUnsatisfiable": otherwise, "labelSelector": like}]);
            }
            Self::Low => {
                request(spec, "900m", "500Mi");
                spec["priorityClassName"] = json!("low");
            }
            Self::High => {
                request(spec, "3000m", "500Mi");
                spec["priorityClassName"] = json!("high");
            }
            Self::Gated => spec["schedulingGates"] = json!([{"name": "example.com/gate"}]),
            Self::Impossible => request(spec, "64", "500Mi"),
        }
        pod
    }
}

fn request(spec: &mut Value, cpu: &str, memory: &str) {
    spec["containers"][0]["resources"]["requests"] = json!({"cpu": cpu, "memory": memory});
}
