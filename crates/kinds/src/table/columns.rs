//! The columns of every kind, as one table; priority 1 are those that `-o wide` adds.

use serde_json::{Value, json};

use crate::Kind;

struct Column {
    name: &'static str,
    kind: &'static str,
    description: &'static str,
    priority: u8,
}

const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", description, priority: 0 }
}

const fn number(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "integer", description, priority: 0 }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", description, priority: 1 }
}

const NAME: Column = column("Name", "The name of the object.");
const AGE: Column = column("Age", "How long ago the object was created.");
const CONTAINERS: Column = wide("Containers", "The names of the template's containers.");
const IMAGES: Column = wide("Images", "The images of the template's containers.");
const SELECTOR: Column = wide("Selector", "The labels by which Pods are found.");

const PODS: &[Column] = &[
    NAME,
    column("Ready", "How many of the Pod's containers are ready."),
    column("Status", "The state of the Pod's containers, in one word."),
    column("Restarts", "How often containers were restarted, and how long ago the last time."),
    AGE,
    wide("IP", "The Pod's address."),
    wide("Node", "The node that the Pod runs on."),
    wide("Nominated Node", "The node on which room is made for the Pod."),
    wide("Readiness Gates", "How many of the Pod's own readiness conditions hold."),
];
const NODES: &[Column] = &[
    NAME,
    column("Status", "Whether the node is ready, and whether it takes Pods."),
    column("Roles", "The node's roles, from its labels."),
    AGE,
    column("Version", "The version of the node's agent."),
    wide("Internal-IP", "The node's address in the cluster."),
    wide("External-IP", "The node's address outside of the cluster."),
    wide("OS-Image", "The node's operating system."),
    wide("Kernel-Version", "The node's kernel."),
    wide("Container-Runtime", "The node's container engine."),
];
const SERVICES: &[Column] = &[
    NAME,
    column("Type", "How the service is reached."),
    column("Cluster-IP", "The service's address in the cluster."),
    column("External-IP", "The service's addresses outside of the cluster."),
    column("Port(s)", "The service's ports."),
    AGE,
    SELECTOR,
];
const EVENTS: &[Column] = &[
    column("Last Seen", "How long ago it happened last."),
    column("Type", "Normal or Warning."),
    column("Reason", "What happened, in one word."),
    column("Object", "What it happened to."),
    wide("Subobject", "The part of the object that it happened to."),
    wide("Source", "Who says so."),
    column("Message", "What happened, in a sentence."),
    wide("First Seen", "How long ago it happened first."),
    wide("Count", "How often it happened."),
    wide("Name", "The name of the event."),
];
const DEPLOYMENTS: &[Column] = &[
    NAME,
    column("Ready", "How many of the wanted Pods are ready."),
    column("Up-to-date", "How many Pods are of the newest template."),
    column("Available", "How many Pods are ready for long enough."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
const REPLICA_SETS: &[Column] = &[
    NAME,
    number("Desired", "How many Pods are wanted."),
    number("Current", "How many Pods there are."),
    number("Ready", "How many Pods are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
const JOBS: &[Column] = &[
    NAME,
    column("Status", "How the job stands."),
    column("Completions", "How many Pods ended well, of how many that must."),
    column("Duration", "How long the job ran, or runs."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
const DAG_JOBS: &[Column] = &[
    NAME,
    column("Status", "How the job stands."),
    column("Tasks", "How many tasks are finished, of how many."),
    column("Instances", "How many instances ended well, of how many."),
    column("Duration", "How long the job ran, or runs."),
    AGE,
    Column { name: "Running", kind: "integer", description: "How many instances run now.", priority: 1 },
    wide("Failed Attempts", "How many attempts failed, those tried again included."),
];
const NAMESPACES: &[Column] = &[NAME, column("Status", "Active, or being deleted."), AGE];
const CONFIG_MAPS: &[Column] = &[NAME, column("Data", "How many keys it has."), AGE];
const SECRETS: &[Column] =
    &[NAME, column("Type", "What the secret is for."), column("Data", "How many keys it has."), AGE];
const SERVICE_ACCOUNTS: &[Column] = &[NAME, column("Secrets", "How many secrets it names."), AGE];
const LEASES: &[Column] = &[NAME, column("Holder", "Who holds the lease."), AGE];
const PRIORITY_CLASSES: &[Column] = &[
    NAME,
    number("Value", "The priority; larger goes first."),
    Column {
        name: "Global-Default",
        kind: "boolean",
        description: "Whether Pods have it that name none.",
        priority: 0,
    },
    AGE,
    column("PreemptionPolicy", "Whether its Pods displace others."),
];
const OTHERS: &[Column] = &[NAME, AGE];

/// The column definitions of a kind's table.
pub(super) fn of(kind: &Kind) -> Vec<Value> {
    let columns = match (kind.group, kind.kind) {
        ("", "Pod") => PODS,
        ("", "Node") => NODES,
        ("", "Namespace") => NAMESPACES,
        ("", "Service") => SERVICES,
        ("", "ConfigMap") => CONFIG_MAPS,
        ("", "Secret") => SECRETS,
        ("", "ServiceAccount") => SERVICE_ACCOUNTS,
        ("" | "events.k8s.io", "Event") => EVENTS,
        ("apps", "Deployment") => DEPLOYMENTS,
        ("apps", "ReplicaSet") => REPLICA_SETS,
        ("batch", "Job") => JOBS,
        ("crest.dev", "DagJob") => DAG_JOBS,
        ("coordination.k8s.io", "Lease") => LEASES,
        ("scheduling.k8s.io", "PriorityClass") => PRIORITY_CLASSES,
        _ => OTHERS,
    };
    columns.iter().map(definition).collect()
}

fn definition(column: &Column) -> Value {
    let Column { name, kind, description, priority } = column;
    let format = if *name == "Name" && *priority == 0 { "name" } else { "" };
    json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
}
