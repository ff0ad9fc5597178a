//! Who has waited for longer than the grace for what others may not keep makes them go: within a group by priority,
//! among groups by what is guaranteed and what is borrowed (see `guarantee`).
//!
//! The room is kept for who has made it ([`super::claims`]), so that nobody is revoked for the same purpose twice, and of
//! all that might go only those go without whom there is not room enough.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use super::claims::Source;
use super::guarantee::{Taker, Victim};
use super::queues::{Class, Waiting};
use super::resources::Resources;
use super::units::Unit;
use super::{Decision, DemandSlot, GrantSlot, Ledger, MachineSlot, Place};

/// How many grants are looked at for one that waits, if few do not do. Who cannot make room by these looks again at the
/// next tick.
const LOOKED_AT: [usize; 3] = [50, 300, 2_000];
/// For how many room is made at one tick; the others wait for the next, so that none takes long.
const SERVED: usize = 1_000;
/// Of those for whom no room can be made, how many are tried at one tick. The next goes on after them.
const TRIED: usize = 2_000;
/// Among how many machines the one where the least is lost is chosen.
const COMPARED: usize = 4;

/// The balance of all machines together, where it is known that one of them has room.
const ANYWHERE: (Resources, Resources) = (Resources::UNLIMITED, Resources::NOTHING);

/// Where there will be room, when these have gone.
pub(super) struct Plan {
    pub(super) machine: MachineSlot,
    pub(super) victims: Vec<GrantSlot>,
}

impl Ledger {
    pub(super) fn reclaim(&mut self, decided: &mut Vec<Decision>) {
        self.sort_shrunk();
        let Some(moment) = self.now.checked_sub(self.grace).filter(|_| !self.is_recovering) else { return };
        self.review_claims();
        self.settle(decided);
        self.reclaim_for_units(moment, decided);
        self.reclaim_for_gangs(moment, decided);
        self.choose_patient(moment);
    }

    fn reclaim_for_units(&mut self, moment: Duration, decided: &mut Vec<Decision>) {
        let (mut n_served, mut n_seen, from) = (0, 0, std::mem::take(&mut self.reclaim_from));
        for leaf in self.groups.waiting_leaves() {
            let mut waiting: Vec<Waiting> = self.queues.waiting(leaf).collect();
            waiting.sort_by_key(|waiting| Reverse(waiting.priority));
            for Waiting { place, priority, shape, picky, .. } in waiting {
                n_seen += 1;
                if n_seen <= from {
                    continue;
                }
                if n_served == SERVED || n_seen > from + TRIED {
                    self.reclaim_from = n_seen - 1;
                    return;
                }
                let class = Class { group: leaf, priority, shape, picky };
                while n_served < SERVED && self.serve_by_force((place, &class), moment, decided) {
                    n_served += 1;
                }
            }
        }
    }

    /// Makes room for one more of those who wait in an entry, if the first of any lane has waited since `moment`.
    fn serve_by_force(
        &mut self,
        (place, class): (Place, &Class),
        moment: Duration,
        decided: &mut Vec<Decision>,
    ) -> bool {
        let has_waited =
            |demand: &DemandSlot| self.units[self.queues.demands[*demand].unit].waits_since <= moment;
        let Some(demand) = self.queues.firsts_of(place, class).find(has_waited) else { return false };
        let plan = self.plan(place, class);
        let is_served = plan.is_some();
        plan.into_iter().for_each(|plan| self.carry_out(demand, plan, decided));
        is_served
    }

    fn carry_out(&mut self, demand: DemandSlot, plan: Plan, decided: &mut Vec<Decision>) {
        for victim in plan.victims {
            self.revoke(victim, decided);
        }
        self.claim(demand, plan.machine, Source::Revoked);
    }

    pub(super) fn plan(&mut self, place: Place, class: &Class) -> Option<Plan> {
        let taker = Taker { leaf: class.group, priority: class.priority, shape: class.shape };
        if let Place::Machine(id) = place
            && self.machines.roomiest(place, taker.shape, &[]).is_none()
        {
            let machine = self.machines.slot(id).filter(|machine| self.is_welcome(class, *machine))?;
            let victims = self.enough_of(&taker, Some(machine), self.cheapest_first(machine))?;
            return Some(Plan { machine, victims });
        }
        LOOKED_AT.into_iter().find_map(|looked_at| {
            let candidates = self.candidates(&taker, looked_at);
            if candidates.is_empty() { None } else { self.plan_with((place, class), &taker, candidates) }
        })
    }

    fn plan_with(
        &mut self,
        (place, class): (Place, &Class),
        taker: &Taker,
        candidates: Vec<GrantSlot>,
    ) -> Option<Plan> {
        let avoided = self.avoided_by(class.picky);
        if let Some(machine) = self.machines.roomiest(place, taker.shape, avoided) {
            // Only a max stands in the way, and what is on its way back may be enough.
            let in_the_way = !self.groups.has_room_soon(taker.leaf, taker.shape);
            let victims = in_the_way.then(|| self.enough_of(taker, None, candidates))??;
            return Some(Plan { machine, victims });
        }
        let mut seen = BTreeSet::new();
        let mut plans = Vec::new();
        for grant in candidates {
            let machine = self.grants[grant].machine;
            let is_meant = self.lies_in(machine, place) && self.is_welcome(class, machine);
            if !is_meant || !seen.insert(machine) {
                continue;
            }
            let here = self.cheapest_first(machine);
            if let Some(victims) = self.enough_of(taker, Some(machine), here) {
                plans.push(Plan { machine, victims });
                if plans.len() == COMPARED {
                    break;
                }
            }
        }
        plans.into_iter().min_by_key(|plan| self.loss(plan))
    }

    fn is_welcome(&self, class: &Class, machine: MachineSlot) -> bool {
        class.picky.is_none_or(|unit| self.may_use(unit, machine))
    }

    /// Highest priority first, then by how many.
    fn loss(&self, plan: &Plan) -> (Option<i32>, usize) {
        let priorities = plan.victims.iter().map(|grant| self.victim(*grant).priority);
        (priorities.max(), plan.victims.len())
    }

    pub(super) fn lies_in(&self, machine: MachineSlot, place: Place) -> bool {
        match place {
            Place::Machine(id) => self.machines[machine].id == id,
            Place::Rack(id) => self.machines[machine].rack == id,
            Place::Cluster => true,
        }
    }

    /// Grants that may be taken, of the lowest priority first, of the largest share first, youngest first.
    fn candidates(&self, taker: &Taker, looked_at: usize) -> Vec<GrantSlot> {
        let holders = self.holders.iter().filter(|((group, priority), units)| {
            // As if the victim were nothing, so that only the relation of the groups decides.
            let victim = Victim { leaf: *group, priority: *priority, shape: Resources::default() };
            !units.is_empty() && self.groups.may_take(taker, &victim)
        });
        let mut holders: Vec<_> = holders.collect();
        holders.sort_by(|((a, low), _), ((b, high), _)| {
            let shares = self.groups.share(*b).total_cmp(&self.groups.share(*a));
            low.cmp(high).then(shares).then(a.cmp(b))
        });
        let units = holders.into_iter().flat_map(|(_, units)| units.iter().rev());
        let units = units.filter(|unit| {
            let Unit { group, definition, .. } = &self.units[**unit];
            let victim = Victim { leaf: *group, priority: definition.priority, shape: definition.shape };
            self.groups.may_take(taker, &victim)
        });
        let grants = units.flat_map(|unit| self.units[*unit].held.iter().rev().copied());
        grants.filter(|grant| !self.grants[*grant].is_revoked).take(looked_at).collect()
    }

    fn victim(&self, grant: GrantSlot) -> Victim {
        let unit = &self.units[self.grants[grant].unit];
        Victim { leaf: unit.group, priority: unit.definition.priority, shape: unit.definition.shape }
    }

    /// As few of `candidates` as make room under every max, and on `machine` if there is one; none of them is revoked.
    fn enough_of(
        &mut self,
        taker: &Taker,
        machine: Option<MachineSlot>,
        candidates: Vec<GrantSlot>,
    ) -> Option<Vec<GrantSlot>> {
        let mut balance = machine.map_or(ANYWHERE, |machine| self.machines[machine].balance_soon());
        let mut chosen: Vec<GrantSlot> = Vec::new();
        let mut candidates = candidates.into_iter();
        while !self.is_enough(taker, balance) {
            let Some(grant) = candidates.next() else { break };
            let victim = self.victim(grant);
            let short = balance.1.plus(taker.shape).minus(balance.0);
            let helps = !victim.shape.only_where(short).is_zero() || self.groups.relieves(victim.leaf, taker);
            if helps && self.groups.may_take(taker, &victim) && self.groups.lends(taker, &victim, short) {
                self.groups.revoke(victim.leaf, victim.shape);
                balance.1 = balance.1.minus(victim.shape);
                chosen.push(grant);
            }
        }
        let is_enough = self.is_enough(taker, balance);
        // Whom it would be the worst to lose is spared first.
        let mut needed = Vec::new();
        for grant in chosen.into_iter().rev() {
            let Victim { leaf, shape, .. } = self.victim(grant);
            self.groups.spare(leaf, shape);
            let with = (balance.0, balance.1.plus(shape));
            if self.is_enough(taker, with) {
                balance = with;
            } else {
                self.groups.revoke(leaf, shape);
                needed.push(grant);
            }
        }
        needed.reverse();
        for grant in &needed {
            let Victim { leaf, shape, .. } = self.victim(*grant);
            self.groups.spare(leaf, shape);
        }
        is_enough.then_some(needed)
    }

    /// Whether a machine and every max leave room.
    fn is_enough(&self, taker: &Taker, (capacity, spent): (Resources, Resources)) -> bool {
        spent.plus(taker.shape).fits_in(capacity) && self.groups.has_room_soon(taker.leaf, taker.shape)
    }
}
