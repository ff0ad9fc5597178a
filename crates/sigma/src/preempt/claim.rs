//! In whose place a pod may run.
//!
//! ```text
//!   who asks                      whose pods may go
//!   ──────────────────────────    ─────────────────────────────────────────────────────────────
//!   of no quota                   lesser ones
//!   within its quota's min        lesser ones of its quota and of no quota, borrowers of other quotas
//!   beyond its quota's min        lesser ones of its quota
//! ```
//!
//! Nobody goes for ever in a circle. A borrower that gives way leaves its quota at its `min` or above, so it is not itself
//! within that when it asks again; and who is beyond it can only borrow what is free, or take the place of lesser pods of
//! its own.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::cluster::{Cluster, Row, Template};
use crate::pod::{Pod, PodId};
use crate::quota::{AccountId, Balance, Freed};

/// Who asks. Two that are equal may have the same pods go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    priority: i32,
    quota: Standing,
}

/// How a pod stands to its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    None,
    /// Stays within what is guaranteed. Whom it may have go depends on what others borrow, which has not become more since.
    Entitled {
        account: AccountId,
        gains: u64,
    },
    /// Who belongs to which quota, at this version of it.
    Borrowing {
        account: AccountId,
        structure: u64,
    },
}

/// A pod that may be made to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lesser<'a> {
    pub(super) id: &'a PodId,
    pub(super) template: &'a Template,
    pub(super) arrival: u64,
    /// Of another quota, of which it is one too many.
    pub(super) is_borrower: bool,
}

impl Cluster {
    pub(super) fn claim_of(&mut self, pod: &Pod, priority: i32) -> Claim {
        self.settle_quotas();
        let quota = match self.quotas.of(&pod.namespace) {
            None => Standing::None,
            Some(account) if self.quotas.is_entitled(account, pod) => {
                Standing::Entitled { account, gains: self.quotas.loans.gains }
            }
            Some(account) => Standing::Borrowing { account, structure: self.quotas.structure },
        };
        Claim { priority, quota }
    }

    /// Counts what makes rows dearer for the claim, beside changes of the rows themselves.
    pub(super) fn losses_to(&self, claim: Claim) -> u64 {
        match claim.quota {
            Standing::Entitled { .. } => self.quotas.loans.losses,
            Standing::None | Standing::Borrowing { .. } => 0,
        }
    }

    /// The pods of a row that may go for the claim, all of them together.
    pub(super) fn lesser_on(&self, row: Row, claim: Claim) -> Vec<Lesser<'_>> {
        let (mut lesser, mut borrowers) = (Vec::new(), Vec::new());
        for id in &self.hosts[row].pods {
            let Some(placed) = self.placed(id).filter(|placed| !placed.is_leaving) else { continue };
            let template = self.templates.get(placed.template);
            let each = Lesser { id, template, arrival: placed.arrival, is_borrower: false };
            if self.is_of_other_quota(claim, &template.pod) {
                borrowers.push(Lesser { is_borrower: true, ..each });
            } else if template.pod.priority < claim.priority && self.is_within_reach(claim, &template.pod) {
                lesser.push(each);
            }
        }
        if !borrowers.is_empty() {
            lesser.extend(self.spare_borrowers(borrowers));
        }
        lesser
    }

    /// Of the borrowers as many as can be had: those who break no budget first, then the less important, then the younger.
    fn spare_borrowers<'a>(&'a self, mut borrowers: Vec<Lesser<'a>>) -> Vec<Lesser<'a>> {
        borrowers.sort_by_key(|each| (each.template.pod.priority, Reverse(each.arrival)));
        let pods: Vec<&Pod> = borrowers.iter().map(|each| &*each.template.pod).collect();
        let mut ranked: Vec<(bool, Lesser<'a>)> =
            self.budgets.broken_by(&pods).into_iter().zip(borrowers).collect();
        ranked.sort_by_key(|(is_broken, _)| *is_broken);
        let mut balance = Balance::of(&self.quotas);
        let is_spare = |each: &Lesser<'_>| {
            let pod = &each.template.pod;
            self.quotas.of(&pod.namespace).is_some_and(|account| balance.take(account, pod))
        };
        ranked.into_iter().map(|(_, each)| each).filter(is_spare).collect()
    }

    /// Whether the pod is of another quota than one that has it go if it borrows.
    pub(super) fn is_of_other_quota(&self, claim: Claim, pod: &Pod) -> bool {
        let Standing::Entitled { account, .. } = claim.quota else { return false };
        self.quotas.of(&pod.namespace).is_some_and(|other| other != account)
    }

    /// Whether a lesser pod of this kind may go for the claim.
    fn is_within_reach(&self, claim: Claim, pod: &Pod) -> bool {
        match claim.quota {
            Standing::None | Standing::Entitled { .. } => true,
            Standing::Borrowing { account, .. } => self.quotas.of(&pod.namespace) == Some(account),
        }
    }

    /// The lesser pods of the pod's own quota that have to go, wherever they are, so that it has room for the pod once all have
    /// gone that were told to. `None` where all of them are not enough.
    pub(super) fn victims_in_quota(&mut self, pod: &Pod, priority: i32) -> Option<Vec<PodId>> {
        self.settle_quotas();
        let Some(account) = self.quotas.of(&pod.namespace) else { return Some(Vec::new()) };
        let mut freed = self.quotas.leaving(account);
        shift(&mut freed, &self.quotas.spared_of_staying(pod), |sum, amount| *sum += amount);
        if self.quotas.refusal(pod, &freed).is_none() {
            return Some(Vec::new());
        }
        let mut victims: Vec<(PodId, Freed)> = Vec::new();
        for (id, lost) in self.lesser_of_quota(account, priority) {
            let Some(over) = self.quotas.refusal(pod, &freed) else { break };
            if over.excesses.iter().any(|excess| lost.get(&excess.resource).is_some_and(|lost| *lost > 0)) {
                shift(&mut freed, &lost, |sum, amount| *sum += amount);
                victims.push((id, lost));
            }
        }
        if self.quotas.refusal(pod, &freed).is_some() {
            return None;
        }
        // Larger ones that came later may have made smaller ones needless.
        let mut needed = Vec::new();
        while let Some((id, lost)) = victims.pop() {
            shift(&mut freed, &lost, |sum, amount| *sum -= amount);
            if self.quotas.refusal(pod, &freed).is_some() {
                shift(&mut freed, &lost, |sum, amount| *sum += amount);
                needed.push(id);
            }
        }
        Some(needed)
    }

    /// The pods of the account below `priority` with what it gets back by their going: those who break no budget first, then
    /// the less important, then the younger.
    fn lesser_of_quota(&self, account: AccountId, priority: i32) -> Vec<(PodId, Freed)> {
        let stays = |id: &&PodId| !self.is_leaving(id);
        let lesser = self.quotas.below(account, priority).filter(stays);
        let lesser: Vec<(&PodId, &Pod)> = lesser.filter_map(|id| Some((id, &**self.pod(id)?))).collect();
        let pods: Vec<&Pod> = lesser.iter().map(|(_, pod)| *pod).collect();
        let broken = self.budgets.broken_by(&pods);
        let mut order: Vec<usize> = (0..lesser.len()).collect();
        order.sort_by_key(|&place| broken[place]);
        let taken = |place: usize| {
            let (id, pod) = lesser[place];
            (id.clone(), self.quotas.taken_by(account, pod))
        };
        order.into_iter().map(taken).collect()
    }
}

fn shift(freed: &mut BTreeMap<String, u128>, by: &Freed, shift: impl Fn(&mut u128, u128)) {
    for (resource, amount) in by {
        shift(freed.entry(resource.clone()).or_default(), *amount);
    }
}
