//! What an administrator says of quotas, checked as a whole: a tree of groups with `min`, `max` and `weight`.
//!
//! A group is sure of its `min` where it asks for it, never gets beyond its `max`, and shares what is left with its
//! neighbours by `weight`. A `min` is about the resources that it names (is above zero for); of others nothing is
//! guaranteed. What a group uses beyond its `min` is *borrowed*, and goes back when its owner asks for it.

use std::collections::{BTreeMap, BTreeSet};

use super::resources::{ResourceNames, Resources};

/// No deeper tree than this.
const MOST_LEVELS: usize = 16;

/// A group, as the edge numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaId(pub u32);

/// One group, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    pub id: QuotaId,
    pub name: String,
    /// The name of the group that it is a part of; without one it stands at the top.
    pub parent: Option<String>,
    /// What it is sure to get.
    pub min: Resources,
    /// What it never goes beyond.
    pub max: Resources,
    /// Its share of what nobody is sure of, beside those of its neighbours. From 1.
    pub weight: u32,
}

/// One thing that is wrong with a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum TreeFault {
    #[error("quota `{name}` is there twice")]
    SameName { name: String },
    #[error("quotas `{name}` and `{other}` have the same number")]
    SameId { name: String, other: String },
    #[error("quota `{name}` is part of `{parent}`, which does not exist")]
    UnknownParent { name: String, parent: String },
    #[error("quotas are parts of each other: {}", .names.join(" in "))]
    Cycle { names: Vec<String> },
    #[error("quota `{name}` lies more than {MOST_LEVELS} levels deep")]
    TooDeep { name: String },
    #[error("quota `{name}`: weight must be at least 1")]
    ZeroWeight { name: String },
    #[error("quota `{name}`: min of {resource} is {min} and so above its max, {max}")]
    MinAboveMax { name: String, resource: String, min: u64, max: u64 },
    #[error("quota `{name}`: its parts are guaranteed {sum} of {resource} together, and it has only {min}")]
    PartsAboveMin { name: String, resource: String, sum: u64, min: u64 },
    #[error("all quotas are guaranteed {sum} of {resource} together, and there is only {total}")]
    MinsAboveTotal { resource: String, sum: u64, total: u64 },
}

impl TreeFault {
    /// The quotas that could be changed to mend it. For parts above their whole, that is the whole.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::SameName { name }
            | Self::UnknownParent { name, .. }
            | Self::TooDeep { name }
            | Self::ZeroWeight { name }
            | Self::MinAboveMax { name, .. }
            | Self::PartsAboveMin { name, .. } => vec![name],
            Self::SameId { name, other } => vec![name, other],
            Self::Cycle { names } => names.iter().map(String::as_str).collect(),
            Self::MinsAboveTotal { .. } => Vec::new(),
        }
    }
}

/// Why a tree is not taken; every fault that it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quotas do not fit together: {}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidTree {
    pub faults: Vec<TreeFault>,
}

/// A tree without a fault: every parent stands before its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaTree {
    pub(super) quotas: Vec<Quota>,
}

impl QuotaTree {
    /// The tree of `quotas`. Where the `total` of all machines is known, no more than that can be guaranteed.
    pub fn try_new(
        quotas: Vec<Quota>,
        names: &ResourceNames,
        total: Option<Resources>,
    ) -> Result<Self, InvalidTree> {
        let by_name: BTreeMap<&str, &Quota> =
            quotas.iter().map(|quota| (quota.name.as_str(), quota)).collect();
        let check = Check { quotas: &quotas, by_name, names };
        let mut faults: Vec<TreeFault> = check.identities().chain(check.amounts()).collect();
        faults.extend(check.parents());
        faults.extend(total.into_iter().flat_map(|total| check.total(total)));
        faults.sort();
        faults.dedup();
        if !faults.is_empty() {
            return Err(InvalidTree { faults });
        }
        let depths: BTreeMap<QuotaId, usize> =
            quotas.iter().map(|quota| (quota.id, check.ancestors(quota).len())).collect();
        let mut quotas = quotas;
        quotas.sort_by_key(|quota| (depths[&quota.id], quota.id));
        Ok(Self { quotas })
    }
}

struct Check<'a> {
    quotas: &'a [Quota],
    by_name: BTreeMap<&'a str, &'a Quota>,
    names: &'a ResourceNames,
}

impl<'a> Check<'a> {
    fn identities(&self) -> impl Iterator<Item = TreeFault> {
        let (mut names, mut ids) = (BTreeSet::new(), BTreeMap::new());
        self.quotas.iter().filter_map(move |quota| {
            let name = quota.name.clone();
            if !names.insert(&quota.name) {
                return Some(TreeFault::SameName { name });
            }
            let other = ids.insert(quota.id, &quota.name)?.clone();
            Some(TreeFault::SameId { name, other })
        })
    }

    fn amounts(&self) -> impl Iterator<Item = TreeFault> {
        self.quotas.iter().flat_map(|quota| {
            let name = || quota.name.clone();
            let weightless = (quota.weight == 0).then(|| TreeFault::ZeroWeight { name: name() });
            let max = self.names.named(quota.max).map(|(_, max)| max);
            let above = self.names.named(quota.min).zip(max).filter(|((_, min), max)| min > max);
            let above = above.map(move |((resource, min), max)| TreeFault::MinAboveMax {
                name: name(),
                resource: resource.to_owned(),
                min,
                max,
            });
            let sum = self.sum_of_mins(Some(&quota.name));
            let parts = self.over(sum, quota.min).map(move |(resource, sum, min)| TreeFault::PartsAboveMin {
                name: name(),
                resource,
                sum,
                min,
            });
            weightless.into_iter().chain(above).chain(parts)
        })
    }

    fn total(&self, total: Resources) -> impl Iterator<Item = TreeFault> {
        let over = self.over(self.sum_of_mins(None), total);
        over.map(|(resource, sum, total)| TreeFault::MinsAboveTotal { resource, sum, total })
    }

    fn sum_of_mins(&self, parent: Option<&str>) -> Resources {
        let parts = self.quotas.iter().filter(|quota| quota.parent.as_deref() == parent);
        parts.fold(Resources::default(), |sum, quota| sum.plus(quota.min))
    }

    fn over(&self, sum: Resources, limit: Resources) -> impl Iterator<Item = (String, u64, u64)> {
        let limits = self.names.named(limit).map(|(_, limit)| limit);
        let over = self.names.named(sum).zip(limits).filter(|((_, sum), limit)| sum > limit);
        over.map(|((resource, sum), limit)| (resource.to_owned(), sum, limit))
    }

    fn parents(&self) -> impl Iterator<Item = TreeFault> {
        self.quotas.iter().filter_map(|quota| {
            let name = quota.name.clone();
            if let Some(parent) = quota.parent.clone().filter(|parent| !self.by_name.contains_key(&**parent))
            {
                return Some(TreeFault::UnknownParent { name, parent });
            }
            let ancestors = self.ancestors(quota);
            if ancestors.last() == Some(&quota.name.as_str()) {
                return Some(TreeFault::Cycle { names: cycle(&quota.name, &ancestors) });
            }
            (ancestors.len() >= MOST_LEVELS).then_some(TreeFault::TooDeep { name })
        })
    }

    /// The names of who a quota is part of, from near to far. Ends with the quota itself if it is a part of itself, and
    /// otherwise before a name comes again.
    fn ancestors(&self, quota: &'a Quota) -> Vec<&'a str> {
        let (mut names, mut seen, mut at) = (Vec::new(), BTreeSet::new(), quota);
        while let Some(parent) = at.parent.as_deref().and_then(|parent| self.by_name.get(parent)) {
            if !seen.insert(&parent.name) {
                break;
            }
            names.push(parent.name.as_str());
            if parent.name == quota.name {
                break;
            }
            at = parent;
        }
        names
    }
}

/// A cycle from its first name in the order of names, so that it is told once, wherever it is found.
fn cycle(name: &str, ancestors: &[&str]) -> Vec<String> {
    let mut names: Vec<String> =
        std::iter::once(name).chain(ancestors.iter().copied()).map(str::to_owned).collect();
    names.pop();
    let first = (0..names.len()).min_by_key(|index| names[*index].clone()).unwrap_or(0);
    names.rotate_left(first);
    names.push(names[0].clone());
    names
}

#[cfg(test)]
mod tests;
