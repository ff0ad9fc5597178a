//! A change of size while a rollout is under way or paused: every active set gets its share.

use super::{Bounds, MAX, Set, Sets, Step, resize};

/// Steps to the new size that change no proportions.
pub(super) fn scale(sets: &Sets, bounds: Bounds, is_rolling: bool) -> Vec<Step> {
    let active: Vec<&Set> = sets.all().filter(|set| set.replicas > 0).collect();
    let only = match active[..] {
        [] => sets.new.as_ref().or_else(|| sets.old.iter().max_by_key(|set| set.revision())),
        [one] => Some(one),
        _ => None,
    };
    if let Some(only) = only {
        let is_told =
            only.replicas == bounds.replicas && only.number(super::DESIRED) == Some(bounds.replicas);
        return if is_told { Vec::new() } else { vec![resize(only, bounds.replicas, bounds)] };
    }
    if let Some(new) = sets.new.as_ref().filter(|new| is_saturated(new, bounds)) {
        let old = active.iter().filter(|set| set.name != new.name);
        return old.map(|set| resize(set, 0, bounds)).collect();
    }
    if is_rolling { in_proportion(&active, bounds) } else { Vec::new() }
}

/// The rollout is over: old sets are leftovers.
fn is_saturated(new: &Set, bounds: Bounds) -> bool {
    new.replicas == bounds.replicas
        && new.available == bounds.replicas
        && new.number(super::DESIRED) == Some(bounds.replicas)
}

fn in_proportion(active: &[&Set], bounds: Bounds) -> Vec<Step> {
    let allowed = if bounds.replicas > 0 { bounds.replicas + bounds.max_surge } else { 0 };
    let total: i32 = active.iter().map(|set| set.replicas).sum();
    let mut to_add = allowed - total;
    // Growing favours the newest, shrinking the oldest; the largest set comes first in either case.
    let mut order: Vec<&Set> = active.to_vec();
    order
        .sort_by_key(|set| (std::cmp::Reverse(set.replicas), set.source.metadata.creation_timestamp.clone()));
    if to_add > 0 {
        order.reverse();
        order.sort_by_key(|set| std::cmp::Reverse(set.replicas));
    }
    let mut sizes: Vec<i32> = Vec::new();
    for set in &order {
        let share = share(set, allowed, total);
        let change = if to_add > 0 { share.clamp(0, to_add) } else { share.clamp(to_add, 0) };
        to_add -= change;
        sizes.push(set.replicas + change);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add).max(0);
    }
    let sized = order.iter().zip(sizes);
    let is_news =
        |set: &Set, size: i32| set.replicas != size || set.number(super::DESIRED) != Some(bounds.replicas);
    sized.filter(|(set, size)| is_news(set, *size)).map(|(set, size)| resize(set, size, bounds)).collect()
}

/// By how much the set changes when the whole goes from its former size to `allowed`, rounded to the nearest.
fn share(set: &Set, allowed: i32, total: i32) -> i32 {
    let former = i64::from(set.number(MAX).filter(|&max| max > 0).unwrap_or(total).max(1));
    let scaled = (i64::from(set.replicas) * i64::from(allowed) * 2 + former) / (2 * former);
    i32::try_from(scaled).unwrap_or(i32::MAX).saturating_sub(set.replicas)
}
