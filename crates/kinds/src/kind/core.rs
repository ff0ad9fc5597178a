//! The kinds of the core group.

use super::{CONNECT, Entry, PROXY, SCALE, Subresource, group, part};

const CORE: Entry = group("", "v1");

pub(super) const CORE_KINDS: &[Entry] = &[
    CORE.namespaced(["Binding", "binding", "bindings", "io.k8s.api.core.v1.Binding"]).verbs(&["create"]),
    CORE.cluster([
        "ComponentStatus",
        "componentstatus",
        "componentstatuses",
        "io.k8s.api.core.v1.ComponentStatus",
    ])
    .short(&["cs"])
    .verbs(&["get", "list"]),
    CORE.namespaced(["ConfigMap", "configmap", "configmaps", "io.k8s.api.core.v1.ConfigMap"]).short(&["cm"]),
    CORE.namespaced(["Endpoints", "endpoints", "endpoints", "io.k8s.api.core.v1.Endpoints"]).short(&["ep"]),
    CORE.namespaced(["Event", "event", "events", "io.k8s.api.core.v1.Event"]).short(&["ev"]),
    CORE.namespaced(["LimitRange", "limitrange", "limitranges", "io.k8s.api.core.v1.LimitRange"])
        .short(&["limits"]),
    CORE.cluster(["Namespace", "namespace", "namespaces", "io.k8s.api.core.v1.Namespace"])
        .short(&["ns"])
        .verbs(&["create", "delete", "get", "list", "patch", "update", "watch"])
        .with(&[
            Subresource { verbs: &["update"], ..part("finalize", "", "Namespace") },
            part("status", "", "Namespace"),
        ]),
    CORE.cluster(["Node", "node", "nodes", "io.k8s.api.core.v1.Node"]).short(&["no"]).with(&[
        Subresource { verbs: PROXY, ..part("proxy", "", "NodeProxyOptions") },
        part("status", "", "Node"),
    ]),
    CORE.namespaced([
        "PersistentVolumeClaim",
        "persistentvolumeclaim",
        "persistentvolumeclaims",
        "io.k8s.api.core.v1.PersistentVolumeClaim",
    ])
    .short(&["pvc"])
    .with(&[part("status", "", "PersistentVolumeClaim")]),
    CORE.cluster([
        "PersistentVolume",
        "persistentvolume",
        "persistentvolumes",
        "io.k8s.api.core.v1.PersistentVolume",
    ])
    .short(&["pv"])
    .with(&[part("status", "", "PersistentVolume")]),
    CORE.namespaced(["Pod", "pod", "pods", "io.k8s.api.core.v1.Pod"]).short(&["po"]).within(&["all"]).with(
        &[
            Subresource { verbs: CONNECT, ..part("attach", "", "PodAttachOptions") },
            Subresource { verbs: &["create"], ..part("binding", "", "Binding") },
            part("ephemeralcontainers", "", "Pod"),
            Subresource { verbs: &["create"], ..part("eviction", "policy", "Eviction") },
            Subresource { verbs: CONNECT, ..part("exec", "", "PodExecOptions") },
            Subresource { verbs: &["get"], ..part("log", "", "Pod") },
            Subresource { verbs: CONNECT, ..part("portforward", "", "PodPortForwardOptions") },
            Subresource { verbs: PROXY, ..part("proxy", "", "PodProxyOptions") },
            part("resize", "", "Pod"),
            part("status", "", "Pod"),
        ],
    ),
    CORE.namespaced(["PodTemplate", "podtemplate", "podtemplates", "io.k8s.api.core.v1.PodTemplate"]),
    CORE.namespaced([
        "ReplicationController",
        "replicationcontroller",
        "replicationcontrollers",
        "io.k8s.api.core.v1.ReplicationController",
    ])
    .short(&["rc"])
    .within(&["all"])
    .with(&[SCALE, part("status", "", "ReplicationController")]),
    CORE.namespaced(["ResourceQuota", "resourcequota", "resourcequotas", "io.k8s.api.core.v1.ResourceQuota"])
        .short(&["quota"])
        .with(&[part("status", "", "ResourceQuota")]),
    CORE.namespaced(["Secret", "secret", "secrets", "io.k8s.api.core.v1.Secret"]),
    CORE.namespaced([
        "ServiceAccount",
        "serviceaccount",
        "serviceaccounts",
        "io.k8s.api.core.v1.ServiceAccount",
    ])
    .short(&["sa"])
    .with(&[Subresource { verbs: &["create"], ..part("token", "authentication.k8s.io", "TokenRequest") }]),
    CORE.namespaced(["Service", "service", "services", "io.k8s.api.core.v1.Service"])
        .short(&["svc"])
        .within(&["all"])
        .with(&[
            Subresource { verbs: PROXY, ..part("proxy", "", "ServiceProxyOptions") },
            part("status", "", "Service"),
        ]),
];
