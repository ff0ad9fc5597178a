//! Elastic quotas at work: pods that are made to go come back, as those of a ReplicaSet do, evictions are refused, quotas
//! change meanwhile. In the end all come to rest, and nobody waits who has a right to room that could be had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1 as k8s;
use model::elastic_quota::ElasticQuota;
use proptest::prelude::*;
use serde_json::json;
use sigma::{Outcome, PodId};

use super::super::{Decision, Place, Scheduler};
use super::node_object;
use crate::sigma::Config;
use crate::sigma::bind::Bind;

/// Pods of the first have no quota.
const NAMESPACES: [&str; 3] = ["free", "a", "b"];

#[derive(Clone, Debug)]
enum Step {
    Pod { namespace: usize, cpu: u64, priority: i32 },
    Delete(usize),
    Quota { namespace: usize, min: u64, more: u64 },
    Node { node: u8, cpu: u64 },
    Answer { which: usize, is_done: bool },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let pod = (0..NAMESPACES.len(), 1..4_u64, 0..3_i32);
    prop_oneof![
        6 => pod.prop_map(|(namespace, cpu, priority)| Step::Pod { namespace, cpu, priority }),
        2 => (0..12_usize).prop_map(Step::Delete),
        2 => (1..NAMESPACES.len(), 0..5_u64, 0..5_u64)
            .prop_map(|(namespace, min, more)| Step::Quota { namespace, min, more }),
        2 => (0..2_u8, 1..7_u64).prop_map(|(node, cpu)| Step::Node { node, cpu }),
        5 => (0..4_usize, proptest::bool::weighted(0.8))
            .prop_map(|(which, is_done)| Step::Answer { which, is_done }),
        2 => (0..11_u64).prop_map(Step::Wait),
    ]
}

#[derive(Clone, Debug)]
struct Known {
    namespace: usize,
    cpu: u64,
    priority: i32,
    node: Option<String>,
}

impl Known {
    fn object(&self, uid: &str) -> Arc<k8s::Pod> {
        let container = json!({ "name": "c", "resources": { "requests": { "cpu": self.cpu.to_string() } } });
        let object = json!({
            "metadata": { "name": uid, "namespace": NAMESPACES[self.namespace], "uid": uid },
            "spec": { "containers": [container], "priority": self.priority, "nodeName": self.node },
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }
}

struct Bench {
    scheduler: Scheduler,
    now: Instant,
    pods: BTreeMap<String, Known>,
    /// By namespace: `min` and `max`.
    quotas: BTreeMap<usize, (u64, u64)>,
    in_flight: Vec<Decision>,
    n_made: usize,
    n_evicted: usize,
}

impl Bench {
    fn new() -> Self {
        let scheduler_name = model::names::SIGMA_SCHEDULER.to_owned();
        Self {
            scheduler: Scheduler::new(&Config { scheduler_name, seed: 1, load: None }),
            now: kit::clock::monotonic(),
            pods: BTreeMap::new(),
            quotas: BTreeMap::new(),
            in_flight: Vec::new(),
            n_made: 0,
            n_evicted: 0,
        }
    }

    fn make(&mut self, pod: Known) {
        self.n_made += 1;
        let uid = format!("p{:03}", self.n_made);
        self.scheduler.pod_changed(&pod.object(&uid), self.now);
        self.pods.insert(uid, pod);
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Pod { namespace, cpu, priority } => {
                self.make(Known { namespace, cpu, priority, node: None });
            }
            Step::Delete(which) => {
                let Some(uid) = self.pods.keys().nth(which).cloned() else { return };
                self.pods.remove(&uid);
                self.scheduler.pod_gone(&PodId::new(&uid), self.now);
            }
            Step::Quota { namespace, min, more } => {
                self.quotas.insert(namespace, (min, min + more));
                let name = NAMESPACES[namespace];
                let quota = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "ElasticQuota",
                    "metadata": { "name": name }, "spec": { "namespaces": [name],
                        "min": { "cpu": min.to_string() }, "max": { "cpu": (min + more).to_string() } } });
                let quota: ElasticQuota = serde_json::from_value(quota).unwrap();
                self.scheduler.quota_changed(name, Some(&quota), self.now);
            }
            Step::Node { node, cpu } => {
                let name = format!("n{node}");
                self.scheduler.node_changed(&name, Some(&node_object(&name, cpu)), self.now);
            }
            Step::Answer { which, is_done } => {
                if which < self.in_flight.len() {
                    let decision = self.in_flight.remove(which);
                    self.answer(decision, is_done);
                }
            }
            Step::Wait(seconds) => self.now += Duration::from_secs(seconds),
        }
    }

    fn answer(&mut self, decision: Decision, is_done: bool) {
        match decision {
            Decision::Bind(Bind { id, node, .. }) => match self.pods.get_mut(id.as_str()) {
                Some(pod) if is_done => {
                    pod.node = Some(node);
                    let object = pod.object(id.as_str());
                    self.scheduler.pod_changed(&object, self.now);
                }
                _ => self.scheduler.bind_failed(&id, self.now),
            },
            Decision::Preempt { victims, .. } => {
                for victim in victims {
                    if !is_done {
                        self.scheduler.stays(&victim.id, self.now);
                        continue;
                    }
                    let Some(gone) = self.pods.remove(victim.id.as_str()) else { continue };
                    self.n_evicted += 1;
                    self.scheduler.pod_gone(&victim.id, self.now);
                    self.make(Known { node: None, ..gone });
                }
            }
            _ => {}
        }
    }

    fn used(&self, namespace: usize) -> u64 {
        let pods = self.pods.values().filter(|pod| pod.namespace == namespace && pod.node.is_some());
        pods.map(|pod| pod.cpu).sum()
    }

    /// Whether the quota of the pod lets it be placed.
    fn allows(&self, pod: &Known) -> bool {
        let Some(&(min, max)) = self.quotas.get(&pod.namespace) else { return true };
        let then = self.used(pod.namespace) + pod.cpu;
        let (used_by_all, min_of_all) = self
            .quotas
            .iter()
            .fold((0, 0), |(used, sum), (namespace, (min, _))| (used + self.used(*namespace), sum + min));
        then <= max && (then <= min || used_by_all + pod.cpu <= min_of_all)
    }

    fn decide(&mut self) {
        for decision in self.scheduler.decide(self.now) {
            if matches!(decision, Decision::Bind(_) | Decision::Preempt { .. }) {
                self.in_flight.push(decision);
            }
        }
    }

    /// All is answered, and time passes.
    fn clear(&mut self) {
        let mut n_quiet = 0;
        for _ in 0..200 {
            self.decide();
            n_quiet = if self.in_flight.is_empty() { n_quiet + 1 } else { 0 };
            for decision in std::mem::take(&mut self.in_flight) {
                self.answer(decision, true);
            }
            self.now += Duration::from_secs(11);
            if n_quiet == 4 {
                return;
            }
        }
        panic!("never comes to rest: {} were made to go", self.n_evicted);
    }

    fn check(&mut self) {
        let usages = self.scheduler.cluster.quota_usages();
        for &namespace in self.quotas.keys() {
            let used = usages[NAMESPACES[namespace]].used["cpu"];
            assert_eq!(used, u128::from(self.used(namespace) * 1000), "{}", NAMESPACES[namespace]);
        }
        for (uid, pod) in self.pods.clone().into_iter().filter(|(_, pod)| pod.node.is_none()) {
            let id = PodId::new(&uid);
            let place = self.scheduler.waiting[&id].place;
            assert!(matches!(place, Place::Parked { .. }), "{uid} {pod:?} is {place:?}");
            let pending = self.scheduler.pending(&id).unwrap();
            match self.scheduler.cluster.place(std::slice::from_ref(&pending)).remove(0) {
                Outcome::Placed { node, .. } => panic!("{uid} {pod:?} waits though {node} could take it"),
                Outcome::Unplaced(sigma::Unplaced::OverQuota(_)) => assert!(!self.allows(&pod), "{pod:?}"),
                Outcome::Unplaced(_) => assert!(self.allows(&pod), "{pod:?}"),
            }
            let preemption = self.scheduler.cluster.foretell_preemption(&pending);
            assert_eq!(preemption, None, "{uid} {pod:?} waits though others could go");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn all_come_to_rest_and_have_what_they_are_guaranteed(steps in proptest::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new();
        for step in steps {
            bench.apply(step);
            bench.decide();
        }
        bench.clear();
        bench.check();
    }
}

#[test]
fn who_waited_for_others_to_go_may_have_to_go_itself() {
    let pod = |namespace, cpu, priority| Step::Pod { namespace, cpu, priority };
    let mut bench = Bench::new();
    let steps = [
        Step::Quota { namespace: 2, min: 3, more: 0 },
        Step::Node { node: 1, cpu: 6 },
        pod(0, 3, 1),
        pod(0, 2, 0),
        pod(1, 2, 2),
        pod(1, 1, 2),
        pod(2, 1, 0),
        pod(2, 3, 1),
        pod(0, 2, 0),
        Step::Answer { which: 1, is_done: false },
        pod(0, 2, 2),
        Step::Quota { namespace: 1, min: 0, more: 0 },
        Step::Quota { namespace: 1, min: 1, more: 2 },
        Step::Answer { which: 3, is_done: true },
        Step::Wait(1),
    ];
    for step in steps {
        bench.apply(step);
        bench.decide();
    }
    bench.clear();
    bench.check();
}
