//! What borrowers could give back, pod by pod, without losing any of what they are guaranteed.

use std::collections::BTreeMap;

use crate::pod::Pod;

use super::{AccountId, Quotas, asked};

/// Accounts while some of their pods go in thought.
#[derive(Debug)]
pub(crate) struct Balance<'a> {
    quotas: &'a Quotas,
    /// What those have had that went, by account and resource.
    gone: BTreeMap<(AccountId, &'a str), u128>,
}

impl<'a> Balance<'a> {
    /// Those that were told to go already count as gone.
    pub(crate) fn of(quotas: &'a Quotas) -> Self {
        Self { quotas, gone: BTreeMap::new() }
    }

    /// Takes the pod away if its account borrows some of what it has, and loses nothing by it that it is guaranteed.
    /// Of what an account uses less of than it is guaranteed, it borrows nothing: that does not keep the pod.
    pub(crate) fn take(&mut self, account: AccountId, pod: &Pod) -> bool {
        let lines = &self.quotas.accounts[account].lines;
        let mut is_borrowed = false;
        for (resource, line) in lines {
            let asked = u128::from(asked(pod, resource));
            let gone = self.gone.get(&(account, resource.as_str())).copied().unwrap_or(0);
            let (stays, min) = ((line.used - line.leaving).saturating_sub(gone), u128::from(line.min));
            if asked == 0 || !line.is_pooled || stays < min {
                continue;
            }
            if stays.saturating_sub(asked) < min {
                return false;
            }
            is_borrowed = true;
        }
        if is_borrowed {
            for resource in lines.keys() {
                *self.gone.entry((account, resource)).or_default() += u128::from(asked(pod, resource));
            }
        }
        is_borrowed
    }
}
