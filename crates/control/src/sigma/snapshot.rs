//! A cluster as it was listed or dumped: all objects that placement looks at, and no others.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1alpha2 as workload;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use kube::api::{ListParams, ObjectList};
use kube::{Api, Client, Resource};
use model::elastic_quota::ElasticQuota;
use model::interference_rule::InterferenceRule;
use model::pod_group::PodGroup;
use model::reservation::Reservation;
use model::scheduling_policy::SchedulingPolicy;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sigma::Usage;

use super::load;

/// Why a cluster could not be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {what}")]
pub struct ListError {
    what: String,
    source: kube::Error,
}

/// What was there.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub nodes: Vec<Node>,
    pub pods: Vec<Pod>,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) budgets: Vec<PodDisruptionBudget>,
    pub(super) claims: Vec<PersistentVolumeClaim>,
    pub(super) volumes: Vec<PersistentVolume>,
    pub(super) classes: Vec<StorageClass>,
    pub(super) csi_nodes: Vec<CSINode>,
    pub(super) groups: Vec<PodGroup>,
    pub(super) workload_groups: Vec<workload::PodGroup>,
    pub(super) policies: Vec<SchedulingPolicy>,
    pub(super) rules: Vec<InterferenceRule>,
    pub(super) reservations: Vec<Reservation>,
    pub(super) quotas: Vec<ElasticQuota>,
    /// What nodes use, and how long ago that was.
    pub(super) usage: Vec<(String, Usage, Duration)>,
    /// When it was; `None` where that is not known, and then nothing runs out.
    pub(super) taken: Option<Timestamp>,
    /// Kinds that are served but may not be read: what they say is not looked at.
    pub unread: Vec<String>,
}

impl Snapshot {
    /// Takes in an object; one of a kind that placement does not depend on is passed over.
    pub fn add(&mut self, group: &str, kind: &str, object: Value) -> serde_json::Result<()> {
        fn push<T: DeserializeOwned>(list: &mut Vec<T>, object: Value) -> serde_json::Result<()> {
            list.push(serde_json::from_value(object)?);
            Ok(())
        }
        match (group, kind) {
            ("", "Node") => push(&mut self.nodes, object),
            ("", "Pod") => push(&mut self.pods, object),
            ("", "Namespace") => push(&mut self.namespaces, object),
            ("", "PersistentVolume") => push(&mut self.volumes, object),
            ("", "PersistentVolumeClaim") => push(&mut self.claims, object),
            ("policy", "PodDisruptionBudget") => push(&mut self.budgets, object),
            ("storage.k8s.io", "StorageClass") => push(&mut self.classes, object),
            ("storage.k8s.io", "CSINode") => push(&mut self.csi_nodes, object),
            ("scheduling.k8s.io", "PodGroup") => push(&mut self.workload_groups, object),
            ("crest.dev", "PodGroup") => push(&mut self.groups, object),
            ("crest.dev", "SchedulingPolicy") => push(&mut self.policies, object),
            ("crest.dev", "InterferenceRule") => push(&mut self.rules, object),
            ("crest.dev", "ElasticQuota") => push(&mut self.quotas, object),
            ("crest.dev", "Reservation") => push(&mut self.reservations, object),
            _ => Ok(()),
        }
    }

    /// As [`Snapshot::add`] for what a manifest holds: where it names no namespace, `namespace` is meant.
    pub fn add_to(
        &mut self,
        namespace: &str,
        group: &str,
        kind: &str,
        mut object: Value,
    ) -> serde_json::Result<()> {
        if let Some(metadata) =
            object.get_mut("metadata").and_then(Value::as_object_mut).filter(|_| is_namespaced(kind))
        {
            metadata.entry("namespace").or_insert_with(|| namespace.into());
        }
        self.add(group, kind, object)
    }

    /// Has pods that wait be placed whichever scheduler they name: a policy may name it, else they are as those of
    /// `scheduler_name`.
    pub fn adopt_waiting(&mut self, scheduler_name: &str) {
        let named: BTreeSet<&String> =
            self.policies.iter().filter_map(|policy| policy.spec.scheduler_name.as_ref()).collect();
        let waiting = self.pods.iter_mut().filter(|pod| crate::pods::node_name(pod).is_none());
        for spec in waiting.filter_map(|pod| pod.spec.as_mut()) {
            if spec.scheduler_name.as_ref().is_none_or(|name| !named.contains(name)) {
                spec.scheduler_name = Some(scheduler_name.to_owned());
            }
        }
    }

    /// Lists a cluster with the rights of `client`. Nodes, pods and namespaces must be readable; of the rest, what is not
    /// served is not there, and what may not be read is named. What nodes use is asked for `with_usage`.
    pub async fn list(client: &Client, now: Timestamp, with_usage: bool) -> Result<Self, ListError> {
        let (nodes, pods, namespaces) = tokio::try_join!(list(client), list(client), list(client))?;
        let mut unread = Vec::new();
        let mut snapshot = Self {
            nodes,
            pods,
            namespaces,
            budgets: readable(client, &mut unread).await?,
            claims: readable(client, &mut unread).await?,
            volumes: readable(client, &mut unread).await?,
            classes: readable(client, &mut unread).await?,
            csi_nodes: readable(client, &mut unread).await?,
            groups: readable(client, &mut unread).await?,
            workload_groups: readable(client, &mut unread).await?,
            policies: readable(client, &mut unread).await?,
            rules: readable(client, &mut unread).await?,
            reservations: readable(client, &mut unread).await?,
            quotas: readable(client, &mut unread).await?,
            usage: Vec::new(),
            taken: Some(now),
            unread,
        };
        if with_usage {
            match load::figures(client, now).await {
                Ok(usage) => snapshot.usage = usage,
                Err(_) => snapshot.unread.push(load::WHAT.to_owned()),
            }
        }
        Ok(snapshot)
    }

    /// Leaves out pods that wait for a node.
    pub fn drop_waiting(&mut self) {
        self.pods.retain(|pod| crate::pods::node_name(pod).is_some());
    }
}

fn is_namespaced(kind: &str) -> bool {
    matches!(kind, "Pod" | "PersistentVolumeClaim" | "PodDisruptionBudget" | "PodGroup" | "Reservation")
}

pub(crate) trait Listed: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug {}

impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug> Listed for K {}

pub(crate) async fn list<K: Listed>(client: &Client) -> Result<Vec<K>, ListError> {
    all(client).await.map(|list| list.items).map_err(|source| ListError { what: name::<K>(), source })
}

/// All objects of a kind; none where it is not served, and where it may not be read, which is noted.
pub(crate) async fn readable<K: Listed>(
    client: &Client,
    unread: &mut Vec<String>,
) -> Result<Vec<K>, ListError> {
    match all(client).await {
        Ok(list) => return Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(kube::Error::Api(status)) if status.code == 403 => unread.push(name::<K>()),
        Err(source) => return Err(ListError { what: name::<K>(), source }),
    }
    Ok(Vec::new())
}

async fn all<K: Listed>(client: &Client) -> kube::Result<ObjectList<K>> {
    Api::<K>::all(client.clone()).list(&ListParams::default()).await
}

/// As `kubectl` names it: `podgroups.crest.dev`.
fn name<K: Listed>() -> String {
    let (plural, group) = (K::plural(&()), K::group(&()));
    if group.is_empty() { plural.into_owned() } else { format!("{plural}.{group}") }
}
