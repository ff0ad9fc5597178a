//! The state of the cluster in columns: one row per node, one column per resource and label key, kept up
//! incrementally by node and pod events.
//!
//! A node that went away keeps its row while pods are still bound to it, so that the events of nodes and pods may
//! come in any order.

mod columns;
mod count;
mod gpus;
mod template;

use std::collections::{BTreeSet, HashMap};

use crate::label::{Labels, Selector};
use crate::node::{Node, Taint};
use crate::pod::{HostPort, Namespaces, Pod, PodId};
use crate::resources::{CPU, MEMORY, PODS};

pub(crate) use columns::{CPU_COLUMN, LabelColumns, MEMORY_COLUMN, NO_VALUE, ResourceColumns};
pub(crate) use count::{CountId, CountKey, Counts};
pub(crate) use gpus::{Ask, Beside, Class, Gpus};
pub(crate) use template::{Template, TemplateId, Templates};

/// A row of the columns.
pub(crate) type Row = usize;

/// All nodes and all pods bound to them.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) seed: u64,
    pub(crate) hosts: Vec<Host>,
    rows: HashMap<String, Row>,
    free_rows: BTreeSet<Row>,
    pub(crate) resources: ResourceColumns,
    pub(crate) labels: LabelColumns,
    pub(crate) counts: Counts,
    pub(crate) templates: Templates,
    pub(crate) namespaces: Namespaces,
    pub(crate) gpus: Gpus,
    pods: HashMap<PodId, Placed>,
    n_present: usize,
}

/// What is not a number about one node.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) is_present: bool,
    pub(crate) is_unschedulable: bool,
    pub(crate) taints: Vec<Taint>,
    pub(crate) ports: Vec<HostPort>,
    n_pods: usize,
    /// As last told, to see whether an update changes anything that is not a number.
    labels: Labels,
}

#[derive(Debug)]
struct Placed {
    row: Row,
    template: TemplateId,
}

impl Cluster {
    /// An empty cluster. `seed` decides between nodes of equal score.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            hosts: Vec::new(),
            rows: HashMap::new(),
            free_rows: BTreeSet::new(),
            resources: ResourceColumns::default(),
            labels: LabelColumns::default(),
            counts: Counts::default(),
            templates: Templates::default(),
            namespaces: Namespaces::new(),
            gpus: Gpus::default(),
            pods: HashMap::new(),
            n_present: 0,
        }
    }

    pub fn n_nodes(&self) -> usize {
        self.n_present
    }

    pub fn n_pods(&self) -> usize {
        self.pods.len()
    }

    /// The node that `pod` is bound to or assumed on.
    pub fn node_of(&self, pod: &PodId) -> Option<&str> {
        self.pods.get(pod).map(|placed| self.hosts[placed.row].name.as_str())
    }

    /// A node came or changed.
    pub fn set_node(&mut self, node: &Node) {
        let row = self.row_of(&node.name);
        self.resources.set_allocatable(row, &node.allocatable);
        self.gpus.set(row, &node.gpus, node.allocatable.get(CPU).copied().unwrap_or(0));
        let host = &mut self.hosts[row];
        let is_same = host.is_present
            && host.is_unschedulable == node.unschedulable
            && host.taints == node.taints
            && host.labels == node.labels;
        if is_same {
            return;
        }
        self.n_present += usize::from(!host.is_present);
        host.is_present = true;
        host.is_unschedulable = node.unschedulable;
        host.taints.clone_from(&node.taints);
        host.labels.clone_from(&node.labels);
        self.labels.set(row, &node.labels);
    }

    /// A node went. Its pods stay known until they go themselves.
    pub fn remove_node(&mut self, name: &str) {
        let Some(&row) = self.rows.get(name) else { return };
        let host = &mut self.hosts[row];
        self.n_present -= usize::from(host.is_present);
        host.is_present = false;
        self.free_if_empty(row);
    }

    /// A namespace came or changed: terms may name its pods now, or no longer.
    pub fn set_namespace(&mut self, name: &str, labels: &Labels) {
        if self.namespaces.get(name) != Some(labels) {
            self.namespaces.insert(name.to_owned(), labels.clone());
            self.recount();
        }
    }

    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name).is_some() {
            self.recount();
        }
    }

    fn recount(&mut self) {
        let counts = self.counts.iter().filter(|(key, _)| key.depends_on_namespaces());
        let counts: Vec<(CountKey, CountId)> = counts.map(|(key, id)| (key.clone(), id)).collect();
        for (key, id) in counts {
            self.templates.forget_count(id);
            self.counts.clear(id);
            self.fill_count(&key);
        }
    }

    /// A pod is bound to a node, or assumed to be soon. What was known of it before is replaced.
    pub fn add_pod(&mut self, id: &PodId, pod: &Pod, node: &str) {
        // Interned before the old entry goes, so that an unchanged template is not dropped and built again.
        let template = self.intern(pod);
        self.remove_pod(id);
        let row = self.row_of(node);
        self.attach(id.clone(), Placed { row, template });
    }

    /// A pod went, ended, or was not bound after all.
    pub fn remove_pod(&mut self, id: &PodId) {
        let Some(placed) = self.pods.remove(id) else { return };
        let template = self.templates.get(placed.template);
        self.resources.release(placed.row, &template.demand);
        self.gpus.release(id);
        for count in &template.counted_by {
            self.counts.subtract(*count, placed.row);
        }
        let host = &mut self.hosts[placed.row];
        host.n_pods -= 1;
        for port in &template.pod.host_ports {
            // One entry per pod that holds the port: two may hold it when someone else bound them.
            if let Some(position) = host.ports.iter().position(|held| held == port) {
                host.ports.swap_remove(position);
            }
        }
        self.drop_template(placed.template);
        self.free_if_empty(placed.row);
    }

    /// As [`Cluster::add_pod`] for a template that is held already; takes over one reference to it.
    pub(crate) fn attach_interned(&mut self, id: PodId, template: TemplateId, row: Row) {
        self.attach(id, Placed { row, template });
    }

    fn attach(&mut self, id: PodId, placed: Placed) {
        let template = self.templates.get(placed.template);
        let beside = self.resources.beside(placed.row);
        self.gpus.attach(&id, placed.row, Ask::of(&template.pod), beside);
        self.resources.take(placed.row, &template.demand);
        for count in &template.counted_by {
            self.counts.add(*count, placed.row);
        }
        let host = &mut self.hosts[placed.row];
        host.n_pods += 1;
        host.ports.extend(template.pod.host_ports.iter().cloned());
        self.pods.insert(id, placed);
    }

    /// The template of `pod`, with one more reference.
    pub(crate) fn intern(&mut self, pod: &Pod) -> TemplateId {
        if let Some(known) = self.templates.find(pod) {
            return known;
        }
        let demand = self.resources.demand(&pod.requests);
        // Pods that are there already are counted once, when the first template asks for the count.
        let keys = CountKey::asked_for_by(pod);
        for key in &keys {
            if self.counts.acquire(key) {
                self.fill_count(key);
            }
        }
        let counted_by = self.counts.counting(pod, &self.namespaces);
        self.templates.insert(pod.clone(), demand, counted_by)
    }

    /// Gives back one reference to a template.
    pub(crate) fn drop_template(&mut self, id: TemplateId) {
        let Some(gone) = self.templates.release(id) else { return };
        for key in CountKey::asked_for_by(&gone.pod) {
            if let Some(count) = self.counts.release(&key) {
                self.templates.forget_count(count);
            }
        }
    }

    fn fill_count(&mut self, key: &CountKey) {
        let Some(count) = self.counts.find(key) else { return };
        self.templates.note_count(count, key, &self.namespaces);
        for placed in self.pods.values() {
            if key.matches(&self.templates.get(placed.template).pod, &self.namespaces) {
                self.counts.add(count, placed.row);
            }
        }
    }

    pub(crate) fn row(&self, name: &str) -> Option<Row> {
        self.rows.get(name).copied()
    }

    fn row_of(&mut self, name: &str) -> Row {
        if let Some(&row) = self.rows.get(name) {
            return row;
        }
        let row = self.free_rows.pop_first().unwrap_or(self.hosts.len());
        if row == self.hosts.len() {
            self.hosts.push(Host::default());
        }
        self.hosts[row] = Host { name: name.to_owned(), ..Host::default() };
        self.resources.reset(row);
        self.gpus.reset(row);
        self.labels.set(row, &Labels::new());
        self.rows.insert(name.to_owned(), row);
        row
    }

    fn free_if_empty(&mut self, row: Row) {
        let host = &mut self.hosts[row];
        if host.is_present || host.n_pods > 0 {
            return;
        }
        self.rows.remove(&host.name);
        *host = Host::default();
        self.free_rows.insert(row);
    }

    /// Pods matched by `selector` in `namespace` on each row.
    pub(crate) fn matched_pods(&self, namespace: &str, selector: &Selector) -> Option<&[u32]> {
        let key = CountKey::Selected { namespace: namespace.to_owned(), selector: selector.clone() };
        self.counts.find(&key).map(|count| self.counts.per_row(count))
    }

    /// What of a resource is free on a node.
    pub fn free(&self, node: &str, resource: &str) -> Option<u64> {
        let row = self.row(node)?;
        Some(self.resources.free(row, resource))
    }

    /// Amounts of `cpu`, `memory` and `pods` in use on a node, for tables and tests.
    pub fn used(&self, node: &str) -> Option<[u64; 3]> {
        let row = *self.rows.get(node)?;
        Some([CPU, MEMORY, PODS].map(|name| self.resources.used(row, name)))
    }
}
