//! What must hold of a policy, with a field path and a way out in every fault. Admission refuses by it; an agent that
//! finds a stored policy faulty stays with what it had.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::{
    ColocationPolicySpec, EvictionTerms, MidTerms, OfferTerms, PredictionTerms, PublicationTerms,
    SqueezeTerms,
};
use crate::Quantity;

const DAY: i32 = 24 * 3600;
/// What each node has where its policy says nothing.
const MARGIN: i32 = 5;
const CEILING: i32 = 100;
const AVAILABLE: i32 = 6;
const ENOUGH: i32 = 12;

/// One fault: where, what, why, how to mend.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// For example `spec.cpu.marginPercent`.
    pub field: String,
    pub value: Value,
    pub message: String,
}

/// All faults at once, in the order of the document; none means it can be in force. The selector is not looked at.
pub fn faults(spec: &ColocationPolicySpec) -> Vec<Fault> {
    let mut found = Faults::default();
    for (resource, terms) in [("cpu", &spec.cpu), ("memory", &spec.memory)] {
        if let Some(terms) = terms {
            offer(resource, terms, &mut found);
        }
    }
    if let Some(terms) = &spec.prediction {
        prediction(terms, &mut found);
    }
    if let Some(PublicationTerms { change_percent, interval_seconds }) = &spec.publication {
        found.range("spec.publication.changePercent", *change_percent, 1..=50);
        found.range("spec.publication.intervalSeconds", *interval_seconds, 10..=3600);
    }
    if let Some(SqueezeTerms { wait_percent, latency_percent, floor_percent }) = &spec.squeeze {
        found.range("spec.squeeze.waitPercent", *wait_percent, 1..=100);
        found.range("spec.squeeze.latencyPercent", *latency_percent, 10..=1000);
        found.range("spec.squeeze.floorPercent", *floor_percent, 1..=100);
    }
    if let Some(terms) = &spec.eviction {
        eviction(terms, &mut found);
    }
    if let Some(MidTerms { unallocated_percent, ceiling_percent }) = &spec.mid {
        found.range("spec.mid.unallocatedPercent", *unallocated_percent, 0..=100);
        found.range("spec.mid.ceilingPercent", *ceiling_percent, 0..=100);
    }
    found.0
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn push(&mut self, field: String, value: Value, message: String) {
        self.0.push(Fault { field, value, message });
    }

    fn range(&mut self, field: &str, value: Option<i32>, range: RangeInclusive<i32>) {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            let message = format!("must be between {} and {}, inclusive", range.start(), range.end());
            self.push(field.to_owned(), value.into(), message);
        }
    }
}

fn offer(resource: &str, terms: &OfferTerms, found: &mut Faults) {
    let OfferTerms { margin_percent, margin, ceiling_percent, floor_percent, services_by: _ } = terms;
    let path = |field: &str| format!("spec.{resource}.{field}");
    if let Some(percent) = margin_percent.filter(|percent| !(-100..=100).contains(percent)) {
        let message =
            "must be between -100 and 100: at 100 nothing is offered, at -100 twice of what is there";
        found.push(path("marginPercent"), percent.into(), message.to_owned());
        return;
    }
    let margin = margin.as_ref().map(|margin| &margin.0);
    amount(&path("margin"), margin.map(String::as_str), found);
    if let (Some(percent), Some(amount)) = (margin_percent.filter(|percent| *percent < 0), margin) {
        let message = format!(
            "contradicts {}, which is {percent} and offers more than is there: leave one of them out",
            path("marginPercent")
        );
        found.push(path("margin"), amount.clone().into(), message);
    }
    found.range(&path("ceilingPercent"), *ceiling_percent, 0..=200);
    if resource == "memory" {
        if let Some(floor) = floor_percent.filter(|floor| *floor != 0) {
            let message = "memory that was lent cannot be taken back without killing: leave the field out";
            found.push(path("floorPercent"), floor.into(), message.to_owned());
        }
        return;
    }
    found.range(&path("floorPercent"), *floor_percent, 0..=100);
    // What is not named is not the user's contradiction.
    let Some(floor) = floor_percent else { return };
    let ceiling = ceiling_percent.unwrap_or(CEILING).min(100 - margin_percent.unwrap_or(MARGIN));
    if *floor > ceiling && (0..=100).contains(floor) {
        let message = format!(
            "must be at most {ceiling}, which is what margin and ceiling leave: less, or a smaller marginPercent"
        );
        found.push(path("floorPercent"), (*floor).into(), message);
    }
}

fn amount(path: &str, margin: Option<&str>, found: &mut Faults) {
    let is_amount =
        |text: &&str| Quantity::parse(text).is_ok_and(|quantity| !Quantity::is_negative(quantity));
    if let Some(text) = margin.filter(|text| !is_amount(text)) {
        let message = "must be a quantity that is not negative, such as 500m or 2Gi".to_owned();
        found.push(path.to_owned(), text.into(), message);
    }
}

fn prediction(terms: &PredictionTerms, found: &mut Faults) {
    let path = |field: &str| format!("spec.prediction.{field}");
    let mut check = |field: &str, value, range| found.range(&path(field), value, range);
    check("cpuPercentile", terms.cpu_percentile, 1..=100);
    check("memoryPercentile", terms.memory_percentile, 1..=100);
    check("safetyPercent", terms.safety_percent, 0..=200);
    check("cpuHalfLifeSeconds", terms.cpu_half_life_seconds, 600..=90 * DAY);
    check("memoryHalfLifeSeconds", terms.memory_half_life_seconds, 600..=90 * DAY);
    check("coldStartSeconds", terms.cold_start_seconds, 60..=30 * DAY);
    check("recentHalfLifeSeconds", terms.recent_half_life_seconds, 1..=3600);
}

fn eviction(terms: &EvictionTerms, found: &mut Faults) {
    let EvictionTerms { available_percent, enough_percent } = *terms;
    let before = found.0.len();
    found.range("spec.eviction.availablePercent", available_percent, 1..=50);
    found.range("spec.eviction.enoughPercent", enough_percent, 2..=80);
    let (available, enough) = (available_percent.unwrap_or(AVAILABLE), enough_percent.unwrap_or(ENOUGH));
    if before == found.0.len() && enough <= available {
        let message = format!(
            "must be more than spec.eviction.availablePercent, which is {available}: else whoever goes makes no room"
        );
        found.push("spec.eviction.enoughPercent".to_owned(), enough.into(), message);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(spec: Value, expected: Expect) {
        let spec: ColocationPolicySpec = serde_json::from_value(spec).unwrap();
        let lines = faults(&spec).into_iter();
        let lines = lines.map(|fault| format!("{}: {}: {}\n", fault.field, fault.value, fault.message));
        expected.assert_eq(&lines.collect::<String>());
    }

    #[test]
    fn what_makes_sense_is_taken() {
        check(json!({}), expect![""]);
        check(
            json!({"cpu": {"marginPercent": -50, "ceilingPercent": 150, "floorPercent": 20},
                "memory": {"margin": "2Gi", "marginPercent": 100, "servicesBy": "Request"},
                "prediction": {"cpuPercentile": 99, "coldStartSeconds": 3600, "recentHalfLifeSeconds": 1},
                "publication": {"changePercent": 5}, "squeeze": {"waitPercent": 10, "latencyPercent": 80},
                "eviction": {"availablePercent": 10, "enoughPercent": 20},
                "hands": {"pool": true, "bursts": false}, "mid": {"unallocatedPercent": 100}}),
            expect![""],
        );
    }

    #[test]
    fn nonsense_is_told_with_a_way_out() {
        check(
            json!({"cpu": {"marginPercent": 101, "floorPercent": 20}, "memory": {"marginPercent": -101}}),
            expect![[r#"
                spec.cpu.marginPercent: 101: must be between -100 and 100: at 100 nothing is offered, at -100 twice of what is there
                spec.memory.marginPercent: -101: must be between -100 and 100: at 100 nothing is offered, at -100 twice of what is there
            "#]],
        );
        check(
            json!({"cpu": {"marginPercent": 85, "floorPercent": 20, "margin": "-1"},
                "memory": {"marginPercent": -10, "margin": "1Gi", "floorPercent": 5}}),
            expect![[r#"
                spec.cpu.margin: "-1": must be a quantity that is not negative, such as 500m or 2Gi
                spec.cpu.floorPercent: 20: must be at most 15, which is what margin and ceiling leave: less, or a smaller marginPercent
                spec.memory.margin: "1Gi": contradicts spec.memory.marginPercent, which is -10 and offers more than is there: leave one of them out
                spec.memory.floorPercent: 5: memory that was lent cannot be taken back without killing: leave the field out
            "#]],
        );
        check(
            json!({"prediction": {"cpuPercentile": 0, "memoryPercentile": 101, "safetyPercent": -1,
                "cpuHalfLifeSeconds": 0, "memoryHalfLifeSeconds": 1, "coldStartSeconds": 1, "recentHalfLifeSeconds": 0},
                "publication": {"changePercent": 0, "intervalSeconds": 0},
                "squeeze": {"waitPercent": 0, "latencyPercent": 5, "floorPercent": 0},
                "mid": {"unallocatedPercent": 101, "ceilingPercent": 101}}),
            expect![[r#"
                spec.prediction.cpuPercentile: 0: must be between 1 and 100, inclusive
                spec.prediction.memoryPercentile: 101: must be between 1 and 100, inclusive
                spec.prediction.safetyPercent: -1: must be between 0 and 200, inclusive
                spec.prediction.cpuHalfLifeSeconds: 0: must be between 600 and 7776000, inclusive
                spec.prediction.memoryHalfLifeSeconds: 1: must be between 600 and 7776000, inclusive
                spec.prediction.coldStartSeconds: 1: must be between 60 and 2592000, inclusive
                spec.prediction.recentHalfLifeSeconds: 0: must be between 1 and 3600, inclusive
                spec.publication.changePercent: 0: must be between 1 and 50, inclusive
                spec.publication.intervalSeconds: 0: must be between 10 and 3600, inclusive
                spec.squeeze.waitPercent: 0: must be between 1 and 100, inclusive
                spec.squeeze.latencyPercent: 5: must be between 10 and 1000, inclusive
                spec.squeeze.floorPercent: 0: must be between 1 and 100, inclusive
                spec.mid.unallocatedPercent: 101: must be between 0 and 100, inclusive
                spec.mid.ceilingPercent: 101: must be between 0 and 100, inclusive
            "#]],
        );
        check(
            json!({"eviction": {"availablePercent": 20}}),
            expect![[r#"
                spec.eviction.enoughPercent: 12: must be more than spec.eviction.availablePercent, which is 20: else whoever goes makes no room
            "#]],
        );
        check(
            json!({"eviction": {"availablePercent": 0, "enoughPercent": 90}}),
            expect![[r#"
                spec.eviction.availablePercent: 0: must be between 1 and 50, inclusive
                spec.eviction.enoughPercent: 90: must be between 2 and 80, inclusive
            "#]],
        );
    }
}
