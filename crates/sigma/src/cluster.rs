//! The state of the cluster in columns: one row per node, one column per resource and label key, kept up
//! incrementally by node and pod events.
//!
//! A node that went away keeps its row while pods are still bound to it, so that the events of nodes and pods may
//! come in any order.

mod budget;
mod changes;
mod columns;
mod count;
mod cpus;
mod gpus;
mod images;
mod leaving;
mod loads;
mod namespaces;
mod quotas;
mod template;
mod volumes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::gpu::NodeGpus;
use crate::interference::Interferences;
use crate::label::Labels;
use crate::node::{Node, Taint};
use crate::pod::{HostPort, Namespaces, Pod, PodId};
use crate::quota::Quotas;
use crate::reservation::Reservations;
use crate::resources::{CPU, MEMORY, PODS};
use crate::view::{ClassId, ClassKey, Ties, View, Views};

use changes::Changes;

pub use budget::Budget;
pub(crate) use budget::Budgets;
pub(crate) use columns::{CPU_COLUMN, LabelColumns, MEMORY_COLUMN, NO_VALUE, ResourceColumns};
pub(crate) use count::{CountId, CountKey, Counts};
pub(crate) use cpus::Cpus;
pub(crate) use gpus::{Ask, Beside, Class, Gpus};
pub(crate) use images::{Images, Wanted};
pub(crate) use loads::Loads;
pub(crate) use template::{Template, TemplateId, Templates};
pub(crate) use volumes::{AttachedVolumes, SortOfVolumes};

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
    pub(crate) cpus: Cpus,
    pub(crate) volumes: AttachedVolumes,
    pub(crate) images: Images,
    pub(crate) loads: Loads,
    are_images_settled: bool,
    pub(crate) changes: Changes,
    /// Counts changes of what is not a number about nodes: which there are, their labels, taints, cordons.
    pub(crate) structure: u64,
    views: Views,
    /// Rows by the hash of seed and name, so that their order depends on nothing else.
    order: Vec<Row>,
    is_ordered: bool,
    pub(crate) budgets: Budgets,
    pub(crate) interferences: Interferences,
    pub(crate) reservations: Reservations,
    pub(crate) quotas: Quotas,
    pods: HashMap<PodId, Placed>,
    n_arrivals: u64,
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
    pub(crate) pods: Vec<PodId>,
    /// Of seed and name: decides between nodes that are equally good.
    hash: u64,
    /// As last told, to see whether an update changes anything that is not a number.
    labels: Labels,
}

/// A pod on a row.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) row: Row,
    pub(crate) template: TemplateId,
    /// The larger, the later it came.
    pub(crate) arrival: u64,
    /// It was told to go, and holds its room until it has.
    pub(crate) is_leaving: bool,
    /// It was placed by the engine, and is not part of what its node was measured to use.
    pub(crate) is_estimated: bool,
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
            cpus: Cpus::default(),
            volumes: AttachedVolumes::default(),
            images: Images::default(),
            loads: Loads::default(),
            are_images_settled: true,
            changes: Changes::default(),
            structure: 0,
            views: Views::default(),
            order: Vec::new(),
            is_ordered: true,
            budgets: Budgets::default(),
            interferences: Interferences::default(),
            reservations: Reservations::default(),
            quotas: Quotas::default(),
            pods: HashMap::new(),
            n_arrivals: 0,
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

    /// What is known of a pod that is bound or assumed.
    pub fn pod(&self, id: &PodId) -> Option<&Arc<Pod>> {
        self.pods.get(id).map(|placed| &self.templates.get(placed.template).pod)
    }

    /// A node came or changed.
    pub fn set_node(&mut self, node: &Node) {
        let row = self.row_of(&node.name);
        let has_other_cpus = self.cpus.set(row, node.cpu_topology.as_ref());
        if self.resources.set_allocatable(row, &node.allocatable) || has_other_cpus {
            self.changes.touch(row, self.hosts.len());
        }
        let cpu_milli = node.allocatable.get(CPU).copied().unwrap_or(0);
        if self.gpus.set(row, &node.gpus, cpu_milli) {
            // What goes with a GPU is reckoned over all nodes.
            self.structure += 1;
        }
        self.set_images(row, &node.images);
        let host = &mut self.hosts[row];
        let is_same = host.is_present
            && host.is_unschedulable == node.unschedulable
            && host.taints == node.taints
            && host.labels == node.labels;
        if is_same {
            return;
        }
        self.are_images_settled &= host.is_present;
        self.n_present += usize::from(!host.is_present);
        host.is_present = true;
        host.is_unschedulable = node.unschedulable;
        host.taints.clone_from(&node.taints);
        host.labels.clone_from(&node.labels);
        self.labels.set(row, &node.labels);
        self.structure += 1;
    }

    /// A node went. Its pods stay known until they go themselves.
    pub fn remove_node(&mut self, name: &str) {
        let Some(&row) = self.rows.get(name) else { return };
        let host = &mut self.hosts[row];
        self.are_images_settled &= !host.is_present;
        self.n_present -= usize::from(host.is_present);
        host.is_present = false;
        self.gpus.set(row, &NodeGpus::default(), 0);
        self.cpus.set(row, None);
        self.set_images(row, &BTreeMap::new());
        self.forget_usage(row);
        // Its pods are in no domain until it comes back.
        self.labels.set(row, &Labels::new());
        self.structure += 1;
        self.free_if_empty(row);
    }

    /// A pod is bound to a node, or assumed to be soon. What was known of it before is replaced.
    pub fn add_pod(&mut self, id: &PodId, pod: &Arc<Pod>, node: &str) {
        // Interned before the old entry goes, so that an unchanged template is not dropped and built again.
        let template = self.intern(pod);
        let before = self.pods.get(id).filter(|placed| self.hosts[placed.row].name == node);
        let (arrival, is_leaving, is_estimated) = match before {
            // Nothing that matters to placement has changed.
            Some(before) if before.template == template => return self.drop_template(template),
            Some(before) => (before.arrival, before.is_leaving, before.is_estimated),
            None => (self.n_arrivals + 1, self.pods.get(id).is_some_and(|placed| placed.is_leaving), false),
        };
        self.remove_pod(id);
        self.n_arrivals = self.n_arrivals.max(arrival);
        let row = self.row_of(node);
        self.put(id.clone(), Placed { row, template, arrival, is_leaving, is_estimated });
    }

    /// A pod went, ended, or was not bound after all.
    pub fn remove_pod(&mut self, id: &PodId) {
        let Some(placed) = self.lift(id) else { return };
        self.drop_template(placed.template);
        self.free_if_empty(placed.row);
    }

    /// Takes a pod off its row; its template stays held.
    pub(crate) fn lift(&mut self, id: &PodId) -> Option<Placed> {
        let placed = self.pods.remove(id)?;
        self.unsettle(placed.row);
        let template = self.templates.get(placed.template);
        self.resources.release(placed.row, &template.demand);
        if template.pod.gpu.is_some() {
            self.gpus.release(id);
        }
        if template.pod.pinning.is_some() {
            self.cpus.release(id);
        }
        if placed.is_estimated {
            self.loads.subtract(placed.row, &template.pod);
        }
        self.volumes.release(placed.row, &template.pod.volumes);
        for &count in &template.counted_by {
            if !(placed.is_leaving && self.counts.ignores_leaving(count)) {
                self.counts.subtract(count, placed.row);
            }
        }
        let host = &mut self.hosts[placed.row];
        if let Some(position) = host.pods.iter().position(|each| each == id) {
            host.pods.swap_remove(position);
        }
        for port in &template.pod.host_ports {
            // One entry per pod that holds the port: two may hold it when someone else bound them.
            if let Some(position) = host.ports.iter().position(|held| held == port) {
                host.ports.swap_remove(position);
            }
        }
        self.quotas.subtract(quotas::entry(id, &template.pod, &placed));
        self.changes.touch(placed.row, self.hosts.len());
        self.reservations.note_lifted(id, placed.row);
        self.settle(placed.row);
        Some(placed)
    }

    /// As [`Cluster::add_pod`] for a template that is held already; takes over one reference to it.
    pub(crate) fn attach(&mut self, id: PodId, template: TemplateId, row: Row) {
        self.n_arrivals += 1;
        let (arrival, is_estimated) = (self.n_arrivals, self.loads.is_on());
        self.put(id, Placed { row, template, arrival, is_leaving: false, is_estimated });
    }

    /// Undoes [`Cluster::lift`].
    pub(crate) fn put(&mut self, id: PodId, placed: Placed) {
        let row = placed.row;
        self.unsettle(row);
        let template = self.templates.get(placed.template);
        if template.pod.gpu.is_some() {
            let beside = self.resources.beside(placed.row);
            self.gpus.attach(&id, placed.row, Ask::of(&template.pod), beside);
        }
        if template.pod.pinning.is_some() {
            self.cpus.attach(&id, row, &template.pod);
        }
        self.resources.take(placed.row, &template.demand);
        if placed.is_estimated {
            self.loads.add(placed.row, &template.pod);
        }
        self.volumes.take(placed.row, &template.pod.volumes);
        for &count in &template.counted_by {
            if !(placed.is_leaving && self.counts.ignores_leaving(count)) {
                self.counts.add(count, placed.row);
            }
        }
        let host = &mut self.hosts[placed.row];
        host.pods.push(id.clone());
        host.ports.extend(template.pod.host_ports.iter().cloned());
        self.quotas.add(quotas::entry(&id, &template.pod, &placed));
        self.changes.touch(placed.row, self.hosts.len());
        self.reservations.note_put(&id, row);
        self.pods.insert(id, placed);
        self.settle(row);
    }

    /// The template of `pod`, with one more reference.
    pub(crate) fn intern(&mut self, pod: &Arc<Pod>) -> TemplateId {
        if let Some(known) = self.templates.find(pod) {
            return known;
        }
        let demand = self.resources.demand(&pod.requests);
        // Pods that are there already are counted once, when the first template asks for the count.
        for key in CountKey::asked_for_by(pod) {
            if self.counts.acquire(&key) {
                self.fill_count(&key);
            }
        }
        let counted_by = self.counts.counting(pod, &self.namespaces);
        let heard = self.counts.speaking_of(pod, &self.namespaces);
        self.templates.insert(Arc::clone(pod), demand, [counted_by, heard])
    }

    /// Gives back one reference to a template.
    pub(crate) fn drop_template(&mut self, id: TemplateId) {
        let Some(gone) = self.templates.release(id) else { return };
        self.resources.give_up(&gone.demand);
        for key in CountKey::asked_for_by(&gone.pod) {
            self.drop_count(&key);
        }
    }

    /// Gives back one reference to a count.
    pub(crate) fn drop_count(&mut self, key: &CountKey) {
        let Some(count) = self.counts.release(key) else { return };
        self.templates.forget_count(count);
        // Views that look at the count go, and with them the templates that they hold.
        let held = self.views.forget_count(count);
        held.into_iter().for_each(|template| self.drop_template(template));
    }

    pub(crate) fn fill_count(&mut self, key: &CountKey) {
        let Some(count) = self.counts.find(key) else { return };
        self.templates.note_count(count, key, &self.namespaces);
        let is_counted = self.templates.counted(key, &self.namespaces);
        let ignores_leaving = self.counts.ignores_leaving(count);
        let counts =
            |placed: &&Placed| is_counted[placed.template.0] && !(placed.is_leaving && ignores_leaving);
        for placed in self.pods.values().filter(counts) {
            self.counts.add(count, placed.row);
        }
    }

    /// What is known of a pod that is bound or assumed.
    pub(crate) fn placed(&self, id: &PodId) -> Option<&Placed> {
        self.pods.get(id)
    }

    /// How pods of the template are placed: all that are placed alike share a view.
    pub(crate) fn class_of(&mut self, id: TemplateId) -> ClassId {
        let template = self.templates.get(id);
        let known = template.class.filter(|&(_, version)| version == self.images.version);
        if let Some((class, _)) = known.filter(|&(class, _)| self.views.touch(class)) {
            return class;
        }
        let sort_of_volumes = self.volumes.sort_of(&template.pod.volumes);
        let images = self.images.wanted(&template.pod.images);
        let ties = Ties {
            sides: self.interferences.binding(&template.pod, &self.namespaces),
            owned: self.reservations.owned_by(&template.pod, &self.namespaces),
        };
        let key = ClassKey::of(template, &self.namespaces, (sort_of_volumes, images, ties));
        let class = match self.views.find(&key) {
            Some(class) => class,
            None => {
                self.templates.hold(id);
                let (class, evicted) = self.views.insert(key, id, self.hosts.len());
                evicted.into_iter().for_each(|template| self.drop_template(template));
                class
            }
        };
        // Which of its volumes are attached somewhere may be another matter the next time.
        if self.templates.get(id).pod.volumes.attached.is_empty() {
            self.templates.set_class(id, (class, self.images.version));
        }
        class
    }

    /// Lets `look` see the cluster through the view of the template's class, as it is now.
    pub(crate) fn with_view<T>(&mut self, id: TemplateId, look: impl FnOnce(&Self, &mut View) -> T) -> T {
        if !self.are_images_settled {
            self.images.settle(self.n_present);
            self.are_images_settled = true;
        }
        let class = self.class_of(id);
        if !self.is_ordered {
            self.order.sort_by(|&one, &other| self.hosts[one].rank().cmp(&self.hosts[other].rank()));
            self.is_ordered = true;
        }
        let template = self.templates.get(id);
        let view = self.views.take(class);
        let mut view = match view {
            Some(mut view) => {
                view.refresh(self, template);
                view
            }
            None => Box::new(View::build(self, template)),
        };
        let seen = look(self, &mut view);
        self.views.give_back(class, view);
        seen
    }

    /// All rows of nodes that are there, in the order of their hashes.
    pub(crate) fn rows_in_order(&self) -> impl Iterator<Item = Row> {
        self.order.iter().copied().filter(|&row| self.hosts[row].is_present)
    }

    /// The row of a node that is known.
    pub(crate) fn row(&self, name: &str) -> Option<Row> {
        self.rows.get(name).copied()
    }

    pub(crate) fn row_of(&mut self, name: &str) -> Row {
        if let Some(&row) = self.rows.get(name) {
            return row;
        }
        let row = self.free_rows.pop_first().unwrap_or(self.hosts.len());
        if row == self.hosts.len() {
            self.hosts.push(Host::default());
        }
        self.hosts[row] = Host { name: name.to_owned(), hash: hash(self.seed, name), ..Host::default() };
        self.order.push(row);
        self.is_ordered = false;
        self.resources.reset(row);
        self.gpus.reset(row);
        self.cpus.reset(row);
        self.loads.reset(row);
        self.labels.set(row, &Labels::new());
        self.rows.insert(name.to_owned(), row);
        row
    }

    fn free_if_empty(&mut self, row: Row) {
        let host = &mut self.hosts[row];
        if host.is_present || !host.pods.is_empty() {
            return;
        }
        self.rows.remove(&host.name);
        *host = Host::default();
        self.order.retain(|&each| each != row);
        self.free_rows.insert(row);
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

impl Host {
    fn rank(&self) -> (u64, &str) {
        (self.hash, &self.name)
    }
}

/// A number that depends on nothing but the seed and the name, so that every run decides alike between equal nodes
/// (FNV-1a with a final mix).
fn hash(seed: u64, name: &str) -> u64 {
    let hash = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
