//! What each NUMA zone of a host offers to batch: the host's offer, divided by what is free where.
//!
//! ```text
//!   free of a zone = capacity - its part of the margin - CPUs that are somebody's own there
//!                  - its part, by use, of what services and the system use or may want
//!   offered        = the host's offer, divided by what is free
//! ```
//! What a zone offers therefore adds up to what its host does, and is as steady. By whom a processor is kept busy the kernel
//! does not tell zone by zone: what batch uses is taken off everywhere by the same share.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capacity::Explanation;
use crate::peak::{Peak, amount};
use crate::steady::whole;

/// Where services are changes slowly.
const HALF_LIFE: Duration = Duration::from_secs(20);

/// One resource of a zone, in milli-cores or bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    pub capacity: f64,
    /// Of that, what is somebody's own.
    pub own: f64,
    /// What is in use of the rest, by whomever.
    pub used: f64,
}

/// Its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    pub capacity: i64,
    pub own: i64,
    /// Its part of what services and the system use or may want.
    pub taken: i64,
    pub offered: i64,
}

/// Remembers where use was of late, for one resource.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    used: BTreeMap<u16, Peak>,
}

impl Zones {
    /// Divides what the host offers at `now` among its zones, by id.
    pub fn divide(
        &mut self,
        host: &Explanation,
        zones: &[(u16, Reading)],
        now: Duration,
    ) -> BTreeMap<u16, Terms> {
        self.used.retain(|id, _| zones.iter().any(|(other, _)| other == id));
        let remembered = zones.iter().map(|(id, reading)| {
            let peak = self.used.entry(*id).or_insert_with(|| Peak::new(HALF_LIFE));
            Reading { used: peak.observe(reading.used, now), ..*reading }
        });
        let remembered: Vec<Reading> = remembered.collect();
        zones.iter().map(|(id, _)| *id).zip(divided(host, &remembered)).collect()
    }
}

fn divided(host: &Explanation, zones: &[Reading]) -> Vec<Terms> {
    let float = |value: i64| value as f64;
    let capacities: Vec<f64> = zones.iter().map(|zone| amount(zone.capacity)).collect();
    let own: Vec<f64> =
        zones.iter().zip(&capacities).map(|(zone, capacity)| amount(zone.own).min(*capacity)).collect();
    let services = float(host.online_measured.max(host.online_predicted)) + float(host.online_requested);
    let taken = (services + float(host.system) - own.iter().sum::<f64>()).max(0.0);
    let by_use = parts(&zones.iter().map(|zone| amount(zone.used)).collect::<Vec<_>>(), &capacities);
    let by_size = parts(&capacities, &capacities);
    let taken: Vec<f64> = by_use.iter().map(|part| taken * part).collect();
    let free: Vec<f64> = (0..zones.len())
        .map(|zone| capacities[zone] - float(host.margin) * by_size[zone] - own[zone] - taken[zone])
        .map(|free| free.max(0.0))
        .collect();
    // Where nothing is free, the host still offers its floor: everywhere the same share.
    let by_room = parts(&free, &capacities);
    (0..zones.len())
        .map(|zone| Terms {
            capacity: whole(capacities[zone]),
            own: whole(own[zone]),
            taken: whole(taken[zone]),
            // The host has memory that lies in no zone with CPUs.
            offered: whole((float(host.offered) * by_room[zone]).min(most(capacities[zone], host.margin))),
        })
        .collect()
}

/// What a zone of so much may offer: more than it has only where the margin is below zero.
fn most(capacity: f64, margin: i64) -> f64 {
    if margin < 0 { f64::INFINITY } else { capacity }
}

/// Each one's part of the sum; of a sum of nothing, by `otherwise`.
fn parts(amounts: &[f64], otherwise: &[f64]) -> Vec<f64> {
    let sum_of =
        |amounts: &[f64]| Some(amounts.iter().sum::<f64>()).filter(|sum| *sum > 0.0 && sum.is_finite());
    match (sum_of(amounts), sum_of(otherwise)) {
        (Some(sum), _) => amounts.iter().map(|each| each / sum).collect(),
        (None, Some(sum)) => otherwise.iter().map(|each| each / sum).collect(),
        (None, None) => vec![0.0; amounts.len()],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;
    use crate::capacity::{Offer, Policy};
    use crate::reckon::Sum;

    fn explained(policy: Policy, sum: Sum) -> Explanation {
        let mut offer = Offer::new(policy);
        offer.observe(sum, Duration::ZERO);
        offer.explain(Duration::ZERO)
    }

    /// 80 cores, of which the system and services use what is said; zones of 40 or 20 with their own and used CPUs.
    fn check(sum: Sum, zones: &[(f64, f64)], expected: &[i64]) {
        let capacity = 80.0;
        let host = explained(Policy { margin: 0.1, ..Policy::default() }, Sum { capacity, ..sum });
        let size = capacity / zones.len() as f64;
        let reading =
            |(id, (own, used)): (u16, &(f64, f64))| (id, Reading { capacity: size, own: *own, used: *used });
        let readings: Vec<(u16, Reading)> = (0..).zip(zones).map(reading).collect();
        let told = Zones::default().divide(&host, &readings, Duration::ZERO);
        let offered: Vec<i64> = told.values().map(|terms| terms.offered).collect();
        assert_eq!(offered, expected, "{host} {told:?}");
    }

    #[test]
    fn of_two_zones() {
        let busy = Sum { system: 2.0, measured: 30.0, predicted: 30.0, ..Sum::default() };
        // 80 - 8 - 32 = 40 are offered.
        check(busy, &[(0.0, 16.0), (0.0, 16.0)], &[20, 20]);
        check(busy, &[(0.0, 32.0), (0.0, 0.0)], &[4, 36]);
        check(busy, &[(0.0, 24.0), (0.0, 8.0)], &[12, 28]);
        check(Sum::default(), &[(0.0, 0.0), (0.0, 0.0)], &[36, 36]);
        // Cores that are somebody's own are lent by nobody, and only their zone lacks them.
        let pinned = Sum { requested: 20.0, ..busy };
        check(pinned, &[(20.0, 6.0), (0.0, 26.0)], &[10, 10]);
        check(pinned, &[(20.0, 16.0), (0.0, 16.0)], &[0, 20]);
        // More is used in a zone than it has: it offers nothing, and the other no more than the host.
        check(Sum { measured: 70.0, predicted: 70.0, ..Sum::default() }, &[(0.0, 69.0), (0.0, 1.0)], &[0, 2]);
        check(
            Sum { measured: 90.0, predicted: 90.0, ..Sum::default() },
            &[(0.0, 40.0), (0.0, 40.0)],
            &[0, 0],
        );
    }

    #[test]
    fn of_four_zones() {
        let busy = Sum { measured: 32.0, predicted: 32.0, ..Sum::default() };
        check(busy, &[(0.0, 8.0); 4], &[10, 10, 10, 10]);
        check(busy, &[(0.0, 16.0), (0.0, 16.0), (0.0, 0.0), (0.0, 0.0)], &[2, 2, 18, 18]);
        let pinned = Sum { requested: 18.0, ..busy };
        check(pinned, &[(18.0, 0.0), (0.0, 16.0), (0.0, 8.0), (0.0, 8.0)], &[0, 2, 10, 10]);
    }

    #[test]
    fn a_floor_is_offered_by_all() {
        let host = explained(
            Policy { floor: 0.1, ..Policy::default() },
            Sum { capacity: 80.0, measured: 90.0, predicted: 90.0, ..Sum::default() },
        );
        let reading = Reading { capacity: 40.0, own: 0.0, used: 40.0 };
        let told = Zones::default().divide(&host, &[(0, reading), (3, reading)], Duration::ZERO);
        assert_eq!(told.iter().map(|(id, terms)| (*id, terms.offered)).collect::<Vec<_>>(), [(0, 4), (3, 4)]);
    }

    #[test]
    fn a_margin_below_zero_offers_more_than_zones_have() {
        let host = explained(
            Policy { margin: -0.5, ceiling: 1.5, ..Policy::default() },
            Sum { capacity: 80.0, ..Sum::default() },
        );
        let reading = Reading { capacity: 40.0, own: 0.0, used: 0.0 };
        let told = Zones::default().divide(&host, &[(0, reading), (1, reading)], Duration::ZERO);
        assert_eq!(told.into_values().map(|terms| terms.offered).collect::<Vec<_>>(), [60, 60], "{host}");
    }

    #[test]
    fn a_service_that_moves_does_so_slowly_and_a_zone_that_went_is_forgotten() {
        let host = explained(
            Policy { margin: 0.0, ..Policy::default() },
            Sum { capacity: 80.0, measured: 20.0, predicted: 20.0, ..Sum::default() },
        );
        let reading = |used| Reading { capacity: 40.0, own: 0.0, used };
        let mut zones = Zones::default();
        let mut at = |second, readings: &[(u16, Reading)]| {
            let told = zones.divide(&host, readings, Duration::from_secs(second));
            told.into_values().map(|terms| terms.offered).collect::<Vec<_>>()
        };
        assert_eq!(at(0, &[(0, reading(20.0)), (1, reading(0.0))]), [20, 40]);
        assert_eq!(at(1, &[(0, reading(0.0)), (1, reading(20.0))]), [30, 29]);
        assert_eq!(at(60, &[(0, reading(0.0)), (1, reading(20.0))]), [37, 22]);
        // What the host has beside is in no zone.
        assert_eq!(at(61, &[(1, reading(20.0))]), [40]);
    }

    proptest! {
        #[test]
        fn zones_add_up_to_their_host_whatever_is_read(
            sum in (0.0..1e6, 0.0..1e6, 0.0..1e6, 0.0..1e6),
            readings in prop::collection::vec((any::<f64>(), any::<f64>(), any::<f64>()), 1..9),
        ) {
            let (capacity, system, measured, requested) = sum;
            let host = explained(Policy::default(), Sum { capacity, system, measured, requested, ..Sum::default() });
            let readings: Vec<(u16, Reading)> =
                (0..).zip(&readings).map(|(id, (capacity, own, used))| {
                    (id, Reading { capacity: *capacity, own: *own, used: *used })
                }).collect();
            let told = Zones::default().divide(&host, &readings, Duration::ZERO);
            let offered: i64 = told.values().map(|terms| terms.offered).sum();
            assert!(told.values().all(|terms| terms.offered >= 0));
            assert!(offered <= host.offered, "{offered} of {host}");
            let is_sane = readings.iter().any(|(_, reading)| amount(reading.capacity) > 0.0)
                && readings.iter().map(|(_, reading)| amount(reading.capacity)).sum::<f64>() < 1e12;
            // What a host has beyond its zones is in none of them.
            let is_full = told.values().any(|terms| terms.offered >= terms.capacity);
            assert!(told.values().all(|terms| terms.offered <= terms.capacity));
            assert!(!is_sane || is_full || offered >= host.offered - 9 , "{offered} of {host}");
        }
    }
}
