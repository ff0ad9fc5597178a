//! The running probes of one Pod: one task per probe of each running container.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Shared;
use super::observed::{Instance, Observed, State};
use super::plan::Memory;
use crate::probes::ask::{Target, ask};
use crate::probes::{Counter, Kind, Outcome, initial_delay, period};

/// A probe came to a new outcome.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) id: String,
    pub(super) container: String,
    pub(super) kind: Kind,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) struct Probers {
    context: Shared,
    reports: mpsc::Sender<Report>,
    tasks: HashMap<(String, Kind), Task>,
}

/// Ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Probers {
    pub(super) fn new(context: Shared, reports: mpsc::Sender<Report>) -> Self {
        Self { context, reports, tasks: HashMap::new() }
    }

    pub(super) fn stop(&mut self) {
        self.tasks.clear();
    }

    /// Sees to it that exactly the probes run that should. What has no probe counts as passing.
    pub(super) fn tend(&mut self, pod: &Pod, observed: &Observed, memory: &mut Memory) {
        let mut wanted = HashMap::new();
        for (container, instance, since) in running(pod, observed) {
            let startup = container.startup_probe.as_ref().filter(|_| !memory.started.contains(&instance.id));
            if let Some(probe) = startup {
                wanted.insert((instance.id.clone(), Kind::Startup), (container, instance, probe, since));
                continue;
            }
            memory.started.insert(instance.id.clone());
            match &container.readiness_probe {
                Some(probe) => {
                    wanted
                        .insert((instance.id.clone(), Kind::Readiness), (container, instance, probe, since));
                }
                None => {
                    memory.ready.insert(instance.id.clone());
                }
            }
            if let Some(probe) = &container.liveness_probe {
                wanted.insert((instance.id.clone(), Kind::Liveness), (container, instance, probe, since));
            }
        }
        self.tasks.retain(|key, _| wanted.contains_key(key));
        let ip = pod_ip(pod, observed, &self.context.host.ip);
        for (key, (container, instance, probe, since)) in wanted {
            if self.tasks.contains_key(&key) {
                continue;
            }
            let target =
                Target { container_id: instance.id.clone(), container: container.clone(), ip: ip.clone() };
            let task = self.probe(pod, (key.1, probe.clone()), target, since);
            self.tasks.insert(key, task);
        }
    }

    fn probe(&self, pod: &Pod, (kind, probe): (Kind, Probe), target: Target, age: Duration) -> Task {
        let (context, reports, pod) = (self.context.clone(), self.reports.clone(), pod.clone());
        Task(kit::task::spawn("probe", async move {
            let mut counter = Counter::new(&probe);
            tokio::time::sleep(initial_delay(&probe).saturating_sub(age)).await;
            loop {
                let answer = ask(&context.engine, &target, &probe).await;
                let name = target.container.name.clone();
                if let Err(why) = &answer {
                    let message = format!("{} probe failed: {why}", kind.as_str());
                    context.recorder.warning(&pod, Some(&name), "Unhealthy", message);
                }
                if let Some(outcome) = counter.answer(answer.is_ok()) {
                    let report = Report { id: target.container_id.clone(), container: name, kind, outcome };
                    if reports.send(report).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(period(&probe)).await;
            }
        }))
    }
}

fn pod_ip(pod: &Pod, observed: &Observed, host_ip: &str) -> String {
    let on_host = pod.spec.as_ref().is_some_and(crate::resources::uses_host_network);
    let own = observed.sandbox().and_then(|sandbox| sandbox.ips.first()).filter(|_| !on_host);
    own.map_or(host_ip, String::as_str).to_owned()
}

/// Running containers that may have probes, and for how long they run.
fn running<'a>(
    pod: &'a Pod,
    observed: &'a Observed,
) -> impl Iterator<Item = (&'a Container, &'a Instance, Duration)> {
    let containers =
        pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers.filter_map(|container| {
        let newest = observed.newest(&container.name)?;
        let State::Running { since } = newest.state else { return None };
        let age = kit::clock::wall().duration_since(since);
        Some((container, newest, Duration::try_from(age).unwrap_or_default()))
    })
}
