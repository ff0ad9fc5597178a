//! Plans by table: a Pod in short, what the engine says in short, and the steps that are owed.

use expect_test::{Expect, expect};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::pods::observed::{Exit, Sandbox};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(policy: &str, inits: &Value, mains: &Value) -> Pod {
    let spec = json!({ "restartPolicy": policy, "initContainers": inits, "containers": mains });
    serde_json::from_value(json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" }, "spec": spec }))
        .unwrap()
}

fn two() -> Value {
    json!([{ "name": "a" }, { "name": "b" }])
}

/// `a0=run@5` is the first run of container a, running since second 5; `a0=1@5-9` has exited with code 1 at 9.
fn observed(text: &str) -> Observed {
    let mut observed = Observed::default();
    for word in text.split_whitespace() {
        let (name, rest) = word.split_once('=').unwrap();
        if let Some(attempt) = name.strip_prefix("sandbox") {
            let attempt = attempt.parse().unwrap();
            let ips = vec!["10.0.0.9".to_owned()];
            let ready = rest == "ready";
            observed.sandboxes.push(Sandbox { id: name.to_owned(), attempt, ready, created: at(0), ips });
            continue;
        }
        let (state, times) = rest.split_once('@').unwrap_or((rest, "0"));
        let (start, end) = times.split_once('-').unwrap_or((times, times));
        let (start, end) = (at(start.parse().unwrap()), at(end.parse().unwrap()));
        let state = match state {
            "run" => State::Running { since: start },
            "new" => State::Created,
            code => State::Exited(Exit {
                code: code.parse().unwrap(),
                reason: String::new(),
                message: String::new(),
                started: start,
                finished: end,
            }),
        };
        observed.containers.push(Instance {
            id: format!("{name}-id"),
            sandbox: "sandbox0".to_owned(),
            name: name[..1].to_owned(),
            attempt: name[1..].parse().unwrap(),
            image: "i".to_owned(),
            image_ref: "r".to_owned(),
            state,
        });
    }
    observed
}

fn shown(plan: &Plan) -> String {
    let steps = plan.steps.iter().map(|step| match step {
        Step::RunSandbox { attempt } => format!("run sandbox{attempt}"),
        Step::StopSandbox { id } => format!("stop {id}"),
        Step::RemoveSandbox { id } => format!("remove {id}"),
        Step::Start { container, attempt } => format!("start {container}{attempt}"),
        Step::Kill { container, grace_seconds, why, .. } => {
            format!("kill {container} within {grace_seconds}s {why}")
        }
        Step::Remove { id } => format!("remove {id}"),
        Step::Resize { container, .. } => format!("resize {container}"),
        Step::Finish => "finish".to_owned(),
    });
    let wake = plan.wake.iter().map(|wake| format!("wake at {}", wake.as_second()));
    steps.map(|step| step.trim().to_owned()).chain(wake).collect::<Vec<_>>().join(", ")
}

fn check(pod: &Pod, wish: &Wish, engine: &str, expected: Expect) {
    let mut memory = Memory::default();
    expected.assert_eq(&shown(&plan(pod, wish, &observed(engine), &mut memory, at(100))));
}

#[test]
fn a_new_pod_gets_a_sandbox_then_its_containers() {
    let pod = pod("Always", &json!([]), &two());
    check(&pod, &Wish::Run, "", expect!["run sandbox0"]);
    check(&pod, &Wish::Run, "sandbox0=ready", expect!["start a0, start b0"]);
    check(&pod, &Wish::Run, "sandbox0=ready a0=run", expect!["start b0"]);
    check(&pod, &Wish::Run, "sandbox0=ready a0=run b0=run", expect![""]);
    check(&pod, &Wish::Run, "sandbox0=ready a0=new b0=run", expect!["remove a0-id, start a0"]);
}

#[test]
fn init_containers_run_one_after_another() {
    let pod = pod("Always", &json!([{ "name": "x" }, { "name": "y" }]), &two());
    check(&pod, &Wish::Run, "sandbox0=ready", expect!["start x0"]);
    check(&pod, &Wish::Run, "sandbox0=ready x0=run", expect![""]);
    check(&pod, &Wish::Run, "sandbox0=ready x0=0@1-2", expect!["start y0"]);
    check(&pod, &Wish::Run, "sandbox0=ready x0=0@1-2 y0=1@3-4", expect!["start y1"]);
    check(&pod, &Wish::Run, "sandbox0=ready x0=0@1-2 y0=0@3-4", expect!["start a0, start b0"]);
    check(&pod, &Wish::Run, "sandbox0=ready a0=run b0=run", expect![""]);
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let pod = pod("Never", &json!([{ "name": "x" }]), &two());
    check(&pod, &Wish::Run, "sandbox0=ready x0=1@1-2", expect!["stop sandbox0"]);
}

#[test]
fn restarts_follow_the_policy() {
    check(
        &pod("Always", &json!([]), &two()),
        &Wish::Run,
        "sandbox0=ready a0=0@1-2 b0=run",
        expect!["start a1"],
    );
    check(
        &pod("OnFailure", &json!([]), &two()),
        &Wish::Run,
        "sandbox0=ready a0=0@1-2 b0=1@1-2",
        expect!["start b1"],
    );
    check(
        &pod("OnFailure", &json!([]), &two()),
        &Wish::Run,
        "sandbox0=ready a0=0@1-2 b1=0@1-2",
        expect!["stop sandbox0"],
    );
    check(&pod("Never", &json!([]), &two()), &Wish::Run, "sandbox0=ready a0=1@1-2 b0=run", expect![""]);
    check(
        &pod("Never", &json!([]), &two()),
        &Wish::Run,
        "sandbox0=ready a0=1@1-2 b0=0@1-2",
        expect!["stop sandbox0"],
    );
}

#[test]
fn crash_loops_wait_and_old_runs_are_collected() {
    let pod = pod("Always", &json!([]), &json!([{ "name": "a" }]));
    check(&pod, &Wish::Run, "sandbox0=ready a1=1@90-97", expect!["wake at 107"]);
    check(&pod, &Wish::Run, "sandbox0=ready a1=1@70-89", expect!["start a2"]);
    check(&pod, &Wish::Run, "sandbox0=ready a0=1@1-2 a1=1@3-4 a2=run@5", expect!["remove a0-id"]);
}

#[test]
fn a_lost_sandbox_begins_anew() {
    let pod = pod("Always", &json!([]), &json!([{ "name": "a" }]));
    check(&pod, &Wish::Run, "sandbox0=notready a0=run", expect!["kill a within 2s, run sandbox1"]);
    let mut memory = Memory::default();
    let mut seen = observed("sandbox1=ready sandbox0=notready a0=137@1-99");
    let shown_plan = shown(&plan(&pod, &Wish::Run, &seen, &mut memory, at(100)));
    expect!["start a1"].assert_eq(&shown_plan);
    seen.containers[0].sandbox = "sandbox1".to_owned();
}

#[test]
fn an_end_kills_then_removes_then_finishes() {
    let pod = pod("Always", &json!([]), &two());
    let end = Wish::End { grace_seconds: 30 };
    check(&pod, &end, "sandbox0=ready a0=run b0=1@1-2", expect!["kill a within 30s"]);
    check(
        &pod,
        &end,
        "sandbox0=ready a0=0@1-2",
        expect!["stop sandbox0, remove a0-id, remove sandbox0, finish"],
    );
    check(&pod, &end, "", expect!["finish"]);
    let rest = Wish::Rest { grace_seconds: 5 };
    check(&pod, &rest, "sandbox0=ready a0=run b0=1@1-2", expect!["kill a within 5s"]);
    check(&pod, &rest, "sandbox0=ready a0=0@1-2", expect!["stop sandbox0"]);
    check(&pod, &rest, "sandbox0=notready a0=0@1-2", expect![""]);
}

#[test]
fn sidecars_start_first_and_end_last() {
    let sidecar = json!([{ "name": "s", "restartPolicy": "Always" }]);
    let pod = pod("Never", &sidecar, &json!([{ "name": "a" }]));
    check(&pod, &Wish::Run, "sandbox0=ready", expect!["start s0"]);
    check(&pod, &Wish::Run, "sandbox0=ready s0=run", expect![""]);
    let mut memory = Memory::default();
    memory.started.insert("s0-id".to_owned());
    let started = plan(&pod, &Wish::Run, &observed("sandbox0=ready s0=run"), &mut memory, at(100));
    expect!["start a0"].assert_eq(&shown(&started));
    check(&pod, &Wish::Run, "sandbox0=ready s0=1@1-2 a0=run", expect!["start s1"]);
    check(&pod, &Wish::Run, "sandbox0=ready s0=run a0=0@1-2", expect!["kill s within 30s"]);
}

#[test]
fn what_is_unhealthy_is_killed_and_what_failed_is_retried_later() {
    let pod = pod("Always", &json!([]), &two());
    let mut memory = Memory::default();
    memory.unhealthy.insert("a0-id".to_owned(), "it is dead".to_owned());
    let retry = crate::pods::backoff::Retry::after(None, "ErrImagePull", "no".to_owned(), at(95));
    memory.retries.insert("b".to_owned(), retry);
    let shown_plan = shown(&plan(&pod, &Wish::Run, &observed("sandbox0=ready a0=run"), &mut memory, at(100)));
    expect!["kill a within 30s it is dead, wake at 105"].assert_eq(&shown_plan);
}

#[test]
fn a_long_run_forgives_its_crash() {
    let mut memory = Memory::default();
    let pod = pod("Always", &json!([]), &json!([{ "name": "a" }]));
    let seen = observed("sandbox0=ready a5=1@1-3000");
    let now = at(3000).checked_add(SignedDuration::from_millis(1)).unwrap();
    expect!["start a6"].assert_eq(&shown(&plan(&pod, &Wish::Run, &seen, &mut memory, now)));
}
