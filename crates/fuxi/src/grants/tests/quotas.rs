//! Quotas and priorities at work: who is served, who is limited, who must go for whom.

use expect_test::expect;

use super::*;
use crate::grants::{Quota, QuotaId, QuotaTree, ResourceNames};

const GRACE: Duration = Duration::from_secs(5);

fn cpu(cpu: u64) -> Resources {
    Resources { cpu: MilliCpu(cpu), ..Resources::default() }
}

/// `min`, `max` (0 for none) and weight, of CPU.
fn quota(id: u32, parent: Option<u32>, (min, max, weight): (u64, u64, u32)) -> Quota {
    let max = if max == 0 {
        Resources::UNLIMITED
    } else {
        Resources { cpu: MilliCpu(max), ..Resources::UNLIMITED }
    };
    let name = |id| format!("q{id}");
    Quota { id: QuotaId(id), name: name(id), parent: parent.map(name), min: cpu(min), max, weight }
}

fn unit_of(unit: u64, quota: u32, (cpu, priority): (u64, i32)) -> Event {
    let definition = Definition {
        shape: shape(cpu, cpu),
        priority,
        maximum: 100,
        quota: Some(QuotaId(quota)),
        party: None,
        gang: None,
    };
    Event::Define { unit: UnitId(unit), definition }
}

/// As `check`, under a tree.
fn check_tree(quotas: Vec<Quota>, events: Vec<(u64, Event)>, expected: Expect) {
    let mut ledger = Ledger::new(GRACE);
    let tree = QuotaTree::try_new(quotas, &ResourceNames::default(), None).unwrap();
    assert!(ledger.set_quotas(&tree, Duration::ZERO).is_empty());
    let mut log = String::new();
    for (second, event) in events {
        let decided = ledger.step(event, Duration::from_secs(second));
        if !decided.is_empty() {
            writeln!(log, "{second}: {}", show(&decided)).unwrap();
        }
    }
    expected.assert_eq(&log);
}

fn asks(units: &[(u64, i64)], second: u64) -> Vec<(u64, Event)> {
    units.iter().map(|(unit, count)| (second, ask(*unit, 1, Place::Cluster, *count))).collect()
}

fn back(second: u64, grant: u64) -> (u64, Event) {
    (second, Event::Return { grant: GrantId(grant) })
}

#[test]
fn neighbours_share_by_weight() {
    let mut events =
        vec![(0, unit_of(1, 1, (1000, 0))), (0, unit_of(2, 2, (1000, 0))), (0, unit_of(3, 2, (1000, 9)))];
    events.extend(asks(&[(1, 9), (2, 9), (3, 2)], 1));
    events.push((2, machine(0, 8000)));
    check_tree(
        vec![quota(1, None, (0, 0, 1)), quota(2, None, (0, 0, 3))],
        events,
        expect![[r#"
            2: grant1 u1@m0, grant2 u3@m0, grant3 u3@m0, grant4 u2@m0, grant5 u1@m0, grant6 u2@m0, grant7 u2@m0, grant8 u2@m0
        "#]],
    );
}

#[test]
fn a_max_holds_and_what_returns_below_it_is_used_elsewhere() {
    let events = vec![
        (0, machine(0, 4000)),
        (0, machine(2, 500)),
        (0, unit_of(1, 1, (1000, 0))),
        (0, unit_of(2, 1, (500, 0))),
        (1, ask(1, 1, Place::Cluster, 3)),
        (2, ask(2, 1, Place::Machine(MachineId(2)), 3)),
        // Machine 0 has room for the next of unit 1; unit 2, which may not have it, gets its own.
        back(3, 1),
        (4, ask(1, 2, Place::Cluster, -5)),
        back(5, 2),
    ];
    check_tree(
        vec![quota(1, None, (0, 2000, 1))],
        events,
        expect![[r#"
            1: grant1 u1@m0, grant2 u1@m0
            3: grant3 u1@m0
            5: grant4 u2@m2
        "#]],
    );
}

#[test]
fn who_is_below_its_min_comes_first_and_takes_back_what_was_lent() {
    let mut events = vec![
        (0, machine(0, 4000)),
        (0, unit_of(1, 1, (1000, 9))),
        (0, unit_of(2, 2, (1000, 0))),
        (1, ask(1, 1, Place::Cluster, 9)),
        (2, ask(2, 1, Place::Cluster, 3)),
    ];
    // Not before the grace; then the youngest, as many as are owed and no more; the room is kept for the lender.
    events.extend([
        (6, Event::Tick),
        (7, Event::Tick),
        (8, Event::Tick),
        back(9, 4),
        back(9, 3),
        (20, Event::Tick),
    ]);
    check_tree(
        vec![quota(1, None, (2000, 0, 9)), quota(2, None, (2000, 0, 1))],
        events,
        expect![[r#"
            1: grant1 u1@m0, grant2 u1@m0, grant3 u1@m0, grant4 u1@m0
            7: revoke4 u1@m0, revoke3 u1@m0
            9: grant5 u2@m0
            9: grant6 u2@m0
        "#]],
    );
}

#[test]
fn a_lender_s_own_min_is_kept_also_that_of_its_parent() {
    let events = vec![
        (0, machine(0, 4000)),
        (0, unit_of(1, 1, (1000, 0))),
        (0, unit_of(2, 3, (1000, 0))),
        (1, ask(2, 1, Place::Cluster, 4)),
        (2, ask(1, 1, Place::Cluster, 4)),
        (8, Event::Tick),
        (9, Event::Tick),
    ];
    // Leaf 3 is sure of nothing, yet its parent is sure of 3 cores.
    check_tree(
        vec![quota(1, None, (4000, 0, 1)), quota(2, None, (3000, 0, 1)), quota(3, Some(2), (0, 0, 1))],
        events,
        expect![[r#"
            1: grant1 u2@m0, grant2 u2@m0, grant3 u2@m0, grant4 u2@m0
            8: revoke4 u2@m0
        "#]],
    );
}

#[test]
fn within_a_group_the_higher_priority_takes_from_the_lower() {
    let events = vec![
        (0, machine(0, 4000)),
        (0, unit_of(1, 1, (1000, 0))),
        (0, unit_of(2, 1, (3000, 5))),
        (0, unit_of(3, 1, (1000, 5))),
        (1, ask(1, 1, Place::Cluster, 3)),
        (1, ask(3, 1, Place::Cluster, 1)),
        (2, ask(2, 1, Place::Cluster, 2)),
        (8, Event::Tick),
        (9, Event::Tick),
        // In parts the room is nobody else's.
        back(10, 1),
        back(11, 2),
        back(12, 3),
        (30, Event::Tick),
    ];
    check_tree(
        vec![quota(1, None, (0, 0, 1))],
        events,
        expect![[r#"
            1: grant1 u1@m0, grant2 u1@m0, grant3 u1@m0
            1: grant4 u3@m0
            8: revoke3 u1@m0, revoke2 u1@m0, revoke1 u1@m0
            12: grant5 u2@m0
        "#]],
    );
}

#[test]
fn under_a_full_max_the_lower_priority_goes_wherever_it_is() {
    let events = vec![
        (0, machine(0, 2000)),
        (0, machine(2, 2000)),
        (0, unit_of(1, 1, (1000, 0))),
        (0, unit_of(2, 1, (1000, 5))),
        (1, ask(1, 1, Place::Machine(MachineId(0)), 2)),
        (2, ask(2, 1, Place::Machine(MachineId(2)), 1)),
        (8, Event::Tick),
        (9, Event::Tick),
        back(10, 2),
    ];
    check_tree(
        vec![quota(1, None, (0, 2000, 1))],
        events,
        expect![[r#"
            1: grant1 u1@m0, grant2 u1@m0
            8: revoke2 u1@m0
            10: grant3 u2@m2
        "#]],
    );
}

#[test]
fn across_groups_priority_takes_what_is_borrowed_until_shares_meet() {
    let events = vec![
        (0, machine(0, 4000)),
        (0, unit_of(1, 1, (1000, 0))),
        (0, unit_of(2, 2, (1000, 5))),
        (0, unit_of(3, 3, (1000, 0))),
        (1, ask(1, 1, Place::Cluster, 4)),
        (2, ask(2, 1, Place::Cluster, 4)),
        (2, ask(3, 1, Place::Cluster, 4)),
        (8, Event::Tick),
        (9, Event::Tick),
    ];
    check_tree(
        vec![quota(1, None, (0, 0, 1)), quota(2, None, (0, 0, 1)), quota(3, None, (0, 0, 1))],
        events,
        expect![[r#"
            1: grant1 u1@m0, grant2 u1@m0, grant3 u1@m0, grant4 u1@m0
            8: revoke4 u1@m0, revoke3 u1@m0
        "#]],
    );
}

#[test]
fn a_claim_ends_with_the_wish_and_with_the_machine() {
    let events = vec![
        (0, machine(0, 1000)),
        (0, unit_of(1, 1, (1000, 0))),
        (0, unit_of(2, 1, (1000, 5))),
        (1, ask(1, 1, Place::Cluster, 2)),
        (2, ask(2, 1, Place::Cluster, 1)),
        (8, Event::Tick),
        (9, ask(2, 2, Place::Cluster, -1)),
        back(10, 1),
        (11, ask(2, 3, Place::Cluster, 1)),
        (20, Event::Tick),
        (21, Event::MachineGone { machine: MachineId(0) }),
        (22, machine(1, 1000)),
    ];
    check_tree(
        vec![quota(1, None, (0, 0, 1))],
        events,
        expect![[r#"
            1: grant1 u1@m0
            8: revoke1 u1@m0
            10: grant2 u1@m0
            20: revoke2 u1@m0
            22: grant3 u2@m1
        "#]],
    );
}

#[test]
fn whose_quota_is_gone_keeps_what_it_has_and_gets_no_more() {
    let mut ledger = Ledger::new(GRACE);
    let tree = |quotas| QuotaTree::try_new(quotas, &ResourceNames::default(), None).unwrap();
    ledger.set_quotas(&tree(vec![quota(1, None, (0, 1000, 1))]), Duration::ZERO);
    ledger.step(machine(0, 4000), Duration::ZERO);
    ledger.step(unit_of(1, 1, (1000, 0)), Duration::ZERO);
    assert_eq!(show(&ledger.step(ask(1, 1, Place::Cluster, 3), Duration::ZERO)), "grant1 u1@m0");
    assert_eq!(show(&ledger.set_quotas(&tree(Vec::new()), Duration::ZERO)), "-");
    assert_eq!(ledger.used(MachineId(0)).cpu, MilliCpu(1000));
    let raised = tree(vec![quota(1, None, (0, 2000, 1))]);
    assert_eq!(show(&ledger.set_quotas(&raised, Duration::ZERO)), "grant2 u1@m0");
    assert_eq!(ledger.used_of_quota(QuotaId(1)).cpu, MilliCpu(2000));
    // A group that has got parts is no place for units.
    let split = tree(vec![quota(1, None, (0, 3000, 1)), quota(2, Some(1), (0, 3000, 1))]);
    assert_eq!(show(&ledger.set_quotas(&split, Duration::ZERO)), "-");
}

/// As [`quota`], of CPU and memory.
fn sure_of(id: u32, cpu: u64, memory: u64) -> Quota {
    Quota { min: Resources { workers: 0, ..room(cpu, memory) }, ..quota(id, None, (0, 0, 1)) }
}

fn unit_with(unit: u64, quota: Option<u32>, shape: Resources) -> Event {
    let (quota, maximum) = (quota.map(QuotaId), 100);
    let definition = Definition { shape, priority: 0, maximum, quota, party: None, gang: None };
    Event::Define { unit: UnitId(unit), definition }
}

#[test]
fn who_has_borrowed_cpu_gives_it_back_however_little_memory_it_uses() {
    let mut events = vec![
        (0, machine(0, 4000)),
        (0, unit_with(1, Some(1), shape(1000, 100))),
        (0, unit_with(2, Some(2), shape(1000, 100))),
        (1, ask(1, 1, Place::Cluster, 9)),
        (2, ask(2, 1, Place::Cluster, 9)),
    ];
    events.extend((7..12).map(|second| (second, Event::Tick)));
    check_tree(
        vec![sure_of(1, 2000, 2000), sure_of(2, 2000, 2000)],
        events,
        expect![[r#"
            1: grant1 u1@m0, grant2 u1@m0, grant3 u1@m0, grant4 u1@m0
            7: revoke4 u1@m0, revoke3 u1@m0
        "#]],
    );
}

#[test]
fn who_has_borrowed_cpu_gives_no_memory() {
    let mut events = vec![
        (0, machine(0, 3000)),
        (0, unit_with(1, Some(1), shape(500, 1000))),
        (0, unit_with(2, Some(2), shape(100, 1000))),
        (0, unit_with(3, None, shape(100, 1000))),
        (1, ask(3, 1, Place::Cluster, 1)),
        (1, ask(1, 1, Place::Cluster, 2)),
        (2, ask(2, 1, Place::Cluster, 1)),
    ];
    events.extend((7..12).map(|second| (second, Event::Tick)));
    check_tree(
        vec![sure_of(1, 100, 2000), sure_of(2, 1000, 1000)],
        events,
        expect![[r#"
            1: grant1 u3@m0
            1: grant2 u1@m0, grant3 u1@m0
            7: revoke1 u3@m0
        "#]],
    );
}
