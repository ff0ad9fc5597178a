//! Weeks of services that are busy in the evening, as a Tide sees them.

use expect_test::expect;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::tide::{MarkState, TideMark, TidePhase, TideStatus};
use serde_json::json;

use super::super::calendar::Calendar;
use super::super::decide::decide;
use super::super::view::{Jobs, View};
use super::*;

/// A Monday.
const BEGIN: &str = "2026-11-02T00:00:00Z";

fn tide(more: &str) -> Tide {
    let mut spec = json!({ "hosts": "80%", "timeZone": "Europe/Paris", "leadSeconds": 1800,
        "prediction": { "minDays": 3, "marginPercent": 0, "minHosts": 2 } });
    let more: serde_json::Value = serde_json::from_str(more).unwrap();
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "Tide",
        "metadata": { "name": "t" }, "spec": spec }))
    .unwrap()
}

/// Five Nodes of four cores, of which services take this much together.
fn nodes(milli_cpu: u64, marks: &[(String, TideMark)]) -> Vec<Node> {
    let node = |number: usize| {
        let name = format!("n{number}");
        let mut node: Node = serde_json::from_value(json!({ "metadata": { "name": name }, "status": {
            "conditions": [{ "type": "Ready", "status": "True" }] } }))
        .unwrap();
        let offer = 4000 - milli_cpu / 5;
        let allocatable = [("cpu", "4".to_owned()), (BATCH_CPU, offer.to_string())];
        let allocatable = allocatable.map(|(name, amount)| (name.to_owned(), Text(amount)));
        node.status.as_mut().unwrap().allocatable = Some(allocatable.into());
        let mark = marks.iter().find(|(marked, _)| *marked == name).map(|(_, mark)| mark.to_annotation());
        node.metadata.annotations = mark.map(|mark| [(model::tide::TIDE_MARK.to_owned(), mark)].into());
        node
    };
    (0..5).map(node).collect()
}

/// What services take: nine cores from 19 to 22 o'clock in Paris, and little otherwise; a flash on Tuesday at noon.
fn taken_at(now: Timestamp) -> u64 {
    let local = now.to_zoned(TimeZone::get("Europe/Paris").unwrap());
    let is_flash = local.weekday().to_monday_zero_offset() == 1 && local.hour() == 12 && local.minute() == 0;
    if (19..22).contains(&local.hour()) || is_flash { 9000 } else { 1000 }
}

/// Lives through so many minutes, with a new controller every three days and a half.
fn learn(tide: &mut Tide, minutes: std::ops::Range<i64>) -> Timestamp {
    let begin: Timestamp = BEGIN.parse().unwrap();
    let mut watch = Watch::default();
    let mut now = begin;
    for minute in minutes {
        now = begin + SignedDuration::from_mins(minute);
        if minute % (84 * 60) == 0 {
            watch = Watch::default();
        }
        let nodes = nodes(taken_at(now), &[]);
        let prediction = renewed(tide, &nodes.iter().collect::<Vec<_>>(), &mut watch, now);
        tide.status = Some(TideStatus { prediction, ..TideStatus::default() });
    }
    now
}

fn known(tide: &Tide) -> PredictionStatus {
    tide.status.clone().unwrap().prediction.unwrap()
}

const DAY: i64 = 24 * 60;

#[test]
fn nothing_is_predicted_before_enough_was_seen_and_then_the_evenings_are() {
    let mut tide = tide("{}");
    learn(&mut tide, 0..2 * DAY + 600);
    let cold = known(&tide);
    expect!["nothing is predicted yet: 2 of 3 days were watched"].assert_eq(&cold.message);
    assert_eq!(cold.window, None);
    learn(&mut tide, 2 * DAY + 600..4 * DAY);
    expect!["3 hosts will be needed from 2026-11-06T18:00:00Z to 2026-11-06T21:00:00Z, as 3 days have shown"]
        .assert_eq(&known(&tide).message);
    // What was learnt is small, and a second week changes what is the same every week little.
    let first_week = known(&tide).milli_cpu;
    learn(&mut tide, 4 * DAY..14 * DAY);
    let status = known(&tide);
    assert!(serde_json::to_string(&status).unwrap().len() < 2048, "{status:?}");
    assert_eq!((first_week.len(), status.milli_cpu.len()), (7, 7));
    expect![[r#"
        - 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 9000 9000 9000 1000 1000
        1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 1000 2451 1000 1000 1000 1000 1000 1000 9000 9000 9000 1000 1000"#]].assert_eq(&status.milli_cpu[..2].join("\n"));
    let monday = status.window.unwrap();
    assert_eq!((monday.from.0.to_string().as_str(), monday.hosts), ("2026-11-16T18:00:00Z", 3));
}

#[test]
fn the_arithmetic_of_the_day_to_come_is_told() {
    let mut tide = tide("{}");
    let now = learn(&mut tide, 0..8 * DAY);
    let nodes = nodes(1000, &[]);
    let told = arithmetic(&tide, &nodes.iter().collect::<Vec<_>>(), now).unwrap();
    let hour = |hour: &HourPlan| {
        format!("{} {:?} {} {}", hour.start, hour.milli_cpu, hour.is_of_the_day, hour.hosts)
    };
    let evening: Vec<String> = told.hours[18..23].iter().map(hour).collect();
    expect![[r#"
        4000 per host, 2 to 4
        2026-11-10T17:00:00Z Some(1000) true 0
        2026-11-10T18:00:00Z Some(9000) true 3
        2026-11-10T19:00:00Z Some(9000) true 3
        2026-11-10T20:00:00Z Some(9000) true 3
        2026-11-10T21:00:00Z Some(1000) true 0"#]]
    .assert_eq(&format!(
        "{} per host, {} to {}\n{}",
        told.host_milli_cpu,
        told.min_hosts,
        told.max_hosts,
        evening.join("\n")
    ));
}

/// From here on as the controller does it: hosts are handed over before the predicted hour, as many as it needs.
#[test]
fn a_predicted_window_is_met_stays_as_announced_and_may_be_undone() {
    let mut tide = tide("{}");
    let begin = learn(&mut tide, 0..7 * DAY);
    let (mut watch, mut marks, mut told) = (Watch::default(), Vec::new(), Vec::new());
    let mut minute = |tide: &mut Tide, now: Timestamp| {
        let nodes = nodes(taken_at(now), &marks);
        let nodes: Vec<&Node> = nodes.iter().collect();
        tide.status.get_or_insert_default().prediction = renewed(tide, &nodes, &mut watch, now);
        let calendar = Calendar::of(tide).unwrap();
        let view = View { nodes, pods: Vec::new(), jobs: &Jobs::new(), now };
        let status = decide(tide, Some(&calendar), &view).status;
        let marked = status.hosts.iter().filter_map(|host| {
            Some((host.node.clone(), super::super::act::wanted_mark("t", &tide.spec, host.phase)?))
        });
        marks = marked.collect();
        let n_handed = marks.iter().filter(|(_, mark)| mark.state == MarkState::HandedOver).count();
        tide.status = Some(status);
        n_handed
    };
    for at in 0..(23 * 60) {
        let now = begin + SignedDuration::from_mins(at);
        let line = (minute(&mut tide, now), tide.status.as_ref().unwrap().phase);
        if told.last().is_none_or(|(_, last)| *last != line) {
            told.push((now, line));
        }
    }
    let told: Vec<String> =
        told.iter().map(|(now, (n_handed, phase))| format!("{now} {phase:?} {n_handed}")).collect();
    expect![[r#"
        2026-11-08T23:59:00Z Calm 0
        2026-11-09T17:30:00Z Announced 0
        2026-11-09T17:31:00Z Draining 0
        2026-11-09T17:32:00Z Verified 0
        2026-11-09T17:33:00Z HandedOver 3
        2026-11-09T21:00:00Z Returning 0
        2026-11-09T21:01:00Z Calm 0"#]]
    .assert_eq(&told.join("\n"));
    let past = tide.status.clone().unwrap().past;
    assert_eq!(past[0].outcome, model::tide::TideOutcome::Met, "{past:?}");

    // Undone, as `crest tide undo` does it: the next one is of the evening after.
    let evening: Timestamp = "2026-11-10T18:30:00Z".parse().unwrap();
    for at in 0..20 {
        minute(&mut tide, evening + SignedDuration::from_mins(at));
    }
    let window = known(&tide).window.unwrap();
    assert!(window.from.0 < window.to.0 && tide.status.as_ref().unwrap().window.is_some(), "{window:?}");
    tide.spec.skip_until = Some(window.to);
    for at in 20..25 {
        minute(&mut tide, evening + SignedDuration::from_mins(at));
    }
    assert_eq!(tide.status.as_ref().unwrap().phase, TidePhase::Calm);
    assert_eq!(known(&tide).window.unwrap().from.0.to_string(), "2026-11-11T18:00:00Z");
}

#[test]
fn nobody_knows_what_nodes_need_that_offer_nothing() {
    let tide = tide("{}");
    let mut silent = nodes(9000, &[]);
    for node in &mut silent {
        node.status.as_mut().unwrap().allocatable = Some([("cpu".to_owned(), Text("4".to_owned()))].into());
    }
    let mut watch = Watch::default();
    for minute in 0..180 {
        let now = BEGIN.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minute);
        let status = renewed(&tide, &silent.iter().collect::<Vec<_>>(), &mut watch, now).unwrap();
        assert_eq!((status.hours, status.milli_cpu), (0, Vec::new()));
    }
}
