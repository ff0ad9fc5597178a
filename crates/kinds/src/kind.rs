//! The table of kinds: what the server serves, under which path, with which verbs. One entry adds a kind.

mod access;
mod cluster;
mod core;
mod extensions;
mod metrics;
mod workloads;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use crate::custom::Version;

/// Whether the objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// A part of an object with a path of its own, such as `pods/<name>/log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subresource {
    pub name: &'static str,
    /// The kind that its bodies have, which is not always the owner's: `Scale`, `PodExecOptions`.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

/// A kind of object: what is fixed about it, and for a kind that a user defined, what the definition says at present.
#[derive(Clone, Debug)]
pub struct Kind {
    entry: Entry,
    custom: Option<Arc<Version>>,
}

/// What is fixed about a kind of object: its entry in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    pub subresources: &'static [Subresource],
    pub verbs: &'static [&'static str],
    /// The name of its schema in OpenAPI documents, for example `io.k8s.api.core.v1.Pod`.
    pub schema: &'static str,
    /// The group under which its objects are stored: two groups may serve the same objects (events).
    pub(crate) storage_group: &'static str,
    /// The kind of its lists where that is not the usual one; empty for `<kind>List`.
    pub(crate) list_kind: &'static str,
}

impl Deref for Kind {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

/// Two kinds are the same if they have the same names and the same definition.
impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        let same_definition = match (&self.custom, &other.custom) {
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            (None, None) => true,
            _ => false,
        };
        self.entry == other.entry && same_definition
    }
}

impl Eq for Kind {}

impl Kind {
    /// A kind that a user defined.
    pub(crate) fn custom_of(entry: Entry, version: Arc<Version>) -> Self {
        Self { entry, custom: Some(version) }
    }

    /// What its definition says, if a user defined it.
    pub fn custom(&self) -> Option<&Version> {
        self.custom.as_deref()
    }

    /// Whether the kind is one of Kubernetes' own: only those have a protobuf form and strategic merge patches.
    pub fn is_builtin(&self) -> bool {
        self.custom.is_none() && self.group != model::names::GROUP
    }

    /// The name of a kind of the table, and nothing of a kind that a user defined: what is special about a `Service` is
    /// not about a user's kind of this name.
    pub fn table_name(&self) -> &'static str {
        if self.custom.is_some() { "" } else { self.kind }
    }
}

impl Entry {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        join_group_version(self.group, self.version)
    }

    /// `/api/v1`, `/apis/apps/v1`.
    pub fn path_prefix(&self) -> String {
        let api_version = self.api_version();
        if self.group.is_empty() { format!("/api/{api_version}") } else { format!("/apis/{api_version}") }
    }

    /// Where its objects are stored: `/registry/core/pods/`, always with the slash at the end.
    pub fn storage_prefix(&self) -> String {
        let group = if self.storage_group.is_empty() { "core" } else { self.storage_group };
        format!("/registry/{group}/{}/", self.plural)
    }

    /// The group under which its objects are stored.
    pub fn storage_group(&self) -> &'static str {
        self.storage_group
    }

    /// `pods`, `deployments.apps`: how messages name the resource.
    pub fn qualified_resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `PodList`.
    pub fn list_kind(&self) -> String {
        if self.list_kind.is_empty() { format!("{}List", self.kind) } else { self.list_kind.to_owned() }
    }

    /// Whether its objects are kept. Reviews, bindings and the like are only asked for and answered.
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"create") && self.verbs.contains(&"list")
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// One of its subresources by name, `status` for example.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// What of an object's metadata a write to its status may change as well. What controllers of the first kinds have
    /// always done is not taken from them; later kinds keep the two apart.
    pub fn marks_of_status(&self) -> &'static [&'static str] {
        const EARLY: [&str; 8] = [
            "",
            "apps",
            "batch",
            "autoscaling",
            "policy",
            "networking.k8s.io",
            "storage.k8s.io",
            "certificates.k8s.io",
        ];
        match self.kind {
            _ if !EARLY.contains(&self.group) => &[],
            "Deployment" => &["annotations"],
            _ => &["annotations", "labels"],
        }
    }

    /// Whether an object that is not there is made by an update of it.
    pub fn is_created_by_update(&self) -> bool {
        match self.group {
            "" => matches!(self.kind, "Endpoints" | "Event" | "LimitRange" | "Service"),
            "coordination.k8s.io" | "events.k8s.io" | "rbac.authorization.k8s.io" => true,
            _ => false,
        }
    }

    /// Whether an object may be replaced by one that does not say which state it follows.
    pub fn is_replaced_unseen(&self) -> bool {
        match self.group {
            "admissionregistration.k8s.io"
            | "apiextensions.k8s.io"
            | "apiregistration.k8s.io"
            | "coordination.k8s.io"
            | "node.k8s.io"
            | "policy" => false,
            "storage.k8s.io" => matches!(self.kind, "StorageClass" | "VolumeAttributesClass"),
            _ => true,
        }
    }

    /// Whether `self` and `other` serve the same stored objects under two groups.
    pub fn shares_storage_with(&self, other: &Self) -> bool {
        self.storage_group == other.storage_group && self.plural == other.plural
    }
}

/// All kinds of the table, in the order in which discovery lists their groups.
pub fn all() -> &'static [Kind] {
    &KINDS
}

/// The kinds that are measured and not stored. They are no part of the table: not every server has agents to ask.
pub fn measured() -> &'static [Kind] {
    static MEASURED: LazyLock<Vec<Kind>> = LazyLock::new(|| {
        let kind = |entry: &Entry| Kind { entry: *entry, custom: None };
        metrics::METRICS_KINDS.iter().map(kind).collect()
    });
    &MEASURED
}

/// The kind behind a path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    INDEX.get(&(group, version, plural)).copied()
}

/// The kind that a body names.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|entry| entry.group == group && entry.version == version && entry.kind == kind)
}

/// The kind that a body names, by its `apiVersion`.
pub fn find_api_version(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    find_kind(group, version, kind)
}

pub(crate) fn join_group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const READ_WRITE: &[&str] = &["get", "patch", "update"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// What the kinds of one group version have in common, so that an entry says only what is its own.
const fn group(group: &'static str, version: &'static str) -> Entry {
    Entry {
        group,
        version,
        kind: "",
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        subresources: &[],
        verbs: ALL_VERBS,
        schema: "",
        storage_group: group,
        list_kind: "",
    }
}

/// A subresource that is read and written, with bodies of `kind` in version `v1` of `group`.
const fn part(name: &'static str, group: &'static str, kind: &'static str) -> Subresource {
    Subresource { name, group, version: "v1", kind, verbs: READ_WRITE }
}

const SCALE: Subresource = part("scale", "autoscaling", "Scale");

/// How entries are written.
impl Entry {
    /// A kind whose objects live in namespaces; the names are kind, singular, plural and schema.
    const fn namespaced(self, [kind, singular, plural, schema]: [&'static str; 4]) -> Self {
        Self { kind, singular, plural, schema, ..self }
    }

    /// As [`Kind::namespaced`] for objects of the whole cluster.
    const fn cluster(self, names: [&'static str; 4]) -> Self {
        Self { scope: Scope::Cluster, ..self.namespaced(names) }
    }

    const fn short(self, short_names: &'static [&'static str]) -> Self {
        Self { short_names, ..self }
    }

    const fn within(self, categories: &'static [&'static str]) -> Self {
        Self { categories, ..self }
    }

    const fn verbs(self, verbs: &'static [&'static str]) -> Self {
        Self { verbs, ..self }
    }

    const fn with(self, subresources: &'static [Subresource]) -> Self {
        Self { subresources, ..self }
    }
}

/// By group, version and plural: every request asks for a dozen.
static INDEX: LazyLock<HashMap<(&str, &str, &str), &Kind>> =
    LazyLock::new(|| KINDS.iter().map(|kind| ((kind.group, kind.version, kind.plural), kind)).collect());

static KINDS: LazyLock<Vec<Kind>> =
    LazyLock::new(|| GROUPS.concat().into_iter().map(|entry| Kind { entry, custom: None }).collect());

/// The group versions in discovery's order: the preferred version of a group stands first.
const GROUPS: &[&[Entry]] = &[
    core::CORE_KINDS,
    extensions::APIREGISTRATION_KINDS,
    workloads::APPS_KINDS,
    cluster::EVENTS_KINDS,
    access::AUTHENTICATION_KINDS,
    access::AUTHORIZATION_KINDS,
    workloads::AUTOSCALING_V2_KINDS,
    workloads::AUTOSCALING_V1_KINDS,
    workloads::BATCH_KINDS,
    access::CERTIFICATES_KINDS,
    cluster::NETWORKING_KINDS,
    workloads::POLICY_KINDS,
    access::RBAC_KINDS,
    cluster::STORAGE_KINDS,
    extensions::ADMISSIONREGISTRATION_KINDS,
    extensions::APIEXTENSIONS_KINDS,
    cluster::SCHEDULING_KINDS,
    cluster::COORDINATION_KINDS,
    cluster::NODE_KINDS,
    cluster::DISCOVERY_KINDS,
    cluster::RESOURCE_KINDS,
    extensions::FLOWCONTROL_KINDS,
    OWN_KINDS,
];

/// What `serviceaccounts/token` takes and answers.
pub static TOKEN_REQUEST: Kind = Kind {
    entry: group("authentication.k8s.io", "v1").namespaced([
        "TokenRequest",
        "tokenrequest",
        "tokenrequests",
        "io.k8s.api.authentication.v1.TokenRequest",
    ]),
    custom: None,
};

/// What `scale` takes and answers.
pub static SCALE_KIND: Kind = Kind {
    entry: group("autoscaling", "v1").namespaced([
        "Scale",
        "scale",
        "scales",
        "io.k8s.api.autoscaling.v1.Scale",
    ]),
    custom: None,
};

const OWN: Entry = group(model::names::GROUP, "v1alpha1");

const fn own_status(kind: &'static str) -> Subresource {
    Subresource { version: "v1alpha1", ..part("status", model::names::GROUP, kind) }
}

const OWN_KINDS: &[Entry] = &[
    OWN.cluster(["BatchQuota", "batchquota", "batchquotas", "dev.crest.v1alpha1.BatchQuota"])
        .short(&["bq"])
        .with(&[own_status("BatchQuota")]),
    OWN.namespaced(["BindingBatch", "bindingbatch", "bindingbatches", "dev.crest.v1alpha1.BindingBatch"])
        .verbs(&["create"]),
    OWN.cluster([
        "ColocationPolicy",
        "colocationpolicy",
        "colocationpolicies",
        "dev.crest.v1alpha1.ColocationPolicy",
    ])
    .short(&["cpol"]),
    OWN.cluster([
        "ColocationProfile",
        "colocationprofile",
        "colocationprofiles",
        "dev.crest.v1alpha1.ColocationProfile",
    ])
    .short(&["cp"]),
    OWN.namespaced(["DagJob", "dagjob", "dagjobs", "dev.crest.v1alpha1.DagJob"])
        .short(&["dj"])
        .within(&["all"])
        .with(&[own_status("DagJob")]),
    OWN.cluster(["ElasticQuota", "elasticquota", "elasticquotas", "dev.crest.v1alpha1.ElasticQuota"])
        .short(&["eq"])
        .with(&[own_status("ElasticQuota")]),
    OWN.cluster([
        "InterferenceRule",
        "interferencerule",
        "interferencerules",
        "dev.crest.v1alpha1.InterferenceRule",
    ]),
    OWN.namespaced([
        "PodExplanation",
        "podexplanation",
        "podexplanations",
        "dev.crest.v1alpha1.PodExplanation",
    ])
    .short(&["podex"])
    .verbs(&["get"]),
    OWN.namespaced(["PodGroup", "podgroup", "podgroups", "dev.crest.v1alpha1.PodGroup"])
        .short(&["pg"])
        .with(&[own_status("PodGroup")]),
    OWN.namespaced([
        "PreemptionBatch",
        "preemptionbatch",
        "preemptionbatches",
        "dev.crest.v1alpha1.PreemptionBatch",
    ])
    .verbs(&["create"]),
    OWN.cluster([
        "RebalancePolicy",
        "rebalancepolicy",
        "rebalancepolicies",
        "dev.crest.v1alpha1.RebalancePolicy",
    ])
    .short(&["rbp"])
    .with(&[own_status("RebalancePolicy")]),
    OWN.namespaced(["Reservation", "reservation", "reservations", "dev.crest.v1alpha1.Reservation"])
        .short(&["resv"])
        .with(&[own_status("Reservation")]),
    OWN.cluster([
        "SchedulingPolicy",
        "schedulingpolicy",
        "schedulingpolicies",
        "dev.crest.v1alpha1.SchedulingPolicy",
    ])
    .short(&["spol"]),
    OWN.cluster(["Tide", "tide", "tides", "dev.crest.v1alpha1.Tide"]).with(&[own_status("Tide")]),
];

#[cfg(test)]
mod tests;
