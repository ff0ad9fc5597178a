//! Pods that are replaced before they go: as long as one of them and its successor both have room, they count as one.
//!
//! ```text
//!   used = the pod + its successor − what both ask for
//! ```
//! Of several that call themselves its successors, one counts so. When either goes, the other counts as any pod does.

use std::collections::BTreeMap;

use crate::pod::{Namespaces, Pod, PodId, PodTerm};

use super::{AccountId, Entry, Freed, Quotas, asked};

/// The pods that are being replaced.
#[derive(Debug, Default)]
pub(super) struct Replacements(BTreeMap<PodId, Replacement>);

#[derive(Debug)]
struct Replacement {
    /// Who may take its place.
    successors: PodTerm,
    /// What it has, while it has room.
    own: Option<Share>,
    /// What each successor has that has room.
    theirs: BTreeMap<PodId, Share>,
}

/// What a pod has of its account.
#[derive(Clone, Debug)]
struct Share {
    account: AccountId,
    amounts: Freed,
    is_leaving: bool,
}

/// What counts once though two have it.
struct Rebate {
    account: AccountId,
    amounts: Freed,
    /// One of the two was told to go, so that nothing of the other is given back.
    is_leaving: bool,
}

impl Replacement {
    fn rebate(&self) -> Option<Rebate> {
        let own = self.own.as_ref()?;
        let other = self.theirs.values().find(|share| share.account == own.account)?;
        let both = |(resource, amount): (&String, &u128)| {
            let theirs = other.amounts.get(resource).copied().unwrap_or(0);
            (resource.clone(), theirs.min(*amount))
        };
        let is_leaving = own.is_leaving || other.is_leaving;
        Some(Rebate { account: own.account, amounts: own.amounts.iter().map(both).collect(), is_leaving })
    }

    fn is_about(&self, entry: Entry<'_>, of: &PodId) -> bool {
        entry.id == of || self.is_succeeded_by(entry.pod)
    }

    /// The namespaces of the term are named.
    fn is_succeeded_by(&self, pod: &Pod) -> bool {
        self.successors.matches(pod, &Namespaces::new())
    }
}

impl Quotas {
    /// Pods that `successors` names, whose namespaces it names too, take the place of this one; `None`: nobody does any
    /// more. True when accounts must be drawn up anew.
    pub(crate) fn set_replaced(&mut self, id: &PodId, successors: Option<PodTerm>) -> bool {
        let before = self.replaced.0.get(id).map(|replacement| &replacement.successors);
        if before == successors.as_ref() {
            return false;
        }
        match successors {
            Some(successors) => {
                let replacement = Replacement { successors, own: None, theirs: BTreeMap::new() };
                self.replaced.0.insert(id.clone(), replacement);
            }
            None => drop(self.replaced.0.remove(id)),
        }
        if !self.is_empty() {
            self.forget();
        }
        true
    }

    /// Nobody has room yet.
    pub(super) fn forget_pairs(&mut self) {
        for replacement in self.replaced.0.values_mut() {
            replacement.own = None;
            replacement.theirs.clear();
        }
    }

    /// A pod that has been booked may be one of two that count as one.
    pub(super) fn pair(&mut self, account: AccountId, entry: Entry<'_>) {
        let share =
            Share { account, amounts: self.taken_by(account, entry.pod), is_leaving: entry.is_leaving };
        self.repair(entry, |replacement, is_own| {
            if is_own {
                replacement.own = Some(share.clone());
            } else {
                replacement.theirs.insert(entry.id.clone(), share.clone());
            }
        });
    }

    /// A pod that is to be booked no more counts by itself again, and so does the other.
    pub(super) fn part(&mut self, entry: Entry<'_>) {
        self.repair(entry, |replacement, is_own| {
            if is_own {
                replacement.own = None;
            } else {
                replacement.theirs.remove(entry.id);
            }
        });
    }

    fn repair(&mut self, entry: Entry<'_>, change: impl Fn(&mut Replacement, bool)) {
        if self.replaced.0.is_empty() {
            return;
        }
        let mut replaced = std::mem::take(&mut self.replaced);
        for (id, replacement) in replaced.0.iter_mut().filter(|(id, each)| each.is_about(entry, id)) {
            let before = replacement.rebate();
            change(replacement, entry.id == id);
            self.book_rebate(before.as_ref(), |sum, amount| *sum += amount);
            self.book_rebate(replacement.rebate().as_ref(), |sum, amount| *sum -= amount);
            self.loans.gains += 1;
            self.loans.losses += 1;
        }
        self.replaced = replaced;
    }

    fn book_rebate(&mut self, rebate: Option<&Rebate>, book: impl Fn(&mut u128, u128)) {
        let Some(Rebate { account, amounts, is_leaving }) = rebate else { return };
        for (resource, line) in &mut self.accounts[*account].lines {
            let amount = amounts.get(resource).copied().unwrap_or(0);
            book(&mut line.used, amount);
            if *is_leaving {
                book(&mut line.leaving, amount);
            }
            if let Some(total) = self.totals.get_mut(resource) {
                book(&mut total.used, amount);
            }
        }
    }

    /// What counts once when the pod, which has no room yet, comes beside the one whose place it takes.
    pub(crate) fn spared(&self, pod: &Pod) -> Freed {
        self.spared_where(pod, |_| true)
    }

    /// As [`Quotas::spared`], but of those only who was not told to go: what they have counts as given back already.
    pub(crate) fn spared_of_staying(&self, pod: &Pod) -> Freed {
        self.spared_where(pod, |share| !share.is_leaving)
    }

    fn spared_where(&self, pod: &Pod, counts: impl Fn(&Share) -> bool) -> Freed {
        let mut replaced = self.replaced.0.values();
        let own = replaced.find_map(|each| {
            let own = each.own.as_ref().filter(|share| counts(share))?;
            (each.theirs.is_empty() && each.is_succeeded_by(pod)).then_some(own)
        });
        let amounts = own.iter().flat_map(|own| &own.amounts);
        amounts
            .map(|(resource, amount)| (resource.clone(), u128::from(asked(pod, resource)).min(*amount)))
            .collect()
    }
}
