//! What keeps a size steady: the window that looks back on past proposals, rates of change, and the bounds.

use std::collections::VecDeque;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules};

use super::{Memory, View};

/// Seconds that a size is kept before it shrinks, so that a short lull costs nothing.
const STABLE_DOWN: i32 = 300;
/// No window and no period is longer.
const HOUR: i64 = 3600;

/// A size within what is allowed, and what limited it.
pub(super) struct Bounded {
    pub(super) replicas: i32,
    pub(super) able: (&'static str, &'static str),
    /// Status, reason, message of `ScalingLimited`.
    pub(super) limited: (&'static str, &'static str, &'static str),
}

pub(super) fn bound(view: &View<'_>, memory: &mut Memory, proposed: i32) -> Bounded {
    forget(&mut memory.proposals, view.now);
    forget(&mut memory.changes, view.now);
    let behavior = view.autoscaler.spec.behavior.as_ref();
    let up = behavior.and_then(|behavior| behavior.scale_up.as_ref());
    let down = behavior.and_then(|behavior| behavior.scale_down.as_ref());
    let stable = stabilise(view, memory, proposed, (up, down));
    memory.proposals.push_back((view.now, proposed));
    let able = match stable.cmp(&proposed) {
        std::cmp::Ordering::Equal => ("ReadyForNewScale", "recommended size matches current size"),
        std::cmp::Ordering::Greater => (
            "ScaleDownStabilized",
            "recent recommendations were higher than current one, applying the highest recent recommendation",
        ),
        std::cmp::Ordering::Less => (
            "ScaleUpStabilized",
            "recent recommendations were lower than current one, applying the lowest recent recommendation",
        ),
    };
    let (least, most) = (view.autoscaler.spec.min_replicas.unwrap_or(1), view.autoscaler.spec.max_replicas);
    let ceiling = most.min(rate_up(view, memory, up));
    let floor = least.max(rate_down(view, memory, down));
    let within = ("False", "DesiredWithinRange", "the desired count is within the acceptable range");
    let (replicas, limited) = if stable > view.wanted && stable > ceiling {
        let limited = if ceiling == most {
            ("True", "TooManyReplicas", "the desired replica count is more than the maximum replica count")
        } else {
            (
                "True",
                "ScaleUpLimit",
                "the desired replica count is increasing faster than the maximum scale rate",
            )
        };
        (ceiling, limited)
    } else if stable < view.wanted && stable < floor {
        let limited = if floor == least {
            ("True", "TooFewReplicas", "the desired replica count is less than the minimum replica count")
        } else {
            (
                "True",
                "ScaleDownLimit",
                "the desired replica count is decreasing faster than the maximum scale rate",
            )
        };
        (floor, limited)
    } else if stable < least {
        (
            least,
            ("True", "TooFewReplicas", "the desired replica count is less than the minimum replica count"),
        )
    } else {
        (stable, within)
    };
    Bounded { replicas, able, limited }
}

fn forget(log: &mut VecDeque<(Timestamp, i32)>, now: Timestamp) {
    while log.front().is_some_and(|(time, _)| now.as_second() - time.as_second() > HOUR) {
        log.pop_front();
    }
}

/// Grows no further than the least that was proposed within the window, and shrinks no further than the most.
fn stabilise(
    view: &View<'_>,
    memory: &Memory,
    proposed: i32,
    (up, down): (Option<&HPAScalingRules>, Option<&HPAScalingRules>),
) -> i32 {
    let within = |window: i32| {
        let recent = memory.proposals.iter();
        recent.filter(move |(time, _)| view.now.as_second() - time.as_second() < i64::from(window))
    };
    let window = |rules: Option<&HPAScalingRules>, default: i32| {
        rules.and_then(|rules| rules.stabilization_window_seconds).unwrap_or(default)
    };
    let lowest = within(window(up, 0)).map(|(_, size)| *size).chain([proposed]).min().unwrap_or(proposed);
    let highest =
        within(window(down, STABLE_DOWN)).map(|(_, size)| *size).chain([proposed]).max().unwrap_or(proposed);
    view.wanted.max(lowest).min(highest)
}

/// By how much the size was changed within the period, in the direction of `sign`.
fn changed(view: &View<'_>, memory: &Memory, period: i32, sign: i32) -> i32 {
    let recent = memory.changes.iter();
    let recent = recent.filter(|(time, _)| view.now.as_second() - time.as_second() < i64::from(period));
    recent.map(|(_, change)| (change * sign).max(0)).fold(0, i32::saturating_add)
}

/// The sizes that the policies allow, by the one that counts.
fn select(rules: Option<&HPAScalingRules>, sizes: Vec<i32>, is_up: bool, current: i32) -> i32 {
    let chosen = match rules.and_then(|rules| rules.select_policy.as_deref()) {
        Some("Disabled") => return current,
        // The policy that changes least.
        Some("Min") if is_up => sizes.into_iter().min(),
        Some("Min") => sizes.into_iter().max(),
        _ if is_up => sizes.into_iter().max(),
        _ => sizes.into_iter().min(),
    };
    chosen.unwrap_or(current)
}

fn policies(rules: Option<&HPAScalingRules>, default: &[(&str, i32)]) -> Vec<HPAScalingPolicy> {
    let own = rules.and_then(|rules| rules.policies.clone()).filter(|policies| !policies.is_empty());
    own.unwrap_or_else(|| {
        let policy = |&(kind, value): &(&str, i32)| HPAScalingPolicy {
            type_: kind.to_owned(),
            value,
            period_seconds: 15,
        };
        default.iter().map(policy).collect()
    })
}

fn rate_up(view: &View<'_>, memory: &Memory, rules: Option<&HPAScalingRules>) -> i32 {
    let sizes = policies(rules, &[("Pods", 4), ("Percent", 100)]).into_iter().map(|policy| {
        let start = view.wanted - changed(view, memory, policy.period_seconds, 1);
        match policy.type_.as_str() {
            "Pods" => start.saturating_add(policy.value),
            _ => scaled(start, 100_i64.saturating_add(i64::from(policy.value)), 99),
        }
    });
    select(rules, sizes.collect(), true, view.wanted)
}

fn rate_down(view: &View<'_>, memory: &Memory, rules: Option<&HPAScalingRules>) -> i32 {
    let sizes = policies(rules, &[("Percent", 100)]).into_iter().map(|policy| {
        let start = view.wanted.saturating_add(changed(view, memory, policy.period_seconds, -1));
        match policy.type_.as_str() {
            "Pods" => start.saturating_sub(policy.value),
            _ => scaled(start, 100_i64.saturating_sub(i64::from(policy.value)), 0),
        }
    });
    select(rules, sizes.collect(), false, view.wanted)
}

/// So many percent of `size`; `extra` hundredths decide on the rounding.
fn scaled(size: i32, percent: i64, extra: i64) -> i32 {
    let hundredfold = i64::from(size).saturating_mul(percent.max(0)).saturating_add(extra);
    i32::try_from(hundredfold / 100).unwrap_or(i32::MAX)
}
