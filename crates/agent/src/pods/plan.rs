//! What is owed to a Pod now, from what it asks for and what the engine says of it. Pure.
//!
//! ```text
//!   wish Run:  sandbox ─► init containers, one after another ─► containers ─► (all ended for good) stop sandbox
//!   wish Rest: kill what runs ─► stop sandbox
//!   wish End:  kill what runs ─► stop sandbox ─► remove everything ─► Finish
//! ```
//!
//! The plan is level-triggered: it is made anew after each change, so that an agent that was killed between two
//! steps goes on with the next.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};

use super::backoff::{Crashes, Retry};
use super::ephemeral;
use super::observed::{Instance, Observed, State};

/// Whether a Pod is to run or to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Run,
    /// Its containers are to end, and get this long for it; what they leave behind stays for readers of logs.
    Rest {
        grace_seconds: i64,
    },
    /// As `Rest`, and nothing of it is to be left on the host.
    End {
        grace_seconds: i64,
    },
}

/// What happened to a Pod before and is seen nowhere else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// By container name.
    pub crashes: BTreeMap<String, Crashes>,
    /// What could not be started, by container name; the empty name stands for the Pod's volumes and sandbox.
    pub retries: BTreeMap<String, Retry>,
    /// Runs that their liveness or startup probe gave up on: id to what the probe said.
    pub unhealthy: BTreeMap<String, String>,
    /// Runs whose startup probe passed, or that have none.
    pub started: BTreeSet<String>,
    /// Runs that are ready for traffic.
    pub ready: BTreeSet<String>,
    /// What runs were given last, where that is known.
    pub sized: BTreeMap<String, ResourceRequirements>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    RunSandbox {
        attempt: u32,
    },
    StopSandbox {
        id: String,
    },
    RemoveSandbox {
        id: String,
    },
    Start {
        container: String,
        attempt: u32,
    },
    Kill {
        id: String,
        container: String,
        grace_seconds: i64,
        why: String,
    },
    Remove {
        id: String,
    },
    /// A running container is to get what its spec says now.
    Resize {
        id: String,
        container: String,
    },
    /// Nothing of the Pod is left on the host.
    Finish,
}

/// What to do now, and when to look again if nothing happens before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub wake: Option<Timestamp>,
}

impl Plan {
    fn of(steps: Vec<Step>) -> Self {
        Self { steps, wake: None }
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// The plan for `pod` at `now`. `memory` learns of the exits seen.
pub fn plan(pod: &Pod, wish: &Wish, observed: &Observed, memory: &mut Memory, now: Timestamp) -> Plan {
    note_exits(observed, memory);
    let Some(spec) = &pod.spec else { return Plan::default() };
    match wish {
        Wish::End { grace_seconds } => end(observed, *grace_seconds),
        Wish::Rest { grace_seconds } => Plan::of(rest(observed, *grace_seconds)),
        // Sidecars run until the containers that they serve have ended.
        Wish::Run if is_finished(spec, observed) => Plan::of(rest(observed, grace_seconds(spec))),
        Wish::Run => run(spec, observed, memory, now),
    }
}

fn note_exits(observed: &Observed, memory: &mut Memory) {
    for instance in &observed.containers {
        let newest = observed.newest(&instance.name).is_some_and(|newest| newest.id == instance.id);
        if let (true, Some(exit)) = (newest, instance.exit()) {
            let ran = exit.finished.duration_since(exit.started);
            memory.crashes.entry(instance.name.clone()).or_default().note(
                &instance.id,
                instance.attempt,
                ran,
            );
        }
    }
    let alive: BTreeSet<&str> = observed.running().map(|instance| instance.id.as_str()).collect();
    memory.unhealthy.retain(|id, _| alive.contains(id.as_str()));
    memory.started.retain(|id| alive.contains(id.as_str()));
    memory.ready.retain(|id| alive.contains(id.as_str()));
    memory.sized.retain(|id, _| alive.contains(id.as_str()));
}

fn end(observed: &Observed, grace_seconds: i64) -> Plan {
    let mut steps = rest(observed, grace_seconds);
    if observed.running().next().is_none() {
        steps.extend(observed.containers.iter().map(|instance| Step::Remove { id: instance.id.clone() }));
        steps.extend(observed.sandboxes.iter().map(|sandbox| Step::RemoveSandbox { id: sandbox.id.clone() }));
        steps.push(Step::Finish);
    }
    Plan::of(steps)
}

/// What runs is ended; when nothing runs any more, the network goes.
fn rest(observed: &Observed, grace_seconds: i64) -> Vec<Step> {
    let kills: Vec<Step> =
        observed.running().map(|instance| kill(instance, grace_seconds, String::new())).collect();
    if !kills.is_empty() {
        return kills;
    }
    let ready = observed.sandboxes.iter().filter(|sandbox| sandbox.ready);
    ready.map(|sandbox| Step::StopSandbox { id: sandbox.id.clone() }).collect()
}

fn kill(instance: &Instance, grace_seconds: i64, why: String) -> Step {
    let (id, container) = (instance.id.clone(), instance.name.clone());
    Step::Kill { id, container, grace_seconds, why }
}

fn run(spec: &PodSpec, observed: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    if let Some(retry) = memory.retries.get("").filter(|retry| retry.until > now) {
        return Plan { steps: Vec::new(), wake: Some(retry.until) };
    }
    let Some(sandbox) = observed.sandbox() else { return renew_sandbox(observed) };
    let current = Current { spec, observed, memory, sandbox: &sandbox.id, now };
    let mut plan = Plan::of(current.garbage());
    if current.has_begun() || current.initialize(&mut plan) {
        for container in &spec.containers {
            current.tend(container, policy(spec), &mut plan);
        }
        for container in sidecars(spec) {
            current.tend(container, "Always", &mut plan);
        }
    }
    // Ephemeral ones look on, whatever state the Pod is in.
    for container in ephemeral::containers(spec) {
        current.tend(&container, "Never", &mut plan);
    }
    plan
}

/// Without its sandbox nothing of a Pod can run on: what is left is stopped, then all begins again.
fn renew_sandbox(observed: &Observed) -> Plan {
    let mut steps: Vec<Step> = observed.running().map(|instance| kill(instance, 2, String::new())).collect();
    let newest = observed.sandboxes.iter().map(|sandbox| sandbox.attempt).max();
    steps.extend(observed.sandboxes.iter().skip(1).map(|old| Step::RemoveSandbox { id: old.id.clone() }));
    steps.push(Step::RunSandbox { attempt: newest.map_or(0, |newest| newest + 1) });
    Plan::of(steps)
}

struct Current<'a> {
    spec: &'a PodSpec,
    observed: &'a Observed,
    memory: &'a Memory,
    sandbox: &'a str,
    now: Timestamp,
}

impl Current<'_> {
    /// Main containers were started in this sandbox, so initialization is behind us.
    fn has_begun(&self) -> bool {
        let mut mains = self.spec.containers.iter();
        mains.any(|container| {
            self.observed.newest(&container.name).is_some_and(|newest| newest.sandbox == self.sandbox)
        })
    }

    /// Goes through the init containers in order; true when all are through.
    fn initialize(&self, plan: &mut Plan) -> bool {
        for container in self.spec.init_containers.iter().flatten() {
            let newest =
                self.observed.newest(&container.name).filter(|newest| newest.sandbox == self.sandbox);
            let through = match newest {
                Some(newest) if is_sidecar(container) => {
                    newest.is_alive() && self.memory.started.contains(&newest.id)
                }
                Some(newest) => newest.exit().is_some_and(|exit| exit.code == 0),
                None => false,
            };
            if through {
                continue;
            }
            match newest {
                // What ran in an earlier sandbox has to run again in this one.
                None => self.start(container, self.next_attempt(&container.name), plan),
                Some(_) => self.tend(container, init_policy(self.spec, container), plan),
            }
            return false;
        }
        true
    }

    /// Starts `container`, restarts it or ends an unhealthy run, as `policy` says.
    fn tend(&self, container: &Container, policy: &str, plan: &mut Plan) {
        let newest = self.observed.newest(&container.name);
        let Some(newest) = newest else { return self.start(container, 0, plan) };
        match &newest.state {
            State::Running { .. } | State::Unknown => {
                if let Some(why) = self.memory.unhealthy.get(&newest.id) {
                    plan.steps.push(kill(newest, grace_seconds(self.spec), why.clone()));
                } else {
                    self.resize(container, newest, plan);
                }
            }
            // Created but never started: the agent died in between.
            State::Created => {
                plan.steps.push(Step::Remove { id: newest.id.clone() });
                self.start(container, newest.attempt, plan);
            }
            State::Exited(exit) if !restarts(policy, exit.code) => {}
            State::Exited(exit) => {
                let delay = self.memory.crashes.get(&container.name).map(Crashes::delay).unwrap_or_default();
                let due = exit.finished.checked_add(delay).unwrap_or(Timestamp::MAX);
                if due > self.now && newest.sandbox == self.sandbox {
                    plan.wake_at(due);
                } else {
                    self.start(container, newest.attempt + 1, plan);
                }
            }
        }
    }

    /// Gives a run what its spec says now: as it runs, or by a restart where the spec asks for that.
    fn resize(&self, container: &Container, run: &Instance, plan: &mut Plan) {
        let wanted = container.resources.clone().unwrap_or_default();
        let Some(had) = self.memory.sized.get(&run.id).filter(|had| **had != wanted) else { return };
        let differs = |name: &str| {
            let of = |resources: &ResourceRequirements| {
                let in_map =
                    |map: &Option<BTreeMap<_, _>>| map.as_ref().and_then(|map| map.get(name).cloned());
                (in_map(&resources.requests), in_map(&resources.limits))
            };
            of(had) != of(&wanted)
        };
        let restarts = container
            .resize_policy
            .iter()
            .flatten()
            .any(|policy| policy.restart_policy == "RestartContainer" && differs(&policy.resource_name));
        plan.steps.push(if restarts {
            let why = format!("Container {} resize requires restart", container.name);
            kill(run, grace_seconds(self.spec), why)
        } else {
            Step::Resize { id: run.id.clone(), container: container.name.clone() }
        });
    }

    fn next_attempt(&self, name: &str) -> u32 {
        self.observed.newest(name).map_or(0, |newest| newest.attempt + 1)
    }

    fn start(&self, container: &Container, attempt: u32, plan: &mut Plan) {
        match self.memory.retries.get(&container.name) {
            Some(retry) if retry.until > self.now => plan.wake_at(retry.until),
            _ => plan.steps.push(Step::Start { container: container.name.clone(), attempt }),
        }
    }

    /// Ended runs that no one asks for any more: all but the last two of each container.
    fn garbage(&self) -> Vec<Step> {
        let old = self.observed.containers.iter().filter(|instance| {
            let newest = self.observed.newest(&instance.name).map_or(0, |newest| newest.attempt);
            instance.exit().is_some() && instance.attempt + 1 < newest
        });
        old.map(|instance| Step::Remove { id: instance.id.clone() }).collect()
    }
}

fn restarts(policy: &str, code: i32) -> bool {
    match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

fn init_policy(spec: &PodSpec, container: &Container) -> &'static str {
    match policy(spec) {
        _ if is_sidecar(container) => "Always",
        "Never" => "Never",
        _ => "OnFailure",
    }
}

pub fn policy(spec: &PodSpec) -> &str {
    spec.restart_policy.as_deref().unwrap_or("Always")
}

pub fn grace_seconds(spec: &PodSpec) -> i64 {
    spec.termination_grace_period_seconds.unwrap_or(30)
}

pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn sidecars(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().filter(|container| is_sidecar(container))
}

/// Whether all has ended for good: no container will ever run again.
pub fn is_finished(spec: &PodSpec, observed: &Observed) -> bool {
    let policy = policy(spec);
    let mut inits = spec.init_containers.iter().flatten().filter(|container| !is_sidecar(container));
    let failed_init = inits.any(|container| {
        let exit = observed.newest(&container.name).and_then(Instance::exit);
        policy == "Never" && exit.is_some_and(|exit| exit.code != 0)
    });
    let ended = |container: &Container| match observed.newest(&container.name).and_then(Instance::exit) {
        Some(exit) => !restarts(policy, exit.code),
        None => false,
    };
    failed_init || !spec.containers.is_empty() && spec.containers.iter().all(ended)
}

#[cfg(test)]
mod tests;
