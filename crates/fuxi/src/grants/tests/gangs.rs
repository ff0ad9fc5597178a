//! Gangs: together or not at all.

use expect_test::expect;

use super::*;
use crate::grants::{Gang, GangId};

/// A unit of gang 1, with this many units, that starts with `least`.
fn part(unit: u64, (cpu, priority): (u64, i32), (n_units, least): (u32, u32)) -> Event {
    let gang = Some(Gang { id: GangId(1), n_units, least });
    let definition =
        Definition { shape: shape(cpu, cpu), priority, maximum: 100, quota: None, party: None, gang };
    Event::Define { unit: UnitId(unit), definition }
}

#[test]
fn a_gang_starts_when_there_is_room_for_all_of_it() {
    check(
        vec![
            (0, machine(0, 2000)),
            (0, part(1, (1000, 0), (1, 3))),
            (0, define(2, 1000, 0)),
            (1, ask(1, 1, Place::Cluster, 2)),
            (1, ask(1, 2, Place::Cluster, 3)),
            // Nothing is kept for it meanwhile.
            (2, ask(2, 1, Place::Cluster, 1)),
            (3, machine(1, 1000)),
            (4, machine(2, 2000)),
            // It has started, and more of it come one by one.
            (5, Event::Return { grant: GrantId(1) }),
        ],
        expect![[r#"
            0: -
            0: -
            0: -
            1: -
            1: -
            2: grant1 u2@m0
            3: -
            4: grant2 u1@m2, grant3 u1@m2, grant4 u1@m1, grant5 u1@m0
            5: grant6 u1@m0
        "#]],
    );
}

#[test]
fn all_units_of_a_gang_must_be_there_and_want_enough() {
    check(
        vec![
            (0, machine(0, 9000)),
            (0, part(1, (1000, 0), (2, 1))),
            (1, ask(1, 1, Place::Cluster, 1)),
            (2, part(2, (2000, 0), (2, 2))),
            (3, ask(2, 1, Place::Cluster, 1)),
            (4, ask(2, 2, Place::Cluster, 1)),
        ],
        expect![[r#"
            0: -
            0: -
            1: -
            2: -
            3: -
            4: grant1 u1@m0, grant2 u2@m0, grant3 u2@m0
        "#]],
    );
}

#[test]
fn lesser_ones_go_for_all_of_a_gang_or_for_none_of_it() {
    check(
        vec![
            (0, machine(0, 2000)),
            (0, machine(2, 2000)),
            (0, define(2, 1000, 0)),
            (0, define(3, 1000, 9)),
            (1, ask(3, 1, Place::Cluster, 1)),
            (1, ask(2, 1, Place::Cluster, 3)),
            (2, part(1, (1000, 5), (1, 4))),
            (3, ask(1, 1, Place::Cluster, 4)),
            // Three could go, and four are needed.
            (20, Event::Tick),
            (21, machine(4, 1000)),
            (22, Event::Tick),
            (23, Event::Return { grant: GrantId(2) }),
            (24, Event::Return { grant: GrantId(3) }),
            (25, Event::Return { grant: GrantId(4) }),
        ],
        expect![[r#"
            0: -
            0: -
            0: -
            0: -
            1: grant1 u3@m2
            1: grant2 u2@m0, grant3 u2@m2, grant4 u2@m0
            2: -
            3: -
            20: -
            21: -
            22: revoke4 u2@m0, revoke3 u2@m2, revoke2 u2@m0
            23: -
            24: -
            25: grant5 u1@m4, grant6 u1@m0, grant7 u1@m2, grant8 u1@m0
        "#]],
    );
}

#[test]
fn a_gang_that_waits_too_long_gathers_what_comes_free() {
    let mut events = vec![
        (0, machine(0, 2000)),
        (0, define(2, 1000, 0)),
        (1, ask(2, 1, Place::Cluster, 9)),
        (2, part(1, (1000, 0), (1, 2))),
        (2, ask(1, 1, Place::Cluster, 2)),
        (3, Event::Return { grant: GrantId(1) }),
        (10, Event::Tick),
        (11, Event::Return { grant: GrantId(2) }),
        // Its time is over before the rest comes: the room is others' again.
        (70, Event::Tick),
        (72, Event::Return { grant: GrantId(3) }),
        (80, Event::Tick),
    ];
    events.extend([(81, Event::Return { grant: GrantId(4) }), (82, Event::Return { grant: GrantId(5) })]);
    check(
        events,
        expect![[r#"
            0: -
            0: -
            1: grant1 u2@m0, grant2 u2@m0
            2: -
            2: -
            3: grant3 u2@m0
            10: -
            11: -
            70: grant4 u2@m0
            72: grant5 u2@m0
            80: -
            81: -
            82: grant6 u1@m0, grant7 u1@m0
        "#]],
    );
}

/// Of a gang that had started before the ledger some are left: they were enough, and more come one by one.
#[test]
fn a_gang_of_which_some_are_found_has_started() {
    let truth = |sequence, wanted: u32, held: &[u64]| Truth {
        sequence,
        seen: GrantId(2),
        wanted: vec![(Place::Cluster, wanted)],
        held: held.iter().map(|grant| (GrantId(*grant), MachineId(0))).collect(),
        avoided: Vec::new(),
    };
    check(
        vec![
            (0, Event::Recover),
            (0, machine(0, 2000)),
            (0, part(1, (1000, 0), (1, 8))),
            (1, Event::Sync { unit: UnitId(1), truth: truth(1, 8, &[1, 2]) }),
            (1, Event::Recovered),
            // They end three of the ten instances and go: seven are left, where eight were to begin together.
            (2, ask(1, 2, Place::Cluster, -3)),
            (3, Event::Return { grant: GrantId(1) }),
            (3, Event::Return { grant: GrantId(2) }),
            (4, ask(1, 3, Place::Cluster, 2)),
        ],
        expect![[r#"
            0: -
            0: -
            0: -
            1: -
            1: -
            2: -
            3: grant3 u1@m0
            3: grant4 u1@m0
            4: -
        "#]],
    );
}
