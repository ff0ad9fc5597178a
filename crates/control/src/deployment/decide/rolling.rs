//! Rolling update: up within `maxSurge`, down within `maxUnavailable`.

use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::share::{Rounding, share};

use super::{Bounds, Set, Sets, Step, View, create, resize};

/// The strategy's bounds in pods: surge rounds up, unavailability down, and one of them is at least one pod.
pub(super) fn bounds(spec: &DeploymentSpec) -> Bounds {
    let replicas = spec.replicas.unwrap_or(1).max(0);
    if !super::is_rolling(spec) {
        return Bounds { replicas, max_surge: 0, max_unavailable: 0 };
    }
    let rolling =
        spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.clone()).unwrap_or_default();
    let default = IntOrString::String("25%".to_owned());
    let max_surge = share(rolling.max_surge.as_ref().unwrap_or(&default), replicas, Rounding::Up);
    let down = share(rolling.max_unavailable.as_ref().unwrap_or(&default), replicas, Rounding::Down);
    let max_unavailable = if max_surge == 0 && down == 0 { 1 } else { down };
    Bounds { replicas, max_surge, max_unavailable: max_unavailable.min(replicas) }
}

/// The next step of the rollout: first up, then, once that is seen, down.
pub(super) fn roll(view: &View<'_>, sets: &Sets, bounds: Bounds) -> Vec<Step> {
    let room = (bounds.replicas + bounds.max_surge - sets.total()).max(0);
    let Some(new) = &sets.new else {
        let first = if sets.old.is_empty() { bounds.replicas } else { room.min(bounds.replicas) };
        return vec![create(view, sets, first, bounds)];
    };
    if new.replicas > bounds.replicas {
        return vec![resize(new, bounds.replicas, bounds)];
    }
    let up = room.min(bounds.replicas - new.replicas);
    if up > 0 {
        return vec![resize(new, new.replicas + up, bounds)];
    }
    scale_down_old(new, sets, bounds)
}

fn scale_down_old(new: &Set, sets: &Sets, bounds: Bounds) -> Vec<Step> {
    let min_available = bounds.replicas - bounds.max_unavailable;
    let new_unavailable = new.replicas - new.available;
    let most = sets.total() - min_available - new_unavailable;
    if most <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = sets.old.iter().map(|set| set.replicas).collect();
    // Pods that serve nobody go first: taking them costs no availability.
    let mut left = most;
    for (size, set) in sizes.iter_mut().zip(&sets.old) {
        let down = (*size - set.available).clamp(0, left.max(0));
        *size -= down;
        left -= down;
    }
    let available: i32 = sets.all().map(|set| set.available).sum();
    let mut spare = (available - min_available).max(0);
    for size in &mut sizes {
        let down = (*size).min(spare);
        *size -= down;
        spare -= down;
    }
    let changed = sets.old.iter().zip(sizes).filter(|(set, size)| set.replicas != *size);
    changed.map(|(set, size)| resize(set, size, bounds)).collect()
}
