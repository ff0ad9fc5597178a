//! `crest explain node`: what a node offers batch, and why it is just so much. The node's own agent tells.

use std::fmt::Write as _;

use agent::colocation::{Explanation, MidExplanation, OnlinePod, Report, Term, Zone, ZoneTerms};
use anyhow::Context;
use http::Request;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};
use serde::Serialize;
use sigma::resources::text;

use super::{NodeOptions, config};
use crate::settings::Settings;
use crate::sim::answer;

/// What is told of a node.
#[derive(Debug, Serialize)]
struct Told {
    node: String,
    #[serde(flatten)]
    report: Report,
}

pub(super) fn explain(settings: &Settings, options: &NodeOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(async {
        let client = kube::Client::try_from(config(settings, &options.cluster).await?)?;
        let node = named(&client, options.name.as_deref()).await?;
        let report = report(&client, &node).await?;
        anyhow::Ok(Told { node, report })
    })?;
    answer(options.output, &answered, told)
}

/// The node of that name, or the only one.
async fn named(client: &kube::Client, name: Option<&str>) -> anyhow::Result<String> {
    if let Some(name) = name {
        return Ok(name.to_owned());
    }
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes: Vec<String> =
        nodes.list(&kube::api::ListParams::default()).await?.iter().map(Node::name_any).collect();
    match nodes.as_slice() {
        [only] => Ok(only.clone()),
        [] => anyhow::bail!("the cluster has no node"),
        several => anyhow::bail!("name one of the nodes: {}", several.join(", ")),
    }
}

async fn report(client: &kube::Client, node: &str) -> anyhow::Result<Report> {
    let request = Request::get(format!("/api/v1/nodes/{node}/proxy/arbiter")).body(Vec::new())?;
    client.request(request).await.with_context(|| {
        format!(
            "cannot ask the agent of node `{node}` (its sum also stands in the condition BatchOffered: kubectl describe node {node})"
        )
    })
}

fn told(Told { node, report }: &Told) -> String {
    if report.cpu.capacity == 0 {
        return format!(
            "node {node}: nothing was measured yet; its agent has just begun, ask again in a second\n"
        );
    }
    let mut said = format!("node {node}\n\n");
    let row = |said: &mut String, what: &str, of: fn(&Explanation) -> i64| {
        let (cpu, memory) = (of(&report.cpu), of(&report.memory));
        _ = writeln!(said, "{what:<34} {:>10} {:>10}", amount("cpu", cpu), amount("memory", memory));
    };
    _ = writeln!(said, "{:<34} {:>10} {:>10}", "", "CPU", "MEMORY");
    row(&mut said, "capacity", |terms| terms.capacity);
    row(&mut said, "- margin", |terms| terms.margin);
    row(&mut said, "- system", |terms| terms.system);
    row(&mut said, "- services, the larger of", |terms| terms.online_measured.max(terms.online_predicted));
    row(&mut said, "    what they use", |terms| terms.online_measured);
    row(&mut said, "    what they may want at a peak", |terms| terms.online_predicted);
    row(&mut said, "- services that count by request", |terms| terms.online_requested);
    row(&mut said, "= possible for batch", |terms| terms.possible);
    row(&mut said, "offered", |terms| terms.offered);
    if report.cpu.offered < report.cpu.possible || report.memory.offered < report.memory.possible {
        said.push_str("an offer grows slowly, and fades when readings are old\n");
    }
    said.push('\n');
    said.push_str(&mid(report));
    said.push_str(&zones(&report.zones));
    said.push_str(&services(&report.online));
    _ = writeln!(
        said,
        "now: services use {}, batch {}, the system {} of CPU{}",
        amount("cpu", report.online_milli),
        amount("cpu", report.batch_milli),
        amount("cpu", report.system_milli),
        report
            .quota_milli
            .map_or_else(String::new, |quota| format!("; batch is held to {}", text("cpu", quota.into())))
    );
    said.push_str(&suffering(report));
    said.push_str(&rule(&report.rule));
    said
}

/// By which values all this is.
fn rule(rule: &agent::policy::Told) -> String {
    let mut said = match &rule.policy {
        Some(name) => {
            format!("\nby ColocationPolicy {name}; what it does not name is as the agent was started:\n")
        }
        None => "\nno ColocationPolicy selects the node; it is as its agent was started:\n".to_owned(),
    };
    for agent::policy::Value { name, value, by_policy } in &rule.values {
        let by = if *by_policy { "  by the policy" } else { "" };
        _ = writeln!(said, "  {name:<34} {value:>8}{by}");
    }
    if let Some(trouble) = &rule.trouble {
        _ = writeln!(said, "{trouble}");
    }
    said
}

/// What services requested and will not use.
fn mid(report: &Report) -> String {
    let mut said = String::new();
    let mut row = |what: &str, of: fn(&MidExplanation) -> i64| {
        let (cpu, memory) = (of(&report.mid_cpu), of(&report.mid_memory));
        _ = writeln!(said, "{what:<34} {:>10} {:>10}", amount("cpu", cpu), amount("memory", memory));
    };
    row("requested, and not used at a peak", |terms| terms.reclaimable);
    row("of it, unused now", |terms| terms.reclaimable.min(terms.unused));
    row("+ not requested", |terms| terms.unallocated);
    row("= possible for the mid tier", |terms| terms.possible);
    row("offered", |terms| terms.offered);
    said.push('\n');
    said
}

/// What each NUMA zone offers batch, where there are several.
fn zones(zones: &[Zone]) -> String {
    if zones.len() < 2 {
        return String::new();
    }
    let title = |what: &str| format!("{what:>10} {:>8} {:>8} {:>8}", "OWN", "TAKEN", "OFFERED");
    let mut lines = vec![format!("NUMA ZONE  {}   {}", title("CPU"), title("MEMORY"))];
    for Zone { id, cpu, memory } in zones {
        let cells = |resource: &str, terms: &ZoneTerms| {
            let cell = |value| amount(resource, value);
            format!(
                "{:>10} {:>8} {:>8} {:>8}",
                cell(terms.capacity),
                cell(terms.own),
                cell(terms.taken),
                cell(terms.offered)
            )
        };
        lines.push(format!("{id:<9}  {}   {}", cells("cpu", cpu), cells("memory", memory)));
    }
    lines.join("\n") + "\n\n"
}

/// What services suffer, and who of batch is to blame.
fn suffering(report: &Report) -> String {
    let mut said = String::new();
    if let Some(delay) = report.online_delay {
        _ = writeln!(
            said,
            "services wait for a processor in {:.1}% of the time they want one",
            delay * 100.0
        );
    }
    if let Some(latency) = report.latency {
        _ = writeln!(
            said,
            "the service that is worst off has {:.0}% of the latency it may have",
            latency * 100.0
        );
    }
    if report.offences > 0 {
        let Report { offenders, offences, moves, .. } = report;
        _ = writeln!(
            said,
            "batch Pods held back as services suffer from them: {offenders} now, {offences} times so far; {moves} sent away"
        );
    }
    said
}

fn services(pods: &[OnlinePod]) -> String {
    if pods.is_empty() {
        return "no service runs here\n".to_owned();
    }
    let name = |pod: &OnlinePod| format!("{}/{}", pod.namespace, pod.name);
    let widest = pods.iter().map(|pod| name(pod).len()).max().unwrap_or(0).max(7);
    let mut lines = vec![format!(
        "{:widest$}  {:>8} {:>8} {:>8}   {:>8} {:>8} {:>8}  COUNTS BY",
        "SERVICE", "CPU", "PEAK", "REQUEST", "MEMORY", "PEAK", "REQUEST"
    )];
    let mut pods: Vec<&OnlinePod> = pods.iter().collect();
    pods.sort_by_key(|pod| name(pod));
    for pod in pods {
        let cells = |resource: &'static str,
                     Term { request, measured, while_new, predicted, cache: _ }: Term| {
            let known = |value: Option<u64>| {
                value.map_or_else(|| "-".to_owned(), |value| text(resource, value.into()))
            };
            format!(
                "{:>8} {:>8} {:>8}",
                known(measured.or(while_new)),
                known(predicted),
                text(resource, request.into())
            )
        };
        let by = match pod.milli_cpu.measured {
            None if pod.milli_cpu.while_new.is_some() => "request, or use if that is more: it is new",
            None => "request: not measured yet",
            Some(_) if pod.is_mid => "use; it is lent what others requested",
            Some(_) if pod.is_pinned => "request: its CPUs are its own",
            Some(_) => "use",
        };
        lines.push(format!(
            "{:widest$}  {}   {}  {by}",
            name(pod),
            cells("cpu", pod.milli_cpu),
            cells("memory", pod.memory)
        ));
    }
    lines.join("\n") + "\n\n"
}

/// As Kubernetes writes it; what is below zero is a margin that lends more than there is.
fn amount(resource: &str, value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", text(resource, rounded(resource, value.unsigned_abs()).into()))
}

/// To mebibytes: nobody reads bytes.
fn rounded(resource: &str, value: u64) -> u64 {
    if resource == "memory" { value >> 20 << 20 } else { value }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn before_the_first_look_there_is_no_sum() {
        let said = told(&Told { node: "n1".to_owned(), report: Report::default() });
        assert!(said.contains("nothing was measured yet"), "{said}");
    }

    /// A node of two cores and two zones, with a policy and three services.
    fn report() -> Report {
        let terms = |unit: i64| Explanation {
            capacity: 2000 * unit,
            margin: 100 * unit,
            system: 50 * unit,
            online_measured: 300 * unit,
            online_predicted: 420 * unit,
            online_requested: 1000 * unit,
            possible: 430 * unit,
            offered: 400 * unit,
        };
        let zone = |id, offered: i64| {
            let terms = |unit: i64| ZoneTerms {
                capacity: 1000 * unit,
                own: 500 * unit,
                taken: 85 * unit,
                offered: offered * unit,
            };
            Zone { id, cpu: terms(1), memory: terms(1 << 20) }
        };
        let value = |name: &str, value: &str, by_policy: bool| agent::policy::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            by_policy,
        };
        let pod = |name: &str, measured: Option<u64>, is_pinned: bool| OnlinePod {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            app: "shop/web".to_owned(),
            milli_cpu: Term {
                request: 500,
                measured,
                cache: 0,
                while_new: None,
                predicted: measured.map(|used| used + 120),
            },
            memory: Term {
                request: 64 << 20,
                measured: measured.map(|_| 30 << 20),
                cache: 0,
                while_new: None,
                predicted: None,
            },
            is_pinned,
            is_mid: name == "web-b",
        };
        Report {
            online_milli: 310,
            batch_milli: 1200,
            system_milli: 40,
            quota_milli: Some(1500),
            cpu: terms(1),
            mid_cpu: MidExplanation {
                reclaimable: 700,
                unused: 500,
                unallocated: 50,
                possible: 550,
                offered: 300,
            },
            zones: vec![zone(0, 300), zone(1, 100)],
            memory: terms(1 << 20),
            online: vec![
                pod("web-b", Some(300), false),
                pod("web-a", None, false),
                pod("db", Some(100), true),
            ],
            rule: agent::policy::Told {
                policy: Some("gentle".to_owned()),
                trouble: None,
                values: vec![
                    value("cpu.marginPercent", "20", true),
                    value("squeeze.waitPercent", "25", false),
                ],
            },
            ..Report::default()
        }
    }

    #[test]
    fn the_sum_is_told_term_by_term() {
        expect![[r#"
            node n1

                                                      CPU     MEMORY
            capacity                                    2     2000Mi
            - margin                                 100m      100Mi
            - system                                  50m       50Mi
            - services, the larger of                420m      420Mi
                what they use                        300m      300Mi
                what they may want at a peak         420m      420Mi
            - services that count by request            1     1000Mi
            = possible for batch                     430m      430Mi
            offered                                  400m      400Mi
            an offer grows slowly, and fades when readings are old

            requested, and not used at a peak        700m          0
            of it, unused now                        500m          0
            + not requested                           50m          0
            = possible for the mid tier              550m          0
            offered                                  300m          0

            NUMA ZONE         CPU      OWN    TAKEN  OFFERED       MEMORY      OWN    TAKEN  OFFERED
            0                   1     500m      85m     300m       1000Mi    500Mi     85Mi    300Mi
            1                   1     500m      85m     100m       1000Mi    500Mi     85Mi    100Mi

            SERVICE          CPU     PEAK  REQUEST     MEMORY     PEAK  REQUEST  COUNTS BY
            shop/db         100m     220m     500m       30Mi        -     64Mi  request: its CPUs are its own
            shop/web-a         -        -     500m          -        -     64Mi  request: not measured yet
            shop/web-b      300m     420m     500m       30Mi        -     64Mi  use; it is lent what others requested

            now: services use 310m, batch 1200m, the system 40m of CPU; batch is held to 1500m

            by ColocationPolicy gentle; what it does not name is as the agent was started:
              cpu.marginPercent                        20  by the policy
              squeeze.waitPercent                      25
        "#]]
        .assert_eq(&told(&Told { node: "n1".to_owned(), report: report() }));
    }
}
