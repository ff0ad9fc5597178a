//! A pod as the engine sees it. Pods of one template are equal but for their id, and are decided as one class.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::pinning::{Pinning, PinningError};

use crate::gpu::GpuRequest;
use crate::label::{Labels, NodeTerm, PreferredTerm, Selector};
use crate::node::{Effect, Node, Taint};
use crate::policy::Policy;
use crate::resources::Amounts;
use crate::volume::Volumes;

/// What tells pods of one template apart: the pod's uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodId(Arc<str>);

impl PodId {
    pub fn new(uid: &str) -> Self {
        Self(uid.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Everything about a pod that placement depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pod {
    pub namespace: String,
    pub labels: Labels,
    /// The uid of the controller that made the pod: without constraints of their own, its pods spread over hosts.
    pub owner: Option<String>,
    /// See [`crate::resources::effective_requests`]. The `pods` resource is counted by the engine itself.
    pub requests: Amounts,
    pub gpu: Option<GpuRequest>,
    /// CPUs of its own, or why it cannot have those that it asks for.
    pub pinning: Option<Result<Pinning, PinningError>>,
    /// Labels that the node must have, exactly.
    pub node_selector: Labels,
    /// One of these terms must match the node; `None` asks for nothing.
    pub required_nodes: Option<Vec<NodeTerm>>,
    pub preferred_nodes: Vec<PreferredTerm>,
    pub tolerations: Vec<Toleration>,
    pub spread: Vec<SpreadConstraint>,
    /// Pods that must run in the same domain: there must be one that is of all terms together.
    pub required_pods: Vec<PodTerm>,
    /// Pods that must not run in the same domain; nor may this one go there where they are.
    pub forbidden_pods: Vec<PodTerm>,
    pub preferred_pods: Vec<WeightedPodTerm>,
    pub host_ports: Vec<HostPort>,
    pub volumes: Volumes,
    /// The images of its containers, one for each.
    pub images: Vec<String>,
    /// It has to be on its node, whatever that uses: a pod of a DaemonSet.
    pub ignores_load: bool,
    /// Pods of higher priority are placed first.
    pub priority: i32,
    pub policy: Policy,
}

/// The labels of every namespace that is known, by its name.
pub type Namespaces = BTreeMap<String, Labels>;

/// Names pods, and the domains (the values of a node label) within which they are near.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodTerm {
    /// `None` names no pod.
    pub selector: Option<Selector>,
    /// Pods of these namespaces, and of those that `namespace_selector` matches.
    pub namespaces: BTreeSet<String>,
    pub namespace_selector: Option<Selector>,
    pub topology_key: String,
}

/// How much a pod would like, or dislike if it is negative, to be near the pods of a term.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightedPodTerm {
    pub weight: i32,
    pub term: PodTerm,
}

impl PodTerm {
    /// Whether the term names `pod`.
    pub fn matches(&self, pod: &Pod, namespaces: &Namespaces) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
            && self.covers(&pod.namespace, namespaces)
    }

    fn covers(&self, namespace: &str, namespaces: &Namespaces) -> bool {
        let unlabelled = Labels::new();
        let labels = namespaces.get(namespace).unwrap_or(&unlabelled);
        self.namespaces.contains(namespace)
            || self.namespace_selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// Lets a pod onto nodes with matching taints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Toleration {
    /// Empty with [`TolerationMatch::Exists`] tolerates every key.
    pub key: String,
    pub matches: TolerationMatch,
    /// `None` tolerates every effect.
    pub effect: Option<Effect>,
}

/// Which values of a taint are tolerated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TolerationMatch {
    #[default]
    Exists,
    Equal(String),
    /// Whole numbers above this one.
    Above(i64),
    /// Whole numbers below this one.
    Below(i64),
    /// None: what it compares with is no number.
    Nothing,
}

impl Toleration {
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_none_or(|effect| effect == taint.effect);
        let key = self.key == taint.key || self.key.is_empty() && self.matches == TolerationMatch::Exists;
        let value = match &self.matches {
            TolerationMatch::Exists => true,
            TolerationMatch::Equal(value) => *value == taint.value,
            TolerationMatch::Above(bound) => taint.value.parse::<i64>().is_ok_and(|value| value > *bound),
            TolerationMatch::Below(bound) => taint.value.parse::<i64>().is_ok_and(|value| value < *bound),
            TolerationMatch::Nothing => false,
        };
        effect && key && value
    }
}

impl Pod {
    /// Whether the pod keeps apart from its siblings, having no constraint of its own.
    pub(crate) fn leans_apart(&self) -> bool {
        self.spread.is_empty() && self.policy.spreads_siblings
    }

    /// Whether the node selector and the required affinity admit the node, whatever else runs there.
    pub fn admits(&self, node: &Node) -> bool {
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let selected = self.node_selector.iter().all(|(key, value)| label(key) == Some(value));
        let required = self.required_nodes.as_ref();
        selected && required.is_none_or(|terms| terms.iter().any(|term| term.matches(&node.name, label)))
    }

    /// Whether every taint of the node with one of these effects is tolerated.
    pub fn tolerates(&self, node: &Node, effects: &[Effect]) -> bool {
        let mut taints = node.taints.iter().filter(|taint| effects.contains(&taint.effect));
        taints.all(|taint| self.tolerations.iter().any(|each| each.tolerates(taint)))
    }
}

/// Keeps the pods that `selector` matches evenly spread over the values of a node label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpreadConstraint {
    pub topology_key: String,
    pub max_skew: u32,
    pub unsatisfiable: WhenUnsatisfiable,
    /// `None` counts no pod.
    pub selector: Option<Selector>,
    /// Fewer domains than this count as if an empty one existed.
    pub min_domains: Option<u32>,
    pub affinity_policy: InclusionPolicy,
    pub taints_policy: InclusionPolicy,
}

/// What becomes of a pod that cannot be placed within `max_skew`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WhenUnsatisfiable {
    DoNotSchedule,
    ScheduleAnyway,
}

/// Whether nodes that the pod could not go to anyway count as domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InclusionPolicy {
    Honor,
    Ignore,
}

/// A port of the host that the pod takes for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: String,
    /// `0.0.0.0` or empty: on every address.
    pub address: String,
    pub port: u16,
}

impl HostPort {
    /// Whether both want the same port of the host.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |address: &str| address.is_empty() || address == "0.0.0.0";
        let address = any(&self.address) || any(&other.address) || self.address == other.address;
        self.port == other.port && self.protocol == other.protocol && address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toleration: (&str, TolerationMatch, Option<Effect>), expected: bool) {
        let taint = Taint { key: "key1".to_owned(), value: "value1".to_owned(), effect: Effect::NoSchedule };
        let (key, matches, effect) = toleration;
        let toleration = Toleration { key: key.to_owned(), matches, effect };
        assert_eq!(toleration.tolerates(&taint), expected, "{toleration:?}");
    }

    #[test]
    fn tolerations_as_documented() {
        let equal = |value: &str| TolerationMatch::Equal(value.to_owned());
        check(("key1", equal("value1"), Some(Effect::NoSchedule)), true);
        check(("key1", TolerationMatch::Exists, Some(Effect::NoSchedule)), true);
        check(("key1", equal("value1"), None), true);
        check(("", TolerationMatch::Exists, None), true);
        check(("", equal("value1"), None), false);
        check(("key1", equal("value2"), None), false);
        check(("key2", TolerationMatch::Exists, None), false);
        check(("key1", TolerationMatch::Exists, Some(Effect::NoExecute)), false);
    }

    #[test]
    fn numbers_are_compared_as_such() {
        let check = |matches: TolerationMatch, value: &str, expected| {
            let toleration = Toleration { key: "k".to_owned(), matches, effect: None };
            let taint = Taint { key: "k".to_owned(), value: value.to_owned(), effect: Effect::NoSchedule };
            assert_eq!(toleration.tolerates(&taint), expected, "{toleration:?} {value}");
        };
        check(TolerationMatch::Above(9), "10", true);
        check(TolerationMatch::Above(9), "9", false);
        check(TolerationMatch::Above(9), "many", false);
        check(TolerationMatch::Below(10), "9", true);
        check(TolerationMatch::Below(10), "10", false);
        check(TolerationMatch::Below(10), "", false);
        check(TolerationMatch::Nothing, "10", false);
    }

    #[test]
    fn a_port_on_every_address_conflicts_with_one_on_a_single_address() {
        let port = |address: &str, protocol: &str| HostPort {
            protocol: protocol.to_owned(),
            address: address.to_owned(),
            port: 80,
        };
        assert!(port("0.0.0.0", "TCP").conflicts(&port("127.0.0.1", "TCP")));
        assert!(port("", "TCP").conflicts(&port("127.0.0.1", "TCP")));
        assert!(!port("10.0.0.1", "TCP").conflicts(&port("127.0.0.1", "TCP")));
        assert!(!port("", "UDP").conflicts(&port("", "TCP")));
    }
}
