//! Random histories against a slow account of the same that knows no queues, trees or tournaments.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::grants::{Gang, GangId, PartyId, Quota, QuotaId, QuotaTree, ResourceNames};

const UNITS: usize = 12;
/// These two are a gang that starts with two of each.
const GANG: [usize; 2] = [6, 7];
const SHAPES: [u64; UNITS] = [500, 1000, 700, 300, 1100, 400, 300, 600, 400, 300, 600, 900];
/// The quota of each unit: two leaves of one parent, one beside it, and none.
const QUOTA: [Option<u32>; UNITS] =
    [Some(1), Some(1), Some(2), Some(3), None, Some(2), Some(1), None, Some(1), Some(3), Some(1), Some(1)];
/// A job of many units and one of few; the others are for themselves.
const PARTY: [Option<u64>; UNITS] =
    [Some(1), Some(1), Some(1), Some(2), None, Some(1), Some(1), None, Some(2), Some(2), None, Some(1)];
const MINS: [u64; 4] = [3000, 1000, 1500, 0];
const MAXES: [u64; 4] = [5000, 4000, u64::MAX, 2500];
const PARENT: [Option<usize>; 4] = [None, Some(0), Some(0), None];

fn tree() -> QuotaTree {
    let quota = |id: usize| Quota {
        id: QuotaId(u32::try_from(id).unwrap()),
        name: format!("q{id}"),
        parent: PARENT[id].map(|parent| format!("q{parent}")),
        min: Resources { cpu: MilliCpu(MINS[id]), ..Resources::default() },
        max: Resources { cpu: MilliCpu(MAXES[id]), ..Resources::UNLIMITED },
        weight: 1 + u32::try_from(id).unwrap(),
    };
    QuotaTree::try_new((0..4).map(quota).collect(), &ResourceNames::default(), None).unwrap()
}

fn priority(unit: usize) -> i32 {
    i32::try_from(unit % 2).unwrap()
}

fn definition(unit: usize) -> Event {
    let definition = Definition {
        shape: shape(SHAPES[unit], SHAPES[unit] / 2),
        priority: priority(unit),
        maximum: if unit == 3 { 2 } else { 100 },
        quota: QUOTA[unit].map(QuotaId),
        party: PARTY[unit].map(PartyId),
        gang: GANG.contains(&unit).then_some(Gang { id: GangId(1), n_units: 2, least: 2 }),
    };
    Event::Define { unit: UnitId(unit as u64), definition }
}

#[derive(Clone, Debug)]
enum Step {
    Machine(u32, u64),
    MachineGone(u32),
    Ask(usize, Place, i64),
    /// The holder says it, and the ledger does not hear it.
    Lost(usize),
    Repeat,
    /// One bit for each machine.
    Avoid(usize, u32),
    Return(usize),
    UnitGone(usize),
    Sync(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let place = prop_oneof![
        3 => Just(Place::Cluster),
        1 => (0u32..4).prop_map(|id| Place::Machine(MachineId(id))),
        1 => (0u32..2).prop_map(|id| Place::Rack(RackId(id))),
    ];
    prop_oneof![
        4 => (0u32..4, 0u64..9).prop_map(|(id, cpu)| Step::Machine(id, cpu * 500)),
        1 => (0u32..4).prop_map(Step::MachineGone),
        8 => (0..UNITS, place, -3i64..6).prop_map(|(unit, place, delta)| Step::Ask(unit, place, delta)),
        1 => (0..UNITS).prop_map(Step::Lost),
        1 => Just(Step::Repeat),
        2 => (0..UNITS, 0u32..16).prop_map(|(unit, machines)| Step::Avoid(unit, machines)),
        1 => (0..UNITS).prop_map(|unit| Step::Avoid(unit, 0)),
        8 => any::<usize>().prop_map(Step::Return),
        1 => (0..UNITS).prop_map(Step::UnitGone),
        1 => (0..UNITS).prop_map(Step::Sync),
        3 => (0u64..8).prop_map(Step::Wait),
    ]
}

/// What holders and machines know.
#[derive(Default)]
struct Account {
    capacity: BTreeMap<u32, u64>,
    /// Unit, machine, whether it was revoked.
    live: BTreeMap<GrantId, (usize, u32, bool)>,
    sequence: [u64; UNITS],
    /// Units of which an ask was lost.
    is_lost: [bool; UNITS],
    avoided: [BTreeSet<u32>; UNITS],
    has_gang_started: bool,
    last: Option<Event>,
    now: u64,
}

fn unit_of(id: UnitId) -> usize {
    usize::try_from(id.0).unwrap()
}

impl Account {
    fn used(&self, machine: u32, with_revoked: bool) -> u64 {
        let here = self.live.values().filter(|(_, at, revoked)| *at == machine && (with_revoked || !revoked));
        here.map(|(unit, ..)| SHAPES[*unit]).sum()
    }

    fn used_of(&self, quota: usize, with_revoked: bool) -> u64 {
        let counted = self.live.values().filter(|(unit, _, revoked)| {
            (with_revoked || !revoked) && QUOTA[*unit].is_some_and(|leaf| is_part(leaf as usize, quota))
        });
        counted.map(|(unit, ..)| SHAPES[*unit]).sum()
    }

    fn note(&mut self, decisions: &[Decision]) -> Result<(), TestCaseError> {
        for decision in decisions {
            match decision {
                Decision::Grant { grant, unit, machine } => {
                    self.granted(*grant, unit_of(*unit), machine.0)?
                }
                Decision::Revoke { grant, .. } => {
                    let state = self.live.get_mut(grant).unwrap();
                    prop_assert!(!state.2, "revoked twice");
                    state.2 = true;
                }
                Decision::Resync { unit } => prop_assert!(self.is_lost[unit_of(*unit)], "no ask was lost"),
            }
        }
        let held = GANG.map(|unit| self.live.values().filter(|(of, ..)| *of == unit).count());
        if !self.has_gang_started && held != [0, 0] {
            prop_assert!(held.iter().all(|held| *held >= 2), "the gang got {held:?}");
            self.has_gang_started = true;
        }
        Ok(())
    }

    fn granted(&mut self, grant: GrantId, unit: usize, machine: u32) -> Result<(), TestCaseError> {
        prop_assert!(self.live.insert(grant, (unit, machine, false)).is_none());
        prop_assert!(self.used(machine, true) <= self.capacity[&machine], "over-granted");
        prop_assert!(!self.avoided[unit].contains(&machine), "unit {unit} avoids machine {machine}");
        for (quota, max) in MAXES.iter().enumerate() {
            let is_within = self.used_of(quota, true) <= *max;
            prop_assert!(
                is_within || !QUOTA[unit].is_some_and(|leaf| is_part(leaf as usize, quota)),
                "beyond max"
            );
        }
        Ok(())
    }

    fn event(&mut self, step: &Step, ledger: &Ledger) -> Option<Event> {
        Some(match step {
            Step::Machine(id, cpu) => {
                self.capacity.insert(*id, *cpu);
                machine(*id, *cpu)
            }
            Step::MachineGone(id) => {
                self.capacity.remove(id);
                self.live.retain(|_, (_, at, _)| at != id);
                Event::MachineGone { machine: MachineId(*id) }
            }
            Step::Ask(unit, place, delta) => {
                self.sequence[*unit] += 1;
                ask(*unit as u64, self.sequence[*unit], *place, *delta)
            }
            Step::Lost(unit) => {
                self.sequence[*unit] += 1;
                self.is_lost[*unit] = true;
                return None;
            }
            Step::Repeat => {
                let is_idempotent = |event: &Event| matches!(event, Event::Ask { .. } | Event::Avoid { .. });
                self.last.clone().filter(is_idempotent)?
            }
            Step::Avoid(unit, machines) => {
                self.avoided[*unit] = (0..4).filter(|machine| machines >> machine & 1 == 1).collect();
                Event::Avoid { unit: UnitId(*unit as u64), machines: self.avoided_by(*unit) }
            }
            Step::Return(pick) => {
                let grant = *self.live.keys().nth(pick % self.live.len().max(1))?;
                self.live.remove(&grant);
                Event::Return { grant }
            }
            Step::UnitGone(unit) => {
                self.live.retain(|_, (of, ..)| of != unit);
                (self.sequence[*unit], self.is_lost[*unit]) = (0, false);
                self.avoided[*unit].clear();
                Event::UnitGone { unit: UnitId(*unit as u64) }
            }
            Step::Sync(unit) => self.truth(*unit, ledger),
            Step::Wait(seconds) => {
                self.now += seconds;
                Event::Tick
            }
        })
    }

    fn avoided_by(&self, unit: usize) -> Vec<MachineId> {
        self.avoided[unit].iter().copied().map(MachineId).collect()
    }

    fn truth(&mut self, unit: usize, ledger: &Ledger) -> Event {
        self.sequence[unit] += 1;
        self.is_lost[unit] = false;
        let held = self.live.iter().filter(|(_, (of, ..))| *of == unit);
        let held = held.map(|(grant, (_, machine, _))| (*grant, MachineId(*machine))).collect();
        let wanted = wanted(ledger, unit).into_iter().collect();
        let (sequence, avoided) = (self.sequence[unit], self.avoided_by(unit));
        let truth = Truth { sequence, seen: ledger.last_grant(), wanted, held, avoided };
        Event::Sync { unit: UnitId(unit as u64), truth }
    }
}

fn is_part(leaf: usize, quota: usize) -> bool {
    leaf == quota || PARENT[leaf] == Some(quota)
}

/// What the ledger knows that a unit waits for, claims included.
fn wanted(ledger: &Ledger, unit: usize) -> BTreeMap<Place, u32> {
    let mut wanted = BTreeMap::new();
    if let Some(slot) = ledger.unit_slots.get(&UnitId(unit as u64)) {
        for (place, demand) in &ledger.units[*slot].demands {
            *wanted.entry(*place).or_default() += ledger.queues.demands[*demand].count;
        }
    }
    wanted
}

/// Room that is kept for somebody is no room: on machines, and under each max.
struct Kept {
    on_machine: BTreeMap<u32, u64>,
    of_quota: [u64; 4],
}

fn kept(ledger: &Ledger) -> Kept {
    let mut kept = Kept { on_machine: BTreeMap::new(), of_quota: [0; 4] };
    for unit in 0..UNITS {
        let Some(slot) = ledger.unit_slots.get(&UnitId(unit as u64)) else { continue };
        for claim in &ledger.units[*slot].claims {
            let machine = ledger.machines[ledger.claims[*claim].machine].id.0;
            *kept.on_machine.entry(machine).or_default() += SHAPES[unit];
            (0..4)
                .filter(|quota| QUOTA[unit].is_some_and(|leaf| is_part(leaf as usize, *quota)))
                .for_each(|quota| kept.of_quota[quota] += SHAPES[unit]);
        }
    }
    kept
}

/// Sums are exact, and nobody waits for what there is.
fn check_rest(ledger: &Ledger, account: &Account) -> Result<(), TestCaseError> {
    let kept = kept(ledger);
    for leaf in 1..4u32 {
        let used = ledger.used_of_quota(QuotaId(leaf)).cpu.0;
        prop_assert_eq!(used, account.used_of(leaf as usize, true));
    }
    for (id, capacity) in &account.capacity {
        let used = account.used(*id, true);
        prop_assert_eq!(ledger.used(MachineId(*id)).cpu.0, used);
        let spoken_for = used + kept.on_machine.get(id).unwrap_or(&0);
        for unit in 0..UNITS {
            let wanted = wanted(ledger, unit);
            let here = [Place::Cluster, Place::Machine(MachineId(*id)), Place::Rack(RackId(*id / 2))];
            let holds = account.live.values().filter(|(of, ..)| *of == unit).count();
            let claims = ledger
                .unit_slots
                .get(&UnitId(unit as u64))
                .map_or(0, |slot| ledger.units[*slot].claims.len());
            let is_limited = unit == 3 && holds + claims >= 2
                || (0..4).any(|quota| {
                    QUOTA[unit].is_some_and(|leaf| is_part(leaf as usize, quota))
                        && account
                            .used_of(quota, true)
                            .saturating_add(kept.of_quota[quota])
                            .saturating_add(SHAPES[unit])
                            > MAXES[quota]
                });
            let is_bound = GANG.contains(&unit) && !account.has_gang_started;
            let may = !is_limited && !is_bound && !account.avoided[unit].contains(id);
            let waits = may && here.iter().any(|place| wanted.contains_key(place));
            prop_assert!(
                !waits || spoken_for + SHAPES[unit] > *capacity,
                "unit {} waits though machine {} has room",
                unit,
                id
            );
        }
    }
    Ok(())
}

/// All that was revoked comes back and time passes, until nothing happens any more.
fn let_settle(ledger: &mut Ledger, account: &mut Account) -> Result<(), TestCaseError> {
    for _ in 0..60 {
        account.now += 60;
        let mut decisions = ledger.step(Event::Tick, Duration::from_secs(account.now));
        account.note(&decisions)?;
        let revoked: Vec<GrantId> =
            account.live.iter().filter(|(_, grant)| grant.2).map(|(id, _)| *id).collect();
        for grant in &revoked {
            account.live.remove(grant);
            let more = ledger.step(Event::Return { grant: *grant }, Duration::from_secs(account.now));
            account.note(&more)?;
            decisions.extend(more);
        }
        if decisions.is_empty() && revoked.is_empty() {
            return Ok(());
        }
    }
    prop_assert!(false, "grants are revoked for ever");
    Ok(())
}

/// Whoever is below its min and waits could not be served by taking back what others have borrowed.
fn check_mins(ledger: &Ledger, account: &Account) -> Result<(), TestCaseError> {
    for unit in 0..UNITS {
        let Some(leaf) = QUOTA[unit].map(|leaf| leaf as usize) else { continue };
        let wanted = wanted(ledger, unit);
        let holds = account.live.values().filter(|(of, ..)| *of == unit).count();
        let is_owed = account.used_of(leaf, true) + SHAPES[unit] <= MINS[leaf]
            && PARENT[leaf]
                .is_none_or(|up| account.used_of(up, true) + SHAPES[unit] <= MINS[up].max(MAXES[up]));
        let is_bound = GANG.contains(&unit) && !account.has_gang_started;
        if is_bound || !is_owed || !wanted.contains_key(&Place::Cluster) || unit == 3 && holds >= 2 {
            continue;
        }
        let usable = account.capacity.iter().filter(|(id, _)| !account.avoided[unit].contains(id));
        for (id, capacity) in usable {
            // Everything on the machine of those who are sure of nothing might go.
            let lent: u64 = account
                .live
                .values()
                .filter(|(of, at, _)| at == id && QUOTA[*of].is_none_or(|leaf| leaf == 3))
                .map(|(of, ..)| SHAPES[*of])
                .sum();
            let others = account.used(*id, true) - lent;
            prop_assert!(
                others + SHAPES[unit] > *capacity,
                "unit {} is kept from its min on machine {}",
                unit,
                id
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_ledger_is_exact_wastes_nothing_and_comes_to_rest(steps in prop::collection::vec(step(), 1..100)) {
        let mut ledger = Ledger::new(Duration::from_secs(5));
        ledger.set_quotas(&tree(), Duration::ZERO);
        let mut account = Account::default();
        for step in steps {
            for unit in 0..UNITS {
                ledger.step(definition(unit), Duration::ZERO);
            }
            let Some(event) = account.event(&step, &ledger) else { continue };
            account.last = Some(event.clone());
            let decisions = ledger.step(event, Duration::from_secs(account.now));
            account.note(&decisions)?;
            check_rest(&ledger, &account)?;
        }
        let_settle(&mut ledger, &mut account)?;
        check_rest(&ledger, &account)?;
        check_mins(&ledger, &account)?;
        for (id, capacity) in &account.capacity {
            prop_assert!(account.used(*id, false) <= *capacity);
        }
    }
}
