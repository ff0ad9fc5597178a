//! Nodes and Pods as the hosts and the batch work that a tide is decided on. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use level0::tide::{Host, Pace, Size, Unit};
use model::QosClass;
use model::dagjob::DagJob;
use model::names::{BATCH_CPU, BATCH_MEMORY, JOB_LABEL, TASK_LABEL};
use model::tide::{EXPECTED_SECONDS, TIDE_MARK, Tide, TideMark};

use crate::fuxi::machines;
use crate::key::ObjectKey;
use crate::{owner, pods};

/// The jobs whose workers are about, for what they tell of their instances.
pub type Jobs = BTreeMap<ObjectKey, DagJob>;

/// Between two instances a worker may wait for its master.
const PAUSE: SignedDuration = SignedDuration::from_secs(2);

/// A cluster as it stands.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) nodes: Vec<&'a Node>,
    pub(super) pods: Vec<&'a Pod>,
    pub(super) jobs: &'a Jobs,
    pub(super) now: Timestamp,
}

/// A Node that a tide may take, has, or is said to have.
struct Meant<'a> {
    name: &'a str,
    node: &'a Node,
    is_selected: bool,
    /// Another tide has it.
    is_others: bool,
    /// What it says of this one.
    mark: Option<TideMark>,
}

/// Whether two versions of a Node are the same to a tide: most changes are of what the agent measures.
pub(super) fn is_alike(before: &Node, after: &Node) -> bool {
    fn seen(node: &Node) -> impl PartialEq {
        let mark = node.metadata.annotations.as_ref().and_then(|annotations| annotations.get(TIDE_MARK));
        let spec = node.spec.as_ref().map(|spec| (&spec.taints, spec.unschedulable));
        (mark, &node.metadata.labels, &node.metadata.deletion_timestamp, spec, machines::is_open(node))
    }
    seen(before) == seen(after)
}

/// Whether a Pod is batch work that leaves when its host is drained: one of a DaemonSet belongs to the host.
pub(super) fn is_batch_work(pod: &Pod) -> bool {
    let of_the_node = owner::controller(&pod.metadata).is_some_and(|owner| owner.kind == "DaemonSet");
    QosClass::of(pod) == QosClass::Batch && !pods::has_ended(pod) && !of_the_node
}

/// The job of a worker.
pub(super) fn job_of(pod: &Pod) -> Option<ObjectKey> {
    let name = pod.metadata.labels.as_ref()?.get(JOB_LABEL)?;
    Some(ObjectKey::new(pod.metadata.namespace.as_deref().unwrap_or_default(), name))
}

impl View<'_> {
    /// The Nodes that a tide may take, has, or is said to have.
    pub(super) fn hosts(&self, tide: &Tide) -> Vec<Host> {
        let mut batch: BTreeMap<&str, Vec<Unit>> = BTreeMap::new();
        for pod in self.pods.iter().filter(|pod| is_batch_work(pod)) {
            if let Some(node) = pods::node_name(pod) {
                batch.entry(node).or_default().push(self.unit(pod));
            }
        }
        let units = |meant: Meant<'_>| {
            let units = batch.remove(meant.name).unwrap_or_default();
            Host {
                name: meant.name.to_owned(),
                is_selected: meant.is_selected,
                is_able: machines::is_open(meant.node) && !meant.is_others,
                mark: meant.mark,
                offer: offer(meant.node),
                units,
            }
        };
        self.meant(tide).map(units).collect()
    }

    /// The jobs with workers on these.
    pub(super) fn jobs_of(&self, tide: &Tide) -> BTreeSet<ObjectKey> {
        let meant: BTreeSet<&str> = self.meant(tide).map(|meant| meant.name).collect();
        let is_there = |pod: &&&Pod| pods::node_name(pod).is_some_and(|node| meant.contains(node));
        let there = self.pods.iter().filter(is_there).filter(|pod| is_batch_work(pod));
        there.filter_map(|pod| job_of(pod)).collect()
    }

    fn meant<'b>(&'b self, tide: &'b Tide) -> impl Iterator<Item = Meant<'b>> {
        let own = tide.metadata.name.as_deref().unwrap_or_default();
        let selector = tide.spec.selector.as_ref().map(owner::selector);
        let held: BTreeSet<&str> =
            tide.status.iter().flat_map(|status| &status.hosts).map(|host| host.node.as_str()).collect();
        self.nodes.iter().filter_map(move |node| {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let labels = node.metadata.labels.clone().unwrap_or_default();
            let is_selected = selector.as_ref().is_none_or(|selector| selector.matches(&labels));
            let mark = TideMark::of(node.metadata.annotations.as_ref());
            let is_others = mark.as_ref().is_some_and(|mark| mark.tide != own);
            let mark = mark.filter(|_| !is_others);
            let is_meant = is_selected || mark.is_some() || held.contains(name);
            is_meant.then_some(Meant { name, node, is_selected, is_others, mark })
        })
    }

    fn unit(&self, pod: &Pod) -> Unit {
        let meta = &pod.metadata;
        let spec = pod.spec.as_ref();
        let requests = crate::sigma::pod(pod).requests;
        let amount = |name: &str| requests.get(name).copied().unwrap_or(0);
        let job = job_of(pod).and_then(|key| self.jobs.get(&key));
        let made = meta.creation_timestamp.as_ref().map_or(self.now, |time| time.0);
        let of_pod = spec.and_then(|spec| spec.priority).unwrap_or(0);
        Unit {
            id: meta.uid.clone().unwrap_or_default(),
            priority: of_pod.saturating_add(job.map_or(0, |job| job.spec.priority)),
            age: self.now.duration_since(made).max(SignedDuration::ZERO),
            size: Size { milli_cpu: amount(BATCH_CPU), memory: amount(BATCH_MEMORY) },
            pace: self.pace(pod, job),
            going: meta.deletion_timestamp.as_ref().map(|time| time.0.duration_since(self.now)),
        }
    }

    /// A worker goes on as long as its task has instances; they will take what the longest took, and a quarter more to be
    /// sure. Of others their owner may say it.
    fn pace(&self, pod: &Pod, job: Option<&DagJob>) -> Pace {
        let task = pod.metadata.labels.as_ref().and_then(|labels| labels.get(TASK_LABEL));
        let status = job.and_then(|job| job.status.as_ref()?.tasks.get(task?));
        if job_of(pod).is_some() {
            let each = status.and_then(|status| status.took_millis).map(|took| {
                let millis = took.max.saturating_add(took.max / 4);
                SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)).saturating_add(PAUSE)
            });
            return Pace::Repeats { each };
        }
        let expected: Option<u32> =
            pods::annotation(pod, EXPECTED_SECONDS).and_then(|text| text.parse().ok());
        let since =
            pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map_or(self.now, |time| time.0);
        let left = expected
            .map(|seconds| SignedDuration::from_secs(seconds.into()) - self.now.duration_since(since));
        left.filter(SignedDuration::is_positive).map_or(Pace::Unknown, |left| Pace::Once { left })
    }
}

fn offer(node: &Node) -> Size {
    let capacity = machines::capacity(node);
    Size { milli_cpu: capacity.cpu.0, memory: capacity.memory.0 }
}
