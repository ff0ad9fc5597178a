//! Tides and their plans as text.

use std::fmt::Write as _;

use control::tide::{Arithmetic, HostPlan, Plan, ResizePlan};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use model::tide::{ResizeStatus, Tide, TideWindow};

use crate::job::show::columns;

pub(super) fn table(tides: &[Tide]) -> String {
    let mut rows = vec![["NAME", "PHASE", "FREE", "FROM", "TO", "TROUBLE"].map(str::to_owned)];
    rows.extend(tides.iter().map(|tide| {
        let status = tide.status.clone().unwrap_or_default();
        let from = status.window.as_ref().map(|window| &window.from).or(status.next.as_ref());
        [
            tide.name_any(),
            format!("{:?}", status.phase),
            format!("{}/{}", status.handed_over, status.wanted),
            time(from),
            time(status.window.as_ref().map(|window| &window.to)),
            troubles(tide).map(|(kind, _)| kind).collect::<Vec<_>>().join(","),
        ]
    }));
    columns(&rows)
}

fn time(time: Option<&Time>) -> String {
    time.map_or("-".to_owned(), |time| time.0.to_string())
}

/// What is not as it should be, and why.
fn troubles(tide: &Tide) -> impl Iterator<Item = (&str, &str)> {
    let conditions = tide.status.iter().flat_map(|status| &status.conditions);
    let true_ones = conditions.filter(|condition| condition.status == "True");
    true_ones.map(|condition| (condition.type_.as_str(), condition.message.as_str()))
}

pub(super) fn text(tide: &Tide) -> String {
    let status = tide.status.clone().unwrap_or_default();
    let mut text = format!("{}: {:?}", tide.name_any(), status.phase);
    let mut add = |words: String| text.write_str(&words).expect("a string takes all text");
    match (&status.window, &status.next) {
        (Some(TideWindow { from, to }), _) => add(format!(
            ", {} of {} hosts free, from {} to {}\n",
            status.handed_over, status.wanted, from.0, to.0
        )),
        (None, Some(next)) => add(format!(", next window at {}\n", next.0)),
        (None, None) => add(", no window to come\n".to_owned()),
    }
    if let Some(prediction) = &status.prediction {
        add(format!("prediction: {}\n", prediction.message));
    }
    if let Some(expected) = &status.expected_free {
        add(format!("the last host is expected to be free at {}\n", expected.0));
    }
    for (kind, message) in troubles(tide) {
        add(format!("{kind}: {message}\n"));
    }
    if !status.hosts.is_empty() {
        let mut rows = vec![["HOST", "PHASE", "SINCE", "BATCH PODS"].map(str::to_owned)];
        rows.extend(status.hosts.iter().map(|host| {
            let phase = format!("{:?}", host.phase);
            [host.node.clone(), phase, host.since.0.to_string(), host.batch_pods.to_string()]
        }));
        add(columns(&rows));
    }
    if let Some(resize) = &status.resize {
        let ResizeStatus { resized, under_way, deferred, infeasible, message } = resize;
        add(format!(
            "services: {resized} resized, {under_way} under way, {deferred} deferred, {infeasible} infeasible\n"
        ));
        if !message.is_empty() {
            add(format!("{message}\n"));
        }
    }
    for past in &status.past {
        let free =
            past.free.as_ref().map_or("never all free".to_owned(), |free| format!("free at {}", free.0));
        add(format!(
            "past window of {}: {:?}, {free}, back at {}\n",
            past.from.0, past.outcome, past.returned.0
        ));
    }
    text
}

pub(super) fn plan(name: &str, plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("a string takes all text");
    let what = if plan.share_percent < 100 {
        format!("{}% of what each host offers batch", plan.share_percent)
    } else {
        "whole hosts".to_owned()
    };
    line(format!("{name}: {what}, {} of {} hosts", plan.wanted, plan.selected));
    line(format!("announced at {}, free from {} to {}", plan.announced, plan.from, plan.to));
    let mut rows = vec![["", "HOST", "PHASE", "FREE AT", "BATCH LOSES", "ITS WORK"].map(str::to_owned)];
    rows.extend((1..).zip(&plan.hosts).map(|(number, host)| row(number, host)));
    columns(&rows).lines().for_each(|row| line(row.to_owned()));
    if !plan.resizes.is_empty() {
        let mut rows = vec![["SERVICE", "HOST", "RESIZED TO"].map(str::to_owned)];
        rows.extend(plan.resizes.iter().map(resize));
        columns(&rows).lines().for_each(|row| line(row.to_owned()));
    }
    if !plan.unable.is_empty() {
        line(format!("not ready, cordoned or in another tide: {}", plan.unable.join(", ")));
    }
    plan.prediction.iter().flat_map(arithmetic).for_each(&mut line);
    let taken = plan.hosts.iter().filter(|host| host.is_taken);
    let late: Vec<&str> =
        taken.clone().filter(|host| !host.is_on_time).map(|host| host.host.as_str()).collect();
    let missing = plan.wanted - taken.count();
    match (late.is_empty(), missing, plan.free) {
        (true, 0, Some(free)) => line(format!("all are free in time, the last one at {free}")),
        (true, 0, None) => line("no host is wanted".to_owned()),
        (true, missing, _) => line(format!("too few hosts: {missing} more are wanted")),
        (false, ..) => line(format!("too late: {}. A longer spec.leadSeconds helps", late.join(", "))),
    }
    text
}

fn resize(resize: &ResizePlan) -> [String; 3] {
    let to: Vec<String> = resize.to.iter().map(|(place, text)| format!("{place}={text}")).collect();
    let what = resize.why_not.as_ref().map_or(to.join(" "), |why| format!("as it is: {why}"));
    [resize.pod.clone(), resize.host.clone(), what]
}

/// What a prediction follows from, hour by hour.
fn arithmetic(prediction: &Arithmetic) -> Vec<String> {
    let Arithmetic { message, margin_percent, host_milli_cpu, min_hosts, max_hosts, hours } = prediction;
    let mut lines = vec![
        format!("prediction: {message}"),
        format!(
            "hosts = (services need + {margin_percent}%) / {host_milli_cpu} milli-cores of a host, if that is {min_hosts} \
             or more, and {max_hosts} at most:"
        ),
    ];
    let mut rows = vec![["HOUR", "SERVICES NEED", "WITH MARGIN", "HOSTS", "KNOWN FROM"].map(str::to_owned)];
    rows.extend(hours.iter().map(|hour| {
        let from = match (hour.milli_cpu, hour.is_of_the_day) {
            (None, _) => "never seen",
            (Some(_), true) => "this day of the week",
            (Some(_), false) => "other days",
        };
        let need = hour.milli_cpu.map_or("-".to_owned(), |milli| milli.to_string());
        let numbers = [hour.with_margin.to_string(), hour.hosts.to_string()];
        let [with_margin, hosts] = numbers;
        [hour.start.to_string(), need, with_margin, hosts, from.to_owned()]
    }));
    lines.extend(columns(&rows).lines().map(str::to_owned));
    lines
}

fn row(number: usize, host: &HostPlan) -> [String; 6] {
    let n_ending = host.work.iter().filter(|work| work.ends).count();
    let n_going = host.work.len() - n_ending;
    let work = match (n_ending, n_going) {
        (0, 0) => "none".to_owned(),
        (ending, 0) => format!("{ending} end"),
        (0, going) => format!("{going} have to go"),
        (ending, going) => format!("{ending} end, {going} have to go"),
    };
    if !host.is_taken {
        let stays = ["-".to_owned(), host.host.clone(), "stays batch's".to_owned(), "-".to_owned()];
        let [number, name, phase, free] = stays;
        return [number, name, phase, free, "-".to_owned(), work];
    }
    let lost = format!("{} core s", host.lost_core_seconds);
    [number.to_string(), host.host.clone(), format!("{:?}", host.phase), host.free.to_string(), lost, work]
}

#[cfg(test)]
mod tests {
    use control::tide::{HourPlan, WorkPlan};
    use expect_test::expect;
    use jiff::Timestamp;
    use model::tide::TidePhase;
    use serde_json::json;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_795_822_200 + 60 * minute).unwrap()
    }

    fn host(name: &str, is_taken: bool, lost: f64, ends: &[bool]) -> HostPlan {
        let work = |ends: &bool| WorkPlan { pod: "n/p".into(), ends: *ends, at: at(-1), lost_seconds: 0 };
        HostPlan {
            host: name.to_owned(),
            phase: TidePhase::Calm,
            is_taken,
            is_on_time: true,
            free: at(-1),
            lost_core_seconds: lost,
            work: ends.iter().map(work).collect(),
        }
    }

    fn resize(pod: &str, host: &str, to: &[(&str, &str)], why_not: Option<&str>) -> ResizePlan {
        let to = to.iter().map(|(place, text)| ((*place).to_owned(), (*text).to_owned())).collect();
        ResizePlan { pod: pod.to_owned(), host: host.to_owned(), to, why_not: why_not.map(str::to_owned) }
    }

    #[test]
    fn a_plan_reads_as_a_table() {
        let mut planned = Plan {
            from: at(0),
            to: at(150),
            announced: at(-30),
            wanted: 2,
            selected: 4,
            share_percent: 100,
            free: Some(at(-1)),
            hosts: vec![
                host("a", true, 0.0, &[true]),
                host("b", true, 12.5, &[true, false]),
                host("c", false, 99.0, &[false]),
            ],
            prediction: None,
            resizes: vec![
                resize("n/web-0", "a", &[("web/limits/cpu", "400m"), ("web/requests/cpu", "200m")], None),
                resize("n/web-1", "b", &[], Some("its host has no room for it now")),
            ],
            unable: vec!["d".to_owned()],
        };
        expect![[r#"
            evening: whole hosts, 2 of 4 hosts
            announced at 2026-11-27T23:00:00Z, free from 2026-11-27T23:30:00Z to 2026-11-28T02:00:00Z
               HOST  PHASE          FREE AT               BATCH LOSES  ITS WORK
            1  a     Calm           2026-11-27T23:29:00Z  0 core s     1 end
            2  b     Calm           2026-11-27T23:29:00Z  12.5 core s  1 end, 1 have to go
            -  c     stays batch's  -                     -            1 have to go
            SERVICE  HOST  RESIZED TO
            n/web-0  a     web/limits/cpu=400m web/requests/cpu=200m
            n/web-1  b     as it is: its host has no room for it now
            not ready, cordoned or in another tide: d
            all are free in time, the last one at 2026-11-27T23:29:00Z
        "#]]
        .assert_eq(&plan("evening", &planned));
        planned.hosts[0].is_on_time = false;
        assert!(plan("evening", &planned).ends_with("too late: a. A longer spec.leadSeconds helps\n"));
        let hour = |hour: i64, milli_cpu: Option<u64>, hosts: usize| HourPlan {
            start: at(60 * hour),
            milli_cpu,
            is_of_the_day: hour == 0,
            with_margin: milli_cpu.unwrap_or(0) * 11 / 10,
            hosts,
        };
        let arithmetic = Arithmetic {
            message: "2 hosts will be needed".to_owned(),
            margin_percent: 10,
            host_milli_cpu: 4000,
            min_hosts: 2,
            max_hosts: 2,
            hours: vec![hour(0, Some(5000), 2), hour(1, Some(1000), 0), hour(2, None, 0)],
        };
        expect![[r#"
            prediction: 2 hosts will be needed
            hosts = (services need + 10%) / 4000 milli-cores of a host, if that is 2 or more, and 2 at most:
            HOUR                  SERVICES NEED  WITH MARGIN  HOSTS  KNOWN FROM
            2026-11-27T23:30:00Z  5000           5500         2      this day of the week
            2026-11-28T00:30:00Z  1000           1100         0      other days
            2026-11-28T01:30:00Z  -              0            0      never seen
        "#]]
        .assert_eq(&(super::arithmetic(&arithmetic).join("\n") + "\n"));
        planned.wanted = 3;
        planned.hosts[0].is_on_time = true;
        assert!(plan("evening", &planned).ends_with("too few hosts: 1 more are wanted\n"));
    }

    #[test]
    fn a_tide_is_told_host_by_host() {
        let condition = json!({ "type": "AtRisk", "status": "True", "reason": "WillBeLate", "message": "a is late",
            "lastTransitionTime": "2026-11-28T10:00:00Z" });
        let status = json!({ "phase": "Draining", "wanted": 2, "handedOver": 1, "conditions": [condition],
            "window": { "from": "2026-11-28T10:10:00Z", "to": "2026-11-28T11:00:00Z" },
            "expectedFree": "2026-11-28T10:12:00Z",
            "resize": { "resized": 2, "deferred": 1, "message": "Pod `n/web-1`: its host has no room for it now" },
            "hosts": [{ "node": "a", "phase": "Draining", "since": "2026-11-28T10:05:00Z", "batchPods": 3 },
                { "node": "b", "phase": "HandedOver", "since": "2026-11-28T10:01:00Z" }],
            "past": [{ "from": "2026-11-27T10:10:00Z", "returned": "2026-11-27T11:00:00Z", "outcome": "Missed" }] });
        let tide: Tide = serde_json::from_value(json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "Tide",
            "metadata": { "name": "evening" }, "spec": {}, "status": status }))
        .unwrap();
        expect![[r#"
            evening: Draining, 1 of 2 hosts free, from 2026-11-28T10:10:00Z to 2026-11-28T11:00:00Z
            the last host is expected to be free at 2026-11-28T10:12:00Z
            AtRisk: a is late
            HOST  PHASE       SINCE                 BATCH PODS
            a     Draining    2026-11-28T10:05:00Z  3
            b     HandedOver  2026-11-28T10:01:00Z  0
            services: 2 resized, 0 under way, 1 deferred, 0 infeasible
            Pod `n/web-1`: its host has no room for it now
            past window of 2026-11-27T10:10:00Z: Missed, never all free, back at 2026-11-27T11:00:00Z
            NAME     PHASE     FREE  FROM                  TO                    TROUBLE
            evening  Draining  1/2   2026-11-28T10:10:00Z  2026-11-28T11:00:00Z  AtRisk
        "#]]
        .assert_eq(&(text(&tide) + &table(&[tide])));
    }
}
