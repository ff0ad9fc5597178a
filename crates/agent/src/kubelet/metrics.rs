//! `/metrics/resource`: the counters of the host, its Pods and their containers, as Prometheus reads them.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use super::Server;
use crate::usage::{Counters, Snapshot};

/// A family of values: its name, its type, what it is, and how to read it.
type Family = (&'static str, &'static str, &'static str, fn(&Counters) -> f64);

const CPU: (&str, &str, fn(&Counters) -> f64) = ("cpu_usage_seconds_total", "counter", seconds);
const MEMORY: (&str, &str, fn(&Counters) -> f64) = ("memory_working_set_bytes", "gauge", working_set);

pub(super) async fn resource(State(server): State<Arc<Server>>) -> Response {
    let snapshot = Arc::clone(&server.snapshots.borrow());
    let entries = server.context.registry.entries();
    let pods = entries.iter().map(|entry| entry.pod()).filter_map(|pod| {
        let name = |text: &Option<String>| text.clone().unwrap_or_default();
        let uid = pod.metadata.uid.clone()?;
        Some(Named { uid, namespace: name(&pod.metadata.namespace), name: name(&pod.metadata.name) })
    });
    let text = exposed(&snapshot, &pods.collect::<Vec<_>>());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// A Pod by all its names.
pub(super) struct Named {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Pure: the text of a scrape. Names of Pods and containers hold nothing that had to be escaped.
pub(super) fn exposed(snapshot: &Snapshot, pods: &[Named]) -> String {
    let mut text = String::new();
    let measured: Vec<_> = pods.iter().filter_map(|pod| Some((pod, snapshot.pods.get(&pod.uid)?))).collect();
    for (quantity, kind, value) in [CPU, MEMORY] {
        let what =
            if kind == "counter" { "CPU time used so far, in seconds" } else { "Memory in use, in bytes" };
        let family: Family = (quantity, kind, what, value);
        head(&mut text, "container", family);
        for (pod, used) in &measured {
            for (container, one) in &used.containers {
                let labels = format!("{{container=\"{container}\",{}}}", labels(pod));
                line(&mut text, &format!("container_{quantity}{labels}"), value, &one.counters);
            }
        }
        head(&mut text, "node", family);
        line(&mut text, &format!("node_{quantity}"), value, &snapshot.node.counters);
        head(&mut text, "pod", family);
        for (pod, used) in &measured {
            line(&mut text, &format!("pod_{quantity}{{{}}}", labels(pod)), value, &used.whole.counters);
        }
    }
    text.push_str("# HELP resource_scrape_error 1 if something could not be measured\n");
    text.push_str("# TYPE resource_scrape_error gauge\nresource_scrape_error 0\n");
    text
}

fn labels(pod: &Named) -> String {
    format!("namespace=\"{}\",pod=\"{}\"", pod.namespace, pod.name)
}

fn head(text: &mut String, of: &str, (quantity, kind, what, _): Family) {
    let _never_fails = writeln!(text, "# HELP {of}_{quantity} {what}\n# TYPE {of}_{quantity} {kind}");
}

fn line(text: &mut String, name: &str, value: fn(&Counters) -> f64, counters: &Counters) {
    let _never_fails = writeln!(text, "{name} {} {}", value(counters), counters.at.as_millisecond());
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of months still fit a float's 15 digits")]
fn seconds(counters: &Counters) -> f64 {
    counters.core_nanoseconds as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory fit a float's 15 digits")]
fn working_set(counters: &Counters) -> f64 {
    counters.working_set as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect;
    use jiff::Timestamp;

    use super::*;
    use crate::usage::{Measured, PodUse};

    #[test]
    fn a_scrape_names_containers_pods_and_the_node() {
        let measured = |core_nanoseconds, working_set| Measured {
            counters: Counters {
                at: Timestamp::UNIX_EPOCH,
                core_nanoseconds,
                working_set,
                ..Counters::default()
            },
            ..Measured::default()
        };
        let mut snapshot = Snapshot { node: measured(9_000_000_000, 4096), ..Snapshot::default() };
        let containers = BTreeMap::from([("c".to_owned(), measured(1_500_000_000, 1024))]);
        snapshot.pods.insert("u".to_owned(), PodUse { whole: measured(2_000_000_000, 2048), containers });
        let pod = Named { uid: "u".into(), namespace: "n".into(), name: "p".into() };
        let values: Vec<String> = exposed(&snapshot, &[pod])
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        expect![[r#"
            container_cpu_usage_seconds_total{container="c",namespace="n",pod="p"} 1.5 0
            node_cpu_usage_seconds_total 9 0
            pod_cpu_usage_seconds_total{namespace="n",pod="p"} 2 0
            container_memory_working_set_bytes{container="c",namespace="n",pod="p"} 1024 0
            node_memory_working_set_bytes 4096 0
            pod_memory_working_set_bytes{namespace="n",pod="p"} 2048 0
            resource_scrape_error 0"#]]
        .assert_eq(&values.join("\n"));
    }
}
