//! A listed cluster in the optimiser's words. Pods that are alike to the scheduler are one app.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use sigma::node::Effect;
use sigma::optimise::{
    App, AppId, Budget, Item, ItemId, Machine, MachineId, Parts, Placement, Problem, ProblemError, Rule, Tie,
};
use sigma::pod::Namespaces;
use sigma::resources::{CPU, MEMORY, PODS};

use super::{Hold, Listed};
use crate::disruption;
use crate::pods;

pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";

pub(super) struct Converted<'a> {
    pub problem: Problem,
    pub placement: Placement,
    pub budgets: Vec<Budget>,
    /// Names of the problem's machines.
    pub nodes: Vec<String>,
    /// The problem's items.
    pub pods: Vec<&'a Pod>,
    pub held: BTreeMap<Hold, usize>,
}

pub(super) fn convert(listed: &Listed) -> Result<Converted<'_>, ProblemError> {
    let nodes: Vec<sigma::node::Node> = listed.nodes.iter().map(crate::sigma::node).collect();
    let places: HashMap<&str, u32> = nodes.iter().map(|node| node.name.as_str()).zip(0..).collect();
    let place = |pod: &Pod| {
        let name = pod.spec.as_ref()?.node_name.as_deref()?;
        places.get(name).copied().map(MachineId)
    };
    let running = listed.pods.iter().filter(|pod| !pods::has_ended(pod));
    let (pods, placement): (Vec<&Pod>, Vec<_>) =
        running.filter_map(|pod| Some((pod, Some(place(pod)?)))).unzip();
    let mut apps = Apps::default();
    let of_pods: Vec<AppId> = pods.iter().map(|pod| apps.intern(crate::sigma::pod(pod))).collect();
    let namespaces: Namespaces = listed
        .namespaces
        .iter()
        .map(|each| {
            let meta = &each.metadata;
            (meta.name.clone().unwrap_or_default(), meta.labels.clone().unwrap_or_default())
        })
        .collect();
    let bound = apps.bound_by_others(&namespaces);
    let budgets = budgets(listed, &pods);
    let several = covered_twice(&budgets, pods.len());
    let mut held = BTreeMap::new();
    let mut items = Vec::new();
    for ((pod, app), several) in pods.iter().zip(&of_pods).zip(several) {
        let by_others = bound.contains(app).then_some(Hold::Neighbours);
        let hold =
            Hold::of(pod, &apps.seen[app.at()]).or(by_others).or(several.then_some(Hold::SeveralBudgets));
        if let Some(hold) = hold {
            *held.entry(hold).or_default() += 1;
        }
        items.push(Item { app: *app, tie: hold.map_or(Tie::Free, Hold::tie) });
    }
    let counted = counted(&apps, &nodes);
    let ready: Vec<bool> = listed.nodes.iter().map(is_ready).collect();
    let parts = Parts {
        points: 1,
        machines: nodes.iter().map(|node| machine(node, &counted)).collect(),
        apps: apps.seen.iter().map(|seen| app(seen, &counted, (&nodes, &ready))).collect(),
        items,
        rules: apps.rules(&namespaces),
    };
    let names = nodes.into_iter().map(|node| node.name).collect();
    Ok(Converted { problem: Problem::try_new(parts)?, placement, budgets, nodes: names, pods, held })
}

/// Kinds of Pods, each once.
#[derive(Default)]
struct Apps {
    seen: Vec<sigma::Pod>,
    known: HashMap<sigma::Pod, AppId>,
}

impl Apps {
    fn intern(&mut self, pod: sigma::Pod) -> AppId {
        let next = AppId(u32::try_from(self.seen.len()).unwrap_or(u32::MAX));
        *self.known.entry(pod).or_insert_with_key(|pod| {
            self.seen.push(pod.clone());
            next
        })
    }

    fn all(&self) -> impl Iterator<Item = (AppId, &sigma::Pod)> {
        (0..).map(AppId).zip(&self.seen)
    }

    /// Apps that others must be near, or away from in domains larger than a node: these stay as well.
    fn bound_by_others(&self, namespaces: &Namespaces) -> BTreeSet<AppId> {
        let terms: BTreeSet<_> = self
            .seen
            .iter()
            .flat_map(|pod| {
                let wide = pod.forbidden_pods.iter().filter(|term| term.topology_key != HOSTNAME);
                pod.required_pods.iter().chain(wide)
            })
            .collect();
        let named = |pod: &sigma::Pod| terms.iter().any(|term| term.matches(pod, namespaces));
        self.all().filter(|(_, pod)| named(pod)).map(|(app, _)| app).collect()
    }

    /// No two of these on one node: by anti-affinity, or because both want the same port of the host.
    fn rules(&self, namespaces: &Namespaces) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (beside, pod) in self.all() {
            let near = pod.forbidden_pods.iter().filter(|term| term.topology_key == HOSTNAME);
            let near: Vec<_> = near.collect();
            if near.is_empty() && pod.host_ports.is_empty() {
                continue;
            }
            let apart = |other: &sigma::Pod| {
                let ports = &pod.host_ports;
                near.iter().any(|term| term.matches(other, namespaces))
                    || ports.iter().any(|port| other.host_ports.iter().any(|taken| port.conflicts(taken)))
            };
            let others = self.all().filter(|(_, other)| apart(other));
            rules.extend(others.map(|(app, _)| Rule { beside, app, at_most: 0 }));
        }
        rules
    }
}

/// Everything but CPU and memory that is asked for or offered.
fn counted(apps: &Apps, nodes: &[sigma::node::Node]) -> Vec<String> {
    let asked = apps.seen.iter().flat_map(|pod| pod.requests.keys());
    let offered = nodes.iter().flat_map(|node| node.allocatable.keys());
    let names: BTreeSet<&String> = asked.chain(offered).collect();
    let others = names.into_iter().filter(|name| ![CPU, MEMORY, PODS].contains(&name.as_str()));
    others.cloned().chain([PODS.to_owned()]).collect()
}

fn amount(amounts: &sigma::resources::Amounts, name: &str) -> u64 {
    amounts.get(name).copied().unwrap_or(0)
}

fn machine(node: &sigma::node::Node, counted: &[String]) -> Machine {
    Machine {
        cpu: amount(&node.allocatable, CPU) as f64,
        memory: amount(&node.allocatable, MEMORY) as f64,
        counts: counted.iter().map(|name| amount(&node.allocatable, name)).collect(),
    }
}

fn app(pod: &sigma::Pod, counted: &[String], (nodes, ready): (&[sigma::node::Node], &[bool])) -> App {
    let open = |(node, ready): (&sigma::node::Node, &bool)| {
        *ready
            && !node.unschedulable
            && pod.admits(node)
            && pod.tolerates(node, &[Effect::NoSchedule, Effect::NoExecute])
    };
    let all = nodes.iter().zip(ready).zip(0..);
    let machines: Vec<MachineId> = all.filter(|(node, _)| open(*node)).map(|(_, id)| MachineId(id)).collect();
    let count = |name: &String| if name == PODS { 1 } else { amount(&pod.requests, name) };
    App {
        cpu: vec![amount(&pod.requests, CPU) as f64],
        memory: vec![amount(&pod.requests, MEMORY) as f64],
        counts: counted.iter().map(count).collect(),
        machines: (machines.len() < nodes.len()).then_some(machines),
    }
}

fn budgets(listed: &Listed, pods: &[&Pod]) -> Vec<Budget> {
    let budget = |budget: &PodDisruptionBudget| {
        let covers = |pod: &Pod| {
            pod.metadata.namespace == budget.metadata.namespace && disruption::selects(budget, pod)
        };
        let covered = pods.iter().zip(0..).filter(|(pod, _)| covers(pod));
        let allowed = budget.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or(0);
        Budget {
            items: covered.map(|(_, id)| ItemId(id)).collect(),
            at_once: usize::try_from(allowed).unwrap_or(0),
        }
    };
    listed.budgets.iter().map(budget).collect()
}

fn covered_twice(budgets: &[Budget], n_items: usize) -> Vec<bool> {
    let mut times = vec![0; n_items];
    for item in budgets.iter().flat_map(|budget| &budget.items) {
        times[item.at()] += 1;
    }
    times.into_iter().map(|times| times > 1).collect()
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
