//! The objects that every cluster has from its first start.

mod reconcile;
pub(crate) mod roles;
pub(crate) mod services;

use kinds::Kind;
use kinds::status::Failure;
use serde_json::{Value, json};

use crate::context::Context;
use crate::registry::{Next, gone_is_fine};
use crate::request::ObjectPath;
use crate::{object, strategy, verbs};

/// Creates what is missing, and adds to default roles what this version has more. What a user changed since stays as
/// it is.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let is_first = context.registry.is_empty().await?;
    for object in objects(context) {
        create(context, object).await?;
    }
    // How these came to be is no history that anybody could have seen the beginning of.
    if is_first { context.registry.begin_history().await } else { Ok(()) }
}

fn objects(context: &Context) -> Vec<Value> {
    let namespace = |name: &str| json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
    let class = |name: &str, value: i64, description: &str| {
        json!({"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": name},
            "value": value, "description": description})
    };
    let mut mid = class(
        "crest-mid",
        7_000,
        "Services on what others requested and do not use; they give way after batch.",
    );
    // Who gives way to services has none of them go.
    mid["preemptionPolicy"] = "Never".into();
    let mut objects: Vec<Value> =
        ["default", "kube-system", "kube-public", "kube-node-lease"].map(namespace).into();
    objects.extend([
        class("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
        class("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
        class("crest-online", 9_000, "Services that own what they were promised."),
        mid,
        class("crest-batch", 5_000, "Work on what services leave idle; it gives way first."),
        class("crest-free", 3_000, "Work that may as well not be done: of batch, it is served last and gives way first."),
    ]);
    objects.push(kubernetes_service(context));
    objects.extend(roles::objects());
    objects.extend(services::objects());
    if context.figures.is_some() {
        objects.extend(metrics_api());
    }
    objects
}

/// The group that is measured, as a part of the API that is always there, and the role to read it.
fn metrics_api() -> [Value; 2] {
    let aggregated =
        |role: &str| (format!("rbac.authorization.k8s.io/aggregate-to-{role}"), Value::from("true"));
    let labels: serde_json::Map<String, Value> =
        ["admin", "edit", "view"].map(aggregated).into_iter().collect();
    let service = json!({"kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
            "versionPriority": 100}});
    let role = json!({"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "system:aggregated-metrics-reader", "labels": labels},
        "rules": [{"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"],
            "verbs": ["get", "list", "watch"]}]});
    [service, role]
}

/// The Service under which Pods find this server.
fn kubernetes_service(context: &Context) -> Value {
    let address = context.addresses.range().first().to_string();
    let port = context.advertised.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).unwrap_or(443);
    json!({"kind": "Service", "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]}})
}

async fn create(context: &Context, mut object: Value) -> Result<(), Failure> {
    let Some(kind) = kind_of(&object) else { return Ok(()) };
    let (namespace, name) = (object::namespace(&object).to_owned(), object::name(&object).to_owned());
    if let Some(current) = context.registry.find(kind, &namespace, &name).await? {
        return complete(context, kind, &current, &object).await;
    }
    kinds::defaults::apply(kind, &mut object);
    let birth = context.birth();
    verbs::by_server(kind, "", &birth.created, None, &mut object);
    strategy::prepare_create(kind, &mut object, &birth);
    if kind.kind == "APIService" {
        object["status"] = json!({"conditions": [{
            "type": "Available", "status": "True", "reason": "Local",
            "message": "Local APIServices are always available",
            "lastTransitionTime": object["metadata"]["creationTimestamp"],
        }]});
    }
    let claim = if kind.kind == "Service" { Some(context.addresses.claim(kind, &mut object)?) } else { None };
    match context.registry.create(kind, object).await {
        // Another server was first.
        Err(failure) if failure.reason() == "AlreadyExists" => return Ok(()),
        created => created?,
    };
    if let Some(claim) = claim {
        claim.keep();
    }
    Ok(())
}

/// Adds to a default role or binding what it lacks.
async fn complete(
    context: &Context,
    kind: &'static Kind,
    current: &Value,
    wanted: &Value,
) -> Result<(), Failure> {
    if kind.group != roles::GROUP || reconcile::completed(current, wanted).is_none() {
        return Ok(());
    }
    let now = object::time(context.now());
    let path = ObjectPath::of(kind, current);
    let changed = context.registry.modify(&path, false, |current| {
        let Some(mut new) = reconcile::completed(current, wanted) else {
            return Ok(Next::Keep(current.clone()));
        };
        verbs::by_server(kind, "", &now, Some(current), &mut new);
        Ok(Next::Replace(new))
    });
    gone_is_fine(changed.await)
}

fn kind_of(object: &Value) -> Option<&'static Kind> {
    kinds::kind::find_api_version(object["apiVersion"].as_str()?, object["kind"].as_str()?)
}
