//! Where gangs of guests meet the loop: their objects, and what follows for the Pods that wait.

use fuxi::grants::{Gang, GangId};

use super::crews::{Crew, Least, Member, Plan};
use super::{Guest, Master};
use crate::key::ObjectKey;
use crate::sigma::{Membership, group_of_kubernetes, our_group};

impl Master {
    /// A PodGroup has changed.
    pub(in crate::fuxi) fn on_group(&mut self, key: &ObjectKey) {
        self.guests.unmustered.insert(key.clone());
    }

    /// A member stands otherwise now.
    pub(super) fn member_is(&mut self, gang: &ObjectKey, uid: &str, member: Member) {
        self.guests.crews.entry(gang.clone()).or_default().set(uid, member);
        self.guests.unmustered.insert(gang.clone());
    }

    pub(super) fn member_gone(&mut self, gang: &ObjectKey, uid: &str) {
        let Some(crew) = self.guests.crews.get_mut(gang) else { return };
        crew.remove(uid);
        if crew.is_empty() {
            self.guests.crews.remove(gang);
        }
        self.guests.unmustered.insert(gang.clone());
    }

    /// Looks at all gangs that something has happened to. Not to be called while decisions of the ledger are followed.
    pub(in crate::fuxi) fn muster_all(&mut self) {
        while let Some(gang) = self.guests.unmustered.pop_first() {
            self.muster(&gang);
        }
    }

    /// Why a member waits, if that is not a matter of room.
    pub(super) fn refused_to_gang(&self, guest: &Guest) -> Option<String> {
        let gang = guest.gang.as_ref()?;
        self.guests.crews.get(gang)?.plan.refusal(gang)
    }

    /// Brings the units of those who wait in line with what is planned for their gang.
    fn muster(&mut self, gang: &ObjectKey) {
        let Some(crew) = self.guests.crews.get(gang) else { return };
        let plan = crew.plan(self.least(gang, crew));
        let (is_news, waiting) = (plan != crew.plan, crew.waiting());
        let is_alone = |uid: &String| plan == Plan::Alone && self.guests.lacks_unit(uid);
        let changed: Vec<String> = waiting.into_iter().filter(|uid| is_news || is_alone(uid)).collect();
        if let Some(crew) = self.guests.crews.get_mut(gang) {
            crew.plan.clone_from(&plan);
        }
        for uid in &changed {
            self.retract_waiting(uid);
        }
        match &plan {
            Plan::Alone => changed.iter().for_each(|uid| self.enrol_waiting(uid, None)),
            Plan::Together(uids) if is_news => {
                let n_units = u32::try_from(uids.len()).unwrap_or(u32::MAX);
                let gang = Gang { id: GangId(self.next_unit), n_units, least: 1 };
                uids.iter().for_each(|uid| self.enrol_waiting(uid, Some(gang)));
            }
            Plan::Together(_) | Plan::Nobody | Plan::Unknown | Plan::Incomplete { .. } => {}
        }
        changed.iter().for_each(|uid| self.ask_for(uid));
    }

    /// What one member let go may have been granted to another meanwhile: who has a place keeps it.
    fn retract_waiting(&mut self, uid: &str) {
        if self.guests.lacks_grant(uid) {
            self.retract(uid);
        }
    }

    fn enrol_waiting(&mut self, uid: &str, gang: Option<Gang>) {
        if self.guests.lacks_grant(uid) {
            self.enrol(uid, gang);
        }
    }

    /// What a gang asks for: what its Pods say themselves, or its object.
    fn least(&self, gang: &ObjectKey, crew: &Crew) -> Least {
        let of_kubernetes =
            || self.watched.workload_groups.get(gang).map(|group| group_of_kubernetes(&group));
        let of_ours = || self.watched.pod_groups.get(gang).map(|group| our_group(&group));
        let declared = || {
            crew.waiting().into_iter().find_map(|uid| {
                let guest = self.guests.by_uid.get(&uid)?;
                Membership::of(&*self.watched.guests.get(&guest.key)?)?.declared
            })
        };
        match of_kubernetes().or_else(of_ours).or_else(declared) {
            None => Least::Unknown,
            Some(group) => group.min_member.map_or(Least::Nothing, Least::Members),
        }
    }
}
