//! Statuses by table.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::pods::backoff::{Crashes, Retry};
use crate::pods::observed::Sandbox;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(policy: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "n", "uid": "u" },
        "spec": { "restartPolicy": policy, "containers": [{ "name": "a", "image": "web:1" }] },
    }))
    .unwrap()
}

fn instance(attempt: u32, state: State) -> Instance {
    Instance {
        id: format!("a{attempt}"),
        sandbox: "s".into(),
        name: "a".into(),
        attempt,
        image: "web:1".into(),
        image_ref: "sha256:1".into(),
        state,
    }
}

fn exited(code: i32) -> State {
    State::Exited(Exit {
        code,
        reason: String::new(),
        message: String::new(),
        started: at(1),
        finished: at(2),
    })
}

fn seen(containers: Vec<Instance>) -> Observed {
    let sandbox =
        Sandbox { id: "s".into(), attempt: 0, ready: true, created: at(0), ips: vec!["10.1.0.5".into()] };
    Observed { sandboxes: vec![sandbox], containers }
}

fn check(pod: &Pod, observed: &Observed, memory: &Memory, verdict: Option<&Verdict>, expected: Expect) {
    let facts = Facts { observed, memory, verdict, host_ip: "10.0.0.1", now: at(100) };
    let status = status(pod, &facts);
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let state = container.state.as_ref().unwrap();
    let shown = if let Some(waiting) = &state.waiting {
        format!(
            "waiting {}: {}",
            waiting.reason.as_deref().unwrap_or_default(),
            waiting.message.as_deref().unwrap_or_default()
        )
    } else if let Some(terminated) = &state.terminated {
        format!("terminated {} {}", terminated.exit_code, terminated.reason.as_deref().unwrap_or_default())
    } else {
        "running".to_owned()
    };
    let conditions = status.conditions.iter().flatten().filter(|condition| condition.status == "True");
    let conditions: Vec<&str> = conditions.map(|condition| condition.type_.as_str()).collect();
    let phase = status.phase.as_deref().unwrap_or_default();
    let (restarts, last) = (container.restart_count, container.last_state.is_some());
    let reason = status.reason.as_deref().unwrap_or("-");
    expected.assert_eq(&format!(
        "{phase} ({reason}) | {shown} | ready {} restarts {restarts} last {last} | {}",
        container.ready,
        conditions.join(" ")
    ));
}

#[test]
fn the_way_up() {
    let pod = pod("Always");
    let mut memory = Memory::default();
    check(
        &pod,
        &Observed::default(),
        &memory,
        None,
        expect![
            "Pending (-) | waiting ContainerCreating:  | ready false restarts 0 last false | Initialized PodScheduled"
        ],
    );
    let running = seen(vec![instance(0, State::Running { since: at(1) })]);
    check(
        &pod,
        &running,
        &memory,
        None,
        expect![
            "Running (-) | running | ready false restarts 0 last false | PodReadyToStartContainers Initialized PodScheduled"
        ],
    );
    memory.ready.insert("a0".into());
    memory.started.insert("a0".into());
    check(
        &pod,
        &running,
        &memory,
        None,
        expect![
            "Running (-) | running | ready true restarts 0 last false | PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled"
        ],
    );
}

#[test]
fn what_cannot_be_pulled_says_so() {
    let mut memory = Memory::default();
    memory.retries.insert("a".into(), Retry::after(None, "ErrImagePull", "no such host".into(), at(90)));
    check(
        &pod("Always"),
        &seen(vec![]),
        &memory,
        None,
        expect![
            "Pending (-) | waiting ErrImagePull: no such host | ready false restarts 0 last false | PodReadyToStartContainers Initialized PodScheduled"
        ],
    );
}

#[test]
fn ends() {
    let memory = Memory::default();
    check(
        &pod("Never"),
        &seen(vec![instance(0, exited(0))]),
        &memory,
        None,
        expect![
            "Succeeded (-) | terminated 0 Completed | ready false restarts 0 last false | PodReadyToStartContainers Initialized PodScheduled"
        ],
    );
    check(
        &pod("Never"),
        &seen(vec![instance(0, exited(3))]),
        &memory,
        None,
        expect![
            "Failed (-) | terminated 3 Error | ready false restarts 0 last false | PodReadyToStartContainers Initialized PodScheduled"
        ],
    );
    let verdict = Verdict { reason: "Evicted".into(), message: "no room".into() };
    check(
        &pod("Always"),
        &seen(vec![instance(0, exited(137))]),
        &memory,
        Some(&verdict),
        expect![
            "Failed (Evicted) | terminated 137 Error | ready false restarts 0 last false | PodReadyToStartContainers Initialized PodScheduled"
        ],
    );
}

#[test]
fn a_crash_loop_shows_its_wait_and_its_last_end() {
    let mut memory = Memory::default();
    let mut crashes = Crashes::default();
    crashes.note("a2", 2, jiff::SignedDuration::from_secs(1));
    memory.crashes.insert("a".into(), crashes);
    let observed = seen(vec![instance(2, exited(1)), instance(1, exited(1))]);
    check(
        &pod("Always"),
        &observed,
        &memory,
        None,
        expect![
            "Running (-) | waiting CrashLoopBackOff: back-off 20s restarting failed container=a pod=p_n(u) | ready false restarts 2 last true | PodReadyToStartContainers Initialized PodScheduled"
        ],
    );
}

#[test]
fn a_condition_keeps_its_date_and_foreign_conditions_stay() {
    let mut pod = pod("Always");
    let facts = |now| {
        Facts {
            observed: &Observed { sandboxes: vec![], containers: vec![] },
            memory: &Memory::default(),
            verdict: None,
            host_ip: "h",
            now: at(now),
        }
        .now
    };
    assert_eq!(facts(3), at(3));
    let (observed, memory) = (Observed::default(), Memory::default());
    let make = |pod: &Pod, now| {
        status(
            pod,
            &Facts { observed: &observed, memory: &memory, verdict: None, host_ip: "h", now: at(now) },
        )
    };
    let mut first = make(&pod, 10);
    first.conditions.as_mut().unwrap().push(PodCondition {
        type_: "Gate".into(),
        status: "True".into(),
        ..PodCondition::default()
    });
    pod.status = Some(first.clone());
    assert_eq!(make(&pod, 20), first);
}

#[test]
fn classes_of_service() {
    let class = |resources: serde_json::Value| {
        let spec = json!({ "containers": [{ "name": "a", "resources": resources }] });
        qos_class(&serde_json::from_value(spec).unwrap())
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({ "requests": { "cpu": "1" } })), "Burstable");
    assert_eq!(class(json!({ "limits": { "cpu": "1", "memory": "1Gi" } })), "Guaranteed");
    assert_eq!(
        class(json!({ "requests": { "cpu": "1" }, "limits": { "cpu": "2", "memory": "1Gi" } })),
        "Burstable"
    );
}
