//! The table of kinds: what the server serves, under which path, with which verbs. One entry adds a kind.

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

/// What is fixed about a kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
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
    storage_group: &'static str,
}

impl Kind {
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

    /// `pods`, `deployments.apps`: how messages name the resource.
    pub fn qualified_resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `PodList`.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// One of its subresources by name, `status` for example.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Whether the kind is one of Kubernetes' own: only those have a protobuf form and strategic merge patches.
    pub fn is_builtin(&self) -> bool {
        self.group != model::names::GROUP
    }

    /// Whether `self` and `other` serve the same stored objects under two groups.
    pub fn shares_storage_with(&self, other: &Kind) -> bool {
        self.storage_group == other.storage_group && self.plural == other.plural
    }
}

/// All kinds, in the order in which discovery lists their groups.
pub fn all() -> &'static [Kind] {
    KINDS
}

/// The kind behind a path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
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

/// What most entries have in common, so that an entry says only what is its own.
const BASE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    subresources: &[],
    verbs: ALL_VERBS,
    schema: "",
    storage_group: "",
};

const fn status_of(group: &'static str, version: &'static str, kind: &'static str) -> Subresource {
    Subresource { name: "status", group, version, kind, verbs: READ_WRITE }
}

const fn connect(name: &'static str, kind: &'static str) -> Subresource {
    Subresource { name, group: "", version: "v1", kind, verbs: CONNECT }
}

const SCALE: Subresource =
    Subresource { name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs: READ_WRITE };

static KINDS: &[Kind] = &[
    Kind {
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        schema: "io.k8s.api.core.v1.ConfigMap",
        ..BASE
    },
    Kind {
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        schema: "io.k8s.api.core.v1.Event",
        ..BASE
    },
    Kind {
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        scope: Scope::Cluster,
        // As in Kubernetes: namespaces cannot be deleted as a collection.
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        subresources: &[
            Subresource { name: "finalize", group: "", version: "v1", kind: "Namespace", verbs: &["update"] },
            status_of("", "v1", "Namespace"),
        ],
        schema: "io.k8s.api.core.v1.Namespace",
        ..BASE
    },
    Kind {
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        scope: Scope::Cluster,
        subresources: &[status_of("", "v1", "Node")],
        schema: "io.k8s.api.core.v1.Node",
        ..BASE
    },
    Kind {
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            connect("attach", "PodAttachOptions"),
            Subresource { name: "binding", group: "", version: "v1", kind: "Binding", verbs: &["create"] },
            Subresource {
                name: "eviction",
                group: "policy",
                version: "v1",
                kind: "Eviction",
                verbs: &["create"],
            },
            connect("exec", "PodExecOptions"),
            Subresource { name: "log", group: "", version: "v1", kind: "Pod", verbs: &["get"] },
            connect("portforward", "PodPortForwardOptions"),
            status_of("", "v1", "Pod"),
        ],
        schema: "io.k8s.api.core.v1.Pod",
        ..BASE
    },
    Kind {
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        schema: "io.k8s.api.core.v1.Secret",
        ..BASE
    },
    Kind {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        schema: "io.k8s.api.core.v1.ServiceAccount",
        ..BASE
    },
    Kind {
        kind: "Service",
        plural: "services",
        singular: "service",
        short_names: &["svc"],
        categories: &["all"],
        subresources: &[status_of("", "v1", "Service")],
        schema: "io.k8s.api.core.v1.Service",
        ..BASE
    },
    Kind {
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, status_of("apps", "v1", "Deployment")],
        schema: "io.k8s.api.apps.v1.Deployment",
        storage_group: "apps",
        ..BASE
    },
    Kind {
        group: "apps",
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[SCALE, status_of("apps", "v1", "ReplicaSet")],
        schema: "io.k8s.api.apps.v1.ReplicaSet",
        storage_group: "apps",
        ..BASE
    },
    Kind {
        group: "events.k8s.io",
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        schema: "io.k8s.api.events.v1.Event",
        ..BASE
    },
    Kind {
        group: "batch",
        kind: "Job",
        plural: "jobs",
        singular: "job",
        categories: &["all"],
        subresources: &[status_of("batch", "v1", "Job")],
        schema: "io.k8s.api.batch.v1.Job",
        storage_group: "batch",
        ..BASE
    },
    Kind {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        plural: "priorityclasses",
        singular: "priorityclass",
        short_names: &["pc"],
        scope: Scope::Cluster,
        schema: "io.k8s.api.scheduling.v1.PriorityClass",
        storage_group: "scheduling.k8s.io",
        ..BASE
    },
    Kind {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        schema: "io.k8s.api.coordination.v1.Lease",
        storage_group: "coordination.k8s.io",
        ..BASE
    },
    Kind {
        group: model::names::GROUP,
        version: "v1alpha1",
        kind: "DagJob",
        plural: "dagjobs",
        singular: "dagjob",
        short_names: &["dj"],
        categories: &["all"],
        subresources: &[status_of(model::names::GROUP, "v1alpha1", "DagJob")],
        schema: "dev.crest.v1alpha1.DagJob",
        storage_group: model::names::GROUP,
        ..BASE
    },
];

#[cfg(test)]
mod tests;
