//! Cells of Pods: the state of many containers in one word.

use jiff::Timestamp;
use serde_json::Value;

use super::age;
use super::cell::{NONE, condition, count, created, list, name, text_or};

pub(super) fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(object);
    let status = &object["status"];
    let ips = list(&status["podIPs"]).first().map_or(&status["podIP"], |first| &first["ip"]);
    vec![
        name(object),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.status.into(),
        restarts(summary.restarts, summary.last_restart, now).into(),
        created(object, now),
        text_or(ips, NONE),
        text_or(&object["spec"]["nodeName"], NONE),
        text_or(&status["nominatedNodeName"], NONE),
        readiness_gates(object),
    ]
}

fn restarts(count: i64, last: Option<Timestamp>, now: Timestamp) -> String {
    match last {
        Some(last) if count > 0 => format!("{count} ({} ago)", age::between(last, now)),
        _ => count.to_string(),
    }
}

fn readiness_gates(object: &Value) -> Value {
    let gates = list(&object["spec"]["readinessGates"]);
    if gates.is_empty() {
        return NONE.into();
    }
    let holds = |gate: &&Value| {
        let kind = gate["conditionType"].as_str().unwrap_or_default();
        condition(object, kind) == Some("True")
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len()).into()
}

#[derive(Default)]
struct Summary {
    total: usize,
    ready: usize,
    status: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(object: &Value) -> Self {
        let (spec, status) = (&object["spec"], &object["status"]);
        let mut summary = Self { total: list(&spec["containers"]).len(), ..Self::default() };
        let phase = status["phase"].as_str().unwrap_or_default();
        summary.status = status["reason"].as_str().unwrap_or(phase).to_owned();
        let gated = list(&status["conditions"])
            .iter()
            .any(|condition| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated");
        if gated {
            summary.status = "SchedulingGated".to_owned();
        }
        let initializing = summary.init_containers(object);
        if !initializing || condition(object, "Initialized") == Some("True") {
            summary.main_containers(object);
        }
        summary.deletion(object, phase);
        summary
    }

    /// Whether the Pod is still on its init containers, of which the first unfinished one gives the status.
    fn init_containers(&mut self, object: &Value) -> bool {
        let specs = list(&object["spec"]["initContainers"]);
        let is_sidecar = |status: &Value| {
            specs.iter().any(|spec| spec["name"] == status["name"] && spec["restartPolicy"] == "Always")
        };
        self.total += specs.iter().filter(|spec| spec["restartPolicy"] == "Always").count();
        for (index, status) in list(&object["status"]["initContainerStatuses"]).iter().enumerate() {
            self.count_restarts(status);
            let (waiting, terminated) = (&status["state"]["waiting"], &status["state"]["terminated"]);
            if terminated.is_object() && terminated["exitCode"] == 0 {
                continue;
            }
            if is_sidecar(status) && status["started"] == true {
                self.ready += usize::from(status["ready"] == true);
                continue;
            }
            let waits =
                waiting["reason"].as_str().filter(|reason| !matches!(*reason, "" | "PodInitializing"));
            self.status = match (terminated.is_object(), waits) {
                (true, _) => format!("Init:{}", ending(terminated)),
                (false, Some(reason)) => format!("Init:{reason}"),
                (false, None) => format!("Init:{index}/{}", specs.len()),
            };
            return true;
        }
        false
    }

    /// The first container that has something to say gives the status.
    fn main_containers(&mut self, object: &Value) {
        let mut any_runs = false;
        for status in list(&object["status"]["containerStatuses"]).iter().rev() {
            self.count_restarts(status);
            let (waiting, terminated) = (&status["state"]["waiting"], &status["state"]["terminated"]);
            if let Some(reason) = waiting["reason"].as_str().filter(|reason| !reason.is_empty()) {
                self.status = reason.to_owned();
            } else if terminated.is_object() {
                self.status = ending(terminated);
            } else if status["ready"] == true && status["state"]["running"].is_object() {
                any_runs = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" && any_runs {
            let ready = condition(object, "Ready") == Some("True");
            self.status = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn deletion(&mut self, object: &Value, phase: &str) {
        if !object["metadata"]["deletionTimestamp"].is_string() {
            return;
        }
        if object["status"]["reason"] == "NodeLost" {
            self.status = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            self.status = "Terminating".to_owned();
        }
    }

    fn count_restarts(&mut self, status: &Value) {
        self.restarts += count(&status["restartCount"]);
        let ended = age::parse(&status["lastState"]["terminated"]["finishedAt"]);
        self.last_restart = self.last_restart.max(ended);
    }
}

/// Why a container ended: its reason, else the signal, else the exit code.
fn ending(terminated: &Value) -> String {
    match terminated["reason"].as_str().filter(|reason| !reason.is_empty()) {
        Some(reason) => reason.to_owned(),
        None => match count(&terminated["signal"]) {
            0 => format!("ExitCode:{}", count(&terminated["exitCode"])),
            signal => format!("Signal:{signal}"),
        },
    }
}
