//! Tides by single cases, and by whole windows in a world that is played.

mod playing;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use playing::{Happening, World};

const LEAD: i64 = 120;
const GRACE: i64 = 20;
/// When the window of the single cases begins.
const FROM: i64 = 1000;

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn terms(wanted: usize, percent: u32) -> Terms {
    Terms { wanted, percent, lead: seconds(LEAD), grace: seconds(GRACE) }
}

fn window() -> Window {
    Window { from: at(FROM), to: at(FROM + 500) }
}

fn unit(id: &str, priority: i32, age: i64, pace: Pace) -> Unit {
    let size = Size { milli_cpu: 1000, memory: 1 << 20 };
    Unit { id: id.to_owned(), priority, age: seconds(age), size, pace, going: None }
}

fn host(name: &str, units: Vec<Unit>) -> Host {
    let offer = Size { milli_cpu: 4000, memory: 1 << 30 };
    Host { name: name.to_owned(), is_selected: true, is_able: true, mark: None, offer, units }
}

fn mark(state: MarkState, percent: u32) -> Option<TideMark> {
    Some(TideMark::new("t", state, percent))
}

fn held(name: &str, phase: TidePhase, since: i64) -> Held {
    Held { name: name.to_owned(), phase, since: at(since) }
}

/// One step at a time, as lines.
fn check(held: &[Held], hosts: &[Host], terms: Terms, now: i64, expect: &Expect) {
    let turn = step(held, &Sight { terms, window: Some(window()), hosts, now: at(now) });
    let mut text = String::new();
    for held in &turn.held {
        text += &format!("{} {:?} since {}\n", held.name, held.phase, held.since.as_second());
    }
    if !turn.revoked.is_empty() {
        let told: Vec<String> =
            turn.revoked.iter().map(|(id, end)| format!("{id} within {} s", end.as_secs())).collect();
        text += &format!("revoked {}\n", told.join(", "));
    }
    let Outlook { wanted, taken, handed_over, expected, late } = turn.outlook;
    let expected = expected.map(Timestamp::as_second);
    text += &format!("{handed_over} of {wanted}, {taken} taken, free at {expected:?}, late {late:?}\n");
    expect.assert_eq(&text);
}

fn repeats(each: i64) -> Pace {
    Pace::Repeats { each: Some(seconds(each)) }
}

#[test]
fn those_go_first_that_cost_batch_least() {
    let hosts = [
        host("precious", vec![unit("a", 100, 900, Pace::Unknown)]),
        host("old", vec![unit("b", 0, 900, Pace::Unknown)]),
        host("young", vec![unit("c", 0, 10, Pace::Unknown)]),
        host("ends", vec![unit("d", 100, 900, Pace::Once { left: seconds(60) })]),
        host("repeats", vec![unit("e", 100, 900, repeats(30))]),
    ];
    let before = FROM - LEAD;
    check(
        &[],
        &hosts,
        terms(3, 100),
        before - 1,
        &expect![[r#"
        0 of 0, 0 taken, free at None, late []
    "#]],
    );
    check(
        &[],
        &hosts,
        terms(3, 100),
        before,
        &expect![[r#"
            ends Announced since 880
            repeats Announced since 880
            young Announced since 880
            0 of 3, 3 taken, free at Some(995), late []
        "#]],
    );
}

#[test]
fn a_host_is_drained_when_its_last_instances_must_begin() {
    let a = |mark| Host { mark, ..host("a", vec![unit("u", 0, 50, repeats(40))]) };
    let announced = [held("a", TidePhase::Announced, 880)];
    // 1000 - 20 - 8 - 40
    check(
        &announced,
        &[a(mark(MarkState::Announced, 100))],
        terms(1, 100),
        931,
        &expect![[r#"
            a Announced since 880
            0 of 1, 1 taken, free at Some(975), late []
        "#]],
    );
    check(
        &announced,
        &[a(mark(MarkState::Announced, 100))],
        terms(1, 100),
        932,
        &expect![[r#"
            a Draining since 932
            0 of 1, 1 taken, free at Some(975), late []
        "#]],
    );
    let draining = [held("a", TidePhase::Draining, 932)];
    check(
        &draining,
        &[a(mark(MarkState::Draining, 100))],
        terms(1, 100),
        971,
        &expect![[r#"
            a Draining since 932
            0 of 1, 1 taken, free at Some(975), late []
        "#]],
    );
    // The estimate was wrong.
    for now in [972, 989] {
        let turn = step(
            &draining,
            &Sight {
                terms: terms(1, 100),
                window: Some(window()),
                hosts: &[a(mark(MarkState::Draining, 100))],
                now: at(now),
            },
        );
        assert!(turn.revoked.is_empty(), "at {now} a worker still has its grace");
    }
    check(
        &draining,
        &[a(mark(MarkState::Draining, 100))],
        terms(1, 100),
        990,
        &expect![[r#"
            a Draining since 932
            revoked u within 2 s
            0 of 1, 1 taken, free at Some(993), late []
        "#]],
    );
    // Too late for its grace.
    let hangs = Unit { going: Some(seconds(-5)), ..unit("u", 0, 50, Pace::Unknown) };
    let hangs = [Host { units: vec![hangs], ..a(mark(MarkState::Draining, 100)) }];
    check(
        &draining,
        &hangs,
        terms(1, 100),
        995,
        &expect![[r#"
            a Draining since 932
            0 of 1, 1 taken, free at Some(1006), late ["a"]
        "#]],
    );
}

#[test]
fn a_host_is_handed_over_once_nothing_was_seen_for_a_while() {
    let a = |state, units| Host { mark: mark(state, 100), ..host("a", units) };
    let draining = [held("a", TidePhase::Draining, 932)];
    // Its Node does not say yet that it is drained.
    check(
        &draining,
        &[a(MarkState::Announced, vec![])],
        terms(1, 100),
        940,
        &expect![[r#"
            a Draining since 932
            0 of 1, 1 taken, free at Some(943), late []
        "#]],
    );
    check(
        &draining,
        &[a(MarkState::Draining, vec![])],
        terms(1, 100),
        940,
        &expect![[r#"
            a Verified since 940
            0 of 1, 1 taken, free at Some(943), late []
        "#]],
    );
    let verified = [held("a", TidePhase::Verified, 940)];
    let straggler = vec![unit("u", 0, 0, Pace::Unknown)];
    check(
        &verified,
        &[a(MarkState::Draining, straggler.clone())],
        terms(1, 100),
        941,
        &expect![[r#"
            a Draining since 941
            0 of 1, 1 taken, free at Some(995), late []
        "#]],
    );
    check(
        &verified,
        &[a(MarkState::Draining, vec![])],
        terms(1, 100),
        943,
        &expect![[r#"
            a HandedOver since 943
            1 of 1, 1 taken, free at None, late []
        "#]],
    );
    let handed = [held("a", TidePhase::HandedOver, 943)];
    check(
        &handed,
        &[a(MarkState::HandedOver, straggler)],
        terms(1, 100),
        950,
        &expect![[r#"
            a HandedOver since 943
            revoked u within 20 s
            1 of 1, 1 taken, free at None, late []
        "#]],
    );
    // On its way back its Node must say so before it is batch's.
    check(
        &handed,
        &[a(MarkState::HandedOver, vec![])],
        terms(1, 100),
        FROM + 500,
        &expect![[r#"
        a Returning since 1500
        0 of 0, 0 taken, free at None, late []
    "#]],
    );
    check(
        &[held("a", TidePhase::Returning, 1500)],
        &[host("a", vec![])],
        terms(1, 100),
        1501,
        &expect![[r#"
        0 of 0, 0 taken, free at None, late []
    "#]],
    );
}

#[test]
fn who_fails_is_exchanged_and_never_more_are_closed_than_asked() {
    let lame = Host { is_able: false, mark: mark(MarkState::Announced, 100), ..host("a", vec![]) };
    let announced = [held("a", TidePhase::Announced, 880)];
    check(
        &announced,
        &[lame, host("b", vec![])],
        terms(1, 100),
        900,
        &expect![[r#"
        a Returning since 900
        0 of 1, 0 taken, free at None, late []
    "#]],
    );
    check(
        &[held("a", TidePhase::Returning, 900)],
        &[host("a", vec![]), host("b", vec![])],
        terms(1, 100),
        901,
        &expect![[r#"
            a Announced since 901
            0 of 1, 1 taken, free at Some(904), late []
        "#]],
    );
    // Fewer are wanted: that goes back which is least far.
    let both = [held("a", TidePhase::Announced, 880), held("b", TidePhase::HandedOver, 890)];
    let marked = |name, state| Host { mark: mark(state, 100), ..host(name, vec![]) };
    let hosts = [marked("a", MarkState::Announced), marked("b", MarkState::HandedOver)];
    check(
        &both,
        &hosts,
        terms(1, 100),
        900,
        &expect![[r#"
        a Returning since 900
        b HandedOver since 890
        1 of 1, 1 taken, free at None, late []
    "#]],
    );
    // A mark that nobody remembers goes.
    check(
        &[],
        &[marked("a", MarkState::Draining)],
        terms(1, 100),
        900,
        &expect![[r#"
        a Returning since 900
        0 of 1, 0 taken, free at None, late []
    "#]],
    );
}

#[test]
fn of_a_share_the_least_and_youngest_go_until_the_rest_fits() {
    let units = vec![
        unit("old", 0, 900, Pace::Unknown),
        unit("young", 0, 10, Pace::Unknown),
        unit("high", 9, 5, Pace::Unknown),
        unit("higher", 10, 5, Pace::Unknown),
    ];
    let a = |units| Host { mark: mark(MarkState::Draining, 40), ..host("a", units) };
    let draining = [held("a", TidePhase::Draining, 932)];
    // 60% of 4 cores hold two of one core.
    check(
        &draining,
        &[a(units.clone())],
        terms(1, 40),
        972,
        &expect![[r#"
            a Draining since 932
            revoked old within 20 s, young within 20 s
            0 of 1, 1 taken, free at Some(995), late []
        "#]],
    );
    check(
        &draining,
        &[a(units[2..].to_vec())],
        terms(1, 40),
        973,
        &expect![[r#"
            a Verified since 973
            0 of 1, 1 taken, free at Some(976), late []
        "#]],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever runs, hosts are free by the window where there are enough of them and lead and grace allow it; nothing is
    /// handed over half; and when it is over all is as it was.
    #[test]
    fn hosts_are_free_in_time_and_come_back(
        hosts in 1usize..7,
        wanted in 0usize..7,
        (grace, slack) in (0i64..40, 10i64..200),
        seed in any::<u64>(),
    ) {
        let terms = Terms { wanted: wanted.min(hosts), percent: 100, lead: seconds(grace + slack), grace: seconds(grace) };
        let mut world = World::new(hosts, terms, seed);
        while world.now < world.window.to {
            world.second(Happening::Nothing);
            world.check()?;
            if (world.window.from..world.window.to).contains(&world.now) {
                prop_assert_eq!(world.n_handed_over(), terms.wanted, "at {:?}: {:#?}", world.now, world.turn);
            }
        }
        for _ in 0..3 {
            world.second(Happening::Nothing);
        }
        prop_assert!(world.is_as_before(), "{:#?}", world.held);
    }

    /// The same with all that can happen: controllers that end before or after they have said what they are about to do,
    /// hosts that fail, clocks that jump, wishes that change, undoing.
    #[test]
    fn nothing_is_ever_half_handed(
        hosts in 1usize..7,
        percent in prop_oneof![Just(100u32), 1u32..100],
        happenings in prop::collection::vec(playing::happening(), 300),
        seed in any::<u64>(),
    ) {
        let terms = Terms { wanted: hosts.div_ceil(2), percent, lead: seconds(60), grace: seconds(10) };
        let mut world = World::new(hosts, terms, seed);
        for happening in happenings {
            world.second(happening);
            world.check()?;
        }
        world.undone = true;
        for _ in 0..4 {
            world.second(Happening::Nothing);
            world.check()?;
        }
        prop_assert!(world.is_as_before(), "{:#?}", world.held);
    }
}
