//! The size that an autoscaler gives a workload.

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Value, json};

use super::decide::{Memory, PodUse, Usage, View, decide};

fn autoscaler(behavior: Value) -> HorizontalPodAutoscaler {
    let target = json!({ "type": "Utilization", "averageUtilization": 50 });
    let metric = json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } });
    serde_json::from_value(json!({
        "metadata": { "name": "h", "namespace": "n" },
        "spec": {
            "minReplicas": 2, "maxReplicas": 10, "behavior": behavior, "metrics": [metric],
            "scaleTargetRef": { "kind": "Deployment", "name": "d" },
        },
    }))
    .unwrap()
}

/// Pods that each asked for a core; the text has what each uses in thousandths, `-` for not measured, `!` for not
/// ready.
fn usage(text: &str) -> Usage {
    let core = |milli: i64| [("c".to_owned(), [("cpu".to_owned(), milli)].into())].into();
    let pod = |word: &str| PodUse {
        is_ready: word != "!",
        requested: core(1000),
        used: word.parse().map(core).unwrap_or_default(),
    };
    Usage { pods: text.split_whitespace().map(pod).collect() }
}

fn step(
    autoscaler: &HorizontalPodAutoscaler,
    memory: &mut Memory,
    (wanted, used, second): (i32, &str, i64),
) -> String {
    let usage = usage(used);
    let measured = if used == "unknown" { Err("nobody knows".to_owned()) } else { Ok(&usage) };
    let now = Timestamp::from_second(second).unwrap();
    let view = View { autoscaler, wanted, actual: wanted, usage: measured, now };
    let plan = decide(&view, memory);
    let conditions = plan.status.conditions.unwrap();
    let told: Vec<String> = conditions
        .iter()
        .map(|each| format!("{}={}:{}", each.type_, each.status, each.reason.as_deref().unwrap()))
        .collect();
    let size = plan.resize.map_or("stays".to_owned(), |(size, _)| size.to_string());
    format!("{wanted} -> {size}  {}", told.join(" "))
}

/// One line per round: the size, and what the pods use. Rounds are a minute apart.
fn check(behavior: Value, rounds: &[(i32, &str)], expect: Expect) {
    let (autoscaler, mut memory) = (autoscaler(behavior), Memory::default());
    let times = (0..).map(|minute| 1000 + 60 * minute);
    let lines = rounds
        .iter()
        .zip(times)
        .map(|(&(wanted, used), second)| step(&autoscaler, &mut memory, (wanted, used, second)));
    expect.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn bounds_hold_without_any_metric() {
    check(
        json!(null),
        &[(1, "unknown"), (12, "unknown"), (0, "unknown"), (3, "unknown")],
        expect![[r#"
            1 -> 2  AbleToScale=True:SucceededRescale
            12 -> 10  AbleToScale=True:SucceededRescale
            0 -> stays  AbleToScale=True:SucceededGetScale ScalingActive=False:ScalingDisabled
            3 -> stays  AbleToScale=True:SucceededGetScale ScalingActive=False:FailedGetResourceMetric"#]],
    );
}

#[test]
fn it_grows_at_once_and_shrinks_after_its_window() {
    check(
        json!(null),
        &[(2, "500 520"), (2, "1000 1000"), (4, "100 100 100 100"), (4, "100 100 100 100")],
        expect![[r#"
            2 -> stays  AbleToScale=True:ReadyForNewScale ScalingActive=True:ValidMetricFound ScalingLimited=False:DesiredWithinRange
            2 -> 4  AbleToScale=True:SucceededRescale ScalingActive=True:ValidMetricFound ScalingLimited=False:DesiredWithinRange
            4 -> stays  AbleToScale=True:ScaleDownStabilized ScalingActive=True:ValidMetricFound ScalingLimited=False:DesiredWithinRange
            4 -> stays  AbleToScale=True:ScaleDownStabilized ScalingActive=True:ValidMetricFound ScalingLimited=False:DesiredWithinRange"#]],
    );
    check(
        json!({ "scaleDown": { "stabilizationWindowSeconds": 0 } }),
        &[(4, "100 100 100 100")],
        expect![
            "4 -> 2  AbleToScale=True:SucceededRescale ScalingActive=True:ValidMetricFound ScalingLimited=True:TooFewReplicas"
        ],
    );
}

#[test]
fn rates_and_bounds_limit_a_growth() {
    check(
        json!({ "scaleUp": { "policies": [{ "type": "Pods", "value": 1, "periodSeconds": 90 }] } }),
        &[(2, "1000 1000"), (3, "1000 1000 1000"), (3, "1000 1000 1000")],
        expect![[r#"
            2 -> 3  AbleToScale=True:SucceededRescale ScalingActive=True:ValidMetricFound ScalingLimited=True:ScaleUpLimit
            3 -> stays  AbleToScale=True:ReadyForNewScale ScalingActive=True:ValidMetricFound ScalingLimited=True:ScaleUpLimit
            3 -> 4  AbleToScale=True:SucceededRescale ScalingActive=True:ValidMetricFound ScalingLimited=True:ScaleUpLimit"#]],
    );
}

#[test]
fn pods_that_nobody_measured_slow_both_ways() {
    check(
        json!({ "scaleDown": { "stabilizationWindowSeconds": 0 } }),
        &[(3, "1000 1000 -"), (3, "100 100 -"), (3, "1000 1000 !")],
        expect![[r#"
            3 -> 4  AbleToScale=True:SucceededRescale ScalingActive=True:ValidMetricFound ScalingLimited=False:DesiredWithinRange
            3 -> 2  AbleToScale=True:SucceededRescale ScalingActive=True:ValidMetricFound ScalingLimited=False:DesiredWithinRange
            3 -> 4  AbleToScale=True:SucceededRescale ScalingActive=True:ValidMetricFound ScalingLimited=False:DesiredWithinRange"#]],
    );
}
