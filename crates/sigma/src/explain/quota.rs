//! What would let a pod have room in its elastic quota.
//!
//! Where nodes have none either, a change of theirs is needed beside: what is told is all that is needed together.

use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::pod::Pod;
use crate::quota::{Bound, Excess, OverQuota, Usage};
use crate::resources::Amounts;

use super::{Change, Remedy, Verdicts, n_feasible, ranked};

/// `changes`, which give the pod a node if it has none, with what its quota needs beside.
pub(super) fn beside(
    cluster: &mut Cluster,
    pod: &Pod,
    (verdicts, changes): (&Verdicts, Vec<Change>),
) -> Vec<Change> {
    let Some(over) = cluster.over_quota(pod) else { return changes };
    let nodes = match verdicts.iter().find(|(_, reasons)| reasons.is_empty()) {
        None => changes,
        Some((node, _)) => {
            vec![Change { remedies: Vec::new(), n_nodes: n_feasible(verdicts), node: node.clone() }]
        }
    };
    let both = |way: &[Remedy], change: &Change| {
        let remedies = way.iter().chain(&change.remedies).cloned().collect();
        Change { remedies, ..change.clone() }
    };
    let ways = ways(cluster, pod, &over);
    ranked(ways.iter().flat_map(|way| nodes.iter().map(|change| both(way, change))).collect())
}

/// Each of them would let the pod have room in its quota. All is tried on the quota itself, which is put back then.
fn ways(cluster: &mut Cluster, pod: &Pod, over: &OverQuota) -> Vec<Vec<Remedy>> {
    let Some(known) = cluster.quota(&over.quota).cloned() else { return Vec::new() };
    let mut changed = known.clone();
    let max: Amounts = over.excesses.iter().filter_map(beyond_max).collect();
    add(&mut changed.max, &max);
    cluster.set_quota(&over.quota, changed.clone());
    let quota = || over.quota.clone();
    let raised: Vec<Remedy> =
        (!max.is_empty()).then(|| Remedy::RaiseMax { quota: quota(), by: max }).into_iter().collect();
    let with = |remedy: Remedy| raised.iter().cloned().chain([remedy]).collect();
    let mut ways = Vec::new();
    match cluster.over_quota(pod) {
        None => ways.push(raised.clone()),
        // What is beyond `max` is told first: that there is too little to borrow as well shows only now.
        Some(rest) => {
            ways.extend(give_back(cluster, &rest.excesses).map(with));
            let min: Amounts = rest.excesses.iter().filter_map(beyond_min).collect();
            add(&mut changed.min, &min);
            cluster.set_quota(&over.quota, changed);
            if cluster.over_quota(pod).is_none() {
                ways.push(with(Remedy::RaiseMin { quota: quota(), by: min }));
            }
        }
    }
    cluster.set_quota(&over.quota, known);
    ways
}

fn add(amounts: &mut Amounts, more: &Amounts) {
    for (resource, more) in more {
        let amount = amounts.entry(resource.clone()).or_default();
        *amount = amount.saturating_add(*more);
    }
}

fn beyond_max(excess: &Excess) -> Option<(String, u64)> {
    let Bound::Max(max) = excess.bound else { return None };
    Some((excess.resource.clone(), missing(excess, excess.used, max.into())))
}

/// The lesser of what its own use and what that of all goes beyond.
fn beyond_min(excess: &Excess) -> Option<(String, u64)> {
    let Bound::Guaranteed { min, .. } = excess.bound else { return None };
    let (_, of_all) = beyond_all(excess)?;
    Some((excess.resource.clone(), of_all.min(missing(excess, excess.used, min.into()))))
}

fn beyond_all(excess: &Excess) -> Option<(String, u64)> {
    let Bound::Guaranteed { used_by_all, min_of_all, .. } = excess.bound else { return None };
    Some((excess.resource.clone(), missing(excess, used_by_all, min_of_all)))
}

fn missing(excess: &Excess, used: u128, bound: u128) -> u64 {
    let then = used + u128::from(excess.asked);
    u64::try_from(then.saturating_sub(bound)).unwrap_or(u64::MAX)
}

/// What must come back, and who has borrowed; `None` where of one of the resources too little is borrowed.
fn give_back(cluster: &mut Cluster, excesses: &[Excess]) -> Option<Remedy> {
    let usages = cluster.quota_usages();
    let amounts: Amounts = excesses.iter().filter_map(beyond_all).collect();
    let mut borrowers = BTreeSet::new();
    for (resource, amount) in &amounts {
        let borrow = |(name, usage): (&String, &Usage)| Some((name.clone(), *usage.borrowed.get(resource)?));
        let borrowed: Vec<(String, u128)> = usages.iter().filter_map(borrow).collect();
        if borrowed.iter().map(|(_, borrowed)| borrowed).sum::<u128>() < u128::from(*amount) {
            return None;
        }
        borrowers.extend(borrowed.into_iter().map(|(name, _)| name));
    }
    Some(Remedy::GiveBack { amounts, borrowers })
}
