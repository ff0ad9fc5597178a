//! Quotas against a model that knows who is where and counts everything anew for each question.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::{amounts, node};
use crate::pod::{Pod, PodId};
use crate::quota::Quota;
use crate::{Cluster, Outcome, Pending, Unplaced};

const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// One pod: its namespace, its priority, what it asks for of each resource.
#[derive(Clone, Copy, Debug)]
struct Shape {
    namespace: u8,
    priority: i32,
    asks: [u64; 2],
}

/// `min` and `max` of a resource, where they say something.
type Bound = (Option<u64>, Option<u64>);
/// One quota: what it says of each resource.
type Bounds = [Bound; 2];

/// Quotas of the namespaces of their numbers; whoever has a higher number has none.
#[derive(Debug, Default)]
struct Model {
    quotas: Vec<Bounds>,
    pods: BTreeMap<String, (Shape, bool)>,
}

impl Model {
    fn min(&self, quota: usize, at: usize) -> u64 {
        self.quotas[quota][at].0.unwrap_or(0)
    }

    fn is_about(&self, quota: usize, at: usize) -> bool {
        let (min, max) = self.quotas[quota][at];
        min.is_some() || max.is_some()
    }

    /// Of the resource, whether anybody is guaranteed any.
    fn is_pooled(&self, at: usize) -> bool {
        self.quotas.iter().any(|bounds| bounds[at].0.is_some())
    }

    fn used(&self, quota: usize, at: usize, counts: impl Fn(&str, bool) -> bool) -> u64 {
        let pods = self.pods.iter().filter(|(name, (shape, is_leaving))| {
            usize::from(shape.namespace) == quota && counts(name, *is_leaving)
        });
        pods.map(|(_, (shape, _))| shape.asks[at]).sum()
    }

    fn used_by_all(&self, at: usize) -> (u64, u64) {
        let about = || (0..self.quotas.len()).filter(|&quota| self.is_about(quota, at));
        let used = about().map(|quota| self.used(quota, at, |_, _| true)).sum();
        (used, about().map(|quota| self.min(quota, at)).sum())
    }

    /// Whether the quota of the pod lets it be placed.
    fn allows(&self, shape: Shape) -> bool {
        let quota = usize::from(shape.namespace);
        quota >= self.quotas.len()
            || (0..RESOURCES.len()).filter(|&at| self.is_about(quota, at) && shape.asks[at] > 0).all(|at| {
                let then = self.used(quota, at, |_, _| true) + shape.asks[at];
                let (used, min) = self.used_by_all(at);
                self.quotas[quota][at].1.is_none_or(|max| then <= max)
                    && (!self.is_pooled(at) || then <= self.min(quota, at) || used + shape.asks[at] <= min)
            })
    }

    fn is_entitled(&self, shape: Shape) -> bool {
        let quota = usize::from(shape.namespace);
        quota < self.quotas.len()
            && (0..RESOURCES.len()).all(|at| {
                let stays = self.used(quota, at, |_, is_leaving| !is_leaving);
                let matters = self.is_about(quota, at) && self.is_pooled(at) && shape.asks[at] > 0;
                !matters || stays + shape.asks[at] <= self.min(quota, at)
            })
    }

    /// Why the pods, one after another, must not go in favour of one of this shape.
    fn fault(&self, asking: Shape, victims: &[String]) -> Option<String> {
        let n_quotas = self.quotas.len();
        let quota_of = |shape: Shape| Some(usize::from(shape.namespace)).filter(|&quota| quota < n_quotas);
        // Own pods may go for the sake of the quota itself: what stays within it is seen without them.
        let mut without_own = Self { quotas: self.quotas.clone(), pods: self.pods.clone() };
        for victim in victims {
            let entry = without_own.pods.get_mut(victim)?;
            entry.1 |= quota_of(entry.0) == quota_of(asking);
        }
        let is_entitled = without_own.is_entitled(asking);
        for victim in victims {
            let (shape, _) = self.pods[victim];
            let (own, other) = (quota_of(asking), quota_of(shape));
            let is_lesser = shape.priority < asking.priority;
            let is_fine = match (own, other) {
                (own, other) if own == other => is_lesser,
                (None, _) => is_lesser,
                (Some(_), None) => is_lesser && is_entitled,
                (Some(_), Some(other)) => is_entitled && self.keeps_its_min(other, shape, victims),
            };
            if !is_fine {
                return Some(format!("{victim} must not go"));
            }
        }
        None
    }

    /// Whether the quota, without all these, has lost nothing that it is guaranteed, and has borrowed some of what this one had.
    fn keeps_its_min(&self, quota: usize, shape: Shape, victims: &[String]) -> bool {
        let pooled = (0..RESOURCES.len())
            .filter(|&at| self.is_about(quota, at) && self.is_pooled(at) && shape.asks[at] > 0);
        let mut is_borrowed = false;
        for at in pooled {
            let before = self.used(quota, at, |_, is_leaving| !is_leaving);
            let after = self
                .used(quota, at, |name, is_leaving| !is_leaving && !victims.iter().any(|each| each == name));
            if before >= self.min(quota, at) && after < self.min(quota, at) {
                return false;
            }
            is_borrowed |= after >= self.min(quota, at);
        }
        is_borrowed
    }
}

fn quota(at: usize, bounds: Bounds) -> Quota {
    let named = |side: fn(&Bound) -> Option<u64>| {
        let amounts = RESOURCES.iter().zip(&bounds);
        amounts.filter_map(|(name, bound)| Some(((*name).to_owned(), side(bound)?))).collect()
    };
    Quota {
        namespaces: [at.to_string()].into(),
        namespace_selector: None,
        min: named(|bound| bound.0),
        max: named(|bound| bound.1),
    }
}

fn pending(name: &str, shape: Shape) -> Pending {
    let pod = Pod {
        namespace: shape.namespace.to_string(),
        priority: shape.priority,
        requests: amounts(&format!("cpu={} memory={}", shape.asks[0], shape.asks[1])),
        ..Pod::default()
    };
    Pending { id: PodId::new(name), pod: Arc::new(pod) }
}

fn names(ids: &[PodId]) -> Vec<String> {
    ids.iter().map(|id| id.as_str().to_owned()).collect()
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let one = || {
        (proptest::option::weighted(0.8, 0..6_u64), proptest::option::weighted(0.5, 0..6_u64))
            .prop_map(|(min, more)| (min, more.map(|more| min.unwrap_or(0) + more)))
    };
    [one(), one()]
}

fn shape() -> impl Strategy<Value = Shape> {
    (0..4_u8, 0..4_i32, [0..4_u64, 0..4_u64]).prop_map(|(namespace, priority, asks)| Shape {
        namespace,
        priority,
        asks,
    })
}

fn set_quotas(cluster: &mut Cluster, model: &mut Model, quotas: &[Bounds]) {
    for (at, bounds) in quotas.iter().enumerate() {
        cluster.set_quota(&at.to_string(), quota(at, *bounds));
    }
    model.quotas = quotas.to_vec();
}

proptest! {
    #[test]
    fn accounts_are_exact_and_nobody_gets_or_loses_what_is_anothers(
        quotas in [bounds(), bounds(), bounds()],
        anew in [bounds(), bounds(), bounds()],
        steps in proptest::collection::vec((0..12_u8, 0..8_u8, shape()), 1..60),
    ) {
        let (mut cluster, mut model) = (Cluster::new(3), Model::default());
        cluster.set_node(&node("a", 8));
        cluster.set_node(&node("b", 5));
        set_quotas(&mut cluster, &mut model, &quotas);
        for (slot, what, shape) in steps {
            let name = slot.to_string();
            let id = PodId::new(&name);
            match what {
                0 => {
                    cluster.remove_pod(&id);
                    model.pods.remove(&name);
                }
                1 => {
                    cluster.set_leaving(&id, true);
                    model.pods.entry(name).and_modify(|(_, is_leaving)| *is_leaving = true);
                }
                2 => set_quotas(&mut cluster, &mut model, &anew),
                3 => {
                    // Somebody else bound it, whatever quotas say.
                    let pending = pending(&name, shape);
                    cluster.remove_pod(&id);
                    cluster.add_pod(&id, &pending.pod, "a");
                    model.pods.insert(name, (shape, false));
                }
                _ => {
                    model.pods.remove(&name);
                    let pending = pending(&name, shape);
                    let outcome = cluster.place(std::slice::from_ref(&pending)).remove(0);
                    let is_over = matches!(outcome, Outcome::Unplaced(Unplaced::OverQuota(_)));
                    prop_assert_eq!(!is_over, model.allows(shape), "{:?} {:?} {:?}", shape, outcome, model);
                    if matches!(outcome, Outcome::Placed { .. }) {
                        model.pods.insert(name, (shape, false));
                    } else if let Some(made) = cluster.preempt(&pending) {
                        let victims = names(&made.victims);
                        prop_assert_eq!(model.fault(shape, &victims), None, "{:?} {:?} {:?}", shape, victims, model);
                        for victim in &victims {
                            model.pods.get_mut(victim).unwrap().1 = true;
                        }
                        let awaited = names(&cluster.awaited_by(&id));
                        prop_assert!(victims.iter().all(|victim| awaited.contains(victim)), "{:?}", awaited);
                        let rest = model.pods.iter().filter(|(name, _)| !awaited.contains(name));
                        let rest = rest.map(|(name, pod)| (name.clone(), *pod)).collect();
                        let then = Model { quotas: model.quotas.clone(), pods: rest };
                        prop_assert!(then.allows(shape), "once {:?} have gone: {:?} {:?}", awaited, shape, then);
                        model.pods.insert(name, (shape, false));
                    }
                }
            }
            for (quota, usage) in cluster.quota_usages() {
                let quota: usize = quota.parse().unwrap();
                for (at, resource) in RESOURCES.iter().enumerate() {
                    let is_about = model.is_about(quota, at);
                    let used = is_about.then(|| u128::from(model.used(quota, at, |_, _| true)));
                    prop_assert_eq!(usage.used.get(*resource).copied(), used);
                    let beyond = used.unwrap_or(0).saturating_sub(u128::from(model.min(quota, at)));
                    let beyond = Some(beyond).filter(|&beyond| beyond > 0 && model.is_pooled(at));
                    prop_assert_eq!(usage.borrowed.get(*resource).copied(), beyond);
                }
            }
        }
    }

    /// Pods that are made to go come back and ask again: after a while nobody is made to go any more.
    #[test]
    fn nobody_goes_for_ever_in_a_circle(
        quotas in [bounds(), bounds(), bounds()],
        shapes in proptest::collection::vec(shape(), 1..14),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 14),
    ) {
        let mut cluster = Cluster::new(3);
        cluster.set_node(&node("a", 6));
        cluster.set_node(&node("b", 4));
        set_quotas(&mut cluster, &mut Model::default(), &quotas);
        let mut waiting: Vec<usize> = (0..shapes.len()).collect();
        let mut n_preempted = 0;
        let mut n_idle = 0;
        let mut turn = 0;
        while n_idle < waiting.len() {
            let at = waiting.remove(order[turn % order.len()].index(waiting.len()).min(waiting.len() - 1));
            turn += 1;
            let pending = pending(&at.to_string(), shapes[at]);
            let outcome = cluster.place(std::slice::from_ref(&pending)).remove(0);
            if matches!(outcome, Outcome::Placed { .. }) {
                n_idle = 0;
            } else if let Some(made) = cluster.preempt(&pending) {
                n_preempted += made.victims.len();
                prop_assert!(n_preempted < 500, "{:?} {:?}", quotas, shapes);
                for victim in &made.victims {
                    cluster.remove_pod(victim);
                    waiting.push(victim.as_str().parse().unwrap());
                }
                n_idle = 0;
            } else {
                waiting.push(at);
                n_idle += 1;
            }
        }
    }
}
