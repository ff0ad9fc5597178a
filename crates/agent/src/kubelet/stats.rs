//! `/stats/summary`: what the host, its Pods and their containers use, as JSON in the kubelet's form.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::Server;
use crate::pods::observed::State as RunState;
use crate::pods::registry::Entry;
use crate::usage::{Measured, PodUse, Snapshot};

pub(super) async fn summary(State(server): State<Arc<Server>>) -> Json<Value> {
    let snapshot = Arc::clone(&server.snapshots.borrow());
    let entries = server.context.registry.entries();
    let pods: Vec<Value> = entries.iter().filter_map(|entry| of_entry(entry, &snapshot)).collect();
    let mut node = used(&snapshot.node);
    node["nodeName"] = server.context.node_name.clone().into();
    let total = server.context.facts.memory;
    node["memory"]["availableBytes"] = total.saturating_sub(snapshot.node.counters.working_set).into();
    Json(json!({ "node": node, "pods": pods }))
}

/// `None` while nothing of the Pod has been measured.
fn of_entry(entry: &Entry, snapshot: &Snapshot) -> Option<Value> {
    let pod = entry.pod();
    let measured = snapshot.pods.get(pod.metadata.uid.as_deref()?)?;
    let mut stats = of_pod(&pod, measured);
    let live = entry.live.borrow();
    for container in stats["containers"].as_array_mut().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default();
        if let Some(RunState::Running { since }) = live.running(name).map(|run| &run.state) {
            container["startTime"] = json!(Time(*since));
        }
    }
    Some(stats)
}

fn of_pod(pod: &Pod, measured: &PodUse) -> Value {
    let metadata = &pod.metadata;
    let containers: Vec<Value> = measured
        .containers
        .iter()
        .map(|(name, measured)| {
            let mut stats = used(measured);
            stats["name"] = name.clone().into();
            stats
        })
        .collect();
    let mut stats = used(&measured.whole);
    stats["podRef"] = json!({ "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid });
    stats["startTime"] = json!(pod.status.as_ref().and_then(|status| status.start_time.as_ref()));
    stats["containers"] = containers.into();
    stats
}

fn used(measured: &Measured) -> Value {
    let counters = &measured.counters;
    let time = Time(counters.at);
    let mut memory = json!({ "time": time, "workingSetBytes": counters.working_set });
    let known = [("usageBytes", counters.memory), ("rssBytes", counters.anonymous)];
    for (field, bytes) in known.into_iter().filter_map(|(field, bytes)| Some((field, bytes?))) {
        memory[field] = bytes.into();
    }
    let mut cpu = json!({ "time": time, "usageCoreNanoSeconds": counters.core_nanoseconds });
    if let Some(rate) = measured.nano_cores {
        cpu["usageNanoCores"] = rate.into();
        // Ours: over which time that was.
        cpu["windowSeconds"] = measured.window.as_secs_f64().into();
    }
    json!({ "cpu": cpu, "memory": memory })
}
