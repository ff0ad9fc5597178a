//! Volumes under pods that come and go, bindings that fail, volumes that are added and freed: no volume is ever given to
//! two, each pod is where its volume is, and in the end nobody waits beside a volume that it could have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{self as k8s, PersistentVolume};
use proptest::prelude::*;
use serde_json::json;
use sigma::PodId;

use super::super::{Decision, Scheduler};
use super::node_object;
use crate::key::ObjectKey;
use crate::sigma::Config;
use crate::sigma::bind::Bind;
use crate::volumes::{Choice, Needs};

const NODES: [&str; 3] = ["n0", "n1", "n2"];
/// What fits on a node.
const PODS_EACH: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Pod,
    Delete(usize),
    Volume(usize),
    Answer { which: usize, is_done: bool },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Pod),
        2 => (0..8_usize).prop_map(Step::Delete),
        4 => (0..NODES.len()).prop_map(Step::Volume),
        6 => (0..4_usize, proptest::bool::weighted(0.7))
            .prop_map(|(which, is_done)| Step::Answer { which, is_done }),
        2 => (0..11_u64).prop_map(Step::Wait),
    ]
}

struct Bench {
    scheduler: Scheduler,
    now: Instant,
    /// The node of each pod that is bound; its claim has its name.
    pods: BTreeMap<String, Option<String>>,
    /// Where each volume is, and whose.
    volumes: BTreeMap<String, (usize, Option<String>)>,
    in_flight: Vec<Bind>,
    n_made: usize,
}

impl Bench {
    fn new() -> Self {
        let scheduler_name = model::names::SIGMA_SCHEDULER.to_owned();
        let mut scheduler = Scheduler::new(&Config { scheduler_name, seed: 1, load: None });
        let now = kit::clock::monotonic();
        for name in NODES {
            let mut node = node_object(name, PODS_EACH as u64);
            node.metadata.labels = Some([("host".to_owned(), name.to_owned())].into());
            scheduler.node_changed(name, Some(&node), now);
        }
        let (pods, volumes) = (BTreeMap::new(), BTreeMap::new());
        Self { scheduler, now, pods, volumes, in_flight: Vec::new(), n_made: 0 }
    }

    fn name(&mut self, prefix: &str) -> String {
        self.n_made += 1;
        format!("{prefix}{:03}", self.n_made)
    }

    /// What the claim of a pod could have: its own volume, or those that are free.
    fn needs(&self, pod: &str) -> Needs {
        let is_own = |(_, claim): &(usize, Option<String>)| claim.as_deref() == Some(pod);
        let own: Vec<_> = self.volumes.iter().filter(|(_, volume)| is_own(volume)).collect();
        let is_bound = !own.is_empty() && self.pods[pod].is_some();
        let free = || self.volumes.iter().filter(|(_, (_, claim))| claim.is_none()).collect();
        let found: Vec<_> = if own.is_empty() { free() } else { own };
        let volume = |(name, (node, _)): (&String, &(usize, Option<String>))| {
            let here = json!({ "key": "host", "operator": "In", "values": [NODES[*node]] });
            let volume: PersistentVolume = serde_json::from_value(json!({ "metadata": { "name": name },
                "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [here] }] } } } }))
            .unwrap();
            Arc::new(volume)
        };
        let free: Vec<_> = found.into_iter().map(volume).collect();
        let choice = Choice::of(ObjectKey::new("default", pod), &free, Some(Vec::new()));
        Needs { choices: if is_bound { Vec::new() } else { vec![choice] }, ..Needs::default() }
    }

    fn tell(&mut self, name: &str) {
        let needs = self.needs(name);
        self.scheduler.needs_changed(&PodId::new(name), needs);
        let container = json!({ "name": "c", "resources": { "requests": { "cpu": "1" } } });
        let pod: k8s::Pod = serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "default", "uid": name },
            "spec": { "containers": [container], "nodeName": self.pods[name] } }))
        .unwrap();
        self.scheduler.pod_changed(&Arc::new(pod), self.now);
    }

    /// As the watch tells it: of a volume that is free all who wait, of one that is taken only whose it is.
    fn volume_changed(&mut self, name: &str) {
        let claim = self.volumes[name].1.clone();
        let key = claim.as_ref().map(|claim| ObjectKey::new("default", claim));
        self.scheduler.volume_changed(name, key, self.now);
        let waiting = self.pods.iter().filter(|(_, node)| node.is_none()).map(|(name, _)| name.clone());
        let told: Vec<String> = claim.map_or_else(|| waiting.collect(), |claim| vec![claim]);
        told.iter()
            .filter(|name| self.pods.contains_key(*name))
            .cloned()
            .collect::<Vec<_>>()
            .iter()
            .for_each(|name| self.tell(name));
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Pod => {
                let name = self.name("p");
                self.pods.insert(name.clone(), None);
                self.tell(&name);
            }
            Step::Delete(which) => {
                let Some(name) = self.pods.keys().nth(which).cloned() else { return };
                self.pods.remove(&name);
                self.scheduler.pod_gone(&PodId::new(&name), self.now);
                let own = self.volumes.iter().filter(|(_, (_, claim))| claim.as_ref() == Some(&name));
                for volume in own.map(|(volume, _)| volume.clone()).collect::<Vec<_>>() {
                    self.volumes.get_mut(&volume).unwrap().1 = None;
                    self.volume_changed(&volume);
                }
            }
            Step::Volume(node) => {
                let name = self.name("v");
                self.volumes.insert(name.clone(), (node, None));
                self.volume_changed(&name);
            }
            Step::Answer { which, is_done } => {
                if which < self.in_flight.len() {
                    let bind = self.in_flight.remove(which);
                    self.answer(&bind, is_done);
                }
            }
            Step::Wait(seconds) => self.now += Duration::from_secs(seconds),
        }
    }

    fn answer(&mut self, bind: &Bind, is_done: bool) {
        let name = bind.id.as_str().to_owned();
        if !is_done || !self.pods.contains_key(&name) {
            return self.scheduler.bind_failed(&bind.id, self.now);
        }
        let [(_, volume)] = &bind.volumes[..] else { panic!("{name} has no volume: {:?}", bind.volumes) };
        let (node, claim) = self.volumes.get_mut(volume).unwrap();
        assert!(
            claim.as_ref().is_none_or(|claim| *claim == name),
            "{volume} is {claim:?}'s, and {name} is to have it"
        );
        assert_eq!(NODES[*node], bind.node, "{name} is not where {volume} is");
        *claim = Some(name.clone());
        self.pods.insert(name, Some(bind.node.clone()));
        self.volume_changed(volume);
    }

    fn decide(&mut self) {
        for decision in self.scheduler.decide(self.now) {
            if let Decision::Bind(bind) = decision {
                self.in_flight.push(bind);
            }
        }
    }

    /// All is answered, and time passes.
    fn clear(&mut self) {
        for _ in 0..40 {
            self.decide();
            for bind in std::mem::take(&mut self.in_flight) {
                self.answer(&bind, true);
            }
            self.now += Duration::from_secs(11);
        }
    }

    fn check(&self) {
        for (name, _) in self.pods.iter().filter(|(_, node)| node.is_none()) {
            for (volume, (node, claim)) in &self.volumes {
                let n_there = self.pods.values().filter(|on| on.as_deref() == Some(NODES[*node])).count();
                let is_own = claim.as_ref() == Some(name);
                assert!(
                    n_there >= PODS_EACH || claim.is_some() && !is_own,
                    "{name} waits though it could have {volume} on {}",
                    NODES[*node]
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_volume_is_given_twice_or_left_while_somebody_waits(steps in proptest::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new();
        for step in steps {
            bench.apply(step);
            bench.decide();
        }
        bench.clear();
        bench.check();
    }
}
