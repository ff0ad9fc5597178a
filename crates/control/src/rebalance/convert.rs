//! A listed cluster in the optimiser's words. Pods that are alike to the scheduler are one app.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use model::interference_rule::InterferenceRule;
use model::reservation::{Reservation, ReservationPhase};
use sigma::Usage;
use sigma::node::Effect;
use sigma::optimise::{
    App, AppId, Budget, Item, ItemId, Machine, MachineId, Parts, Placement, Problem, ProblemError, Rule, Tie,
};
use sigma::pod::Namespaces;
use sigma::resources::{CPU, MEMORY, PODS};

use super::{Hold, View, measured};
use crate::disruption;
use crate::owner;
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

pub(super) fn convert<'a>(view: &View<'a>) -> Result<Converted<'a>, ProblemError> {
    let nodes: Vec<sigma::node::Node> = view.nodes.iter().map(|node| crate::sigma::node(node)).collect();
    let places: HashMap<&str, u32> = nodes.iter().map(|node| node.name.as_str()).zip(0..).collect();
    let place = |pod: &Pod| {
        let promised = || pod.status.as_ref()?.nominated_node_name.as_deref();
        places.get(pods::node_name(pod).or_else(promised)?).copied().map(MachineId)
    };
    let running = view.pods.iter().copied().filter(|pod| !pods::has_ended(pod));
    let (pods, mut placement): (Vec<&Pod>, Vec<_>) =
        running.filter_map(|pod| Some((pod, Some(place(pod)?)))).unzip();
    let mut apps = Apps::default();
    let used = |pod: &Pod, seen: &sigma::Pod| {
        let asked = measured::asked_by(seen);
        view.measured.map_or(asked, |measured| measured.of(pod, asked))
    };
    let of_pods: Vec<AppId> = pods
        .iter()
        .map(|pod| {
            let seen = crate::sigma::pod(pod);
            let used = used(pod, &seen);
            apps.intern(seen, used)
        })
        .collect();
    let namespaces = namespaces(view);
    let bound = apps.bound_by_others(&view.interference_rules, &namespaces);
    let budgets = budgets(view, &pods);
    let several = covered_twice(&budgets, pods.len());
    let mut held = BTreeMap::new();
    let mut items = Vec::new();
    for ((pod, app), several) in pods.iter().zip(&of_pods).zip(several) {
        let by_others = bound.contains(app).then_some(Hold::Neighbours);
        let told = pod.metadata.uid.as_deref().and_then(|uid| view.holds.get(uid)).copied();
        let waits = pods::node_name(pod).is_none().then_some(Hold::NotReady);
        let hold = Hold::of(pod, &apps.seen[app.at()])
            .or(waits)
            .or(told)
            .or(by_others)
            .or(several.then_some(Hold::SeveralBudgets));
        if let Some(hold) = hold {
            *held.entry(hold).or_default() += 1;
        }
        items.push(Item { app: *app, tie: hold.map_or(Tie::Free, Hold::tie) });
    }
    for (node, seen, used) in of_the_nodes(view, &nodes, (&items, &apps, &placement)) {
        placement.push(Some(node));
        items.push(Item { app: apps.intern(seen, used), tie: Tie::Resident });
    }
    let counted = Counted::of(&apps, &nodes, view.measured.is_some());
    let ready: Vec<bool> = view.nodes.iter().map(|node| is_ready(node)).collect();
    let parts = Parts {
        points: 1,
        machines: nodes.iter().map(|node| machine(node, &counted)).collect(),
        apps: apps
            .all()
            .map(|(id, seen)| app((seen, apps.used[id.at()]), &counted, (&nodes, &ready)))
            .collect(),
        items,
        rules: apps.rules(&namespaces),
    };
    let names = nodes.into_iter().map(|node| node.name).collect();
    Ok(Converted { problem: Problem::try_new(parts)?, placement, budgets, nodes: names, pods, held })
}

fn namespaces(view: &View<'_>) -> Namespaces {
    let labelled = view.namespaces.iter().map(|each| {
        let meta = &each.metadata;
        (meta.name.clone().unwrap_or_default(), meta.labels.clone().unwrap_or_default())
    });
    labelled.collect()
}

/// What is taken of nodes without a pod: room that is held, and what was measured to be in use beside the pods.
fn of_the_nodes(
    view: &View<'_>,
    nodes: &[sigma::node::Node],
    (items, apps, placement): (&[Item], &Apps, &Placement),
) -> Vec<(MachineId, sigma::Pod, Usage)> {
    let mut found = Vec::new();
    for (node, id) in nodes.iter().zip((0..).map(MachineId)) {
        let is_here = |reservation: &&&Reservation| {
            let status = reservation.status.as_ref();
            status.is_some_and(|status| {
                status.phase == ReservationPhase::Held && status.node_name.as_ref() == Some(&node.name)
            })
        };
        for reservation in view.reservations.iter().filter(is_here) {
            let seen = crate::sigma::pod(&crate::sigma::stand_in(reservation));
            let asked = measured::asked_by(&seen);
            found.push((id, seen, asked));
        }
        if let Some(measured) = view.measured {
            let here = items.iter().zip(placement).filter(|(_, machine)| **machine == Some(id));
            let of_pods = here.map(|(item, _)| apps.used[item.app.at()]);
            let beside = measured.beside_pods(&node.name, of_pods);
            found.extend((beside != Usage::default()).then(|| (id, nobody(), beside)));
        }
    }
    found
}

/// A pod that asks for nothing, for what runs beside pods.
fn nobody() -> sigma::Pod {
    crate::sigma::pod(&Pod::default())
}

/// Kinds of Pods, each once.
#[derive(Default)]
struct Apps {
    seen: Vec<sigma::Pod>,
    /// What a pod of each uses.
    used: Vec<Usage>,
    known: HashMap<(sigma::Pod, Usage), AppId>,
}

impl Apps {
    fn intern(&mut self, pod: sigma::Pod, used: Usage) -> AppId {
        let next = AppId(u32::try_from(self.seen.len()).unwrap_or(u32::MAX));
        *self.known.entry((pod, used)).or_insert_with_key(|(pod, used)| {
            self.seen.push(pod.clone());
            self.used.push(*used);
            next
        })
    }

    fn all(&self) -> impl Iterator<Item = (AppId, &sigma::Pod)> {
        (0..).map(AppId).zip(&self.seen)
    }

    /// Apps that others must be near, or away from in domains larger than a node, and those that rules against interference
    /// name: these stay as well.
    fn bound_by_others(&self, rules: &[&InterferenceRule], namespaces: &Namespaces) -> BTreeSet<AppId> {
        let rules: Vec<sigma::Interference> =
            rules.iter().map(|rule| crate::sigma::interference(rule)).collect();
        let terms: BTreeSet<_> = self
            .seen
            .iter()
            .flat_map(|pod| {
                let wide = pod.forbidden_pods.iter().filter(|term| term.topology_key != HOSTNAME);
                pod.required_pods.iter().chain(wide)
            })
            .chain(rules.iter().flat_map(|rule| [&rule.pods, &rule.beside]))
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

/// Whatever must fit in whole numbers. Where use is measured, what is asked for of CPU and memory is among it.
struct Counted(Vec<String>);

impl Counted {
    fn of(apps: &Apps, nodes: &[sigma::node::Node], is_measured: bool) -> Self {
        let asked = apps.seen.iter().flat_map(|pod| pod.requests.keys());
        let offered = nodes.iter().flat_map(|node| node.allocatable.keys());
        let names: BTreeSet<&String> = asked.chain(offered).collect();
        let is_count = |name: &&&String| {
            let is_curve = !is_measured && [CPU, MEMORY].contains(&name.as_str());
            !is_curve && name.as_str() != PODS
        };
        let others: Vec<String> = names.iter().filter(is_count).map(|name| (*name).clone()).collect();
        Self(others.into_iter().chain([PODS.to_owned()]).collect())
    }
}

fn amount(amounts: &sigma::resources::Amounts, name: &str) -> u64 {
    amounts.get(name).copied().unwrap_or(0)
}

fn machine(node: &sigma::node::Node, counted: &Counted) -> Machine {
    Machine {
        cpu: amount(&node.allocatable, CPU) as f64,
        memory: amount(&node.allocatable, MEMORY) as f64,
        counts: counted.0.iter().map(|name| amount(&node.allocatable, name)).collect(),
    }
}

fn app(
    (pod, used): (&sigma::Pod, Usage),
    counted: &Counted,
    (nodes, ready): (&[sigma::node::Node], &[bool]),
) -> App {
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
        cpu: vec![used.cpu as f64],
        memory: vec![used.memory as f64],
        counts: counted.0.iter().map(count).collect(),
        machines: (machines.len() < nodes.len()).then_some(machines),
    }
}

fn budgets(view: &View<'_>, pods: &[&Pod]) -> Vec<Budget> {
    let budget = |budget: &PodDisruptionBudget| {
        let covers = |pod: &Pod| {
            pod.metadata.namespace == budget.metadata.namespace && disruption::selects(budget, pod)
        };
        let covered = pods.iter().zip(0..).filter(|(pod, _)| covers(pod));
        let status = budget.status.as_ref();
        let allowed = status.and_then(|status| status.disruptions_allowed).unwrap_or(0);
        // With one more that is up, one may go.
        let has_enough = status.is_some_and(|status| {
            status.current_healthy.is_some() && status.current_healthy >= status.desired_healthy
        });
        let is_replaced =
            |pod: &&Pod| owner::controller(&pod.metadata).is_some_and(|owner| owner.kind == "ReplicaSet");
        let are_replaced =
            view.replaces && has_enough && pods.iter().filter(|pod| covers(pod)).all(is_replaced);
        let allowed = if are_replaced { allowed.max(1) } else { allowed };
        Budget {
            items: covered.map(|(_, id)| ItemId(id)).collect(),
            at_once: usize::try_from(allowed).unwrap_or(0),
        }
    };
    view.budgets.iter().map(|each| budget(each)).collect()
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
