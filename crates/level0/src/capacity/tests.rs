//! What is offered, with its terms, and how it follows what is reckoned.

use expect_test::{Expect, expect};
use proptest::prelude::{Strategy, any, proptest};

use super::*;
use crate::reckon::{self, Basis, Host};

pub(super) fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn reading(capacity: f64, system: f64, online: f64) -> Sum {
    let pod = reckon::Pod { measured: Some(online), ..reckon::Pod::default() };
    let host = Host { capacity, used: system + online, online: vec![pod], ..Host::default() };
    reckon::reckon(Basis::Use, &host)
}

/// What is told at this time, if anything is.
pub(super) fn told(offer: &mut Offer, second: u64) -> Option<i64> {
    offer.tell(at(second)).then(|| offer.told())
}

fn policy(margin: f64) -> Policy {
    Policy { margin, ceiling: f64::INFINITY, ..Policy::default() }
}

fn check(policy: Policy, capacity: f64, system: f64, online: f64, expected: Expect) {
    let mut offer = Offer::new(policy);
    offer.observe(reading(capacity, system, online), at(0));
    expected.assert_eq(&offer.explain(at(0)).to_string());
}

#[test]
fn cpu_by_use() {
    check(
        policy(0.35),
        100.0,
        7.0,
        33.0,
        expect![
            "100 capacity - 35 margin - 7 system - max(33 measured, 33 predicted) online - 0 online by request = 25 possible, 25 offered"
        ],
    );
}

#[test]
fn memory_by_use() {
    check(
        policy(0.35),
        120.0,
        12.0,
        33.0,
        expect![
            "120 capacity - 42 margin - 12 system - max(33 measured, 33 predicted) online - 0 online by request = 33 possible, 33 offered"
        ],
    );
}

#[test]
fn a_floor_is_offered_however_busy_the_host_is() {
    check(
        Policy { floor: 0.1, ..policy(0.05) },
        2000.0,
        1900.0,
        500.0,
        expect![
            "2000 capacity - 100 margin - 1900 system - max(500 measured, 500 predicted) online - 0 online by request = 200 possible, 200 offered"
        ],
    );
}

#[test]
fn what_is_reserved_counts_as_system_when_it_is_more() {
    check(
        policy(0.35),
        100.0,
        20.0,
        33.0,
        expect![
            "100 capacity - 35 margin - 20 system - max(33 measured, 33 predicted) online - 0 online by request = 12 possible, 12 offered"
        ],
    );
    check(
        policy(0.35),
        120.0,
        20.0,
        33.0,
        expect![
            "120 capacity - 42 margin - 20 system - max(33 measured, 33 predicted) online - 0 online by request = 25 possible, 25 offered"
        ],
    );
}

#[test]
fn a_negative_margin_overcommits_up_to_the_ceiling() {
    check(
        policy(-0.5),
        100.0,
        7.0,
        42.0,
        expect![
            "100 capacity - -50 margin - 7 system - max(42 measured, 42 predicted) online - 0 online by request = 101 possible, 101 offered"
        ],
    );
    check(
        Policy { ceiling: 1.0, ..policy(-0.5) },
        100.0,
        7.0,
        42.0,
        expect![
            "100 capacity - -50 margin - 7 system - max(42 measured, 42 predicted) online - 0 online by request = 100 possible, 100 offered"
        ],
    );
}

#[test]
fn of_a_share_and_an_amount_that_are_kept_the_larger_counts() {
    let offered = |margin, least_margin| {
        let mut offer = Offer::new(Policy { least_margin, ..policy(margin) });
        offer.observe(reading(100.0, 7.0, 33.0), at(0));
        offer.explain(at(0)).offered
    };
    assert_eq!(
        [offered(0.1, 5.0), offered(0.1, 20.0), offered(0.0, 5.0), offered(-0.5, 0.0)],
        [50, 40, 55, 110]
    );
}

#[test]
fn another_policy_holds_at_once_where_it_gives_less_and_is_told() {
    let mut offer = Offer::new(policy(0.0));
    offer.observe(reading(100.0, 0.0, 20.0), at(0));
    assert_eq!(told(&mut offer, 0), Some(80));
    let mut follow = |margin, second| {
        offer.follow(policy(margin));
        offer.observe(reading(100.0, 0.0, 20.0), at(second));
        told(&mut offer, second)
    };
    assert_eq!(follow(0.02, 1), Some(78), "less than what is otherwise worth telling");
    assert_eq!(follow(0.5, 2), Some(30));
    assert_eq!(follow(0.0, 3), Some(61), "what is more grows slowly");
}

#[test]
fn ended_pods_give_their_room_back_and_a_full_host_offers_nothing() {
    check(
        policy(0.35),
        120.0,
        35.0,
        0.0,
        expect![
            "120 capacity - 42 margin - 35 system - max(0 measured, 0 predicted) online - 0 online by request = 43 possible, 43 offered"
        ],
    );
    check(
        policy(0.35),
        100.0,
        50.0,
        60.0,
        expect![
            "100 capacity - 35 margin - 50 system - max(60 measured, 60 predicted) online - 0 online by request = 0 possible, 0 offered"
        ],
    );
}

#[test]
fn what_is_never_offered_is_no_floor_either() {
    let possible = |margin, least_margin, online| {
        let mut offer = Offer::new(Policy { least_margin, floor: 0.1, ..policy(margin) });
        offer.observe(reading(4000.0, 0.0, online), at(0));
        offer.explain(at(0)).possible
    };
    assert_eq!(possible(0.0, 4000.0, 0.0), 0);
    assert_eq!(possible(0.0, 3800.0, 4000.0), 200);
    assert_eq!(possible(1.0, 0.0, 0.0), 0);
    assert_eq!(possible(0.05, 0.0, 4000.0), 400);
    assert_eq!(possible(-0.5, 0.0, 6000.0), 400, "a margin below zero is no floor");
}

#[test]
fn the_offer_of_a_blind_host_fades_to_zero() {
    let mut offer = Offer::new(policy(0.0));
    assert_eq!(offer.explain(at(0)).offered, 0);
    offer.observe(reading(100.0, 0.0, 20.0), at(0));
    let offered: Vec<i64> = [0, 15, 20, 25, 30, 900].map(|second| offer.explain(at(second)).offered).into();
    assert_eq!(offered, [80, 80, 53, 26, 0, 0]);
}

#[test]
fn the_offer_shrinks_at_once_and_grows_slowly() {
    let mut offer = Offer::new(Policy { half_life: Duration::from_millis(1), ..policy(0.0) });
    let mut series = Vec::new();
    for (second, online) in [20.0, 70.0, 20.0, 20.0, 20.0, 20.0, 20.0].into_iter().enumerate() {
        offer.observe(reading(100.0, 0.0, online), at(second as u64));
        series.push(offer.explain(at(second as u64)).offered);
    }
    assert_eq!(series, [80, 30, 61, 73, 77, 79, 79]);
}

#[test]
fn only_news_are_told() {
    let mut offer = Offer::new(Policy {
        half_life: Duration::from_millis(1),
        growth: Duration::from_millis(1),
        ..policy(0.0)
    });
    let mut series = Vec::new();
    for (second, online) in
        [(0, 20.0), (1, 22.0), (2, 40.0), (3, 41.0), (4, 100.0), (5, 99.6), (400, 90.0), (800, 89.0)]
    {
        offer.observe(reading(100.0, 0.0, online), at(second));
        series.push(told(&mut offer, second));
    }
    assert_eq!(series, [Some(80), None, Some(60), None, Some(0), None, Some(10), Some(11)]);
}

fn any_reading() -> impl Strategy<Value = Sum> {
    (any::<f64>(), any::<f64>(), any::<f64>())
        .prop_map(|(capacity, system, online)| reading(capacity, system, online))
}

fn sane_reading() -> impl Strategy<Value = Sum> {
    (0.0..1e6, 0.0..1e6, 0.0..1e6).prop_map(|(capacity, system, online)| reading(capacity, system, online))
}

proptest! {
    #[test]
    fn never_more_than_capacity_less_online(readings in proptest::collection::vec((sane_reading(), 0..100_u64), 1..40)) {
        let mut offer = Offer::new(Policy::default());
        let mut now = 0;
        for (reading, step) in readings {
            now += step;
            offer.observe(reading, at(now));
            let room = (reading.capacity - reading.measured - reading.system).max(0.0);
            assert!(offer.explain(at(now)).offered as f64 <= room);
        }
    }

    #[test]
    fn broken_readings_and_clocks_are_harmless(readings in proptest::collection::vec((any_reading(), any::<u32>()), 1..40)) {
        let mut offer = Offer::new(Policy::default());
        for (reading, second) in readings {
            offer.observe(reading, at(u64::from(second)));
            assert!(offer.explain(at(u64::from(second))).offered >= 0);
            let _news = offer.tell(at(u64::from(second)));
        }
    }

    #[test]
    fn constant_readings_are_told_once(reading in sane_reading(), seconds in 1..200_u64) {
        let mut offer = Offer::new(Policy::default());
        let told = (0..seconds).filter(|second| {
            offer.observe(reading, at(*second));
            offer.tell(at(*second))
        });
        assert_eq!(told.count(), 1);
    }
}
