//! Seasons by single cases, and over weeks of any shape.

use proptest::prelude::*;

use super::*;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(60 * minute).unwrap()
}

#[test]
fn an_hour_is_its_highest_and_a_moment_is_none() {
    // Minutes with what is needed in each; what the hour that ends with the last one was.
    let check = |samples: &mut dyn Iterator<Item = (i64, u64)>, expected: Option<std::ops::Range<u64>>| {
        let mut watch = Watch::default();
        let passed = samples.filter_map(|(minute, value)| watch.observe(value, at(minute))).last();
        match (passed, expected) {
            (None, None) => {}
            (Some(passed), Some(range)) => {
                assert!(range.contains(&passed.milli_cpu), "{passed:?}, not in {range:?}")
            }
            (passed, expected) => panic!("{passed:?}, not {expected:?}"),
        }
    };
    check(&mut (0..=60).map(|minute| (minute, 4000)), Some(4000..4001));
    // Twenty minutes count, one does not.
    check(
        &mut (0..=60).map(|minute| (minute, if (20..40).contains(&minute) { 9000 } else { 1000 })),
        Some(8700..9001),
    );
    check(&mut (0..=60).map(|minute| (minute, if minute == 20 { 9000 } else { 1000 })), Some(1000..2600));
    // What ends with the hour before is none of it.
    check(&mut (0..=120).map(|minute| (minute, if minute < 60 { 9000 } else { 1000 })), Some(1000..1001));
    // An hour of which half was not seen, and one with a pause in it.
    check(&mut (31..=60).map(|minute| (minute, 4000)), None);
    check(&mut (0..=20).chain(40..=60).map(|minute| (minute, 4000)), None);
    // A clock that was set back.
    check(&mut (10..=50).chain([5]).chain(50..=60).map(|minute| (minute, 4000)), None);
}

#[test]
fn more_counts_at_once_and_less_by_halves() {
    let mut season = Season::default();
    let seen = [(1000, 1000), (3000, 3000), (1000, 2000), (1000, 1500), (1400, 1450)];
    for (value, expected) in seen {
        season.learn(20, value);
        assert_eq!(season.expected(20), Some(Expected { milli_cpu: expected, is_of_the_day: true }));
    }
    // Another day at that hour goes by this one until it has a history of its own.
    assert_eq!(season.expected(44), Some(Expected { milli_cpu: 1450, is_of_the_day: false }));
    assert_eq!((season.expected(21), season.days()), (None, 0));
    season.learn(44, 10);
    assert_eq!(season.expected(44), Some(Expected { milli_cpu: 10, is_of_the_day: true }));
    let kept = Season::restored(season.slots().collect(), season.hours);
    assert_eq!(kept, season);
}

#[test]
fn a_need_becomes_hosts() {
    let sizing = Sizing { margin_percent: 10, host_milli_cpu: 4000, floor: 2, ceiling: 5 };
    for (need, hosts) in
        [(0, 0), (3636, 0), (3637, 0), (3638, 2), (7272, 2), (7274, 3), (19_000, 5), (u64::MAX, 5)]
    {
        assert_eq!(sizing.hosts(need), hosts, "{need}");
    }
    assert_eq!(Sizing { host_milli_cpu: 0, ..sizing }.hosts(u64::MAX), 0);
    assert_eq!(Sizing { floor: 0, ..sizing }.hosts(0), 0);
    assert_eq!(Sizing { ceiling: 1, ..sizing }.hosts(8000), 1);
}

#[test]
fn the_first_swell_is_found() {
    let check = |hosts: &[usize], not_before: i64, expected: Option<(i64, i64, usize)>| {
        let expected = expected.map(|(from, to, hosts)| Swell { from: at(from), to: at(to), hosts });
        assert_eq!(swell(at(0), hosts, at(not_before)), expected, "{hosts:?}");
    };
    check(&[], 0, None);
    check(&[0, 0], 0, None);
    check(&[0, 2, 3, 1, 0, 4], 0, Some((60, 240, 3)));
    // It has begun already; or is nearly over, and the next one is meant.
    check(&[0, 2, 3, 1, 0, 4], 100, Some((100, 240, 3)));
    check(&[0, 2, 3, 1, 0, 4], 231, Some((300, 360, 4)));
    check(&[0, 2, 3, 1, 0, 4], 400, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A swell has no hour with too small a need, none before or after it that belongs to it, and a size within bounds.
    #[test]
    fn a_swell_is_whole_and_within_bounds(
        needs in prop::collection::vec(0u64..40_000, 0..SLOTS),
        (floor, ceiling) in (1usize..6, 1usize..9),
        not_before in 0i64..(200 * 60),
    ) {
        let sizing = Sizing { margin_percent: 20, host_milli_cpu: 4000, floor, ceiling };
        let hosts: Vec<usize> = needs.iter().map(|need| sizing.hosts(*need)).collect();
        let found = swell(at(0), &hosts, at(not_before));
        let is_in = |hour: usize, swell: &Swell| {
            let start = at(60 * i64::try_from(hour).unwrap());
            start < swell.to && start + HOUR > swell.from
        };
        if let Some(swell) = found {
            prop_assert!(swell.hosts >= 1 && swell.hosts <= ceiling && swell.hosts >= floor.min(ceiling));
            prop_assert!(swell.from >= at(not_before) && swell.to.duration_since(swell.from) >= LEAST_SWELL);
            let of_it: Vec<usize> = (0..hosts.len()).filter(|hour| is_in(*hour, &swell)).collect();
            prop_assert!(of_it.iter().all(|hour| hosts[*hour] > 0 && hosts[*hour] <= swell.hosts));
            prop_assert_eq!(hosts.get(of_it[of_it.len() - 1] + 1).copied().unwrap_or(0), 0);
            prop_assert!(swell.from == at(not_before) || of_it[0] == 0 || hosts[of_it[0] - 1] == 0);
        } else {
            let late = (0..hosts.len()).filter(|hour| 60 * (i64::try_from(*hour).unwrap() + 1) - 10 >= not_before);
            prop_assert!(late.into_iter().all(|hour| hosts[hour] == 0));
        }
    }

    /// Whatever was seen, the answer lies between the least and the most of it, and is never less than what was seen last.
    #[test]
    fn nothing_is_expected_that_was_never_seen(
        seen in prop::collection::vec((0usize..SLOTS, 0u64..1_000_000), 1..400),
        slot in 0usize..SLOTS,
    ) {
        let mut season = Season::default();
        seen.iter().for_each(|(slot, value)| season.learn(*slot, *value));
        let (least, most) = (seen.iter().map(|(_, value)| *value).min(), seen.iter().map(|(_, value)| *value).max());
        if let Some(expected) = season.expected(slot) {
            prop_assert!(Some(expected.milli_cpu) >= least && Some(expected.milli_cpu) <= most);
            let last = seen.iter().rev().find(|(other, _)| *other == slot);
            prop_assert!(last.is_none_or(|(_, value)| expected.milli_cpu >= *value));
        } else {
            prop_assert!(seen.iter().all(|(other, _)| other % 24 != slot % 24));
        }
        prop_assert_eq!(Season::restored(season.slots().collect(), season.hours), season);
    }
}
