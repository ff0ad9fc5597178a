//! The worked rows are those of a host of 100 cores and 120 GB, known from Koordinator's users: the system uses 7 cores and
//! 12 GB, three services use 33 cores and 33 GB and ask for 60 GB.

use proptest::prelude::{any, prop, proptest};

use super::*;
use crate::capacity::{Offer, Policy};

/// What services ask for and use.
const CPU: [(f64, f64); 3] = [(20.0, 15.0), (10.0, 8.0), (12.0, 10.0)];
const MEMORY: [(f64, f64); 3] = [(30.0, 15.0), (15.0, 8.0), (15.0, 10.0)];

fn host(capacity: f64, system: f64, pods: &[(f64, f64)]) -> Host {
    let online =
        pods.iter().map(|(request, used)| Pod { request: *request, measured: Some(*used), ..Pod::default() });
    let used = system + pods.iter().map(|(_, used)| used).sum::<f64>();
    Host { capacity, used, online: online.collect(), ..Host::default() }
}

fn cpu() -> Host {
    host(100.0, 7.0, &CPU)
}

fn memory() -> Host {
    host(120.0, 12.0, &MEMORY)
}

/// What is offered where `lendable` percent of the capacity are.
fn check(lendable: f64, basis: Basis, host: &Host, expected: i64) {
    bounded((lendable, f64::INFINITY), basis, host, expected);
}

fn bounded((lendable, ceiling): (f64, f64), basis: Basis, host: &Host, expected: i64) {
    let margin = 1.0 - lendable / 100.0;
    let mut offer = Offer::new(Policy { margin, ceiling, ..Policy::default() });
    offer.observe(reckon(basis, host), std::time::Duration::ZERO);
    assert_eq!(offer.explain(std::time::Duration::ZERO).offered, expected, "{host:?}");
}

#[test]
fn by_use() {
    check(65.0, Basis::Use, &cpu(), 25);
    check(65.0, Basis::Use, &memory(), 33);
}

#[test]
fn what_is_reserved_counts_when_it_is_more_than_the_system_uses() {
    check(65.0, Basis::Use, &Host { reserved: 20.0, ..cpu() }, 12);
    check(65.0, Basis::Use, &Host { reserved: 10.0, ..cpu() }, 22);
    check(65.0, Basis::Use, &Host { reserved: 20.0, ..memory() }, 25);
    check(65.0, Basis::Use, &Host { reserved: 5.0, ..cpu() }, 25);
}

/// 64 GB, of which the system uses 6, services 10, and batch 20 and 8 of files that the host takes for unused.
#[test]
fn what_the_host_takes_for_unused_hides_no_system_use() {
    let service = Pod { measured: Some(10.0), ..Pod::default() };
    let host = |cache: f64| Host {
        capacity: 64.0,
        used: 36.0,
        batch: 20.0,
        online: vec![Pod { measured: Some(10.0 + cache), cache, ..service }],
        ..Host::default()
    };
    assert_eq!(reckon(Basis::Use, &host(0.0)).system, 6.0);
    // A service's own cache is its own, and counts against batch.
    let sum = reckon(Basis::Use, &host(4.0));
    assert_eq!((sum.system, sum.measured), (6.0, 14.0));
}

#[test]
fn by_request() {
    check(70.0, Basis::Use, &cpu(), 30);
    check(80.0, Basis::Request, &memory(), 36);
    check(70.0, Basis::Use, &Host { reserved: 10.0, ..cpu() }, 27);
    check(80.0, Basis::Request, &Host { reserved: 20.0, ..memory() }, 16);
}

#[test]
fn who_has_cpus_of_its_own_lends_none() {
    let mut pinned = cpu();
    pinned.online[0].is_pinned = true;
    check(65.0, Basis::Use, &pinned, 20);
}

#[test]
fn by_whatever_is_more() {
    check(70.0, Basis::Larger, &cpu(), 21);
    check(80.0, Basis::Request, &memory(), 36);
    check(150.0, Basis::Larger, &cpu(), 101);
    check(120.0, Basis::Request, &memory(), 84);
    bounded((150.0, 1.0), Basis::Larger, &cpu(), 100);
}

#[test]
fn a_pod_that_has_ended_counts_no_more() {
    check(65.0, Basis::Use, &host(100.0, 7.0, &CPU[..2]), 35);
    check(65.0, Basis::Use, &host(120.0, 12.0, &MEMORY[..2]), 43);
}

#[test]
fn what_batch_uses_is_not_the_systems() {
    check(65.0, Basis::Use, &Host { batch: 3.0, ..cpu() }, 28);
}

/// Koordinator forgets such a Pod where whatever is more counts, and offers its request to batch.
#[test]
fn a_pod_that_was_not_measured_counts_by_its_request() {
    for basis in [Basis::Use, Basis::Larger, Basis::Request] {
        let known = reckon(basis, &cpu());
        let mut with_new = cpu();
        with_new.online.push(Pod { request: 9.0, ..Pod::default() });
        let sum = reckon(basis, &with_new);
        assert!((sum.requested - known.requested - 9.0).abs() < 1e-9, "{basis:?}");
    }
}

#[test]
fn what_a_new_pod_uses_is_its_own_and_not_the_systems() {
    let known = reckon(Basis::Use, &cpu());
    let with_new = |request: f64, while_new: f64| {
        let mut host = cpu();
        host.used += while_new;
        host.online.push(Pod { request, while_new, ..Pod::default() });
        let sum = reckon(Basis::Use, &host);
        (sum.requested - known.requested, sum.system - known.system)
    };
    let check = |(one, other): (f64, f64), expected: (f64, f64)| {
        assert!((one - expected.0).abs() < 1e-9 && (other - expected.1).abs() < 1e-9, "{one} {other}");
    };
    check(with_new(9.0, 8.0), (9.0, 0.0));
    check(with_new(9.0, 0.0), (9.0, 0.0));
    // One that asked for nothing is not lent while it starts.
    check(with_new(0.0, 8.0), (8.0, 0.0));
}

#[test]
fn what_the_system_uses_is_known_whatever_services_count_by() {
    let host = Host { reserved: 1.0, ..cpu() };
    let used = reckon(Basis::Use, &host).system;
    let by_request = reckon(Basis::Request, &host);
    assert!(used > 1.0 && (by_request.system - 1.0).abs() < 1e-9);
    assert!((by_request.system_in_use - used).abs() < 1e-9);
}

#[test]
fn what_is_predicted_counts_when_it_is_more() {
    let mut host = cpu();
    host.online[1].predicted = Some(14.0);
    check(65.0, Basis::Use, &host, 19);
    host.online[1].predicted = Some(2.0);
    check(65.0, Basis::Use, &host, 25);
    // One is above its peak, and another may still come to its own.
    host.online[0].predicted = Some(20.0);
    check(65.0, Basis::Use, &host, 20);
}

fn broken() -> impl prop::strategy::Strategy<Value = Option<f64>> {
    prop::option::of(prop::num::f64::ANY)
}

proptest! {
    #[test]
    fn broken_readings_are_harmless(
        numbers in (prop::num::f64::ANY, prop::num::f64::ANY, prop::num::f64::ANY, prop::num::f64::ANY),
        pods in prop::collection::vec((prop::num::f64::ANY, broken(), broken(), any::<bool>()), 0..8),
    ) {
        let (capacity, used, batch, reserved) = numbers;
        let online = pods.into_iter().map(|(request, measured, predicted, is_pinned)| {
            Pod { request, measured, predicted, is_pinned, ..Pod::default() }
        });
        let host = Host { capacity, used, batch, reserved, online: online.collect() };
        for basis in [Basis::Use, Basis::Request, Basis::Larger] {
            let Sum { capacity, system, system_in_use, measured, predicted, requested } = reckon(basis, &host);
            let terms = [capacity, system, system_in_use, measured, predicted, requested];
            assert!(terms.iter().all(|term| *term >= 0.0));
        }
    }
}
