//! Faulty objects and what is said of them.

mod changed;
mod created;
mod pinned;

use expect_test::{Expect, expect};
use proptest::prelude::{ProptestConfig, proptest};
use serde_json::{Value, json};

use super::{create, names, update};
use crate::status::FieldError;
use crate::{Kind, all, defaults};

fn kind(name: &str) -> &'static Kind {
    all().iter().find(|kind| kind.kind == name).unwrap()
}

/// `body` with what every object has, and its defaults.
fn complete(kind_name: &str, body: &Value) -> Value {
    let kind = kind(kind_name);
    let mut object = json!({"metadata": {"name": "x"}});
    if kind.is_namespaced() {
        object["metadata"]["namespace"] = "n".into();
    }
    json_patch::merge(&mut object, body);
    defaults::apply(kind, &mut object);
    object
}

/// The reasons and the places of the faults, which are what clients read.
fn told(faults: &[FieldError]) -> Vec<String> {
    let lines = faults.iter().map(|fault| {
        let cause = fault.cause();
        let reason = cause["reason"].as_str().unwrap_or_default();
        format!("{} {}", reason.trim_start_matches("FieldValue"), cause["field"].as_str().unwrap_or_default())
    });
    lines.collect()
}

fn check(kind_name: &str, body: Value, expected: Expect) {
    let object = complete(kind_name, &body);
    let lines: Vec<String> =
        create(kind(kind_name), &object).iter().map(|fault| format!("{fault}\n")).collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn sound_objects_have_no_faults() {
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    check("Pod", json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}), expect![[""]]);
    check(
        "Deployment",
        json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}),
        expect![[""]],
    );
    check("Namespace", json!({}), expect![[""]]);
    check(
        "DagJob",
        json!({"spec": {"tasks": [{"name": "a", "instances": 1, "image": "i", "command": ["x"]}]}}),
        expect![[""]],
    );
}

#[test]
fn pods() {
    check(
        "Pod",
        json!({"metadata": {"labels": {"k": "bad value!"}, "finalizers": ["nodomain"]}, "spec": {
            "restartPolicy": "X", "dnsPolicy": "None",
            "containers": [
                {"name": "", "image": "", "ports": [{"containerPort": 70000}, {"containerPort": 0, "name": "THIS_IS_BAD"}]},
                {"name": "B_", "image": " i", "env": [{"value": "x"}], "volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "../x"}],
                 "resources": {"requests": {"cpu": "2", "memory": "-1"}, "limits": {"cpu": "1", "a.b/gpu": "500m"}},
                 "livenessProbe": {"tcpSocket": {"port": 1}, "successThreshold": 2}},
            ],
            "tolerations": [{"key": "a", "operator": "Near"}]}}),
        expect![[r#"
            metadata.labels: Invalid value: "bad value!": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            metadata.finalizers[0]: Invalid value: "nodomain": name is neither a standard finalizer name nor is it fully qualified
            spec.containers[0].name: Required value
            spec.containers[0].image: Required value
            spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[0].ports[1].name: Invalid value: "THIS_IS_BAD": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
            spec.containers[0].ports[1].name: Invalid value: "THIS_IS_BAD": must contain at least one letter (a-z)
            spec.containers[0].ports[1].containerPort: Required value
            spec.containers[1].name: Invalid value: "B_": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.containers[1].image: Invalid value: " i": must not have leading or trailing whitespace
            spec.containers[1].env[0].name: Required value
            spec.containers[1].volumeMounts[0].name: Not found: "v"
            spec.containers[1].volumeMounts.subPath: Invalid value: "../x": must not contain '..'
            spec.containers[1].resources.limits[a.b/gpu]: Invalid value: "500m": must be an integer
            spec.containers[1].resources.requests[a.b/gpu]: Invalid value: "500m": must be an integer
            spec.containers[1].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0
            spec.containers[1].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
            spec.containers[1].livenessProbe.successThreshold: Invalid value: 2: must be 1
            spec.restartPolicy: Unsupported value: "X": supported values: "Always", "Never", "OnFailure"
            spec.dnsConfig: Required value: must name at least one server when `dnsPolicy` is None
            spec.tolerations[0].operator: Unsupported value: "Near": supported values: "Equal", "Exists"
        "#]],
    );
}

#[test]
fn dagjobs_are_judged_by_the_model() {
    check(
        "DagJob",
        json!({"spec": {"tasks": [
            {"name": "a", "instances": 0, "image": "i", "command": ["x"], "dependsOn": ["b", "c"]},
            {"name": "b", "instances": 1, "image": "i", "command": ["x"], "dependsOn": ["a"]},
        ]}}),
        expect![[r#"
            spec.tasks[0].dependsOn[1]: Not found: "c": no task has this name; the job's tasks are: a, b
            spec.tasks[0].instances: Invalid value: "0": must be between 1 and 1000000
            spec.tasks: Invalid value: "a -> b -> a": these tasks wait for each other: a -> b -> a; remove one of the dependencies
        "#]],
    );
}

#[test]
fn pod_groups_have_members_and_patience() {
    check("PodGroup", json!({"spec": {"minMember": 3, "scheduleTimeoutSeconds": 60}}), expect![[""]]);
    check(
        "PodGroup",
        json!({"spec": {"minMember": 0, "scheduleTimeoutSeconds": 0}}),
        expect![[r#"
            spec.minMember: Invalid value: 0: must be between 1 and 2147483647, inclusive
            spec.scheduleTimeoutSeconds: Invalid value: 0: must be between 1 and 86400, inclusive
        "#]],
    );
}

#[test]
fn placement_has_rules_of_its_own() {
    check(
        "SchedulingPolicy",
        json!({"spec": {"placement": "Pack", "priorities": {"max": 5}, "weights": {"fill": 100}}}),
        expect![[""]],
    );
    check(
        "SchedulingPolicy",
        json!({"spec": {"placement": "Heap", "schedulerName": "No Name", "priorities": {"min": 6, "max": 5}, "weights": {"taints": 101}}}),
        expect![[r#"
            spec.schedulerName: Invalid value: "No Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.placement: Unsupported value: "Heap": supported values: "Pack", "Spread"
            spec.weights.taints: Invalid value: 101: must be between 0 and 100, inclusive
            spec.priorities.max: Invalid value: 5: must be at least spec.priorities.min, which is 6
        "#]],
    );
    check(
        "ColocationPolicy",
        json!({"spec": {"nodeSelector": {"matchLabels": {"a b": "c"}}, "cpu": {"marginPercent": 150, "servicesBy": "Use"}}}),
        expect![[r#"
            spec.nodeSelector.matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.cpu.marginPercent: Invalid value: 150: must be between -100 and 100: at 100 nothing is offered, at -100 twice of what is there
        "#]],
    );
    check(
        "ColocationPolicy",
        json!({"spec": {"cpu": {"servicesBy": "Mood"}}}),
        expect![[r#"
            spec.cpu.servicesBy: Unsupported value: "Mood": supported values: "Larger", "Request", "Use"
        "#]],
    );
    check(
        "ColocationProfile",
        json!({"spec": {"class": "batch", "selector": {"matchLabels": {"a": "b"}}}}),
        expect![[""]],
    );
    check(
        "ColocationProfile",
        json!({"spec": {"class": "gold", "namespaceSelector": {"matchLabels": {"a b": "c"}}, "quota": "Q"}}),
        expect![[r#"
            spec.namespaceSelector.matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.class: Unsupported value: "gold": supported values: "batch", "free", "pinned", "shared"
            spec.quota: Invalid value: "Q": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
        "#]],
    );
    check(
        "InterferenceRule",
        json!({"spec": {"atMost": 0, "pods": {"selector": {"matchLabels": {"a": "b"}}}, "beside": {"selector": {}}}}),
        expect![[""]],
    );
    check(
        "InterferenceRule",
        json!({"spec": {"atMost": 1, "pods": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}, "namespaces": ["B_"]}, "beside": {"selector": {}}, "topologyKey": "a b"}}),
        expect![[r#"
            spec.pods.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
            spec.pods.namespaces[0]: Invalid value: "B_": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.topologyKey: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        "#]],
    );
}

#[test]
fn policies_of_the_optimiser_know_the_time_of_the_day() {
    let spec = |more: Value| {
        let mut spec = json!({"spec": {"goal": "FreeMachines"}});
        more.as_object().unwrap().iter().for_each(|(name, value)| spec["spec"][name] = value.clone());
        spec
    };
    check(
        "RebalancePolicy",
        spec(json!({"window": {"start": "22:00", "end": "06:30"}, "leaveAloneSeconds": 0})),
        expect![[""]],
    );
    check(
        "RebalancePolicy",
        spec(json!({"window": {"start": "24:00", "end": "6:30"}, "maxMovesAtOnce": 0})),
        expect![[r#"
            spec.maxMovesAtOnce: Invalid value: 0: must be between 1 and 100, inclusive
            spec.window.start: Invalid value: "24:00": must be a time of the day in UTC, such as 22:00
            spec.window.end: Invalid value: "6:30": must be a time of the day in UTC, such as 22:00
        "#]],
    );
    check(
        "RebalancePolicy",
        spec(json!({"goal": "Tidy", "window": {"start": "22:00", "end": "22:00"}})),
        expect![[r#"
            spec.goal: Unsupported value: "Tidy": supported values: "FreeMachines", "RemoveHotSpots"
            spec.window.end: Invalid value: "22:00": must not be spec.window.start: leave the window out to move at any time
        "#]],
    );
}

#[test]
fn tides_have_time_for_what_they_end() {
    let check = |spec: Value, expect: Expect| check("Tide", json!({ "spec": spec }), expect);
    check(
        json!({"hosts": "60%", "schedule": "30 23 * * *", "timeZone": "Europe/Paris", "durationSeconds": 9000}),
        expect![[""]],
    );
    check(json!({"sharePercent": 40, "leadSeconds": 40, "graceSeconds": 30}), expect![[""]]);
    check(json!({"hosts": 0}), expect![[""]]);
    check(json!({"hosts": "50%", "timeZone": "Europe/Paris", "prediction": {"minDays": 14}}), expect![[""]]);
    check(
        json!({"sharePercent": 40, "timeZone": "Mars/Base", "prediction": {"marginPercent": 500, "minHosts": 0}}),
        expect![[r#"
            spec.prediction.marginPercent: Invalid value: 500: must be between 0 and 400, inclusive
            spec.prediction.minHosts: Invalid value: 0: must be between 1 and 1000000, inclusive
            spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base
            spec.prediction: Invalid value: {"marginPercent":500,"minHosts":0}: must not be given beside spec.sharePercent: it says how many hosts are needed, up to spec.hosts
        "#]],
    );
    check(
        json!({"hosts": 1, "schedule": "", "durationSeconds": 60}),
        expect![[r#"
            spec.schedule: Invalid value: "": must say when windows begin, as "30 23 * * *"; leave it out for spec.windows alone
        "#]],
    );
    check(
        json!({"hosts": 1, "timeZone": "UTC"}),
        expect![[r#"
            spec.timeZone: Invalid value: "UTC": is that of spec.schedule and spec.prediction, which are not given: spec.windows have their own
        "#]],
    );
    check(
        json!({"schedule": "25 25 * * *", "timeZone": "Mars/Base", "leadSeconds": 20, "taint": {"key": "x"}}),
        expect![[r#"
            spec.hosts: Required value: say how many hosts are to be free, as 3 or "60%", or give spec.sharePercent
            spec.schedule: Invalid value: "25 25 * * *": failed to parse 25 of the hour
            spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base
            spec.durationSeconds: Required value: a window of spec.schedule lasts so long
            spec.leadSeconds: Invalid value: 20: must be at least 40: spec.graceSeconds, which is 30, and 10 to hear of it
            spec.taint.effect: Required value
        "#]],
    );
    check(
        json!({"hosts": "110%", "sharePercent": 101, "leadSeconds": 0, "selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
        expect![[r#"
            spec.selector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator
            spec.sharePercent: Invalid value: 101: must be between 1 and 100, inclusive
            spec.leadSeconds: Invalid value: 0: must be between 1 and 2592000, inclusive
            spec.hosts: Invalid value: "110%": must not be given beside spec.sharePercent: a tide takes whole hosts or a share of each
        "#]],
    );
    check(
        json!({"hosts": "110%", "windows": [
            {"from": "23:30", "to": "2026-11-27T23:30:00Z"},
            {"from": "2026-11-27T23:30:00Z", "to": "2026-11-27T23:30:00Z"}, {}]}),
        expect![[r#"
            spec.windows[2].from: Required value
            spec.windows[2].to: Required value
            spec.hosts: Invalid value: "110%": must be a number of hosts, as 3, or a percentage of them from 0% to 100%, as "60%"
            spec.windows[0].from: Invalid value: "23:30": must be a time as 2026-11-27T23:30:00Z
            spec.windows[1].to: Invalid value: "2026-11-27T23:30:00Z": must be later than spec.windows[1].from, which is 2026-11-27T23:30:00Z
        "#]],
    );
    check(
        json!({"hosts": -1}),
        expect![[r#"
        spec.hosts: Invalid value: -1: must be a number of hosts, as 3, or a percentage of them from 0% to 100%, as "60%"
    "#]],
    );
}

#[test]
fn tides_make_services_bigger() {
    let check = |spec: Value, expect: Expect| check("Tide", json!({ "spec": spec }), expect);
    check(
        json!({"hosts": 1, "resize": [{"namespaces": ["shop"], "selector": {}, "cpuPercent": 200, "memoryPercent": 100}]}),
        expect![[""]],
    );
    check(
        json!({"sharePercent": 40, "resize": [{"selector": {}, "cpuPercent": 150}]}),
        expect![[r#"
        spec.resize[0]: Invalid value: {"cpuPercent":150,"selector":{}}: must not be given beside spec.sharePercent: services grow on hosts that batch has left, as of spec.hosts
    "#]],
    );
    check(
        json!({"hosts": 1, "resize": [{"selector": {"matchLabels": {"a b": "c"}}}, {"namespaces": ["Shop"], "selector": {}, "cpuPercent": 99, "memoryPercent": 1001}, {"cpuPercent": 200}]}),
        expect![[r#"
            spec.resize[0].selector.matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.resize[0].cpuPercent: Required value: say what these services get, as 200 for twice as much, or give memoryPercent
            spec.resize[1].namespaces[0]: Invalid value: "Shop": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.resize[1].cpuPercent: Invalid value: 99: must be from 100, which is as it was, to 1000: a tide makes services bigger, and puts them back
            spec.resize[1].memoryPercent: Invalid value: 1001: must be from 100, which is as it was, to 1000: a tide makes services bigger, and puts them back
            spec.resize[2].selector: Required value: say which Pods, by their labels; {} is all of these namespaces
        "#]],
    );
}

#[test]
fn batch_quotas_count_what_batch_counts() {
    check("BatchQuota", json!({"spec": {}}), expect![[""]]);
    check(
        "BatchQuota",
        json!({"spec": {"parent": "all", "min": {"cpu": "2", "workers": "3"}, "max": {"memory": "1Gi", "workers": "4"}}}),
        expect![""],
    );
    check(
        "BatchQuota",
        json!({"spec": {"parent": "x", "weight": 0, "namespaces": ["Team A"], "min": {"pods": "2", "cpu": "3"}, "max": {"cpu": "2500m", "memory": "-1"}}}),
        expect![[r#"
            spec.weight: Invalid value: 0: must be between 1 and 1000000, inclusive
            spec.namespaces[0]: Invalid value: "Team A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.min[pods]: Unsupported value: "pods": supported values: "cpu", "memory", "workers"
            spec.max[memory]: Invalid value: "-1": must be a quantity that is not negative, such as 500m or 2Gi
            spec.min[cpu]: Invalid value: "3": must be at most spec.max[cpu], which is 2500m
            spec.parent: Invalid value: "x": a quota is no part of itself
        "#]],
    );
}

#[test]
fn elastic_quotas_guarantee_what_they_allow_to_somebody() {
    let min = json!({"cpu": "1500m", "memory": "1Gi", "pods": "3"});
    check(
        "ElasticQuota",
        json!({"spec": {"namespaces": ["a", "b"], "min": min, "max": {"cpu": "1.5", "memory": "1024Mi"}}}),
        expect![[""]],
    );
    check(
        "ElasticQuota",
        json!({"spec": {"namespaceSelector": {"matchLabels": {"team": "a"}}, "max": {"nvidia.com/gpu": "2"}}}),
        expect![[""]],
    );
    check(
        "ElasticQuota",
        json!({"spec": {"min": {"cpu": "2", "memory": "1Gi", "pods": "-1"}, "max": {"cpu": "1", "memory": "much"}}}),
        expect![[r#"
            spec.namespaces: Required value: name namespaces, or select them by their labels
            spec.min[pods]: Invalid value: "-1": must be a quantity that is not negative, such as 500m or 2Gi
            spec.max[memory]: Invalid value: "much": must be a quantity that is not negative, such as 500m or 2Gi
            spec.min[cpu]: Invalid value: "2": must be at most spec.max[cpu], which is 1
        "#]],
    );
    check(
        "ElasticQuota",
        json!({"spec": {"namespaces": ["a", "Team A", "a"], "namespaceSelector": {"matchLabels": {"-": "b"}}, "min": {"tiny shoes": "1"}}}),
        expect![[r#"
            spec.namespaces[1]: Invalid value: "Team A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.namespaceSelector.matchLabels: Invalid value: "-": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.namespaces[2]: Duplicate value: "a"
            spec.min[tiny shoes]: Invalid value: "tiny shoes": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        "#]],
    );
}

#[test]
fn reservations_hold_amounts_for_somebody() {
    let owners = json!({"matchLabels": {"a": "b"}});
    check("Reservation", json!({"spec": {"resources": {"cpu": "500m"}, "owners": owners}}), expect![[""]]);
    check(
        "Reservation",
        json!({"spec": {"resources": {}, "owners": {}, "ttlSeconds": 0}}),
        expect![[r#"
        spec.ttlSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive
    "#]],
    );
    check(
        "Reservation",
        json!({"spec": {"resources": {"cpu": "-1", "memory": "much", "nvidia.com/gpu": "1"}, "owners": owners}}),
        expect![[r#"
            spec.resources[cpu]: Invalid value: "-1": must be a quantity that is not negative, such as 500m or 2Gi
            spec.resources[memory]: Invalid value: "much": must be a quantity that is not negative, such as 500m or 2Gi
            spec.resources[nvidia.com/gpu]: Forbidden: GPUs cannot be reserved
        "#]],
    );
}

#[test]
fn what_may_not_change() {
    let check = |kind_name: &str, old: Value, new: Value, expected: Expect| {
        let with_name = |mut object: Value| {
            object["metadata"] = json!({"name": "x", "namespace": "n"});
            defaults::apply(kind(kind_name), &mut object);
            object
        };
        let faults = update(kind(kind_name), &with_name(new), &with_name(old));
        let lines: Vec<String> = faults.iter().map(|fault| format!("{fault}\n")).collect();
        expected.assert_eq(&lines.concat());
    };
    let pod = |image: &str, node: Value| json!({"spec": {"nodeName": node, "containers": [{"name": "c", "image": image}]}});
    check("Pod", pod("a", json!("n1")), pod("b", json!("n1")), expect![[""]]);
    check(
        "Pod",
        pod("a", json!("n1")),
        pod("a", json!("n2")),
        expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
    "#]],
    );
    check(
        "ConfigMap",
        json!({"immutable": true, "data": {"a": "b"}}),
        json!({"immutable": true, "data": {"a": "c"}}),
        expect![[r#"
            data: Forbidden: field is immutable when `immutable` is set
        "#]],
    );
}

#[test]
fn grammars() {
    let verdict = |faults: Vec<String>| if faults.is_empty() { "ok" } else { "no" };
    assert_eq!(verdict(names::subdomain("a.b-c.9")), "ok");
    assert_eq!(verdict(names::subdomain("a..b")), "no");
    assert_eq!(verdict(names::label_1035("9a")), "no");
    assert_eq!(verdict(names::qualified_name("a.b/C_d")), "ok");
    assert_eq!(verdict(names::qualified_name("a/b/c")), "no");
    assert_eq!(verdict(names::config_key("..x")), "no");
    assert_eq!(verdict(names::port_name("http-1")), "ok");
    assert_eq!(verdict(names::port_name("80")), "no");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn judging_never_panics(index in 0..all().len(), field in "[a-z]{1,8}", text in ".{0,12}") {
        let kind = &all()[index];
        for value in [json!(text), json!([text]), json!({field.clone(): text}), json!(1)] {
            let mut object = json!({"metadata": value, "spec": value, "data": value});
            let _before = create(kind, &object);
            defaults::apply(kind, &mut object);
            let _faults = update(kind, &object, &json!({"spec": value}));
        }
    }
}
