//! The hands beside the quota and the cpusets: memory, disks and bursts of one host, moved once a second.
//!
//! ```text
//!   Pods, report of the arbiter ──► wish (what each file should say) ──► mover (writes what differs) ──► cgroups
//!                                └► pool of CPUs ──► pinning
//! ```
//!
//! Level-triggered: what an agent that was killed left behind is what the next one finds and puts right. On the way
//! out all files say again what they say without an arbiter. A write may wait for the kernel to reclaim memory, so none
//! is made where others wait.

pub mod ground;
mod mover;
mod sides;
#[cfg(test)]
mod tests;
mod wish;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use level0::pools::{Load, Pool};
use level0::shield::{self, Batch, Bound};
use model::QosClass;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub use self::ground::Ground;
use self::mover::Mover;
use self::sides::{Held, Running, sides};
use self::wish::{Scene, wishes};
use crate::cgroup::Groups;
use crate::colocation::{Explanation, Report};
use crate::config;
use crate::pinning::Pinner;
use crate::pods::Registry;
use crate::pods::registry::Entry;
use crate::policy::Rule;

const TICK: Duration = Duration::from_secs(1);

/// What is in force, for those who ask.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// Of all services together.
    pub shield: shield::Shield,
    /// The most memory of batch with its caches; `None` is no bound.
    pub bound: Option<u64>,
    /// CPUs that batch is kept to; `None` is all that services may use.
    pub pool: Option<usize>,
    pub writes: u64,
    pub failures: u64,
}

/// Moves the hands of one host.
#[derive(Debug)]
pub struct Hands {
    pub groups: Groups,
    pub registry: Registry,
    pub pinner: Arc<Pinner>,
    /// Bytes of memory of the host.
    pub memory: u64,
    /// What is in force.
    pub rules: watch::Receiver<Arc<Rule>>,
    pub ground: Ground,
    pub reports: watch::Receiver<Report>,
    pub in_force: watch::Sender<InForce>,
}

#[derive(Default)]
struct State {
    bound: Bound,
    pool: Pool,
    held: Held,
    /// Who ran when the scene was looked at last.
    running: Vec<Running>,
    /// What was there when hands were moved last, and by which settings.
    scene: Option<Scene>,
    settings: Option<config::Hands>,
}

impl Hands {
    /// Moves them until `token` is cancelled, then takes them all away.
    pub async fn run(self, token: CancellationToken) {
        let mut state = State::default();
        let mut mover = Mover::new(self.groups.clone());
        let started = kit::clock::monotonic();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while token.run_until_cancelled(ticks.tick()).await.is_some() {
            let settings = self.rules.borrow().arbiter.hands.clone();
            let pool = self.pool(&settings, &mut state, started.elapsed());
            self.pinner.keep_batch_to(pool.clone(), &self.registry);
            let scene = self.scene(&settings, &mut state, Entry::is_alive);
            let is_news = state.scene.as_ref() != Some(&scene) || state.settings.as_ref() != Some(&settings);
            if !is_news && !mover.is_due(kit::clock::monotonic()) {
                let n_cpus = pool.map(|cpus| cpus.len());
                self.in_force.send_modify(|in_force| in_force.pool = n_cpus);
                continue;
            }
            let wished = wishes(&settings, &scene);
            let (shield, bound) = (wished.shield, scene.bound);
            let Some(moved) = moved(mover, wished.list).await else { return };
            mover = moved;
            let (writes, failures) = (mover.writes, mover.failures);
            let pool = pool.map(|cpus| cpus.len());
            self.in_force.send_replace(InForce { shield, bound, pool, writes, failures });
            (state.scene, state.settings) = (Some(scene), Some(settings));
        }
        self.pinner.keep_batch_to(None, &self.registry);
        let nothing = config::Hands::none();
        // Not what is there now: who tends to Pods ends at the same time, and has forgotten some. Beside a kubelet nobody
        // does, and one who ends as soon as it began has what an agent before it left behind to put right: also on Pods whose
        // containers are away for a moment.
        let last = if self.groups.are_foreign() {
            Some(self.scene(&nothing, &mut state, |entry| self.has_group(&entry.pod())))
        } else {
            state.scene
        };
        if let Some(scene) = last {
            moved(mover, wishes(&nothing, &Scene { bound: None, ..scene }).list).await;
        }
        self.in_force.send_replace(InForce::default());
    }

    fn has_group(&self, pod: &Pod) -> bool {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.groups.backend().exists(&self.groups.pod(QosClass::of(pod), uid))
    }

    /// What there is of those Pods that are there by `is_there`.
    fn scene(&self, settings: &config::Hands, state: &mut State, is_there: impl Fn(&Entry) -> bool) -> Scene {
        let groups = &self.groups;
        let entries = self.registry.entries();
        let running = entries.iter().filter(|entry| is_there(entry)).map(|entry| {
            let live = entry.live.borrow();
            let alive = live.containers.iter().filter(|instance| instance.is_alive());
            Running {
                pod: entry.pod(),
                containers: alive.map(|instance| (instance.name.clone(), instance.id.clone())).collect(),
            }
        });
        let running: Vec<Running> = running.collect();
        let (mut online, batch_pods) = match &state.scene {
            // A kubelet makes groups later.
            Some(scene) if !groups.are_foreign() && state.running == running => {
                (scene.online.clone(), scene.batch_pods.clone())
            }
            _ => sides(groups, running.iter().cloned()),
        };
        state.running = running;
        if self.ground.shares_unused_shield {
            for pod in &mut online {
                pod.in_use = groups.backend().memory_in_use(&pod.group).ok().map(|memory| memory.all.0);
            }
        }
        let converted = state.held.follow(&online, &batch_pods, |group| groups.backend().exists(group));
        Scene {
            capacity: self.memory,
            line: groups.line_of(QosClass::Online),
            batch: groups.class(QosClass::Batch),
            online,
            batch_pods,
            converted,
            disk: self.ground.disk,
            disk_bounds: self.ground.disk_bounds,
            beyond: self.ground.beyond,
            bound: self.bound(settings, &mut state.bound),
        }
    }

    /// `None` while there is no batch, or nothing is known yet.
    fn bound(&self, settings: &config::Hands, bound: &mut Bound) -> Option<u64> {
        let policy = settings.memory.as_ref()?;
        let (report, guests) = {
            let report = self.reports.borrow();
            (report.memory, report.guests.memory)
        };
        let is_known = report.capacity > 0 && !self.registry.batch_at_work().is_empty();
        let held = self.groups.backend().memory(&self.groups.class(QosClass::Batch));
        let batch = held
            .ok()
            .filter(|_| is_known)
            .map(|held| Batch { offered: left_for_batch(&report).saturating_add(guests), held: held.0 });
        bound.step(policy, self.memory, batch, self.ground.beyond)
    }

    fn pool(&self, settings: &config::Hands, state: &mut State, now: Duration) -> Option<model::CpuSet> {
        let policy = settings.pool.as_ref()?;
        let usable = self.pinner.shared_cpus()?;
        let report = self.reports.borrow();
        // Pinned Pods have CPUs of their own, which are not in the pool.
        let pinned = report.online.iter().filter(|pod| pod.is_pinned);
        let pinned: u64 = pinned.filter_map(|pod| pod.milli_cpu.measured).sum();
        let load = Load {
            capacity: usable.len() as f64 * 1000.0,
            online: (report.online_milli as f64 - pinned as f64).max(0.0),
            system: report.system_milli as f64,
            allowed: report.quota_milli.map(|quota| quota as f64),
        };
        drop(report);
        Some(state.pool.step(policy, &usable, load, now))
    }
}

/// What is offered. A host that offers nothing by its policy, as one that has no job masters, still lends to Pods of class
/// free what nobody else has.
fn left_for_batch(memory: &Explanation) -> u64 {
    let services =
        memory.online_measured.max(memory.online_predicted).saturating_add(memory.online_requested);
    let others = memory.margin.saturating_add(memory.system).saturating_add(services);
    // What fades, as nobody can see the host, is not nothing by policy.
    let left = if memory.possible > 0 { memory.offered } else { memory.capacity.saturating_sub(others) };
    u64::try_from(left).unwrap_or(0)
}

/// Writes on a thread that may wait; `None` when the process is on its way out.
async fn moved(mut mover: Mover, list: Vec<wish::Wish>) -> Option<Mover> {
    let work = move || {
        mover.apply(list, kit::clock::monotonic());
        mover
    };
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod offers {
    use super::*;

    #[test]
    fn a_blind_host_lends_no_more_than_it_offers() {
        let check = |possible: i64, offered: i64, expected: u64| {
            let memory = Explanation {
                capacity: 64,
                margin: 3,
                system: 6,
                online_measured: 10,
                possible,
                offered,
                ..Explanation::default()
            };
            assert_eq!(left_for_batch(&memory), expected, "{possible} {offered}");
        };
        check(19, 19, 19);
        check(19, 4, 4);
        check(19, 0, 0);
        // By policy nothing is offered: Pods of class free have what nobody else has.
        check(0, 0, 45);
    }
}
