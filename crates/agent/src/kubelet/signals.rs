//! `/metrics/cadvisor`: what the kernel counts of containers, under the names that cAdvisor gives it, and
//! `/metrics`: what the arbiter sees and does, and what it keeps in force. Prometheus reads both.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use tokio::sync::watch;

use super::Server;
use crate::cgroup::Counters;
use crate::cgroup::counters::{Cpu, Io, Memory, Pressure, RunQueue, Stall};
use crate::colocation::Report;
use crate::hands::InForce;
use crate::signals::{Network, Sampler, Signals};

/// Counters of a group: the name behind `container_` or `crest_class_`, the type, what it is, and how to read it.
type Family = (&'static str, &'static str, &'static str, fn(&Counters) -> Option<f64>);

const FAMILIES: [Family; 24] = [
    ("cpu_usage_seconds_total", COUNTER, "CPU time used", |all| cpu(all, |cpu| cpu.used.as_secs_f64())),
    ("cpu_cfs_periods_total", COUNTER, "Periods of the CPU quota", |all| cpu(all, |cpu| whole(cpu.periods))),
    ("cpu_cfs_throttled_periods_total", COUNTER, "Periods in which the CPU quota ran out", |all| {
        cpu(all, |cpu| whole(cpu.throttled_periods))
    }),
    ("cpu_cfs_throttled_seconds_total", COUNTER, "Time spent waiting for the next period", |all| {
        cpu(all, |cpu| cpu.throttled.as_secs_f64())
    }),
    ("cpu_schedstat_runqueue_seconds_total", COUNTER, "Time that threads waited for a CPU, summed", |all| {
        run_queue(all, |queue| queue.waited.as_secs_f64())
    }),
    (
        "cpu_schedstat_looked_at_ratio",
        GAUGE,
        "Share of threads that were looked at: below 1 in turns",
        |all| {
            run_queue(all, |queue| {
                if queue.threads == 0 { 1.0 } else { whole(queue.looked_at) / whole(queue.threads) }
            })
        },
    ),
    ("memory_usage_bytes", GAUGE, "Memory in use, caches too", |all| memory(all, |memory| memory.used)),
    ("memory_working_set_bytes", GAUGE, "Memory that cannot be dropped at once", |all| {
        memory(all, |memory| memory.working_set)
    }),
    ("memory_rss", GAUGE, "Memory of no file", |all| memory(all, |memory| memory.anonymous)),
    ("memory_cache", GAUGE, "Memory of files", |all| memory(all, |memory| memory.cache)),
    ("memory_major_faults_total", COUNTER, "Pages that had to be read from a disk", |all| {
        memory(all, |memory| memory.major_faults)
    }),
    ("memory_refaults_total", COUNTER, "Pages missed soon after they had been dropped", |all| {
        memory(all, |memory| memory.refaults)
    }),
    ("memory_scanned_pages_total", COUNTER, "Pages that reclaim looked at", |all| {
        all.memory?.scanned.map(whole)
    }),
    ("memory_reclaimed_pages_total", COUNTER, "Pages that reclaim took", |all| {
        all.memory?.reclaimed.map(whole)
    }),
    ("fs_reads_bytes_total", COUNTER, "Bytes read from disks", |all| io(all, |io| io.read_bytes)),
    ("fs_writes_bytes_total", COUNTER, "Bytes written to disks", |all| io(all, |io| io.written_bytes)),
    ("fs_reads_total", COUNTER, "Reads from disks", |all| io(all, |io| io.reads)),
    ("fs_writes_total", COUNTER, "Writes to disks", |all| io(all, |io| io.writes)),
    ("pressure_cpu_waiting_seconds_total", COUNTER, SOME, |all| some(all, |pressure| pressure.cpu)),
    ("pressure_cpu_stalled_seconds_total", COUNTER, FULL, |all| full(all, |pressure| pressure.cpu)),
    ("pressure_memory_waiting_seconds_total", COUNTER, SOME, |all| some(all, |pressure| pressure.memory)),
    ("pressure_memory_stalled_seconds_total", COUNTER, FULL, |all| full(all, |pressure| pressure.memory)),
    ("pressure_io_waiting_seconds_total", COUNTER, SOME, |all| some(all, |pressure| pressure.io)),
    ("pressure_io_stalled_seconds_total", COUNTER, FULL, |all| full(all, |pressure| pressure.io)),
];

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";
const SOME: &str = "Time in which some thread waited";
const FULL: &str = "Time in which all threads waited";

#[expect(clippy::cast_precision_loss, reason = "counters of bytes and pages fit a float's 15 digits")]
fn whole(count: u64) -> f64 {
    count as f64
}

fn cpu(all: &Counters, value: fn(Cpu) -> f64) -> Option<f64> {
    all.cpu.map(value)
}

fn run_queue(all: &Counters, value: fn(RunQueue) -> f64) -> Option<f64> {
    all.run_queue.map(value)
}

fn memory(all: &Counters, value: fn(Memory) -> u64) -> Option<f64> {
    all.memory.map(value).map(whole)
}

fn io(all: &Counters, value: fn(Io) -> u64) -> Option<f64> {
    all.io.map(value).map(whole)
}

fn some(all: &Counters, of: fn(Pressure) -> Option<Stall>) -> Option<f64> {
    of(all.pressure).map(|stall| stall.some.as_secs_f64())
}

fn full(all: &Counters, of: fn(Pressure) -> Option<Stall>) -> Option<f64> {
    of(all.pressure).map(|stall| stall.full.as_secs_f64())
}

type NetworkFamily = (&'static str, &'static str, fn(Network) -> u64);

const NETWORK_FAMILIES: [NetworkFamily; 4] = [
    ("container_network_receive_bytes_total", "Bytes received", |network| network.received_bytes),
    ("container_network_receive_packets_total", "Packets received", |network| network.received_packets),
    ("container_network_transmit_bytes_total", "Bytes sent", |network| network.sent_bytes),
    ("container_network_transmit_packets_total", "Packets sent", |network| network.sent_packets),
];

pub(super) async fn cadvisor(State(server): State<Arc<Server>>) -> Response {
    of_containers(&server.sampler).await
}

pub(super) async fn arbiter(State(server): State<Arc<Server>>) -> Response {
    of_arbiter(&server.reports, &server.in_force)
}

pub(crate) async fn of_containers(sampler: &Sampler) -> Response {
    exposition(counted(&*sampler.signals().await))
}

pub(crate) fn of_arbiter(reports: &watch::Receiver<Report>, in_force: &watch::Receiver<InForce>) -> Response {
    exposition(arbitrated(&reports.borrow(), &in_force.borrow()))
}

fn exposition(text: String) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Pure: all signals. Names of Pods and containers hold nothing that had to be escaped.
fn counted(signals: &Signals) -> String {
    let mut text = String::new();
    for (name, kind, what, value) in FAMILIES {
        head(&mut text, &format!("container_{name}"), kind, what);
        for pod in &signals.pods {
            for (container, counters) in &pod.containers {
                let labels = format!(
                    "container=\"{container}\",namespace=\"{}\",pod=\"{}\",class=\"{}\"",
                    pod.namespace,
                    pod.name,
                    pod.class.as_str()
                );
                line(&mut text, &format!("container_{name}{{{labels}}}"), value(counters));
            }
        }
        head(&mut text, &format!("crest_class_{name}"), kind, what);
        for (class, counters) in &signals.classes {
            line(&mut text, &format!("crest_class_{name}{{class=\"{}\"}}", class.as_str()), value(counters));
        }
    }
    for (name, what, value) in NETWORK_FAMILIES {
        head(&mut text, name, COUNTER, what);
        for pod in &signals.pods {
            let labels = format!("namespace=\"{}\",pod=\"{}\"", pod.namespace, pod.name);
            line(&mut text, &format!("{name}{{{labels}}}"), pod.network.map(value).map(whole));
        }
    }
    text
}

/// Pure: the arbiter's view. What is without a limit or unknown has no line.
#[expect(clippy::cast_precision_loss, reason = "milli-cores and bytes of a host fit a float's 15 digits")]
fn arbitrated(report: &Report, in_force: &InForce) -> String {
    let mut text = String::new();
    let mut one = |name: &str, kind, what, value: Option<f64>| {
        head(&mut text, name, kind, what);
        line(&mut text, name, value);
    };
    let cores = |milli: i64| Some(milli as f64 / 1000.0);
    one("crest_online_cores", GAUGE, "Cores that services use", cores(report.online_milli));
    one("crest_batch_cores", GAUGE, "Cores that batch uses", cores(report.batch_milli));
    one("crest_system_cores", GAUGE, "Cores that all others use", cores(report.system_milli));
    let delay = "Share of the time in which services waited for a CPU, while batch runs";
    one("crest_online_delay_ratio", GAUGE, delay, report.online_delay);
    let quota = report.quota_milli.map(|milli| whole(milli) / 1000.0);
    one("crest_batch_quota_cores", GAUGE, "Cores that batch is held to", quota);
    one("crest_squeezes_total", COUNTER, "Times the quota shrank", Some(whole(report.squeezes)));
    one("crest_evictions_total", COUNTER, "Batch Pods evicted", Some(whole(report.evictions)));
    one("crest_offered_cores", GAUGE, "Cores offered to batch", cores(report.cpu.offered));
    let offered = Some(report.memory.offered as f64);
    one("crest_offered_memory_bytes", GAUGE, "Memory offered to batch", offered);
    one("crest_mid_offered_cores", GAUGE, "Cores offered to the mid tier", cores(report.mid_cpu.offered));
    let offered = Some(report.mid_memory.offered as f64);
    one("crest_mid_offered_memory_bytes", GAUGE, "Memory offered to the mid tier", offered);
    let bound = in_force.bound.map(whole);
    one("crest_batch_memory_bound_bytes", GAUGE, "Memory that batch is held to, caches too", bound);
    let low = Some(whole(in_force.shield.low));
    one("crest_online_memory_low_bytes", GAUGE, "Memory of services that batch cannot push out", low);
    let min = Some(whole(in_force.shield.min));
    one("crest_online_memory_min_bytes", GAUGE, "Memory of services that is never reclaimed", min);
    let pool = in_force.pool.map(|cpus| whole(cpus as u64));
    one("crest_batch_pool_cpus", GAUGE, "CPUs that batch is kept to", pool);
    one("crest_hand_writes_total", COUNTER, "Values of groups changed", Some(whole(in_force.writes)));
    one("crest_hand_failures_total", COUNTER, "Values that were refused", Some(whole(in_force.failures)));
    text
}

fn head(text: &mut String, name: &str, kind: &str, what: &str) {
    let _never_fails = writeln!(text, "# HELP {name} {what}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, value: Option<f64>) {
    if let Some(value) = value {
        let _never_fails = writeln!(text, "{name} {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;
    use level0::shield::Shield;
    use model::QosClass;

    use super::*;
    use crate::signals::PodSignals;

    fn values(text: &str) -> String {
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn what_is_not_counted_has_no_line() {
        let stall = Stall { some: Duration::from_millis(1500), full: Duration::ZERO };
        let counters = Counters {
            cpu: Some(Cpu {
                used: Duration::from_secs(2),
                periods: 4,
                throttled_periods: 1,
                ..Cpu::default()
            }),
            memory: Some(Memory { used: 9, working_set: 7, refaults: 3, ..Memory::default() }),
            io: None,
            pressure: Pressure { cpu: Some(stall), ..Pressure::default() },
            run_queue: Some(RunQueue { waited: Duration::from_millis(250), threads: 8, looked_at: 4 }),
        };
        let pod = PodSignals {
            namespace: "n".into(),
            name: "p".into(),
            class: QosClass::Online,
            network: Some(Network { received_bytes: 5, ..Network::default() }),
            containers: vec![("c".into(), counters)],
        };
        let signals = Signals { classes: vec![(QosClass::Batch, Counters::default())], pods: vec![pod] };
        expect![[r#"
            container_cpu_usage_seconds_total{container="c",namespace="n",pod="p",class="online"} 2
            container_cpu_cfs_periods_total{container="c",namespace="n",pod="p",class="online"} 4
            container_cpu_cfs_throttled_periods_total{container="c",namespace="n",pod="p",class="online"} 1
            container_cpu_cfs_throttled_seconds_total{container="c",namespace="n",pod="p",class="online"} 0
            container_cpu_schedstat_runqueue_seconds_total{container="c",namespace="n",pod="p",class="online"} 0.25
            container_cpu_schedstat_looked_at_ratio{container="c",namespace="n",pod="p",class="online"} 0.5
            container_memory_usage_bytes{container="c",namespace="n",pod="p",class="online"} 9
            container_memory_working_set_bytes{container="c",namespace="n",pod="p",class="online"} 7
            container_memory_rss{container="c",namespace="n",pod="p",class="online"} 0
            container_memory_cache{container="c",namespace="n",pod="p",class="online"} 0
            container_memory_major_faults_total{container="c",namespace="n",pod="p",class="online"} 0
            container_memory_refaults_total{container="c",namespace="n",pod="p",class="online"} 3
            container_pressure_cpu_waiting_seconds_total{container="c",namespace="n",pod="p",class="online"} 1.5
            container_pressure_cpu_stalled_seconds_total{container="c",namespace="n",pod="p",class="online"} 0
            container_network_receive_bytes_total{namespace="n",pod="p"} 5
            container_network_receive_packets_total{namespace="n",pod="p"} 0
            container_network_transmit_bytes_total{namespace="n",pod="p"} 0
            container_network_transmit_packets_total{namespace="n",pod="p"} 0
        "#]]
        .assert_eq(&values(&counted(&signals)));
    }

    #[test]
    fn the_arbiter_tells_what_is_in_force() {
        let report = Report { online_milli: 1500, quota_milli: Some(250), squeezes: 2, ..Report::default() };
        let in_force = InForce { shield: Shield { min: 1, low: 2 }, bound: Some(7), ..InForce::default() };
        expect![[r#"
            crest_online_cores 1.5
            crest_batch_cores 0
            crest_system_cores 0
            crest_batch_quota_cores 0.25
            crest_squeezes_total 2
            crest_evictions_total 0
            crest_offered_cores 0
            crest_offered_memory_bytes 0
            crest_mid_offered_cores 0
            crest_mid_offered_memory_bytes 0
            crest_batch_memory_bound_bytes 7
            crest_online_memory_low_bytes 2
            crest_online_memory_min_bytes 1
            crest_hand_writes_total 0
            crest_hand_failures_total 0
        "#]]
        .assert_eq(&values(&arbitrated(&report, &in_force)));
    }
}
