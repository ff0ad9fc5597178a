//! Made-up events: ordinary ones, and those at the edges of what an API lets through.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use crate::label::{Labels, NodeTerm, Operator, PreferredTerm, Requirement, Selector};
use crate::node::{Effect, Node, Taint};
use crate::place::Pending;
use crate::pod::{
    HostPort, InclusionPolicy, Pod, PodId, PodTerm, SpreadConstraint, Toleration, TolerationMatch,
    WeightedPodTerm, WhenUnsatisfiable,
};
use crate::resources::{Amounts, CPU, MEMORY, PODS};
use crate::volume::{Attachment, Disk, Place, Volumes};

/// As long as a label's value may be.
const LONG: &str = "a-b_c.D-a-b_c.D-a-b_c.D-a-b_c.D-a-b_c.D-a-b_c.D-a-b_c.D-a-b_c.D";
const EXTENDED: &str = "example.com/dongle";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

#[derive(Clone, Debug)]
pub(super) enum Event {
    SetNode(Node),
    RemoveNode(String),
    /// How many volumes of each driver a node can attach.
    SetLimits(String, BTreeMap<String, u64>),
    SetNamespace(String, Labels),
    RemoveNamespace(String),
    Place(Vec<Pending>),
    /// Places a pod, and makes room for it where it fits nowhere.
    Preempt(Pending),
    /// Someone else bound the pod, maybe to a node that is not known.
    Bind(PodId, Arc<Pod>, String),
    Leave(PodId, bool),
    Remove(PodId),
}

/// A few nodes, then anything.
pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let nodes = vec(node().prop_map(Event::SetNode), 2..5);
    (nodes, vec(event(), 1..40)).prop_map(|(nodes, events)| nodes.into_iter().chain(events).collect())
}

fn event() -> impl Strategy<Value = Event> {
    let pending = || (id(), pod()).prop_map(|(id, pod)| Pending { id, pod: Arc::new(pod) });
    prop_oneof![
        3 => node().prop_map(Event::SetNode),
        1 => node_name().prop_map(Event::RemoveNode),
        1 => (node_name(), btree_map(driver(), 0..3_u64, 0..2))
            .prop_map(|(node, limits)| Event::SetLimits(node, limits)),
        1 => (namespace(), any::<bool>()).prop_map(|(name, is_gold)| {
            let tier = if is_gold { "gold" } else { LONG };
            Event::SetNamespace(name, Labels::from([("tier".to_owned(), tier.to_owned())]))
        }),
        1 => namespace().prop_map(Event::RemoveNamespace),
        4 => vec(pending(), 1..6).prop_map(Event::Place),
        // Many alike: what a view learns from the first must hold for the last.
        2 => (pod(), 1..6_u8).prop_map(|(pod, count)| {
            let pod = Arc::new(pod);
            let pending = |id: u8| Pending { id: PodId::new(&id.to_string()), pod: Arc::clone(&pod) };
            Event::Place((0..count).map(pending).collect())
        }),
        3 => pending().prop_map(Event::Preempt),
        4 => (id(), pod(), node_name()).prop_map(|(id, pod, node)| Event::Bind(id, Arc::new(pod), node)),
        1 => (id(), any::<bool>()).prop_map(|(id, is_leaving)| Event::Leave(id, is_leaving)),
        2 => id().prop_map(Event::Remove),
    ]
}

fn node_name() -> impl Strategy<Value = String> {
    (0..5_u8).prop_map(|name| format!("n{name}"))
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just("one".to_owned()), 1 => Just("two".to_owned())]
}

fn id() -> impl Strategy<Value = PodId> {
    (0..12_u8).prop_map(|id| PodId::new(&id.to_string()))
}

/// Mostly small; sometimes more than any machine has.
fn amount(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        40 => 0..most,
        1 => Just(i64::MAX.cast_unsigned()),
        1 => Just(u64::MAX),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let amounts = (amount(12), amount(12), 0..8_u64, proptest::option::of(0..3_u64));
    let zone = prop_oneof![12 => (0..3_u8).prop_map(|zone| Some(format!("z{zone}"))), 1 => Just(None),
        1 => Just(Some(LONG.to_owned()))];
    let labels = (zone, proptest::bool::weighted(0.8), -1..2_i8);
    let taints = prop_oneof![9 => Just(Vec::new()), 3 => btree_set(taint(), 1..3).prop_map(|all| all.into_iter().collect())];
    let is_cordoned = prop_oneof![8 => Just(false), 1 => Just(true)];
    let images = btree_map(image(), amount(2_000_000_000), 0..3);
    (node_name(), amounts, labels, taints, (is_cordoned, images)).prop_map(
        |(name, (cpu, memory, pods, dongles), (zone, has_host, rank), taints, (unschedulable, images))| {
            let mut labels = Labels::from([("rank".to_owned(), rank.to_string())]);
            labels.extend(zone.map(|zone| ("zone".to_owned(), zone)));
            labels.extend(has_host.then(|| ("host".to_owned(), name.clone())));
            let mut allocatable = Amounts::from(
                [(CPU, cpu), (MEMORY, memory), (PODS, pods)].map(|(name, amount)| (name.to_owned(), amount)),
            );
            allocatable.extend(dongles.map(|dongles| (EXTENDED.to_owned(), dongles)));
            Node { name, allocatable, labels, taints, unschedulable, images, ..Node::default() }
        },
    )
}

fn driver() -> impl Strategy<Value = String> {
    prop_oneof![Just("block".to_owned()), Just("file".to_owned())]
}

/// Few of each, so that pods share them.
fn volumes() -> impl Strategy<Value = Volumes> {
    let attachment =
        (driver(), 0..4_u8).prop_map(|(driver, volume)| Attachment { driver, volume: volume.to_string() });
    let disk = (0..2_u8, any::<bool>())
        .prop_map(|(name, is_read_only)| Disk { name: name.to_string(), is_read_only });
    let place =
        (vec(node_term(), 0..3), any::<bool>()).prop_map(|(terms, is_bound)| Place { terms, is_bound });
    let claims = btree_set((0..2_u8).prop_map(|claim| claim.to_string()), 0..2);
    let any = (vec(place, 0..2), btree_set(attachment, 0..3), claims, vec(disk, 0..2))
        .prop_map(|(places, attached, exclusive, disks)| Volumes { places, attached, exclusive, disks });
    prop_oneof![3 => Just(Volumes::default()), 1 => any]
}

fn image() -> impl Strategy<Value = String> {
    (0..3_u8).prop_map(|image| format!("registry/app{image}:1"))
}

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![Just(Effect::NoSchedule), Just(Effect::PreferNoSchedule), Just(Effect::NoExecute)]
}

fn taint() -> impl Strategy<Value = Taint> {
    (prop_oneof![Just("dedicated"), Just("odd")], prop_oneof![Just(""), Just(LONG)], effect())
        .prop_map(|(key, value, effect)| Taint { key: key.to_owned(), value: value.to_owned(), effect })
}

fn toleration() -> impl Strategy<Value = Toleration> {
    let key = prop_oneof![Just(""), Just("dedicated"), Just("odd"), Just(UNSCHEDULABLE)];
    let matches = prop_oneof![Just(TolerationMatch::Exists), Just(TolerationMatch::Equal(LONG.to_owned()))];
    (key, matches, proptest::option::of(effect())).prop_map(|(key, matches, effect)| Toleration {
        key: key.to_owned(),
        matches,
        effect,
    })
}

fn pod() -> impl Strategy<Value = Pod> {
    let requests = (proptest::option::of(amount(4)), amount(4), proptest::option::weighted(0.2, 0..3_u64));
    let who = (namespace(), app(), proptest::option::of(0..2_u8), -1..3_i32);
    let things = (vec(port(), 0..2), volumes(), vec(image(), 0..3));
    (who, requests, nodes(), neighbours(), things).prop_map(
        |(
            (namespace, app, owner, priority),
            (cpu, memory, dongles),
            nodes,
            neighbours,
            (host_ports, volumes, images),
        )| {
            let mut requests = Amounts::from([(MEMORY.to_owned(), memory)]);
            requests.extend(cpu.map(|cpu| (CPU.to_owned(), cpu)));
            requests.extend(dongles.map(|dongles| (EXTENDED.to_owned(), dongles)));
            Pod {
                namespace,
                labels: app.map(|app| ("app".to_owned(), app)).into_iter().collect(),
                owner: owner.map(|owner| owner.to_string()),
                requests,
                host_ports,
                volumes,
                images,
                priority,
                ..Pod {
                    spread: neighbours.spread,
                    required_pods: neighbours.required_pods,
                    forbidden_pods: neighbours.forbidden_pods,
                    preferred_pods: neighbours.preferred_pods,
                    ..nodes
                }
            }
        },
    )
}

fn app() -> impl Strategy<Value = Option<String>> {
    prop_oneof![6 => (0..3_u8).prop_map(|app| Some(app.to_string())), 1 => Just(None),
        1 => Just(Some(LONG.to_owned()))]
}

fn port() -> impl Strategy<Value = HostPort> {
    let address = prop_oneof![Just(""), Just("0.0.0.0"), Just("10.0.0.1"), Just("10.0.0.2")];
    (address, prop_oneof![Just("TCP"), Just("UDP")], prop_oneof![Just(80), Just(u16::MAX)]).prop_map(
        |(address, protocol, port)| HostPort {
            protocol: protocol.to_owned(),
            address: address.to_owned(),
            port,
        },
    )
}

fn key() -> impl Strategy<Value = String> {
    // A zone of several nodes, and a host of one: rules on the two are kept by different means.
    prop_oneof![4 => Just("zone"), 4 => Just("host"), 1 => Just("nowhere")].prop_map(str::to_owned)
}

fn requirement(key: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = Requirement> {
    let operator = prop_oneof![
        4 => Just(Operator::In), 2 => Just(Operator::NotIn), 1 => Just(Operator::Exists),
        1 => Just(Operator::DoesNotExist), 1 => Just(Operator::Gt), 1 => Just(Operator::Lt)
    ];
    (operator, vec(proptest::sample::select(values), 0..3)).prop_map(move |(operator, values)| Requirement {
        key: key.to_owned(),
        operator,
        values: values.into_iter().map(str::to_owned).collect(),
    })
}

fn node_term() -> impl Strategy<Value = NodeTerm> {
    let on_labels = prop_oneof![
        requirement("zone", &["z0", "z1", LONG]),
        requirement("rank", &["-1", "0", "one"]),
        requirement("host", &["n0"]),
    ];
    (vec(on_labels, 0..3), vec(requirement("metadata.name", &["n0", "n1"]), 0..2))
        .prop_map(|(labels, fields)| NodeTerm { labels, fields })
}

/// What a pod asks of nodes.
fn nodes() -> impl Strategy<Value = Pod> {
    let selector = prop_oneof![8 => Just(None), 1 => Just(Some("z0")), 1 => Just(Some(LONG))];
    let required = prop_oneof![8 => Just(None), 2 => vec(node_term(), 0..3).prop_map(Some)];
    let weight = prop_oneof![Just(1), Just(100), Just(u32::MAX)];
    let preferred = (weight, node_term()).prop_map(|(weight, term)| PreferredTerm { weight, term });
    (selector, required, vec(preferred, 0..2), vec(toleration(), 0..3)).prop_map(
        |(selector, required_nodes, preferred_nodes, tolerations)| Pod {
            node_selector: selector.map(|zone| ("zone".to_owned(), zone.to_owned())).into_iter().collect(),
            required_nodes,
            preferred_nodes,
            tolerations,
            ..Pod::default()
        },
    )
}

fn pod_selector() -> impl Strategy<Value = Option<Selector>> {
    let all = vec(requirement("app", &["0", "1", LONG]), 0..2);
    prop_oneof![1 => Just(None), 12 => all.prop_map(|requirements| Some(Selector { requirements }))]
}

fn constraint() -> impl Strategy<Value = SpreadConstraint> {
    let policy = || prop_oneof![Just(InclusionPolicy::Honor), Just(InclusionPolicy::Ignore)];
    let unsatisfiable = prop_oneof![3 => Just(WhenUnsatisfiable::DoNotSchedule), 1 => Just(WhenUnsatisfiable::ScheduleAnyway)];
    let skew = prop_oneof![6 => Just(1), 2 => Just(2), 1 => Just(u32::MAX)];
    let least = prop_oneof![6 => Just(None), 2 => Just(Some(2)), 1 => Just(Some(u32::MAX))];
    (key(), skew, unsatisfiable, pod_selector(), (least, policy(), policy())).prop_map(
        |(topology_key, max_skew, unsatisfiable, selector, (min_domains, affinity_policy, taints_policy))| {
            SpreadConstraint {
                topology_key,
                max_skew,
                unsatisfiable,
                selector,
                min_domains,
                affinity_policy,
                taints_policy,
            }
        },
    )
}

fn pod_term() -> impl Strategy<Value = PodTerm> {
    let of_tier = requirement("tier", &["gold", LONG])
        .prop_map(|requirement| Some(Selector { requirements: vec![requirement] }));
    let everywhere = Just(Some(Selector::default()));
    let namespaces = prop_oneof![6 => Just(None), 1 => of_tier, 1 => everywhere];
    (pod_selector(), btree_set(namespace(), 0..2), namespaces, key()).prop_map(
        |(selector, namespaces, namespace_selector, topology_key)| PodTerm {
            selector,
            namespaces,
            namespace_selector,
            topology_key,
        },
    )
}

/// What a pod asks of other pods: mostly one thing, seldom things that contradict each other.
fn neighbours() -> impl Strategy<Value = Pod> {
    let weight = prop_oneof![Just(10), Just(-10), Just(i32::MAX), Just(i32::MIN)];
    let wish = || (weight, pod_term()).prop_map(|(weight, term)| WeightedPodTerm { weight, term });
    prop_oneof![
        4 => Just(Pod::default()),
        3 => vec(constraint(), 1..3).prop_map(|spread| Pod { spread, ..Pod::default() }),
        3 => vec(pod_term(), 1..3).prop_map(|required_pods| Pod { required_pods, ..Pod::default() }),
        3 => vec(pod_term(), 1..3).prop_map(|forbidden_pods| Pod { forbidden_pods, ..Pod::default() }),
        1 => vec(wish(), 1..3).prop_map(|preferred_pods| Pod { preferred_pods, ..Pod::default() }),
        1 => (vec(constraint(), 1..2), vec(pod_term(), 1..2), vec(pod_term(), 1..2)).prop_map(
            |(spread, required_pods, forbidden_pods)| {
                Pod { spread, required_pods, forbidden_pods, ..Pod::default() }
            }
        ),
    ]
}
