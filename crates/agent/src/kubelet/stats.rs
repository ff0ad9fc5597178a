//! `/stats/summary`: what the host and its Pods use, from their groups.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::QosClass;
use serde_json::{Value, json};

use super::Server;
use crate::host::meminfo;

pub(super) async fn summary(State(server): State<Arc<Server>>) -> Json<Value> {
    let pods: Vec<Value> =
        server.context.registry.entries().iter().map(|entry| of_pod(&server, &entry.pod())).collect();
    let report = server.reports.borrow().clone();
    let busy = report.online_milli + report.batch_milli + report.system_milli;
    let total = server.context.facts.memory;
    let available = meminfo("MemAvailable").unwrap_or(total);
    Json(json!({
        "node": {
            "nodeName": server.context.node_name,
            "cpu": cpu(&server, "", Some(busy)),
            "memory": {
                "time": now(),
                "availableBytes": available,
                "workingSetBytes": total.saturating_sub(available),
            },
        },
        "pods": pods,
    }))
}

fn of_pod(server: &Server, pod: &Pod) -> Value {
    let metadata = &pod.metadata;
    let group = server.context.groups.pod(QosClass::of(pod), metadata.uid.as_deref().unwrap_or_default());
    let memory = server.context.groups.backend().memory(&group).map_or(0, |bytes| bytes.0);
    json!({
        "podRef": { "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid },
        "cpu": cpu(server, &group, None),
        "memory": { "time": now(), "workingSetBytes": memory },
    })
}

fn cpu(server: &Server, group: &str, milli: Option<i64>) -> Value {
    let used = server.context.groups.backend().cpu_time(group).unwrap_or_default();
    json!({
        "time": now(),
        "usageCoreNanoSeconds": u64::try_from(used.as_nanos()).unwrap_or(u64::MAX),
        "usageNanoCores": milli.map(|milli| milli * 1_000_000),
    })
}

fn now() -> Time {
    Time(kit::clock::wall())
}
