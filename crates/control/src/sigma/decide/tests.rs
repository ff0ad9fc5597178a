//! The scheduler in bad weather: nodes that flap, bindings that are refused or whose answer is lost, a watch that
//! skips and repeats, strangers who bind, a clock that jumps. Compared with a plain list of what it was told.

mod quotas;
mod volumes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1 as k8s;
use proptest::prelude::*;
use serde_json::json;
use sigma::PodId;

use super::{Decision, Scheduler};
use crate::key::ObjectKey;
use crate::sigma::Config;
use crate::sigma::bind::Bind;
use crate::sigma::group::{Group, Origin};
use crate::volumes::Needs;

/// Pods in slots from this one on are a gang.
const FIRST_OF_GANG: u8 = 5;
const MIN_MEMBER: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Pod {
        slot: u8,
        cpu: u64,
        priority: i32,
    },
    DeletePod(u8),
    EndPod(u8),
    /// Another scheduler binds the pod.
    Foreign {
        slot: u8,
        node: u8,
    },
    Node {
        node: u8,
        cpu: u64,
    },
    NodeGone(u8),
    /// So much of the watch arrives.
    Watch(usize),
    /// The last event comes again.
    Repeat,
    /// The watch breaks off, and everything is listed anew.
    Relist,
    Answer {
        which: usize,
        how: Answer,
    },
    Wait(Duration),
    /// The pod's claim goes, or comes.
    Hinder {
        slot: u8,
        is_hindered: bool,
    },
    /// A node was measured to use so many milli-cores.
    Usage {
        node: u8,
        cpu: u64,
        age: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Done,
    Refused,
    /// Done, but the scheduler hears of a failure.
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![3 => Just(Answer::Done), 2 => Just(Answer::Refused), 1 => Just(Answer::Lost)];
    let wait = prop_oneof![Just(0), 0..3_000_u64, Just(11_000), Just(100 * 24 * 3_600_000)];
    prop_oneof![
        5 => (0..8_u8, 0..4_u64, 0..3_i32).prop_map(|(slot, cpu, priority)| Step::Pod { slot, cpu, priority }),
        2 => (0..8_u8).prop_map(Step::DeletePod),
        1 => (0..8_u8).prop_map(Step::EndPod),
        1 => (0..8_u8, 0..4_u8).prop_map(|(slot, node)| Step::Foreign { slot, node }),
        3 => (0..3_u8, 0..6_u64).prop_map(|(node, cpu)| Step::Node { node, cpu }),
        1 => (0..3_u8).prop_map(Step::NodeGone),
        6 => (1..6_usize).prop_map(Step::Watch),
        1 => Just(Step::Repeat),
        1 => Just(Step::Relist),
        6 => (0..4_usize, answer).prop_map(|(which, how)| Step::Answer { which, how }),
        2 => (0..8_u8, any::<bool>()).prop_map(|(slot, is_hindered)| Step::Hinder { slot, is_hindered }),
        1 => (0..3_u8, 0..6_000_u64, 0..200_u64).prop_map(|(node, cpu, seconds)| {
            Step::Usage { node, cpu, age: Duration::from_secs(seconds) }
        }),
        3 => wait.prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
    ]
}

/// A pod as the API has it.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    uid: String,
    cpu: u64,
    priority: i32,
    node: Option<String>,
    is_ended: bool,
}

impl Stored {
    fn is_of_gang(slot: u8) -> bool {
        slot >= FIRST_OF_GANG
    }

    fn object(&self, slot: u8) -> Arc<k8s::Pod> {
        let phase = if self.is_ended { "Succeeded" } else { "Pending" };
        let container = json!({ "name": "c", "resources": { "requests": { "cpu": self.cpu.to_string() } } });
        let labels = if Self::is_of_gang(slot) { json!({ "crest.dev/pod-group": "g" }) } else { json!({}) };
        let name = format!("p{slot}");
        let object = json!({
            "metadata": { "name": name, "namespace": "default", "uid": self.uid, "labels": labels },
            "spec": { "containers": [container], "priority": self.priority, "nodeName": self.node },
            "status": { "phase": phase },
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }
}

fn node_object(name: &str, cpu: u64) -> k8s::Node {
    let allocatable = json!({ "cpu": cpu.to_string(), "memory": "1Gi", "pods": "5" });
    serde_json::from_value(json!({ "metadata": { "name": name }, "status": { "allocatable": allocatable } }))
        .unwrap()
}

/// What the watch tells.
#[derive(Clone, Debug)]
enum Told {
    Pod(u8, Stored),
    PodGone(u8, Stored),
    Node(String, Option<u64>),
}

#[derive(Default)]
struct World {
    pods: BTreeMap<u8, Stored>,
    nodes: BTreeMap<String, u64>,
    n_made: u32,
    watch: VecDeque<Told>,
}

impl World {
    fn set(&mut self, slot: u8, pod: Stored) {
        self.watch.push_back(Told::Pod(slot, pod.clone()));
        self.pods.insert(slot, pod);
    }

    fn delete(&mut self, slot: u8) {
        if let Some(pod) = self.pods.remove(&slot) {
            self.watch.push_back(Told::PodGone(slot, pod));
        }
    }

    fn by_uid(&self, uid: &str) -> Option<(u8, Stored)> {
        self.pods.iter().find(|(_, pod)| pod.uid == uid).map(|(slot, pod)| (*slot, pod.clone()))
    }

    /// Whether the API takes the binding.
    fn bind(&mut self, uid: &str, node: &str) -> bool {
        let Some((slot, pod)) = self.by_uid(uid).filter(|(_, pod)| pod.node.is_none() && !pod.is_ended)
        else {
            return false;
        };
        self.set(slot, Stored { node: Some(node.to_owned()), ..pod });
        true
    }
}

/// What the scheduler was told, and what it decided.
struct Bench {
    world: World,
    scheduler: Scheduler,
    now: Instant,
    known_pods: BTreeMap<u8, Stored>,
    known_nodes: BTreeMap<String, u64>,
    in_flight: Vec<Decision>,
    /// By uid: the node and the processors that a pod has, as far as the scheduler can know.
    rooms: BTreeMap<String, (String, u64)>,
    last: Option<Told>,
    /// The uids of pods that lack a claim.
    hindered: BTreeSet<String>,
}

impl Bench {
    fn new() -> Self {
        let config = Config {
            scheduler_name: model::names::SIGMA_SCHEDULER.to_owned(),
            seed: 1,
            load: Some(sigma::LoadPolicy::default()),
        };
        let mut scheduler = Scheduler::new(&config);
        let group = Group { min_member: Some(MIN_MEMBER), timeout: Some(Duration::from_secs(30)) };
        scheduler.group_changed(&ObjectKey::new("default", "g"), Origin::Ours, Some(group));
        Self {
            world: World::default(),
            scheduler,
            now: kit::clock::monotonic(),
            known_pods: BTreeMap::new(),
            known_nodes: BTreeMap::new(),
            in_flight: Vec::new(),
            rooms: BTreeMap::new(),
            last: None,
            hindered: BTreeSet::new(),
        }
    }

    fn tell(&mut self, told: Told) {
        match told.clone() {
            Told::Pod(slot, pod) => {
                match (&pod.node, pod.is_ended) {
                    (_, true) => drop(self.rooms.remove(&pod.uid)),
                    (Some(node), false) => drop(self.rooms.insert(pod.uid.clone(), (node.clone(), pod.cpu))),
                    (None, false) => {}
                }
                self.scheduler.pod_changed(&pod.object(slot), self.now);
                self.known_pods.insert(slot, pod);
            }
            Told::PodGone(slot, pod) => {
                self.rooms.remove(&pod.uid);
                self.scheduler.pod_gone(&PodId::new(&pod.uid), self.now);
                self.known_pods.remove(&slot);
            }
            Told::Node(name, cpu) => {
                let object = cpu.map(|cpu| node_object(&name, cpu));
                self.scheduler.node_changed(&name, object.as_ref(), self.now);
                match cpu {
                    Some(cpu) => drop(self.known_nodes.insert(name, cpu)),
                    None => drop(self.known_nodes.remove(&name)),
                }
            }
        }
        self.last = Some(told);
    }

    /// As an informer does: what changed is told, and what is missing is told as gone.
    fn relist(&mut self) {
        self.world.watch.clear();
        for (slot, known) in self.known_pods.clone() {
            if self.world.pods.get(&slot).is_none_or(|pod| pod.uid != known.uid) {
                self.tell(Told::PodGone(slot, known));
            }
        }
        for name in self.known_nodes.clone().into_keys() {
            if !self.world.nodes.contains_key(&name) {
                self.tell(Told::Node(name, None));
            }
        }
        self.world.nodes.clone().into_iter().for_each(|(name, cpu)| self.tell(Told::Node(name, Some(cpu))));
        for (slot, pod) in self.world.pods.clone() {
            if self.known_pods.get(&slot) != Some(&pod) {
                self.tell(Told::Pod(slot, pod));
            }
        }
    }

    fn answer(&mut self, decision: Decision, how: Answer) {
        match decision {
            Decision::Bind(Bind { id, node, .. }) => {
                let is_done = how != Answer::Refused && self.world.bind(id.as_str(), &node);
                if !is_done || how == Answer::Lost {
                    // A word on the pod that came meanwhile has the last say.
                    let is_known =
                        self.known_pods.values().any(|pod| pod.uid == id.as_str() && pod.node.is_some());
                    if !is_known {
                        self.rooms.remove(id.as_str());
                    }
                    self.scheduler.bind_failed(&id, self.now);
                }
            }
            Decision::Preempt { victims, .. } => {
                for victim in victims {
                    let found = self.world.by_uid(victim.id.as_str());
                    match (how, found) {
                        (Answer::Done | Answer::Lost, Some((slot, _))) => self.world.delete(slot),
                        (Answer::Done | Answer::Lost, None) => {}
                        (Answer::Refused, _) => self.scheduler.stays(&victim.id, self.now),
                    }
                }
            }
            Decision::Report { .. }
            | Decision::Tell { .. }
            | Decision::Account(_)
            | Decision::Reserve { .. } => {}
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Pod { slot, cpu, priority } => {
                self.world.delete(slot);
                self.world.n_made += 1;
                let uid = format!("{slot}-{}", self.world.n_made);
                self.world.set(slot, Stored { uid, cpu, priority, node: None, is_ended: false });
            }
            Step::DeletePod(slot) => self.world.delete(slot),
            Step::EndPod(slot) => {
                if let Some(pod) = self.world.pods.get(&slot).cloned() {
                    self.world.set(slot, Stored { is_ended: true, ..pod });
                }
            }
            Step::Foreign { slot, node } => {
                if let Some(uid) = self.world.pods.get(&slot).map(|pod| pod.uid.clone()) {
                    self.world.bind(&uid, &format!("n{node}"));
                }
            }
            Step::Node { node, cpu } => {
                let name = format!("n{node}");
                self.world.nodes.insert(name.clone(), cpu);
                self.world.watch.push_back(Told::Node(name, Some(cpu)));
            }
            Step::NodeGone(node) => {
                let name = format!("n{node}");
                if self.world.nodes.remove(&name).is_some() {
                    self.world.watch.push_back(Told::Node(name, None));
                }
            }
            Step::Watch(count) => {
                for _ in 0..count {
                    self.world.watch.pop_front().into_iter().for_each(|told| self.tell(told));
                }
            }
            Step::Repeat => self.last.clone().into_iter().for_each(|told| self.tell(told)),
            Step::Relist => self.relist(),
            Step::Answer { which, how } => {
                if which < self.in_flight.len() {
                    let decision = self.in_flight.remove(which);
                    self.answer(decision, how);
                }
            }
            Step::Wait(time) => self.now += time,
            Step::Hinder { slot, is_hindered } => {
                if let Some(pod) = self.known_pods.get(&slot) {
                    let uid = pod.uid.clone();
                    self.hinder(&uid, is_hindered);
                }
            }
            Step::Usage { node, cpu, age } => {
                let usage = sigma::Usage { cpu, memory: 0 };
                self.scheduler.usage_changed(&[(format!("n{node}"), usage, age)], self.now);
            }
        }
    }

    fn decide(&mut self) {
        let decisions = self.scheduler.decide(self.now);
        for decision in &decisions {
            let Decision::Bind(Bind { id, node, .. }) = decision else { continue };
            let is_bound_twice =
                |each: &Decision| matches!(each, Decision::Bind(Bind { id: other, .. }) if other == id);
            assert!(!self.in_flight.iter().any(is_bound_twice), "{id:?} is being bound already");
            let pod = self.known_pods.values().find(|pod| pod.uid == id.as_str());
            let pod = pod.unwrap_or_else(|| panic!("{id:?} is not known"));
            assert!(pod.node.is_none() && !pod.is_ended, "{id:?} has its node");
            assert!(!self.hindered.contains(&pod.uid), "{id:?} lacks its claim");
            self.rooms.insert(pod.uid.clone(), (node.clone(), pod.cpu));
            let used: u64 = self.rooms.values().filter(|(on, _)| on == node).map(|(_, cpu)| cpu).sum();
            assert!(pod.cpu == 0 || used <= self.known_nodes[node], "{node} is given out twice");
        }
        let is_bound = |pod: &Stored| {
            let is_there =
                |each: &Decision| matches!(each, Decision::Bind(Bind { id, .. }) if id.as_str() == pod.uid);
            decisions.iter().any(is_there)
        };
        let gang = self.known_pods.range(FIRST_OF_GANG..).map(|(_, pod)| pod);
        let has_node =
            |pod: &&Stored| self.rooms.contains_key(&pod.uid) || pod.is_ended && pod.node.is_some();
        if gang.clone().any(is_bound) {
            assert!(gang.filter(has_node).count() >= MIN_MEMBER, "half a gang is bound");
        }
        let is_owed = |each: &Decision| !matches!(each, Decision::Report { .. } | Decision::Tell { .. });
        self.in_flight.extend(decisions.into_iter().filter(is_owed));
        let pause_end = self.scheduler.next_pause_end();
        assert!(pause_end.is_none_or(|end| end > self.now), "would be called again at once, for ever");
    }

    fn hinder(&mut self, uid: &str, is_hindered: bool) {
        let obstacle = is_hindered.then(|| "no claim".to_owned());
        self.scheduler.needs_changed(&PodId::new(uid), Needs { obstacle, ..Needs::default() });
        if is_hindered {
            self.hindered.insert(uid.to_owned());
        } else {
            self.hindered.remove(uid);
        }
    }

    /// The weather clears: all is answered and told, and time passes.
    fn clear(&mut self) {
        self.hindered.clone().iter().for_each(|uid| self.hinder(uid, false));
        for _ in 0..64 {
            self.relist();
            self.decide();
            for decision in std::mem::take(&mut self.in_flight) {
                self.answer(decision, Answer::Done);
            }
            self.now += Duration::from_secs(11);
            self.decide();
        }
        assert!(self.in_flight.is_empty(), "never comes to rest: {:?}", self.in_flight);
    }

    /// Nobody waits who could have room, and all room is accounted for.
    fn check(&self) {
        let active: Vec<&Stored> = self.world.pods.values().filter(|pod| !pod.is_ended).collect();
        let on = |node: &str| {
            let node = node.to_owned();
            active.iter().filter(move |pod| pod.node.as_ref() == Some(&node))
        };
        let gang = || self.world.pods.range(FIRST_OF_GANG..).map(|(_, pod)| pod);
        let n_bound = gang().filter(|pod| pod.node.is_some()).count();
        // While two are missing, one that fits does not help.
        let is_held_back = |pod: &Stored| n_bound + 1 < MIN_MEMBER && gang().any(|each| each.uid == pod.uid);
        for pod in active.iter().filter(|pod| pod.node.is_none() && !is_held_back(pod)) {
            let is_mate = gang().any(|each| each.uid == pod.uid);
            let mates = gang().filter(|each| is_mate && each.node.is_none() && !each.is_ended);
            let priority = mates.map(|each| each.priority).chain([pod.priority]).min().unwrap();
            for (node, cpu) in &self.world.nodes {
                let stays = || on(node).filter(|other| other.priority >= priority);
                let used: u64 = stays().map(|other| other.cpu).sum();
                let fits = (pod.cpu == 0 || used + pod.cpu <= *cpu) && stays().count() < 5;
                assert!(!fits, "{pod:?} waits though {node} could take it");
            }
        }
        for node in self.world.nodes.keys() {
            let used: u64 = on(node).map(|pod| pod.cpu * 1000).sum();
            let count = on(node).count() as u64;
            assert_eq!(self.scheduler.cluster.used(node), Some([used, 0, count]), "{node}");
        }
        assert_eq!(self.scheduler.cluster.n_pods(), active.iter().filter(|pod| pod.node.is_some()).count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn nothing_is_lost_or_given_out_twice_in_bad_weather(steps in proptest::collection::vec(step(), 1..80)) {
        let mut bench = Bench::new();
        for step in steps {
            bench.apply(step);
            bench.decide();
        }
        bench.clear();
        bench.check();
    }
}
