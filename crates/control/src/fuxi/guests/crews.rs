//! Gangs of guests: Pods that are placed together or not at all. Pure: who is asked for, and with whom.
//!
//! ```text
//!   too few are there ──► held, all of them          enough ──► together: just as many as are lacking
//!                                                    started ──► each for itself
//! ```
//! A gang has started once as many of its Pods as it asks for have a place, or have ended well.

use std::collections::BTreeMap;

use crate::key::ObjectKey;

/// How a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Waits,
    /// It has a place, or ended well after it had one.
    Placed,
}

/// What the gang's object asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Least {
    /// There is no such object.
    Unknown,
    /// Its Pods only belong together.
    Nothing,
    Members(usize),
}

/// Which members that wait are asked for, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Plan {
    /// None, and why.
    #[default]
    Nobody,
    Unknown,
    Incomplete {
        there: usize,
        least: usize,
    },
    Alone,
    /// These at once; the others wait until they have started.
    Together(Vec<String>),
}

impl Plan {
    /// Why its members wait; `None` where that is a matter of room.
    pub(super) fn refusal(&self, gang: &ObjectKey) -> Option<String> {
        match self {
            Self::Unknown => {
                Some(format!("there is no PodGroup `{}`; make one, or take the label away", gang.name))
            }
            Self::Incomplete { there, least } => {
                Some(format!("{there} of {least} Pods of the PodGroup `{}` are there", gang.name))
            }
            Self::Nobody | Self::Alone | Self::Together(_) => None,
        }
    }
}

/// The members of one gang by uid, and what was planned for them last.
#[derive(Clone, Debug, Default)]
pub(super) struct Crew {
    members: BTreeMap<String, (u64, Member)>,
    n_seen: u64,
    pub(super) plan: Plan,
}

impl Crew {
    pub(super) fn set(&mut self, uid: &str, member: Member) {
        let arrival = self.n_seen;
        let (_, known) = self.members.entry(uid.to_owned()).or_insert((arrival, member));
        *known = member;
        self.n_seen += 1;
    }

    pub(super) fn remove(&mut self, uid: &str) {
        self.members.remove(uid);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Those who wait, in the order in which they came.
    pub(super) fn waiting(&self) -> Vec<String> {
        let waiting = self.members.iter().filter(|(_, (_, member))| *member == Member::Waits);
        let mut waiting: Vec<(u64, &String)> = waiting.map(|(uid, (arrival, _))| (*arrival, uid)).collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, uid)| uid.clone()).collect()
    }

    /// What is to be asked for now.
    pub(super) fn plan(&self, least: Least) -> Plan {
        let least = match least {
            Least::Unknown => return Plan::Unknown,
            Least::Nothing => return Plan::Alone,
            Least::Members(least) => least,
        };
        let mut waiting = self.waiting();
        let there = self.members.len();
        let placed = there - waiting.len();
        match least.checked_sub(placed) {
            None | Some(0) => Plan::Alone,
            Some(lacking) if lacking > waiting.len() => Plan::Incomplete { there, least },
            Some(lacking) => {
                waiting.truncate(lacking);
                Plan::Together(waiting)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crew(waiting: &[&str], placed: &[&str]) -> Crew {
        let mut crew = Crew::default();
        placed.iter().for_each(|uid| crew.set(uid, Member::Placed));
        waiting.iter().for_each(|uid| crew.set(uid, Member::Waits));
        crew
    }

    #[test]
    fn enough_go_together_and_the_rest_after_them() {
        let check = |waiting: &[&str], placed: &[&str], least: Least, expected: Plan| {
            assert_eq!(crew(waiting, placed).plan(least), expected);
        };
        let together = |uids: &[&str]| Plan::Together(uids.iter().map(|uid| (*uid).to_owned()).collect());
        check(&["b", "a"], &[], Least::Unknown, Plan::Unknown);
        check(&["b", "a"], &[], Least::Nothing, Plan::Alone);
        check(&["b", "a"], &[], Least::Members(3), Plan::Incomplete { there: 2, least: 3 });
        check(&["b", "a"], &[], Least::Members(2), together(&["b", "a"]));
        check(&["c", "b", "a"], &[], Least::Members(2), together(&["c", "b"]));
        check(&["c"], &["a"], Least::Members(2), together(&["c"]));
        check(&["c"], &["a", "b"], Least::Members(2), Plan::Alone);
        check(&["c"], &["a"], Least::Members(3), Plan::Incomplete { there: 2, least: 3 });
        check(&["c"], &[], Least::Members(0), Plan::Alone);
    }

    #[test]
    fn who_waits_keeps_its_turn() {
        let mut crew = crew(&["b", "a"], &[]);
        crew.set("b", Member::Placed);
        crew.set("b", Member::Waits);
        assert_eq!(crew.waiting(), ["b", "a"]);
        crew.remove("b");
        assert_eq!(crew.waiting(), ["a"]);
        assert!(!crew.is_empty());
    }
}
