//! What a policy's values mean for the arbiter, and what values an arbiter has. Pure.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use level0::capacity;
use level0::reckon::Basis;
use model::Quantity;
use model::colocation_policy::{
    ColocationPolicySpec, EvictionTerms, HandsTerms, MidTerms, OfferTerms, PredictionTerms, PublicationTerms,
    ServicesBy, SqueezeTerms,
};
use serde_json::Value as Json;

use super::Value;
use crate::config::Arbiter;

/// Batch may have more again at this share of what it was held back at.
const QUIET_WAIT: f64 = 0.6;
const QUIET_LATENCY: f64 = 0.9;

/// `base` with what `spec` names. The policy has been checked.
pub(super) fn under(base: &Arbiter, spec: &ColocationPolicySpec) -> Arbiter {
    let mut arbiter = base.clone();
    let milli = |quantity: Quantity| quantity.to_milli() as f64;
    let units = |quantity: Quantity| quantity.to_units() as f64;
    if let Some(terms) = &spec.cpu {
        offer(&mut arbiter.cpu, &mut arbiter.cpu_basis, terms, milli);
    }
    if let Some(terms) = &spec.memory {
        offer(&mut arbiter.memory, &mut arbiter.memory_basis, terms, units);
    }
    if let Some(terms) = &spec.prediction {
        predict(&mut arbiter, terms);
    }
    if let Some(PublicationTerms { change_percent, interval_seconds }) = &spec.publication {
        for policy in [&mut arbiter.cpu, &mut arbiter.memory] {
            set(&mut policy.telling_change, change_percent.map(share));
            set(&mut policy.telling_interval, interval_seconds.map(seconds));
        }
    }
    if let Some(SqueezeTerms { wait_percent, latency_percent, floor_percent }) = &spec.squeeze {
        let squeeze = &mut arbiter.squeeze;
        set(&mut squeeze.high, wait_percent.map(share));
        set(&mut squeeze.low, wait_percent.map(|percent| share(percent) * QUIET_WAIT));
        set(&mut squeeze.latency_high, latency_percent.map(share));
        set(&mut squeeze.latency_low, latency_percent.map(|percent| share(percent) * QUIET_LATENCY));
        set(&mut squeeze.floor, floor_percent.map(share));
    }
    if let Some(EvictionTerms { available_percent, enough_percent }) = &spec.eviction {
        set(&mut arbiter.evict.low, available_percent.map(share));
        set(&mut arbiter.evict.enough, enough_percent.map(share));
    }
    if let Some(MidTerms { unallocated_percent, ceiling_percent }) = &spec.mid {
        set(&mut arbiter.mid.unallocated, unallocated_percent.map(share));
        set(&mut arbiter.mid.ceiling, ceiling_percent.map(share));
    }
    if let Some(HandsTerms { pool, bursts }) = &spec.hands {
        set(&mut arbiter.hands.burst, *bursts);
        if let Some(pool) = pool {
            arbiter.hands.pool = pool.then(|| base.hands.pool.clone().unwrap_or_default());
        }
    }
    arbiter
}

fn offer(policy: &mut capacity::Policy, basis: &mut Basis, terms: &OfferTerms, amount: fn(Quantity) -> f64) {
    let OfferTerms { margin_percent, margin, ceiling_percent, floor_percent, services_by } = terms;
    set(&mut policy.margin, margin_percent.map(share));
    let margin = margin.as_ref().and_then(|margin| Quantity::parse(&margin.0).ok());
    set(&mut policy.least_margin, margin.map(amount));
    // A host that cannot have batch at all lends none by any policy.
    if policy.ceiling > 0.0 {
        set(&mut policy.ceiling, ceiling_percent.map(share));
        set(&mut policy.floor, floor_percent.map(share));
        // Who keeps more than the floor leaves has said so.
        let left = (1.0 - policy.margin).min(policy.ceiling);
        policy.floor = policy.floor.min(left).max(0.0);
    }
    set(
        basis,
        services_by.map(|by| match by {
            ServicesBy::Use => Basis::Use,
            ServicesBy::Request => Basis::Request,
            ServicesBy::Larger => Basis::Larger,
        }),
    );
}

fn predict(arbiter: &mut Arbiter, terms: &PredictionTerms) {
    let predict = &mut arbiter.predict;
    set(&mut predict.cpu_percentile, terms.cpu_percentile.map(share));
    set(&mut predict.memory_percentile, terms.memory_percentile.map(share));
    set(&mut predict.safety, terms.safety_percent.map(share));
    set(&mut predict.cpu_half_life, terms.cpu_half_life_seconds.map(seconds));
    set(&mut predict.memory_half_life, terms.memory_half_life_seconds.map(seconds));
    set(&mut predict.cold_start, terms.cold_start_seconds.map(seconds));
    for policy in [&mut arbiter.cpu, &mut arbiter.memory] {
        set(&mut policy.half_life, terms.recent_half_life_seconds.map(seconds));
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn share(percent: i32) -> f64 {
    f64::from(percent) / 100.0
}

fn seconds(count: i32) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}

/// All values of `arbiter`, by name, each with whether `spec` names it.
pub(super) fn values(arbiter: &Arbiter, spec: &ColocationPolicySpec) -> Vec<Value> {
    let flat = |spec: &ColocationPolicySpec| {
        let mut found = Vec::new();
        let parts = serde_json::to_value(spec).unwrap_or_default();
        for (part, terms) in
            parts.as_object().into_iter().flatten().filter(|(part, _)| *part != "nodeSelector")
        {
            let terms = terms.as_object().into_iter().flatten();
            found.extend(terms.map(|(name, value)| (format!("{part}.{name}"), plain(value))));
        }
        found
    };
    let named = flat(spec);
    let by_policy = |name: &str| named.iter().any(|(other, _)| other == name);
    let all = flat(&described(arbiter)).into_iter();
    all.map(|(name, value)| Value { by_policy: by_policy(&name), name, value }).collect()
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An arbiter as the policy that makes it from nothing.
fn described(arbiter: &Arbiter) -> ColocationPolicySpec {
    let Arbiter { cpu, memory, predict, squeeze, evict, hands, mid, .. } = arbiter;
    let memory_terms =
        terms(memory, arbiter.memory_basis, format!("{:.0}Mi", memory.least_margin / 1_048_576.0));
    ColocationPolicySpec {
        node_selector: None,
        cpu: Some(terms(cpu, arbiter.cpu_basis, format!("{:.0}m", cpu.least_margin))),
        memory: Some(OfferTerms { floor_percent: None, ..memory_terms }),
        prediction: Some(PredictionTerms {
            cpu_percentile: Some(percent(predict.cpu_percentile)),
            memory_percentile: Some(percent(predict.memory_percentile)),
            safety_percent: Some(percent(predict.safety)),
            cpu_half_life_seconds: Some(count(predict.cpu_half_life)),
            memory_half_life_seconds: Some(count(predict.memory_half_life)),
            cold_start_seconds: Some(count(predict.cold_start)),
            recent_half_life_seconds: Some(count(cpu.half_life)),
        }),
        publication: Some(PublicationTerms {
            change_percent: Some(percent(cpu.telling_change)),
            interval_seconds: Some(count(cpu.telling_interval)),
        }),
        squeeze: Some(SqueezeTerms {
            wait_percent: Some(percent(squeeze.high)),
            latency_percent: Some(percent(squeeze.latency_high)),
            floor_percent: Some(percent(squeeze.floor)),
        }),
        eviction: Some(EvictionTerms {
            available_percent: Some(percent(evict.low)),
            enough_percent: Some(percent(evict.enough)),
        }),
        hands: Some(HandsTerms { pool: Some(hands.pool.is_some()), bursts: Some(hands.burst) }),
        mid: Some(MidTerms {
            unallocated_percent: Some(percent(mid.unallocated)),
            ceiling_percent: Some(percent(mid.ceiling)),
        }),
    }
}

fn terms(policy: &capacity::Policy, basis: Basis, margin: String) -> OfferTerms {
    OfferTerms {
        margin_percent: Some(percent(policy.margin)),
        margin: (policy.least_margin > 0.0).then_some(Text(margin)),
        ceiling_percent: Some(percent(policy.ceiling)),
        floor_percent: Some(percent(policy.floor)),
        services_by: Some(match basis {
            Basis::Use => ServicesBy::Use,
            Basis::Request => ServicesBy::Request,
            Basis::Larger => ServicesBy::Larger,
        }),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates")]
fn percent(share: f64) -> i32 {
    (share * 100.0).round() as i32
}

fn count(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn spec(spec: Json) -> ColocationPolicySpec {
        serde_json::from_value(spec).unwrap()
    }

    fn shown(arbiter: &Arbiter, spec: &ColocationPolicySpec) -> String {
        let lines = values(arbiter, spec).into_iter();
        let line = |value: Value| {
            format!("{} {}{}\n", value.name, value.value, if value.by_policy { " *" } else { "" })
        };
        lines.map(line).collect()
    }

    #[test]
    fn the_built_in_values() {
        let nothing = ColocationPolicySpec::default();
        let arbiter = under(&Arbiter::default(), &nothing);
        expect![[r#"
            cpu.ceilingPercent 100
            cpu.floorPercent 10
            cpu.marginPercent 5
            cpu.servicesBy Use
            eviction.availablePercent 6
            eviction.enoughPercent 12
            hands.bursts true
            hands.pool false
            memory.ceilingPercent 100
            memory.marginPercent 5
            memory.servicesBy Use
            mid.ceilingPercent 100
            mid.unallocatedPercent 0
            prediction.coldStartSeconds 86400
            prediction.cpuHalfLifeSeconds 43200
            prediction.cpuPercentile 95
            prediction.memoryHalfLifeSeconds 86400
            prediction.memoryPercentile 98
            prediction.recentHalfLifeSeconds 3
            prediction.safetyPercent 10
            publication.changePercent 10
            publication.intervalSeconds 300
            squeeze.floorPercent 5
            squeeze.latencyPercent 100
            squeeze.waitPercent 25
        "#]]
        .assert_eq(&shown(&arbiter, &nothing));
    }

    #[test]
    fn a_policy_changes_what_it_names_and_no_more() {
        let all = json!({
            "cpu": {"marginPercent": 20, "margin": "1500m", "ceilingPercent": 70, "floorPercent": 3, "servicesBy": "Larger"},
            "memory": {"marginPercent": 30, "margin": "2048Mi", "ceilingPercent": 60, "servicesBy": "Request"},
            "prediction": {"cpuPercentile": 99, "memoryPercentile": 90, "safetyPercent": 25, "cpuHalfLifeSeconds": 3600,
                "memoryHalfLifeSeconds": 7200, "coldStartSeconds": 600, "recentHalfLifeSeconds": 60},
            "publication": {"changePercent": 5, "intervalSeconds": 60},
            "squeeze": {"waitPercent": 10, "latencyPercent": 80, "floorPercent": 2},
            "eviction": {"availablePercent": 10, "enoughPercent": 20},
            "hands": {"pool": true, "bursts": false},
            "mid": {"unallocatedPercent": 50, "ceilingPercent": 40},
        });
        let mut whole = under(&Arbiter::default(), &spec(all.clone()));
        assert_eq!(serde_json::to_value(described(&whole)).unwrap(), all);
        // One by one, all at once, in any order: the same.
        for (part, terms) in all.as_object().unwrap() {
            let one = spec(json!({part: terms}));
            let arbiter = under(&Arbiter::default(), &one);
            let n_named = values(&arbiter, &one).into_iter().filter(|value| value.by_policy).count();
            assert_eq!(n_named, terms.as_object().unwrap().len(), "{part}");
            whole = under(&whole, &one);
        }
        assert_eq!(serde_json::to_value(described(&whole)).unwrap(), all);
    }

    #[test]
    fn a_floor_gives_way_to_a_margin_and_no_policy_gives_batch_to_a_host_without_it() {
        let careful = under(&Arbiter::default(), &spec(json!({"cpu": {"marginPercent": 100}})));
        assert!(careful.cpu.floor.abs() < 1e-9);
        let mut base = Arbiter::default();
        (base.cpu.ceiling, base.cpu.floor) = (0.0, 0.0);
        let arbiter = under(&base, &spec(json!({"cpu": {"ceilingPercent": 100, "floorPercent": 10}})));
        assert!(arbiter.cpu.ceiling.abs() < 1e-9 && arbiter.cpu.floor.abs() < 1e-9);
    }

    #[test]
    fn hands_that_were_given_more_at_the_start_keep_it() {
        let mut base = Arbiter::default();
        base.hands.pool = Some(level0::pools::Policy::default());
        assert!(under(&base, &spec(json!({"hands": {"bursts": true}}))).hands.pool.is_some());
        assert!(under(&base, &spec(json!({"hands": {"pool": false}}))).hands.pool.is_none());
    }
}
