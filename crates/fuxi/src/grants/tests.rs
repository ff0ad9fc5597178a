//! The ledger: scripts, and random histories against what must always hold.

mod fair;
mod gangs;
mod histories;
mod quotas;
mod two_resources;

use std::fmt::Write;
use std::time::Duration;

use expect_test::{Expect, expect};
use model::{Bytes, MilliCpu};

use super::{
    Decision, Definition, Event, GrantId, Ledger, MachineId, Place, RackId, Resources, Truth, UnitId,
};

fn room(cpu: u64, memory: u64) -> Resources {
    Resources { cpu: MilliCpu(cpu), memory: Bytes(memory), workers: 100, ..Resources::default() }
}

fn shape(cpu: u64, memory: u64) -> Resources {
    Resources { workers: 1, ..room(cpu, memory) }
}

fn machine(id: u32, cpu: u64) -> Event {
    Event::Machine { machine: MachineId(id), rack: RackId(id / 2), capacity: room(cpu, cpu), is_open: true }
}

fn define(unit: u64, cpu: u64, priority: i32) -> Event {
    let definition =
        Definition { shape: shape(cpu, cpu), priority, maximum: 100, quota: None, party: None, gang: None };
    Event::Define { unit: UnitId(unit), definition }
}

fn ask(unit: u64, sequence: u64, place: Place, delta: i64) -> Event {
    Event::Ask { unit: UnitId(unit), sequence, place, delta }
}

fn show(decisions: &[Decision]) -> String {
    let words: Vec<String> = decisions
        .iter()
        .map(|decision| match decision {
            Decision::Grant { grant, unit, machine } => {
                format!("grant{} u{}@m{}", grant.0, unit.0, machine.0)
            }
            Decision::Revoke { grant, unit, machine } => {
                format!("revoke{} u{}@m{}", grant.0, unit.0, machine.0)
            }
            Decision::Resync { unit } => format!("resync u{}", unit.0),
        })
        .collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

/// Events with the second at which they happen; the ledger has a grace of five seconds.
fn check(events: Vec<(u64, Event)>, expected: Expect) {
    let mut ledger = Ledger::new(Duration::from_secs(5));
    let mut log = String::new();
    for (second, event) in events {
        let decided = ledger.step(event, Duration::from_secs(second));
        writeln!(log, "{second}: {}", show(&decided)).unwrap();
    }
    expected.assert_eq(&log);
}

#[test]
fn room_is_granted_to_the_roomiest_machine_and_returned_room_is_offered() {
    check(
        vec![
            (0, machine(0, 1000)),
            (0, machine(1, 2000)),
            (0, define(1, 1000, 0)),
            (1, ask(1, 1, Place::Cluster, 5)),
            (2, Event::Return { grant: GrantId(1) }),
            (3, ask(1, 2, Place::Cluster, -1)),
            (4, Event::Return { grant: GrantId(2) }),
        ],
        expect![[r#"
            0: -
            0: -
            0: -
            1: grant1 u1@m1, grant2 u1@m1, grant3 u1@m0
            2: grant4 u1@m1
            3: -
            4: -
        "#]],
    );
}

#[test]
fn the_path_is_walked_by_priority_then_from_near_to_far() {
    check(
        vec![
            (0, define(1, 1000, 0)),
            (0, define(2, 1000, 0)),
            (0, define(3, 1000, 7)),
            (0, define(4, 1000, 9)),
            (1, ask(1, 1, Place::Cluster, 1)),
            (1, ask(2, 1, Place::Machine(MachineId(1)), 1)),
            (1, ask(3, 1, Place::Rack(RackId(0)), 1)),
            (1, ask(4, 1, Place::Rack(RackId(5)), 1)),
            (2, machine(1, 1000)),
            (3, machine(1, 2000)),
            (4, machine(1, 4000)),
        ],
        expect![[r#"
            0: -
            0: -
            0: -
            0: -
            1: -
            1: -
            1: -
            1: -
            2: grant1 u3@m1
            3: grant2 u2@m1
            4: grant3 u1@m1
        "#]],
    );
}

#[test]
fn a_closed_machine_keeps_what_it_has_and_gets_nothing() {
    let closed =
        Event::Machine { machine: MachineId(0), rack: RackId(0), capacity: room(2000, 2000), is_open: false };
    check(
        vec![
            (0, machine(0, 2000)),
            (0, define(1, 1000, 0)),
            (1, ask(1, 1, Place::Cluster, 1)),
            (2, closed),
            (3, ask(1, 2, Place::Cluster, 1)),
            (20, Event::Tick),
            (21, machine(0, 2000)),
        ],
        expect![[r#"
            0: -
            0: -
            1: grant1 u1@m0
            2: -
            3: -
            20: -
            21: grant2 u1@m0
        "#]],
    );
}

#[test]
fn equals_take_turns() {
    check(
        vec![
            (0, define(1, 1000, 0)),
            (0, define(2, 1000, 0)),
            (1, ask(1, 1, Place::Cluster, 9)),
            (1, ask(2, 1, Place::Cluster, 9)),
            (2, machine(0, 4000)),
        ],
        expect![[r#"
            0: -
            0: -
            1: -
            1: -
            2: grant1 u1@m0, grant2 u2@m0, grant3 u1@m0, grant4 u2@m0
        "#]],
    );
}

#[test]
fn a_lasting_shortage_revokes_the_youngest_of_the_lowest_priority() {
    check(
        vec![
            (0, machine(0, 4000)),
            (0, define(1, 1000, 5)),
            (0, define(2, 1000, 0)),
            (1, ask(2, 1, Place::Cluster, 2)),
            (1, ask(1, 1, Place::Cluster, 2)),
            (2, machine(0, 2500)),
            (4, machine(0, 4000)),
            (5, machine(0, 900)),
            (6, Event::Tick),
            (10, Event::Tick),
            (11, Event::Tick),
            (12, machine(0, 1000)),
            (13, Event::Return { grant: GrantId(2) }),
        ],
        expect![[r#"
            0: -
            0: -
            0: -
            1: grant1 u2@m0, grant2 u2@m0
            1: grant3 u1@m0, grant4 u1@m0
            2: -
            4: -
            5: -
            6: -
            10: revoke2 u2@m0, revoke1 u2@m0, revoke4 u1@m0, revoke3 u1@m0
            11: -
            12: -
            13: -
        "#]],
    );
}

#[test]
fn asks_count_once_and_a_gap_is_healed_by_a_sync() {
    check(
        vec![
            (0, machine(0, 3000)),
            (0, define(1, 1000, 0)),
            (1, ask(1, 1, Place::Cluster, 1)),
            (1, ask(1, 1, Place::Cluster, 1)),
            (2, ask(1, 3, Place::Cluster, 1)),
            (
                3,
                Event::Sync {
                    unit: UnitId(1),
                    truth: Truth {
                        sequence: 3,
                        seen: GrantId(0),
                        wanted: vec![(Place::Cluster, 1)],
                        held: Vec::new(),
                        avoided: Vec::new(),
                    },
                },
            ),
            (
                4,
                Event::Sync {
                    unit: UnitId(1),
                    truth: Truth {
                        sequence: 4,
                        seen: GrantId(2),
                        wanted: vec![(Place::Cluster, 1)],
                        held: vec![(GrantId(9), MachineId(0))],
                        avoided: Vec::new(),
                    },
                },
            ),
        ],
        expect![[r#"
            0: -
            0: -
            1: grant1 u1@m0
            1: -
            2: resync u1
            3: grant2 u1@m0
            4: grant10 u1@m0
        "#]],
    );
}

#[test]
fn nothing_is_granted_until_all_who_hold_something_were_heard() {
    let truth = |held: Vec<(GrantId, MachineId)>, wanted| Truth {
        sequence: 7,
        seen: GrantId(9),
        wanted: vec![(Place::Cluster, wanted)],
        held,
        avoided: Vec::new(),
    };
    check(
        vec![
            (0, Event::Recover),
            (0, machine(0, 2000)),
            (0, define(1, 1000, 0)),
            (0, define(2, 1000, 0)),
            (1, Event::Sync { unit: UnitId(1), truth: truth(vec![(GrantId(4), MachineId(0))], 5) }),
            (1, Event::Sync { unit: UnitId(2), truth: truth(vec![(GrantId(9), MachineId(0))], 0) }),
            (30, Event::Recovered),
            (31, Event::Return { grant: GrantId(9) }),
        ],
        expect![[r#"
            0: -
            0: -
            0: -
            0: -
            1: -
            1: -
            30: -
            31: grant10 u1@m0
        "#]],
    );
}
