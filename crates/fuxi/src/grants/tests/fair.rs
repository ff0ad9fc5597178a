//! Jobs among which nobody has priority: who holds least is served first, and large shapes come to room.

use proptest::prelude::*;

use super::*;
use crate::grants::PartyId;

fn define_of(unit: u64, cpu: u64, party: u64) -> Event {
    let (shape, party) = (shape(cpu, cpu), Some(PartyId(party)));
    let definition = Definition { shape, priority: 0, maximum: 1000, quota: None, party, gang: None };
    Event::Define { unit: UnitId(unit), definition }
}

#[test]
fn a_freed_place_goes_to_the_job_that_holds_least() {
    check(
        vec![
            (0, machine(0, 8000)),
            (0, define_of(1, 1000, 1)),
            (0, define_of(2, 1000, 2)),
            (0, define_of(3, 1000, 1)),
            (1, ask(1, 1, Place::Cluster, 12)),
            (1, ask(3, 1, Place::Cluster, 9)),
            (2, ask(2, 1, Place::Cluster, 9)),
            // The second job gets its first places before the first one anything more, by whichever task.
            (3, Event::Return { grant: GrantId(1) }),
            (3, Event::Return { grant: GrantId(2) }),
            (3, Event::Return { grant: GrantId(3) }),
            // Now that both hold about as much they take turns.
            (4, Event::Return { grant: GrantId(4) }),
            (4, Event::Return { grant: GrantId(5) }),
        ],
        expect![[r#"
            0: -
            0: -
            0: -
            0: -
            1: grant1 u1@m0, grant2 u1@m0, grant3 u1@m0, grant4 u1@m0, grant5 u1@m0, grant6 u1@m0, grant7 u1@m0, grant8 u1@m0
            1: -
            2: -
            3: grant9 u2@m0
            3: grant10 u2@m0
            3: grant11 u2@m0
            4: grant12 u2@m0
            4: grant13 u1@m0
        "#]],
    );
}

#[test]
fn room_is_kept_for_a_large_shape_that_has_waited() {
    check(
        vec![
            (0, machine(0, 4000)),
            (0, define_of(1, 1000, 1)),
            (0, define_of(2, 2000, 2)),
            (1, ask(1, 1, Place::Cluster, 20)),
            (1, ask(2, 1, Place::Cluster, 1)),
            (2, Event::Return { grant: GrantId(1) }),
            (7, Event::Tick),
            (8, Event::Return { grant: GrantId(2) }),
            (9, Event::Return { grant: GrantId(3) }),
        ],
        expect![[r#"
            0: -
            0: -
            0: -
            1: grant1 u1@m0, grant2 u1@m0, grant3 u1@m0, grant4 u1@m0
            1: -
            2: grant5 u1@m0
            7: -
            8: -
            9: grant6 u2@m0
        "#]],
    );
}

#[test]
fn room_that_never_becomes_enough_is_not_kept_for_long() {
    check(
        vec![
            (0, machine(0, 4000)),
            (0, define_of(1, 1000, 1)),
            (0, define_of(2, 4000, 2)),
            (1, ask(1, 1, Place::Cluster, 20)),
            (1, ask(2, 1, Place::Cluster, 1)),
            (7, Event::Tick),
            (8, Event::Return { grant: GrantId(1) }),
            (17, Event::Tick),
            (18, Event::Tick),
            // For a while it has to do without.
            (19, Event::Return { grant: GrantId(2) }),
            (117, Event::Tick),
            (117, Event::Return { grant: GrantId(3) }),
            (118, Event::Tick),
            (119, Event::Return { grant: GrantId(4) }),
        ],
        expect![[r#"
            0: -
            0: -
            0: -
            1: grant1 u1@m0, grant2 u1@m0, grant3 u1@m0, grant4 u1@m0
            1: -
            7: -
            8: -
            17: -
            18: grant5 u1@m0
            19: grant6 u1@m0
            117: -
            117: grant7 u1@m0
            118: -
            119: -
        "#]],
    );
}

/// Units of three small jobs and a large one, whose units change lanes only at ticks.
const SHAPES: [u64; 10] = [500, 500, 300, 500, 300, 500, 500, 300, 500, 300];
const PARTY: [u64; 10] = [1, 1, 2, 2, 3, 4, 4, 4, 4, 4];
const LARGE: u64 = 4;

#[derive(Clone, Debug)]
enum Step {
    Ask(usize, i64),
    Return(usize),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..SHAPES.len(), -5i64..20).prop_map(|(unit, delta)| Step::Ask(unit, delta)),
        6 => any::<usize>().prop_map(Step::Return),
        1 => Just(Step::Tick),
    ]
}

#[derive(Default)]
struct World {
    /// The unit and the machine of each grant.
    live: std::collections::BTreeMap<GrantId, (usize, MachineId)>,
    sequences: [u64; SHAPES.len()],
    /// The most that a party has held since the last tick.
    peaks: [u64; 5],
}

impl World {
    fn held(&self, party: u64) -> u64 {
        self.live.values().filter(|(unit, _)| PARTY[*unit] == party).map(|(unit, _)| SHAPES[*unit]).sum()
    }

    fn note(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            if let Decision::Grant { grant, unit, machine } = *decision {
                self.live.insert(grant, (usize::try_from(unit.0).unwrap(), machine));
            }
        }
    }

    /// Who gets a returned place does not hold much more than another who could use it.
    fn check_turn(&self, waits: &[bool], decisions: &[Decision]) -> Result<(), TestCaseError> {
        let Some(Decision::Grant { unit, .. }) = decisions.first() else { return Ok(()) };
        let unit = usize::try_from(unit.0).unwrap();
        if PARTY[unit] == LARGE {
            return Ok(());
        }
        let mine = self.held(PARTY[unit]);
        let could = |other: &usize| waits[*other] && SHAPES[*other] <= SHAPES[unit];
        for other in (0..SHAPES.len()).filter(could) {
            let party = PARTY[other];
            let theirs = if party == LARGE { self.peaks[4] } else { self.held(party) };
            prop_assert!(
                3 * mine <= 8 * theirs,
                "job {} with {mine} before {party} with {theirs}",
                PARTY[unit]
            );
        }
        Ok(())
    }

    fn take(&mut self, ledger: &mut Ledger, step: &Step, second: u64) -> Result<(), TestCaseError> {
        let event = match step {
            Step::Ask(unit, delta) => {
                self.sequences[*unit] += 1;
                ask(*unit as u64, self.sequences[*unit], Place::Cluster, *delta)
            }
            Step::Return(pick) => {
                let Some(grant) = self.live.keys().nth(pick % self.live.len().max(1)).copied() else {
                    return Ok(());
                };
                self.live.remove(&grant);
                Event::Return { grant }
            }
            Step::Tick => Event::Tick,
        };
        let waits: Vec<bool> =
            (0..SHAPES.len()).map(|unit| ledger.n_waiting(UnitId(unit as u64)) > 0).collect();
        let decisions = ledger.step(event, Duration::from_secs(second));
        if matches!(step, Step::Return(_)) {
            self.check_turn(&waits, &decisions)?;
        }
        self.note(&decisions);
        for party in 1..5 {
            let before = if matches!(step, Step::Tick) { 0 } else { self.peaks[party] };
            self.peaks[party] = before.max(self.held(party as u64));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn nobody_is_served_who_holds_much_more_than_another(steps in prop::collection::vec(step(), 1..200)) {
        // So long a grace that no room is kept for anybody.
        let mut ledger = Ledger::new(Duration::from_secs(1_000_000));
        let mut world = World::default();
        ledger.step(machine(0, 6000), Duration::ZERO);
        ledger.step(machine(1, 5000), Duration::ZERO);
        for unit in 0..SHAPES.len() {
            ledger.step(define_of(unit as u64, SHAPES[unit], PARTY[unit]), Duration::ZERO);
        }
        for (second, step) in steps.iter().enumerate() {
            world.take(&mut ledger, step, second as u64)?;
        }
    }
}
