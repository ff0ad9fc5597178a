//! Pinned Pods get the CPUs that the scheduler chose for them; all others, batch too, share what is left.
//!
//! ```text
//!   annotations of Pods ──► decide ──► cpuset of each Pod's group, and of the group of batch
//!        after each change, and from time to time: what others wrote there is put right again
//! ```
//!
//! Level-triggered: an agent that comes back finds the same Pods and so the same sets. On a host without pinned Pods
//! nothing is written, unless batch is kept to a pool of CPUs: that, too, is asked for here and written by nobody else.

pub mod decide;
mod foreign;
pub mod topology;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use model::{CpuSet, CpuTopology, QosClass};
use parking_lot::Mutex;
use tokio::sync::watch;

use self::decide::{Plan, Refusal};
use crate::cgroup::{Groups, Place};
use crate::events::Recorder;
use crate::pods::Registry;

/// How often the host's CPUs are compared to what they were.
const CHECK: Duration = Duration::from_secs(10);
/// How often what is written is compared to what should be: that is some files of every Pod.
const COMPARE: Duration = Duration::from_secs(30);
const SYSTEM: &str = "/sys/devices/system";

/// The one writer of cpusets.
#[derive(Debug)]
pub struct Pinner {
    groups: Groups,
    recorder: Recorder,
    /// `None` where Pods cannot be pinned.
    topology: watch::Sender<Option<Arc<CpuTopology>>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    plan: Plan,
    /// Whom the plan is for, if all groups were brought in line with it.
    settled_for: Option<Vec<Arc<Pod>>>,
    /// What each group was given.
    given: HashMap<String, Place>,
    /// Pods whose refusal was told.
    told: HashSet<String>,
    checked: Option<Instant>,
    compared: Option<Instant>,
    /// The CPUs of batch; `None` is all that are shared.
    pool: Option<CpuSet>,
}

impl Pinner {
    /// For the groups, which have been prepared.
    pub fn new(groups: Groups, recorder: Recorder) -> Self {
        let (topology, _) = watch::channel(of_host(&groups));
        Self { groups, recorder, topology, state: Mutex::default() }
    }

    /// How the CPUs lie that Pods can be pinned to, now and whenever that changes.
    pub fn topology(&self) -> watch::Receiver<Option<Arc<CpuTopology>>> {
        self.topology.subscribe()
    }

    /// Gives the new group of a Pod its CPUs, before there is a process in it, and takes them from all others.
    pub fn admit(&self, pod: &Pod, registry: &Registry) {
        let Some(uid) = pod.metadata.uid.as_deref() else { return };
        let mut state = self.state.lock();
        state.given.remove(&self.groups.pod(QosClass::of(pod), uid));
        state.settled_for = None;
        self.settle(&mut state, registry);
    }

    /// Brings all groups in line with the Pods that are there.
    pub fn reconcile(&self, registry: &Registry) {
        let mut state = self.state.lock();
        if state.checked.is_none_or(|at| at.elapsed() >= CHECK) {
            if self.look_at_host() {
                state.settled_for = None;
            }
            state.checked = Some(kit::clock::monotonic());
        }
        if state.compared.is_none_or(|at| at.elapsed() >= COMPARE) {
            state.given.clear();
            state.settled_for = None;
            state.compared = Some(kit::clock::monotonic());
        }
        self.settle(&mut state, registry);
    }

    /// Keeps batch to `pool`, as far as nobody has those CPUs alone; `None` is all that are shared.
    pub fn keep_batch_to(&self, pool: Option<CpuSet>, registry: &Registry) {
        let mut state = self.state.lock();
        if state.pool != pool {
            state.pool = pool;
            state.settled_for = None;
            self.settle(&mut state, registry);
        }
    }

    /// The CPUs that are nobody's alone; `None` where groups cannot be kept to CPUs.
    pub fn shared_cpus(&self) -> Option<CpuSet> {
        let shared = self.state.lock().plan.shared.clone();
        shared.or_else(|| self.topology.borrow().as_ref().map(|topology| topology.cpus()))
    }

    /// The groups of Pods whose CPUs nobody else may have, not even while they are idle.
    pub fn groups_with_own_cpus(&self) -> HashSet<String> {
        let state = self.state.lock();
        state.plan.pinned.keys().map(|uid| self.groups.pod(QosClass::Online, uid)).collect()
    }

    /// The CPUs that are somebody's alone.
    pub fn own_cpus(&self) -> CpuSet {
        let mut own = CpuSet::default();
        self.state
            .lock()
            .plan
            .pinned
            .values()
            .filter_map(|place| place.cpus.as_ref())
            .for_each(|cpus| own.add(cpus));
        own
    }

    /// CPUs may have been switched off or on: true if so.
    fn look_at_host(&self) -> bool {
        if let Err(error) = self.groups.widen() {
            tracing::warn!(error = %kit::Chain(&error), "Services may not use all CPUs");
        }
        let found = of_host(&self.groups);
        self.topology.send_if_modified(|known| {
            let is_news = *known != found;
            *known = found;
            is_news
        })
    }

    fn settle(&self, state: &mut State, registry: &Registry) {
        let pods: Vec<Arc<Pod>> = registry.entries().iter().map(|entry| entry.pod()).collect();
        let is_settled = |settled: &Vec<Arc<Pod>>| {
            settled.len() == pods.len()
                && settled.iter().zip(&pods).all(|(one, other)| Arc::ptr_eq(one, other))
        };
        // A kubelet's cpusets may change without a Pod's doing so.
        if !self.groups.are_foreign() && state.settled_for.as_ref().is_some_and(is_settled) {
            return;
        }
        state.settled_for = None;
        let topology = self.topology.borrow().clone();
        state.plan = match &topology {
            Some(topology) if self.groups.are_foreign() => {
                foreign::plan(&self.groups, registry, &topology.cpus())
            }
            _ => decide::plan(topology.as_deref(), &pods, &state.plan),
        };
        self.tell(state, &pods);
        if topology.is_none() {
            return;
        }
        let wanted = self.places(state, &pods);
        state.given.retain(|group, _| wanted.contains_key(group));
        let mut is_in_line = true;
        for (group, place) in wanted {
            if state.given.get(&group) == Some(&place) {
                continue;
            }
            match self.groups.backend().set_place(&group, &place) {
                Ok(true) => drop(state.given.insert(group, place)),
                // It is made when the Pod starts, which then asks again.
                Ok(false) => {}
                Err(error) => {
                    is_in_line = false;
                    tracing::warn!(group, error = %kit::Chain(&error), "CPUs of a group not set");
                }
            }
        }
        state.settled_for = is_in_line.then_some(pods);
    }

    /// The place of each group, those first that have to make room.
    fn places(&self, state: &State, pods: &[Arc<Pod>]) -> BTreeMap<String, Place> {
        let plan = &state.plan;
        let shared = Place { cpus: plan.shared.clone(), mems: None };
        let batch = Place { cpus: pooled(state.pool.as_ref(), plan.shared.as_ref()), mems: None };
        let of_batch = self.groups.class(QosClass::Batch);
        if self.groups.are_foreign() {
            // A kubelet writes cpusets of containers. It has not narrowed the group of its class: that was one of us.
            let place = if state.pool.is_some() { batch } else { Place::default() };
            let is_ours = state.pool.is_some() || self.is_narrowed(&of_batch);
            return is_ours.then_some((of_batch, place)).into_iter().collect();
        }
        let mut places = BTreeMap::from([(of_batch, batch)]);
        for pod in pods.iter().filter(|pod| QosClass::of(pod) == QosClass::Online) {
            let Some(uid) = &pod.metadata.uid else { continue };
            let place = plan.pinned.get(uid).unwrap_or(&shared);
            places.insert(self.groups.pod(QosClass::Online, uid), place.clone());
        }
        places
    }

    /// Whether a group below that of services has fewer CPUs.
    fn is_narrowed(&self, group: &str) -> bool {
        let usable = |group: &str| self.groups.backend().usable_cpus(group).ok();
        usable(group) != usable(&self.groups.class(QosClass::Online))
    }

    fn tell(&self, state: &mut State, pods: &[Arc<Pod>]) {
        state.told.retain(|uid| state.plan.refused.contains_key(uid));
        for (uid, refusal) in &state.plan.refused {
            let is_meant = |pod: &&Arc<Pod>| pod.metadata.uid.as_ref() == Some(uid);
            let Some(pod) = pods.iter().find(is_meant).filter(|_| !state.told.contains(uid)) else {
                continue;
            };
            self.recorder.warning(pod, None, "NotPinned", not_pinned(refusal));
            state.told.insert(uid.clone());
        }
    }
}

/// The pool without what is somebody's alone; what is shared, where nothing of the pool is left.
fn pooled(pool: Option<&CpuSet>, shared: Option<&CpuSet>) -> Option<CpuSet> {
    let left = match (pool, shared) {
        (Some(pool), Some(shared)) => pool.common(shared),
        (Some(pool), None) => pool.clone(),
        (None, _) => CpuSet::default(),
    };
    if left.is_empty() { shared.cloned() } else { Some(left) }
}

fn not_pinned(refusal: &Refusal) -> String {
    format!("The Pod shares CPUs with others: {refusal}")
}

/// The CPUs of this host, as far as its groups can be kept to some of them.
fn of_host(groups: &Groups) -> Option<Arc<CpuTopology>> {
    let usable = groups.backend().usable_cpus(&groups.class(QosClass::Online)).ok()?;
    topology::read(Path::new(SYSTEM), &usable).map(Arc::new)
}
