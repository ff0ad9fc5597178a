//! The worked rows, on the host of 100 cores whose system uses 7 and whose three services ask for 60.

use proptest::prelude::{any, prop, proptest};

use super::*;
use crate::reckon::Pod;

fn host(pods: &[(f64, f64, Option<f64>)]) -> Host {
    let online = pods.iter().map(|(request, used, predicted)| Pod {
        request: *request,
        measured: Some(*used),
        predicted: *predicted,
        ..Pod::default()
    });
    Host { capacity: 100.0, online: online.collect(), ..Host::default() }
}

/// They use 33; at their peaks they will use 40.
fn known() -> Host {
    host(&[(30.0, 15.0, Some(18.0)), (15.0, 8.0, Some(10.0)), (15.0, 10.0, Some(12.0))])
}

fn check(policy: &Policy, host: &Host, expected: &str) {
    let mut offer = Offer::new(policy.clone(), capacity::Policy::default());
    offer.observe(reckon(host, 7.0), Duration::ZERO);
    assert_eq!(offer.explain(Duration::ZERO).to_string(), expected);
}

#[test]
fn what_was_requested_and_will_not_be_used() {
    let policy = Policy::default();
    // By Pods it is 12 + 5 + 3 = 20; all together have 60 - 7 - 40.
    check(&policy, &known(), "min(13 reclaimable, 60 unused) + 0 unallocated = 13 possible, 13 offered");
    let few = host(&[(20.0, 2.0, Some(4.0))]);
    check(&policy, &few, "min(9 reclaimable, 91 unused) + 0 unallocated = 9 possible, 9 offered");
    let full = host(&[(90.0, 80.0, Some(10.0))]);
    check(&policy, &full, "min(3 reclaimable, 13 unused) + 0 unallocated = 3 possible, 3 offered");
    check(&policy, &host(&[]), "min(0 reclaimable, 93 unused) + 0 unallocated = 0 possible, 0 offered");
}

#[test]
fn what_no_service_requested_counts_by_its_share() {
    let half = Policy { unallocated: 0.5, ..Policy::default() };
    check(&half, &known(), "min(13 reclaimable, 60 unused) + 20 unallocated = 33 possible, 33 offered");
    let bounded = Policy { unallocated: 1.0, ceiling: 0.3 };
    check(&bounded, &known(), "min(13 reclaimable, 60 unused) + 40 unallocated = 30 possible, 30 offered");
    let none = Policy { ceiling: 0.0, ..Policy::default() };
    check(&none, &known(), "min(13 reclaimable, 60 unused) + 0 unallocated = 0 possible, 0 offered");
}

#[test]
fn who_is_not_known_lends_nothing() {
    let policy = Policy::default();
    let stranger = host(&[(60.0, 5.0, None)]);
    check(&policy, &stranger, "min(0 reclaimable, 88 unused) + 0 unallocated = 0 possible, 0 offered");
    let mut pinned = known();
    pinned.online[0].is_pinned = true;
    check(&policy, &pinned, "min(1 reclaimable, 60 unused) + 0 unallocated = 1 possible, 1 offered");
    // Two requested 30 and peak at 22, the third uses what it never did.
    let mut wild = known();
    wild.online[0].measured = Some(30.0);
    check(&policy, &wild, "min(1 reclaimable, 45 unused) + 0 unallocated = 1 possible, 1 offered");
}

#[test]
fn what_the_tier_itself_has_is_still_offered() {
    let mut with_mid = known();
    with_mid.online.push(Pod {
        request: 10.0,
        measured: Some(10.0),
        predicted: Some(10.0),
        is_mid: true,
        ..Pod::default()
    });
    check(
        &Policy::default(),
        &with_mid,
        "min(13 reclaimable, 60 unused) + 0 unallocated = 13 possible, 13 offered",
    );
}

#[test]
fn a_blind_host_offers_nothing() {
    let mut offer = Offer::new(Policy::default(), capacity::Policy::default());
    offer.observe(reckon(&known(), 7.0), Duration::ZERO);
    assert!(offer.tell(Duration::ZERO));
    assert_eq!(offer.explain(Duration::from_secs(31)).offered, 0);
    assert!(offer.tell(Duration::from_secs(31)));
}

proptest! {
    #[test]
    fn never_more_than_what_was_requested_and_never_less_than_nothing(
        numbers in (prop::num::f64::ANY, prop::num::f64::ANY),
        pods in prop::collection::vec((prop::num::f64::ANY, prop::option::of(prop::num::f64::ANY),
            prop::option::of(prop::num::f64::ANY), any::<bool>(), any::<bool>()), 0..8),
    ) {
        let (capacity, system) = numbers;
        let online = pods.into_iter().map(|(request, measured, predicted, is_pinned, is_mid)| {
            Pod { request, measured, predicted, is_pinned, is_mid, ..Pod::default() }
        });
        let host = Host { capacity, online: online.collect(), ..Host::default() };
        let sum = reckon(&host, system);
        let services = host.online.iter().filter(|pod| !pod.is_mid);
        let requested: f64 = services.map(|pod| amount(pod.request)).sum();
        assert!(sum.reclaimable >= 0.0 && sum.reclaimable <= requested && sum.reclaimable <= sum.capacity);
        let mut offer = Offer::new(Policy::default(), capacity::Policy::default());
        offer.observe(sum, Duration::ZERO);
        let offered = offer.explain(Duration::ZERO).offered;
        assert!(offered >= 0 && offered as f64 <= requested);
    }
}
