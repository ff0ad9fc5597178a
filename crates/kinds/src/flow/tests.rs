//! What holds of seats and queues whatever happens, and a few days in the life of a server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use expect_test::expect;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::level::WIDEST_PART;
use super::{
    Arrival, Classifier, Dispatcher, Flow, Refusal, Request, Target, Ticket, bootstrap, dangling, mended,
};

fn of_kind(kind: &str) -> Vec<Value> {
    let objects = bootstrap().into_iter().map(|bootstrap| bootstrap.object);
    objects.filter(|object| object["kind"] == kind).collect()
}

fn level(name: &str, shares: u32, lendable: u32, queues: u32) -> Value {
    let response = match queues {
        0 => json!({"type": "Reject"}),
        queues => {
            json!({"type": "Queue", "queuing": {"queues": queues, "handSize": 2, "queueLengthLimit": 30}})
        }
    };
    json!({"metadata": {"name": name, "uid": name}, "spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}}})
}

fn flow(level: &str, hash: u64) -> Flow {
    Flow { schema_uid: "s".into(), level: level.into(), level_uid: level.into(), hash }
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn every_line_of_the_table_is_understood() {
    let objects: Vec<Value> = bootstrap().into_iter().map(|bootstrap| bootstrap.object).collect();
    assert_eq!((of_kind("PriorityLevelConfiguration").len(), of_kind("FlowSchema").len()), (8, 13));
    for object in &objects {
        let kind = crate::find_kind("flowcontrol.apiserver.k8s.io", "v1", object["kind"].as_str().unwrap());
        let mut filled = object.clone();
        crate::defaults::apply(kind.unwrap(), &mut filled);
        assert_eq!(filled["spec"], object["spec"], "nothing is left to be filled in");
    }
    let high = objects.iter().find(|object| object["metadata"]["name"] == "system-node-high").unwrap();
    expect![[r#"{"distinguisherMethod":{"type":"ByUser"},"matchingPrecedence":400,"priorityLevelConfiguration":{"name":"node-high"},"rules":[{"resourceRules":[{"apiGroups":[""],"clusterScope":true,"namespaces":["*"],"resources":["nodes","nodes/status"],"verbs":["*"]},{"apiGroups":["coordination.k8s.io"],"namespaces":["*"],"resources":["leases"],"verbs":["*"]}],"subjects":[{"group":{"name":"system:nodes"},"kind":"Group"}]}]}"#]].assert_eq(&high["spec"].to_string());
}

#[test]
fn requests_find_their_level() {
    let classifier = Classifier::new(&of_kind("FlowSchema"), &of_kind("PriorityLevelConfiguration"));
    let check = |user: &str, groups: &[&str], request: &str, expected: &str| {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let words: Vec<&str> = request.split(' ').collect();
        let (verb, target) = match words.as_slice() {
            [verb, path] => (verb, Target::Path(path)),
            [verb, group, resource, namespace] => {
                let (resource, subresource) = match resource.split_once('/') {
                    Some((resource, part)) => (resource, Some(part)),
                    None => (*resource, None),
                };
                let group = if *group == "core" { "" } else { group };
                let namespace = Some(*namespace).filter(|namespace| *namespace != "-");
                (verb, Target::Object { group, resource, subresource, namespace })
            }
            _ => unreachable!("{request}"),
        };
        let found = classifier.classify(&Request { user, groups: &groups, verb, target });
        assert_eq!(&*found.level, expected, "{user}: {request}");
    };
    let known = ["system:authenticated"];
    let account = ["system:serviceaccounts", "system:authenticated"];
    let node = ["system:nodes", "system:authenticated"];
    check("admin", &["system:masters", "system:authenticated"], "list core pods -", "exempt");
    check("jane", &known, "get /healthz", "exempt");
    check("jane", &known, "get /version", "global-default");
    check("jane", &known, "list core pods ns", "global-default");
    check("system:node:n", &node, "update core nodes/status -", "node-high");
    check("system:node:n", &node, "update coordination.k8s.io leases kube-node-lease", "node-high");
    check("system:node:n", &node, "get core secrets ns", "system");
    check(
        "system:kube-scheduler",
        &known,
        "update coordination.k8s.io leases kube-system",
        "leader-election",
    );
    check("system:kube-scheduler", &known, "list core pods -", "workload-high");
    check("system:serviceaccount:kube-system:dns", &account, "list core pods -", "workload-high");
    check("system:serviceaccount:shop:cart", &account, "list core pods shop", "workload-low");
    check("somebody", &["strangers"], "get /version", "catch-all");
}

#[test]
fn a_schema_without_its_level_leads_nowhere() {
    let mut schema = of_kind("FlowSchema").pop().unwrap();
    schema["metadata"] = json!({"name": "lost", "uid": "u"});
    schema["spec"]["priorityLevelConfiguration"]["name"] = "nowhere".into();
    let there = BTreeSet::from(["nowhere".to_owned()]);
    let condition = dangling(&schema, &BTreeSet::new(), "now").unwrap();
    assert_eq!((&condition[0]["status"], &condition[0]["reason"]), (&json!("True"), &json!("NotFound")));
    schema["status"] = json!({"conditions": condition});
    assert_eq!(dangling(&schema, &BTreeSet::new(), "later"), None);
    assert_eq!(dangling(&schema, &there, "later").unwrap()[0]["reason"], "Found");
    let groups = ["system:authenticated".to_owned()];
    let request = Request { user: "jane", groups: &groups, verb: "get", target: Target::Path("/") };
    let classifier = Classifier::new(&[schema], &of_kind("PriorityLevelConfiguration"));
    assert_eq!(&*classifier.classify(&request).level, "catch-all");
}

#[test]
fn only_what_nobody_claimed_is_mended() {
    for wanted in bootstrap() {
        let mut theirs = wanted.object.clone();
        assert!(mended(&theirs, &wanted).is_none());
        theirs["spec"]["matchingPrecedence"] = 77.into();
        assert_eq!(mended(&theirs, &wanted).unwrap()["spec"], wanted.object["spec"]);
        theirs["metadata"]["annotations"] = json!({"apf.kubernetes.io/autoupdate-spec": "false"});
        assert_eq!(mended(&theirs, &wanted).is_some(), wanted.is_mandatory);
    }
}

#[test]
fn seats_are_lent_and_come_back() {
    let mut dispatcher = Dispatcher::new(10);
    dispatcher.configure(&[level("a", 5, 60, 8), level("b", 5, 0, 8)], millis(0));
    let arrivals: Vec<Arrival> = (0..9).map(|_| dispatcher.arrive(&flow("b", 1), 1, millis(0))).collect();
    let seated: Vec<Ticket> = arrivals
        .iter()
        .filter_map(|arrival| match arrival {
            Arrival::Seated(ticket) => Some(*ticket),
            _ => None,
        })
        .collect();
    assert_eq!(seated.len(), 8, "its own five and the three that the other lends");
    let two: Vec<Arrival> = (0..3).map(|_| dispatcher.arrive(&flow("a", 2), 1, millis(0))).collect();
    assert!(
        matches!(two.as_slice(), [Arrival::Seated(_), Arrival::Seated(_), Arrival::Waits(..)]),
        "{two:?}"
    );
    let Arrival::Waits(ticket, _) = &two[2] else { unreachable!() };
    assert_eq!(
        dispatcher.leave(seated[0], millis(5)),
        [*ticket],
        "who lent it gets it back, not the borrower's next"
    );
}

#[test]
fn levels_without_queues_refuse_and_full_queues_do() {
    let mut dispatcher = Dispatcher::new(2);
    dispatcher.configure(&[level("a", 1, 0, 0), level("b", 1, 0, 1)], millis(0));
    let at = |dispatcher: &mut Dispatcher, name: &str| dispatcher.arrive(&flow(name, 1), 1, millis(0));
    assert!(matches!(at(&mut dispatcher, "a"), Arrival::Seated(_)));
    assert_eq!(at(&mut dispatcher, "a"), Arrival::Refused(Refusal::NoSeat));
    assert!(matches!(at(&mut dispatcher, "b"), Arrival::Seated(_)));
    for _ in 0..30 {
        assert!(matches!(at(&mut dispatcher, "b"), Arrival::Waits(..)));
    }
    assert_eq!(at(&mut dispatcher, "b"), Arrival::Refused(Refusal::QueueFull));
}

/// Flows that always want more, each with requests of its own width and length: what each got, in seats times
/// milliseconds.
fn served(clients: &[(u64, u32, u64)], seats: u32, until: u64) -> Vec<u64> {
    let mut dispatcher = Dispatcher::new(seats);
    // Each client has a queue of its own, so that it is fairness between queues that is seen.
    let mut object = level("a", 1, 0, 64);
    object["spec"]["limited"]["limitResponse"]["queuing"]["handSize"] = 1.into();
    dispatcher.configure(&[object], millis(0));
    let mut work = vec![0; clients.len()];
    let mut owners = BTreeMap::<Ticket, usize>::new();
    let mut ends = BTreeSet::<(u64, Ticket)>::new();
    let mut now = 0;
    let arrive = |dispatcher: &mut Dispatcher, client: usize, now: u64| {
        let (hash, width, _) = clients[client];
        match dispatcher.arrive(&flow("a", hash), width, millis(now)) {
            Arrival::Seated(ticket) => (ticket, vec![ticket]),
            Arrival::Waits(ticket, seated) => (ticket, seated),
            other => unreachable!("{other:?}"),
        }
    };
    let mut news = Vec::new();
    for client in (0..clients.len()).cycle().take(clients.len() * 20) {
        let (ticket, seated) = arrive(&mut dispatcher, client, now);
        owners.insert(ticket, client);
        news.extend(seated);
    }
    while now < until {
        for ticket in news.drain(..) {
            ends.insert((now + clients[owners[&ticket]].2, ticket));
        }
        let (at, ticket) = ends.pop_first().unwrap();
        now = at;
        let client = owners.remove(&ticket).unwrap();
        work[client] += u64::from(clients[client].1) * clients[client].2;
        news.extend(dispatcher.leave(ticket, millis(now)));
        let (ticket, seated) = arrive(&mut dispatcher, client, now);
        owners.insert(ticket, client);
        news.extend(seated);
    }
    work
}

#[test]
fn flows_get_equal_service_however_long_and_wide_their_requests_are() {
    // Short and long, narrow and wide: nobody gains by either.
    let work = served(&[(1, 1, 2), (2, 1, 40), (3, 4, 10), (4, 2, 5)], 24, 60_000);
    let (least, most) = (work.iter().min().unwrap(), work.iter().max().unwrap());
    assert!(most * 10 <= least * 11, "{work:?}");
    assert!(work.iter().sum::<u64>() * 100 >= 24 * 60_000 * 95, "seats stay empty: {work:?}");
}

#[test]
fn a_quiet_client_waits_for_one_turn_at_most() {
    let mut dispatcher = Dispatcher::new(4);
    dispatcher.configure(&[level("a", 1, 0, 64)], millis(0));
    let mut running: Vec<Ticket> = Vec::new();
    for _ in 0..60 {
        if let Arrival::Seated(ticket) = dispatcher.arrive(&flow("a", 1), 1, millis(0)) {
            running.push(ticket);
        }
    }
    for turn in 1..50 {
        let Arrival::Waits(quiet, _) = dispatcher.arrive(&flow("a", 9_999), 1, millis(turn * 10)) else {
            unreachable!("the loud client has all seats")
        };
        let seated = dispatcher.leave(running.remove(0), millis(turn * 10 + 1));
        running.extend(seated.iter().filter(|ticket| **ticket != quiet));
        assert!(dispatcher.is_seated(quiet), "turn {turn}");
        running.extend(dispatcher.leave(quiet, millis(turn * 10 + 2)));
        if let Arrival::Seated(ticket) = dispatcher.arrive(&flow("a", 1), 1, millis(turn * 10 + 3)) {
            running.push(ticket);
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Arrive { level: usize, hash: u64, width: u32 },
    Leave(usize),
    Configure(u32, u32, u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..4_usize, 0..6_u64, 1..9_u32).prop_map(|(level, hash, width)| Event::Arrive { level, hash, width }),
        5 => any::<usize>().prop_map(Event::Leave),
        1 => (0..40_u32, 0..101_u32, 0..5_u32).prop_map(|(a, b, c)| Event::Configure(a, b, c)),
    ]
}

const NAMES: [&str; 4] = ["a", "b", "c", "catch-all"];

fn configured(shares: u32, lendable: u32, queues: u32) -> Vec<Value> {
    let mut levels =
        vec![level("a", shares, lendable, 4), level("b", 10, 50, queues), level("catch-all", 5, 0, 0)];
    if queues != 3 {
        levels.push(level("c", 7, 100 - lendable.min(100), 2));
    }
    levels
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_happens_the_rules_hold(total in 1..60_u32, events in proptest::collection::vec(event(), 1..250)) {
        let mut dispatcher = Dispatcher::new(total);
        let mut now = 0;
        let mut seated = dispatcher.configure(&configured(20, 30, 3), millis(now));
        // Every request that is in: whether it has its seat.
        let mut inside = BTreeMap::<Ticket, bool>::new();
        let mut is_settled = true;
        for event in events {
            let levels_before = dispatcher.names();
            now += 3;
            match event {
                Event::Arrive { level, hash, width } => {
                    match dispatcher.arrive(&flow(NAMES[level], hash), width, millis(now)) {
                        Arrival::Seated(ticket) => prop_assert_eq!(inside.insert(ticket, true), None),
                        Arrival::Waits(ticket, news) => {
                            prop_assert_eq!(inside.insert(ticket, false), None);
                            seated.extend(news);
                        }
                        Arrival::Refused(_) | Arrival::Exempt => {}
                    }
                }
                Event::Leave(index) => {
                    let Some(ticket) = inside.keys().nth(index % inside.len().max(1)).copied() else { continue };
                    inside.remove(&ticket);
                    seated.extend(dispatcher.leave(ticket, millis(now)));
                }
                Event::Configure(shares, lendable, queues) => {
                    seated.extend(dispatcher.configure(&configured(shares, lendable, queues), millis(now)));
                    is_settled = false;
                }
            }
            for ticket in seated.drain(..) {
                prop_assert_eq!(inside.insert(ticket, true), Some(false), "seated twice, or after it left");
            }
            let figures: Vec<_> = dispatcher.names().iter().map(|name| dispatcher.figures(name)).collect();
            // Seats in use, and those that are kept for levels that do not use them now.
            let used: u32 = figures.iter().map(|(used, _, limits)| *used.max(&limits.guaranteed)).sum();
            let waiting: usize = figures.iter().map(|figures| figures.1).sum();
            prop_assert_eq!(waiting, inside.values().filter(|is_seated| !**is_seated).count());
            // After a change of the limits, also when a level is gone for good, it may take until others have left.
            is_settled &= levels_before == dispatcher.names();
            let is_within =
                used <= dispatcher.pool() && figures.iter().all(|(used, _, limits)| *used <= limits.most);
            prop_assert!(is_within || !is_settled, "{figures:?}");
            is_settled = is_within;
            // Nobody waits for a small request while its level has not even what is guaranteed to it.
            for (used, waiting, limits) in &figures {
                let widest = (limits.nominal / WIDEST_PART).max(1);
                let has_room = used + widest <= limits.guaranteed;
                prop_assert!(!is_settled || *waiting == 0 || !has_room, "{figures:?}");
            }
        }
        // Whoever waits gets a seat in the end, as long as others leave.
        while let Some(ticket) = inside.iter().find(|(_, is_seated)| **is_seated).map(|(ticket, _)| *ticket) {
            inside.remove(&ticket);
            now += 1;
            for ticket in dispatcher.leave(ticket, millis(now)) {
                prop_assert_eq!(inside.insert(ticket, true), Some(false));
            }
        }
        // Only a level that is configured to have no seats of its own may hold requests for good.
        let figures: Vec<_> = dispatcher.names().iter().map(|name| dispatcher.figures(name)).collect();
        let stuck = figures.iter().filter(|(_, waiting, limits)| *waiting > 0 && limits.nominal > 0);
        prop_assert_eq!(stuck.count(), 0, "{:?}", figures);
    }
}
