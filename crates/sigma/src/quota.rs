//! Elastic quotas: what some namespaces are sure to get, and how much of what others leave they may borrow.
//!
//! ```text
//!   used + asked <= max? ──no──► waits
//!        │ yes
//!        ├── used + asked <= min ──────────────────────► may be placed, and take back what others have borrowed
//!        ├── all used + asked <= all that is guaranteed ► may be placed, and is borrowing
//!        └── else ─────────────────────────────────────► waits
//! ```
//!
//! A quota is about the resources that its `min` or its `max` names; where only `max` does, nothing is guaranteed to it.
//! Sums over all quotas are sums over those that are about the resource; of a resource that nobody is guaranteed any of,
//! only `max` counts. Pods of namespaces without a quota are not counted anywhere.
//!
//! Who borrows is not written down on any pod: a quota borrows what it uses beyond its `min`. So the accounts depend on
//! nothing but who is where, and are the same after a restart.

mod balance;
mod replaced;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::gpu::{GPU, GpuAsk};
use crate::label::Selector;
use crate::pod::{Namespaces, Pod, PodId};
use crate::resources::{Amounts, PODS, text};

pub(crate) use balance::Balance;
use replaced::Replacements;

/// Shares of GPUs, in percent of one.
const GPU_PERCENT: &str = "koordinator.sh/gpu-core";

/// What some namespaces may use together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// These namespaces, and those that `namespace_selector` matches.
    pub namespaces: BTreeSet<String>,
    pub namespace_selector: Option<Selector>,
    /// What they are sure to get.
    pub min: Amounts,
    /// What they never go beyond.
    pub max: Amounts,
}

impl Quota {
    fn covers(&self, namespace: &str, labels: &crate::label::Labels) -> bool {
        self.namespaces.contains(namespace)
            || self.namespace_selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// How a quota stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What its pods ask for that have room, of each resource that it is about.
    pub used: BTreeMap<String, u128>,
    /// What of it is beyond `min`.
    pub borrowed: BTreeMap<String, u128>,
    /// Namespaces that it names and that are another quota's, by name.
    pub taken: BTreeMap<String, String>,
}

/// A quota that leaves no room for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverQuota {
    pub quota: String,
    pub excesses: Vec<Excess>,
}

/// A resource of which a quota leaves too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    pub resource: String,
    pub used: u128,
    pub asked: u64,
    pub bound: Bound,
}

/// What would be gone beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Max(u64),
    /// The pod would have to borrow, and too little is left of what all quotas are guaranteed.
    Guaranteed {
        min: u64,
        used_by_all: u128,
        min_of_all: u128,
    },
}

/// Amounts that are to be reckoned as gone.
pub(crate) type Freed = BTreeMap<String, u128>;

/// All quotas and what is used of them.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    by_name: BTreeMap<String, Quota>,
    /// In the order of their names.
    accounts: Vec<Account>,
    /// Of namespaces that are known, or named by a quota.
    of_namespace: HashMap<String, AccountId>,
    totals: BTreeMap<String, Total>,
    /// Accounts that may stand otherwise than was told.
    changed: BTreeSet<AccountId>,
    /// Accounts must be drawn up anew.
    is_stale: bool,
    replaced: Replacements,
    /// Counts changes of who is whose.
    pub(crate) structure: u64,
    pub(crate) loans: Loans,
}

/// Counts changes of what is borrowed, and so can be taken back. What a quota uses that does not borrow is nobody's matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loans {
    /// There may be more of it.
    pub(crate) gains: u64,
    /// There may be less.
    pub(crate) losses: u64,
}

/// The place of an account.
pub(crate) type AccountId = usize;

/// One quota and what is used of it.
#[derive(Debug)]
struct Account {
    name: String,
    lines: BTreeMap<String, Line>,
    /// Its pods: the least important first, and of those the youngest.
    pods: BTreeMap<(i32, Reverse<u64>), PodId>,
    taken: BTreeMap<String, String>,
}

/// One resource of one quota.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    min: u64,
    max: Option<u64>,
    /// Whether some quota is guaranteed some of it.
    is_pooled: bool,
    used: u128,
    /// What of it pods have that were told to go.
    leaving: u128,
}

/// One resource, of which some quota is guaranteed some, over all quotas that are about it.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    min: u128,
    used: u128,
}

/// What the accounts look at of a pod that has room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a PodId,
    pub(crate) pod: &'a Pod,
    pub(crate) arrival: u64,
    pub(crate) is_leaving: bool,
}

/// What a pod asks of a resource, by the names that quotas use.
pub(crate) fn asked(pod: &Pod, resource: &str) -> u64 {
    let gpu = pod.gpu.as_ref().map(|gpu| gpu.ask);
    match (resource, gpu) {
        (PODS, _) => 1,
        (GPU, Some(GpuAsk::Whole(count))) => u64::from(count),
        (GPU_PERCENT, Some(ask)) => ask.count() as u64 * u64::from(ask.milli_each().div_ceil(10)),
        _ => pod.requests.get(resource).copied().unwrap_or(0),
    }
}

impl Quotas {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Quota> {
        self.by_name.get(name)
    }

    /// True when it is news.
    pub(crate) fn set(&mut self, name: &str, quota: Option<Quota>) -> bool {
        if self.by_name.get(name) == quota.as_ref() {
            return false;
        }
        match quota {
            Some(quota) => drop(self.by_name.insert(name.to_owned(), quota)),
            None => drop(self.by_name.remove(name)),
        }
        self.forget();
        true
    }

    /// Which namespaces there are, or their labels, is different now.
    pub(crate) fn forget(&mut self) {
        self.is_stale = true;
        self.structure += 1;
        self.loans.gains += 1;
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Opens the accounts anew, empty. A namespace that several quotas name is the first's.
    pub(crate) fn open(&mut self, namespaces: &Namespaces) {
        self.is_stale = false;
        self.of_namespace.clear();
        self.accounts = self.by_name.iter().map(|(name, quota)| Account::of(name, quota)).collect();
        self.changed = (0..self.accounts.len()).collect();
        self.totals.clear();
        self.forget_pairs();
        for (resource, min) in self.by_name.values().flat_map(|quota| &quota.min) {
            self.totals.entry(resource.clone()).or_default().min += u128::from(*min);
        }
        for (resource, line) in self.accounts.iter_mut().flat_map(|account| &mut account.lines) {
            line.is_pooled = self.totals.contains_key(resource);
        }
        let unlabelled = BTreeMap::new();
        let named = self.by_name.values().flat_map(|quota| &quota.namespaces);
        let all: BTreeSet<&String> = named.chain(namespaces.keys()).collect();
        for namespace in all {
            let labels = namespaces.get(namespace).unwrap_or(&unlabelled);
            let covering =
                self.by_name.values().enumerate().filter(|(_, quota)| quota.covers(namespace, labels));
            let mut covering = covering.map(|(id, _)| id);
            let Some(first) = covering.next() else { continue };
            self.of_namespace.insert(namespace.clone(), first);
            let owner = self.accounts[first].name.clone();
            for other in covering {
                self.accounts[other].taken.insert(namespace.clone(), owner.clone());
            }
        }
    }

    /// The account of the namespace's pods.
    pub(crate) fn of(&self, namespace: &str) -> Option<AccountId> {
        if self.of_namespace.is_empty() { None } else { self.of_namespace.get(namespace).copied() }
    }

    /// A pod has room from now on.
    pub(crate) fn add(&mut self, entry: Entry<'_>) {
        let Some(account) = self.account_of(entry.pod) else { return };
        self.accounts[account].pods.insert(rank(entry), entry.id.clone());
        self.book(account, entry, |sum, amount| *sum += amount);
        self.pair(account, entry);
        self.loans.gains += u64::from(!entry.is_leaving && self.accounts[account].is_borrowing());
    }

    /// A pod has room no more.
    pub(crate) fn subtract(&mut self, entry: Entry<'_>) {
        let Some(account) = self.account_of(entry.pod) else { return };
        self.loans.losses += u64::from(!entry.is_leaving && self.accounts[account].is_borrowing());
        self.accounts[account].pods.remove(&rank(entry));
        self.part(entry);
        self.book(account, entry, |sum, amount| *sum -= amount);
    }

    /// A pod was told to go, or stays after all.
    pub(crate) fn set_leaving(&mut self, before: Entry<'_>) {
        self.subtract(before);
        self.add(Entry { is_leaving: !before.is_leaving, ..before });
    }

    /// `None` while accounts are to be drawn up anew, too.
    fn account_of(&self, pod: &Pod) -> Option<AccountId> {
        if self.is_stale { None } else { self.of(&pod.namespace) }
    }

    fn book(&mut self, account: AccountId, entry: Entry<'_>, book: impl Fn(&mut u128, u128)) {
        self.changed.insert(account);
        for (resource, line) in &mut self.accounts[account].lines {
            let amount = u128::from(asked(entry.pod, resource));
            book(&mut line.used, amount);
            if entry.is_leaving {
                book(&mut line.leaving, amount);
            }
            if let Some(total) = self.totals.get_mut(resource) {
                book(&mut total.used, amount);
            }
        }
    }

    /// Why the pod may not be placed, once its quota's own pods have given `freed` back; `None` where it may.
    pub(crate) fn refusal(&self, pod: &Pod, freed: &Freed) -> Option<OverQuota> {
        let account = &self.accounts[self.of(&pod.namespace)?];
        let excesses: Vec<Excess> = account
            .lines
            .iter()
            .filter_map(|(resource, line)| {
                let asked = asked(pod, resource);
                let freed = freed.get(resource).copied().unwrap_or(0);
                let used = line.used.saturating_sub(freed);
                let bound = self.bound(resource, line, (used, freed, asked))?;
                Some(Excess { resource: resource.clone(), used, asked, bound })
            })
            .collect();
        let quota = account.name.clone();
        (!excesses.is_empty()).then_some(OverQuota { quota, excesses })
    }

    /// What `asked` beside `used` would go beyond. Who asks for nothing takes nothing.
    fn bound(&self, resource: &str, line: &Line, (used, freed, asked): (u128, u128, u64)) -> Option<Bound> {
        let then = used + u128::from(asked);
        if asked == 0 {
            return None;
        }
        if let Some(max) = line.max.filter(|&max| then > u128::from(max)) {
            return Some(Bound::Max(max));
        }
        let total = self.totals.get(resource)?;
        let used_by_all = total.used.saturating_sub(freed);
        let is_within = then <= u128::from(line.min) || used_by_all + u128::from(asked) <= total.min;
        (!is_within).then_some(Bound::Guaranteed { min: line.min, used_by_all, min_of_all: total.min })
    }

    /// Whether the pod stays within what its quota is guaranteed, once those have gone that were told to.
    pub(crate) fn is_entitled(&self, account: AccountId, pod: &Pod) -> bool {
        let spared = self.spared_of_staying(pod);
        let stays = |(resource, line): (&String, &Line)| {
            let asked = u128::from(asked(pod, resource));
            let more = asked - spared.get(resource).copied().unwrap_or(0);
            asked == 0 || !line.is_pooled || line.used - line.leaving + more <= u128::from(line.min)
        };
        self.accounts[account].lines.iter().all(stays)
    }

    /// What pods of the account will give back, having been told to go.
    pub(crate) fn leaving(&self, account: AccountId) -> Freed {
        let lines = self.accounts[account].lines.iter();
        lines.map(|(resource, line)| (resource.clone(), line.leaving)).collect()
    }

    /// Of the account what a pod takes.
    pub(crate) fn taken_by(&self, account: AccountId, pod: &Pod) -> Freed {
        let resources = self.accounts[account].lines.keys();
        resources.map(|resource| (resource.clone(), u128::from(asked(pod, resource)))).collect()
    }

    /// The pods of the account below `priority`, the least important first, and of those the youngest.
    pub(crate) fn below(&self, account: AccountId, priority: i32) -> impl Iterator<Item = &PodId> {
        let end = (priority, Reverse(u64::MAX));
        self.accounts[account].pods.range(..end).map(|(_, id)| id)
    }

    pub(crate) fn name(&self, account: AccountId) -> &str {
        &self.accounts[account].name
    }

    pub(crate) fn pods(&self, account: AccountId) -> impl Iterator<Item = &PodId> {
        self.accounts[account].pods.values()
    }

    /// Those that may stand otherwise than when this was asked last.
    pub(crate) fn take_changed(&mut self) -> BTreeMap<String, Usage> {
        let changed = std::mem::take(&mut self.changed);
        let accounts = changed.into_iter().map(|account| &self.accounts[account]);
        accounts.map(|account| (account.name.clone(), account.usage())).collect()
    }

    pub(crate) fn usages(&self) -> impl Iterator<Item = (&str, Usage)> {
        self.accounts.iter().map(|account| (account.name.as_str(), account.usage()))
    }
}

fn rank(entry: Entry<'_>) -> (i32, Reverse<u64>) {
    (entry.pod.priority, Reverse(entry.arrival))
}

impl Account {
    fn of(name: &str, quota: &Quota) -> Self {
        let resources: BTreeSet<&String> = quota.min.keys().chain(quota.max.keys()).collect();
        let line = |resource: &String| Line {
            min: quota.min.get(resource).copied().unwrap_or(0),
            max: quota.max.get(resource).copied(),
            ..Line::default()
        };
        let lines = resources.into_iter().map(|resource| (resource.clone(), line(resource))).collect();
        Self { name: name.to_owned(), lines, pods: BTreeMap::new(), taken: BTreeMap::new() }
    }

    /// Whether some of what stays is beyond what is guaranteed.
    fn is_borrowing(&self) -> bool {
        let is_beyond = |line: &Line| line.is_pooled && line.used - line.leaving > u128::from(line.min);
        self.lines.values().any(is_beyond)
    }

    fn usage(&self) -> Usage {
        let pooled = self.lines.iter().filter(|(_, line)| line.is_pooled);
        let borrowed = pooled.filter_map(|(resource, line)| {
            let beyond = line.used.saturating_sub(u128::from(line.min));
            (beyond > 0).then(|| (resource.clone(), beyond))
        });
        Usage {
            used: self.lines.iter().map(|(resource, line)| (resource.clone(), line.used)).collect(),
            borrowed: borrowed.collect(),
            taken: self.taken.clone(),
        }
    }
}

impl fmt::Display for OverQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let excesses: Vec<String> = self.excesses.iter().map(ToString::to_string).collect();
        write!(f, "quota {}: {}", self.quota, excesses.join("; "))
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = |amount: u128| text(&self.resource, amount);
        let (used, asked) = (amount(self.used), amount(u128::from(self.asked)));
        write!(f, "{}: {used} used and {asked} asked for ", self.resource)?;
        match self.bound {
            Bound::Max(max) => write!(f, "are more than its max of {}", amount(u128::from(max))),
            Bound::Guaranteed { min, used_by_all, min_of_all } => write!(
                f,
                "are more than its min of {}, and too little is left to borrow: all quotas together use {} of {}",
                amount(u128::from(min)),
                amount(used_by_all),
                amount(min_of_all)
            ),
        }
    }
}
