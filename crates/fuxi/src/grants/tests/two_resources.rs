//! Groups that are sure of two resources and use them unevenly: whoever takes back what was lent, it comes to an end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::grants::{Quota, QuotaId, QuotaTree, ResourceNames};

const GRACE: Duration = Duration::from_secs(5);
const MACHINE: u64 = 1200;
const N_UNITS: usize = 4;

/// The quota of each unit.
fn quota_of(unit: usize) -> u32 {
    if unit < 2 { 1 } else { 2 }
}

fn tree(mins: [(u64, u64); 2]) -> QuotaTree {
    let quota = |(id, (cpu, memory)): (u32, (u64, u64))| Quota {
        id: QuotaId(id),
        name: format!("q{id}"),
        parent: None,
        min: Resources { workers: 0, ..room(cpu, memory) },
        max: Resources::UNLIMITED,
        weight: 1,
    };
    QuotaTree::try_new((1..).zip(mins).map(quota).collect(), &ResourceNames::default(), None).unwrap()
}

type Live = BTreeMap<GrantId, (usize, u32)>;

fn note(live: &mut Live, decisions: &[Decision]) -> Vec<GrantId> {
    let mut revoked = Vec::new();
    for decision in decisions {
        match decision {
            Decision::Grant { grant, unit, machine } => {
                live.insert(*grant, (usize::try_from(unit.0).unwrap(), machine.0));
            }
            Decision::Revoke { grant, .. } => revoked.push(*grant),
            Decision::Resync { .. } => {}
        }
    }
    revoked
}

/// What is held of CPU and memory on a machine.
fn held(live: &Live, shapes: &[(u64, u64)], machine: u32) -> [u64; 2] {
    let here = live.values().filter(|(_, at)| *at == machine);
    here.fold([0, 0], |[cpu, memory], (unit, _)| [cpu + shapes[*unit].0, memory + shapes[*unit].1])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn what_is_taken_back_comes_to_rest(
        shapes in prop::array::uniform4((1_u64..=6, 1_u64..=6)),
        min in (1_u64..=10, 1_u64..=10),
        asks in prop::collection::vec((0..N_UNITS, 1_i64..12), 1..10),
        ends in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        // An even part of two machines, of each resource at most.
        let shapes = shapes.map(|(cpu, memory)| (cpu * 100, memory * 100));
        let mins = [(min.0 * 120, min.1 * 120), (MACHINE, MACHINE)];
        let mut ledger = Ledger::new(GRACE);
        ledger.set_quotas(&tree(mins), Duration::ZERO);
        let (mut live, mut sequences) = (Live::new(), [0; N_UNITS]);
        for id in 0..2 {
            ledger.step(machine(id, MACHINE), Duration::ZERO);
        }
        for (unit, (cpu, memory)) in shapes.iter().enumerate() {
            let definition = Definition {
                shape: shape(*cpu, *memory),
                priority: 0,
                maximum: 100,
                quota: Some(QuotaId(quota_of(unit))),
                party: None,
                gang: None,
            };
            ledger.step(Event::Define { unit: UnitId(unit as u64), definition }, Duration::ZERO);
        }
        for (number, (unit, count)) in asks.iter().enumerate() {
            sequences[*unit] += 1;
            let event = ask(*unit as u64, sequences[*unit], Place::Cluster, *count);
            note(&mut live, &ledger.step(event, Duration::from_secs(1)));
            if let Some(pick) = ends.get(number)
                && let Some(grant) = live.keys().nth(pick % live.len().max(1)).copied()
            {
                live.remove(&grant);
                note(&mut live, &ledger.step(Event::Return { grant }, Duration::from_secs(1)));
            }
        }
        let mut rest = false;
        for round in 0..60 {
            let now = Duration::from_secs(100 * (round + 1));
            let revoked = note(&mut live, &ledger.step(Event::Tick, now));
            rest = revoked.is_empty();
            for grant in revoked {
                live.remove(&grant);
                note(&mut live, &ledger.step(Event::Return { grant }, now));
            }
            if rest {
                break;
            }
        }
        prop_assert!(rest, "grants are revoked for ever");
        for id in 0..2 {
            let held = held(&live, &shapes, id);
            prop_assert!(held.into_iter().all(|held| held <= MACHINE), "machine {} holds {:?}", id, held);
        }
    }
}
