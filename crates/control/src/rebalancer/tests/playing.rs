//! A cluster in memory whose pods do at once what they would do in time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use model::rebalance_policy::{
    BEING_REPLACED, MoveKind, RebalanceMove, RebalancePhase, RebalancePolicy, SUCCESSOR_OF,
};
use model::reservation::{Reservation, ReservationPhase, ReservationStatus};
use serde_json::json;

use super::super::decide::{Due, Terms, advance};
use super::super::scope::Scope;
use super::super::step::{Act, Seen};
use super::super::{act, aim, is_hold_of};
use crate::rebalance::{View, plan_of};

const CORES: u64 = 10;
const TURN: SignedDuration = SignedDuration::from_secs(60);
const LEFT_ALONE: SignedDuration = SignedDuration::from_secs(3600);

pub(super) struct World {
    pub(super) policy: RebalancePolicy,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    holds: Vec<Reservation>,
    now: Timestamp,
    made: usize,
    wanted: usize,
    /// Whether successors go where room is held for them, or wherever there is any.
    obeys: bool,
    /// When the pod of an owner that was moved last was.
    moved_at: BTreeMap<String, Timestamp>,
    pub(super) moves_begun: usize,
    pub(super) moved_too_soon: Option<String>,
}

impl World {
    /// Pods of so many cores, each on a node if it fits there; one owner for each, a ReplicaSet or not.
    pub(super) fn new(
        policy: RebalancePolicy,
        n_nodes: usize,
        sizes: &[(u64, usize, bool)],
        obeys: bool,
    ) -> Self {
        let node = |place: usize| {
            let name = format!("node-{place}");
            let node = json!({ "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
                "status": { "allocatable": { "cpu": CORES.to_string(), "memory": "64Gi", "pods": "50" },
                    "conditions": [{ "type": "Ready", "status": "True" }] } });
            serde_json::from_value(node).unwrap()
        };
        let mut world = Self {
            policy,
            nodes: (0..n_nodes).map(node).collect(),
            pods: Vec::new(),
            holds: Vec::new(),
            now: Timestamp::from_second(1_000_000).unwrap(),
            made: 0,
            wanted: 0,
            obeys,
            moved_at: BTreeMap::new(),
            moves_begun: 0,
            moved_too_soon: None,
        };
        for &(cores, node, is_replica) in sizes {
            let node = format!("node-{node}");
            if world.free(&node) >= cores {
                let (kind, owner) = (if is_replica { "ReplicaSet" } else { "Other" }, world.made);
                world.add(cores, &node, (kind, &format!("owner-{owner}")));
                world.wanted += 1;
            }
        }
        // Nobody is young at first.
        world.now += LEFT_ALONE;
        world
    }

    fn add(&mut self, cores: u64, node: &str, (kind, owner): (&str, &str)) -> usize {
        let name = format!("pod-{}", self.made);
        self.made += 1;
        let owners =
            json!([{ "apiVersion": "v1", "kind": kind, "name": owner, "uid": owner, "controller": true }]);
        let pod = json!({
            "metadata": { "name": name, "namespace": "n", "uid": name, "ownerReferences": owners,
                "creationTimestamp": self.now.to_string() },
            "spec": { "nodeName": node,
                "containers": [{ "name": "c", "resources": { "requests": { "cpu": cores.to_string() } } }] },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        self.pods.push(serde_json::from_value(pod).unwrap());
        self.pods.len() - 1
    }

    fn cores(pod: &Pod) -> u64 {
        crate::sigma::pod(pod).requests["cpu"] / 1000
    }

    fn on(pod: &Pod) -> &str {
        crate::pods::node_name(pod).unwrap()
    }

    fn free(&self, node: &str) -> u64 {
        let here = self.pods.iter().filter(|pod| Self::on(pod) == node);
        CORES.saturating_sub(here.map(Self::cores).sum())
    }

    pub(super) fn fits(&self) -> bool {
        let used = |node: &Node| -> u64 {
            let name = node.metadata.name.as_deref().unwrap();
            self.pods.iter().filter(|pod| Self::on(pod) == name).map(Self::cores).sum()
        };
        self.nodes.iter().all(|node| used(node) <= CORES)
    }

    pub(super) fn has_all(&self) -> bool {
        let owners: BTreeSet<_> =
            self.pods.iter().map(|pod| crate::owner::controller_uid(&pod.metadata)).collect();
        owners.len() == self.wanted && (!self.is_idle() || self.pods.len() == self.wanted)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.policy.status.as_ref().is_none_or(|status| status.phase != RebalancePhase::Moving)
    }

    /// A minute passes. With `is_killed`, what is written is not done.
    pub(super) fn turn(&mut self, is_killed: bool) {
        self.now += TURN;
        let policy = self.policy.clone();
        let mut turn = advance(&policy, self.now, |each| self.seen(each));
        if let Due::Plan { in_all } = turn.next {
            let on_the_move = BTreeSet::new();
            let scope = Scope::of(&policy.spec, LEFT_ALONE, &on_the_move, self.now);
            let view = View {
                nodes: self.nodes.iter().collect(),
                pods: self.pods.iter().collect(),
                reservations: self
                    .holds
                    .iter()
                    .filter(|hold| !is_hold_of(hold, &policy.name_any()))
                    .collect(),
                holds: scope.holds(self.pods.iter()),
                ..View::default()
            };
            let report =
                plan_of(&view, &aim(&policy.spec, &Terms::of(&policy.spec), in_all), || false).unwrap();
            let how = |each: &crate::rebalance::PodMove| {
                let pod = self.pods.iter().find(|pod| pod.metadata.uid.as_ref() == Some(&each.uid)).unwrap();
                let owner = crate::owner::controller(&pod.metadata).unwrap();
                let how = if owner.kind == "ReplicaSet" { MoveKind::Replace } else { MoveKind::Evict };
                (how, owner.uid.clone())
            };
            turn.take_plan(&policy, &report, self.now, (|each: &RebalanceMove| self.seen(each), how));
        }
        for each in &turn.begun {
            self.moves_begun += 1;
            let before = self.moved_at.insert(each.owner.clone(), self.now);
            if before.is_some_and(|before| self.now.duration_since(before) < LEFT_ALONE) {
                self.moved_too_soon = Some(each.owner.clone());
            }
        }
        self.policy.status = Some(turn.status);
        if !is_killed {
            turn.acts.iter().for_each(|(each, act)| self.act(each, *act));
            self.sweep();
        }
    }

    /// What was lost is taken back, as by the controller when it comes again.
    fn sweep(&mut self) {
        let round = self.policy.status.iter().flat_map(|status| status.round.clone()).collect::<Vec<_>>();
        self.holds.retain(|hold| round.iter().any(|each| hold.metadata.name == Some(act::hold_name(each))));
        let is_known = |uid: Option<&String>| round.iter().any(|each| Some(&each.uid) == uid);
        let strays: Vec<(String, String)> = self
            .pods
            .iter()
            .filter(|pod| pod.metadata.annotations.is_some() && !is_known(pod.metadata.uid.as_ref()))
            .map(|pod| {
                let owner = crate::owner::controller_uid(&pod.metadata).unwrap().to_owned();
                (pod.metadata.uid.clone().unwrap(), owner)
            })
            .collect();
        for (uid, owner) in strays {
            let each = RebalanceMove { uid, owner, ..RebalanceMove::default() };
            self.act(&each, Act::Unmark);
        }
    }

    fn seen(&self, each: &RebalanceMove) -> Seen<'_> {
        let is_successor = |pod: &&Pod| {
            let owner = crate::owner::controller_uid(&pod.metadata) == Some(&each.owner);
            owner && pod.metadata.uid.as_ref() != Some(&each.uid)
        };
        let name = act::hold_name(each);
        Seen {
            pod: self.pods.iter().find(|pod| pod.metadata.uid.as_ref() == Some(&each.uid)),
            hold: self.holds.iter().find(|hold| hold.metadata.name.as_ref() == Some(&name)),
            successor: self.pods.iter().find(is_successor),
        }
    }

    fn act(&mut self, each: &RebalanceMove, act: Act) {
        let place = self.pods.iter().position(|pod| pod.metadata.uid.as_ref() == Some(&each.uid));
        match (act, place) {
            (Act::Hold, Some(place)) => {
                let pod = self.pods[place].clone();
                let mut hold = act::reservation(&self.policy, each, &pod, each.to.clone());
                let held: u64 = self.holds.iter().filter(|hold| self.is_on(hold, &each.to)).count() as u64;
                let has_room = self.free(&each.to) >= Self::cores(&pod) && held == 0;
                let phase = if has_room { ReservationPhase::Held } else { ReservationPhase::Pending };
                hold.status =
                    Some(ReservationStatus { phase, node_name: Some(each.to.clone()), message: None });
                self.holds.push(hold);
            }
            (Act::Mark, Some(place)) => {
                let mark = (BEING_REPLACED.to_owned(), "p".to_owned());
                self.pods[place].metadata.annotations.get_or_insert_default().extend([mark]);
                self.succeed(place, each);
            }
            (Act::Unmark, Some(place)) => {
                self.pods[place].metadata.annotations = None;
                let owner = each.owner.clone();
                let is_double = |pod: &Pod| {
                    crate::owner::controller_uid(&pod.metadata) == Some(&owner)
                        && pod.metadata.uid.as_ref() != Some(&each.uid)
                };
                self.pods.retain(|pod| !is_double(pod));
            }
            (Act::Evict, Some(place)) => {
                if each.how == MoveKind::Evict {
                    self.succeed(place, each);
                }
                self.pods.remove(place);
            }
            (Act::Release, _) => {
                let name = act::hold_name(each);
                self.holds.retain(|hold| hold.metadata.name.as_ref() != Some(&name));
            }
            (Act::Hold | Act::Mark | Act::Unmark | Act::Evict, None) => {}
        }
    }

    fn is_on(&self, hold: &Reservation, node: &str) -> bool {
        let status = hold.status.as_ref();
        status.is_some_and(|status| {
            status.phase == ReservationPhase::Held && status.node_name.as_deref() == Some(node)
        })
    }

    /// The owner makes another, and it is placed where there is room.
    fn succeed(&mut self, place: usize, each: &RebalanceMove) {
        let pod = self.pods[place].clone();
        let owner = crate::owner::controller(&pod.metadata).unwrap().clone();
        let cores = Self::cores(&pod);
        let is_held = self.holds.iter().any(|hold| hold.metadata.name == Some(act::hold_name(each)));
        let names = self.nodes.iter().map(|node| node.metadata.name.clone().unwrap());
        let elsewhere = names.filter(|name| self.free(name) >= cores).max_by_key(|name| self.free(name));
        let node = if self.obeys && is_held { Some(each.to.clone()) } else { elsewhere };
        let node = node.unwrap_or_else(|| each.to.clone());
        let place = self.add(cores, &node, (&owner.kind, &owner.uid));
        let label = (SUCCESSOR_OF.to_owned(), each.uid.clone());
        self.pods[place].metadata.labels.get_or_insert_default().extend([label]);
    }
}
