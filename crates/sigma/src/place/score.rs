//! Scores: which of the feasible nodes is best. Each score runs from 0 to 100; the weights are kube-scheduler's.
//! Whole numbers only, so that every machine decides alike.

use crate::cluster::{CPU_COLUMN, Cluster, MEMORY_COLUMN, Row, Template};

use super::Others;
use super::filter::StaticView;

const FULL: u64 = 100;
/// Parts of a point: what is left of GPUs is told that finely.
const FINER: u64 = 1_000;
const TAINT_WEIGHT: u64 = 3;
const AFFINITY_WEIGHT: u64 = 2;
const SPREAD_WEIGHT: u64 = 2;
const NEIGHBOURS_WEIGHT: u64 = 2;

/// The total of each row of `feasible`, in its order.
pub(super) fn totals(
    cluster: &Cluster,
    template: &Template,
    view: &StaticView,
    feasible: &[Row],
    others: &Others<'_>,
) -> Vec<u64> {
    let max = |value: fn(&super::filter::Static) -> u64| {
        feasible.iter().map(|&row| value(view.verdict(row))).max().unwrap_or(0)
    };
    let most_disliked = max(|fixed| fixed.n_disliked_taints);
    let most_preferred = max(|fixed| fixed.preference);
    let crowding: Vec<Option<u64>> = feasible.iter().map(|&row| others.spread.crowding(row)).collect();
    let most_crowded = crowding.iter().flatten().copied().max().unwrap_or(0);
    let least_crowded = crowding.iter().flatten().copied().min().unwrap_or(0);
    let spread_score = |crowding: Option<u64>| match crowding {
        None => 0,
        Some(_) if most_crowded == 0 => FULL,
        Some(sum) => FULL * (most_crowded + least_crowded - sum) / most_crowded,
    };
    let wishes = Wishes::of(feasible, others);
    let total = |(&row, crowding): (&Row, Option<u64>)| {
        let fixed = view.verdict(row);
        let wished = TAINT_WEIGHT * (FULL - share(fixed.n_disliked_taints, most_disliked))
            + AFFINITY_WEIGHT * share(fixed.preference, most_preferred)
            + SPREAD_WEIGHT * spread_score(crowding)
            + NEIGHBOURS_WEIGHT * wishes.share(others.neighbours.wish(row));
        let evenness = least_allocated(cluster, template, row) + balanced(cluster, template, row);
        wished * FINER + cluster.usability(row, &template.pod, evenness * FINER, FINER)
    };
    feasible.iter().zip(crowding).map(total).collect()
}

/// The range of what pods and their neighbours wish, over the feasible rows.
struct Wishes {
    least: i64,
    most: i64,
}

impl Wishes {
    fn of(feasible: &[Row], others: &Others<'_>) -> Self {
        let wishes = || feasible.iter().map(|&row| others.neighbours.wish(row));
        Self { least: wishes().min().unwrap_or(0), most: wishes().max().unwrap_or(0) }
    }

    /// A wish between the least and the most, which is 100; nobody's wish is none's.
    fn share(&self, wish: i64) -> u64 {
        share(wish.abs_diff(self.least), self.most.abs_diff(self.least))
    }
}

fn share(value: u64, most: u64) -> u64 {
    FULL.saturating_mul(value).checked_div(most).unwrap_or(0)
}

/// The mean free share of CPU and memory once the pod is there.
fn least_allocated(cluster: &Cluster, template: &Template, row: Row) -> u64 {
    let free = |index: usize, column: usize| {
        let allocatable = cluster.resources.columns[column].allocatable[row];
        let used = cluster.resources.guessed[index][row] + u128::from(template.demand.guessed[index]);
        percent(u128::from(allocatable).saturating_sub(used), allocatable)
    };
    u64::midpoint(free(0, CPU_COLUMN), free(1, MEMORY_COLUMN))
}

/// How even CPU and memory are used once the pod is there: a node with one of them gone strands the other.
fn balanced(cluster: &Cluster, template: &Template, row: Row) -> u64 {
    let used = |column: usize| {
        let asked =
            template.demand.amounts.iter().find(|(id, _)| *id == column).map_or(0, |(_, amount)| *amount);
        let column = &cluster.resources.columns[column];
        percent(column.used[row] + u128::from(asked), column.allocatable[row]).min(FULL)
    };
    // The standard deviation of two numbers is half their distance.
    FULL - used(CPU_COLUMN).abs_diff(used(MEMORY_COLUMN)) / 2
}

fn percent(part: u128, whole: u64) -> u64 {
    let percent = (part * u128::from(FULL)).checked_div(u128::from(whole));
    percent.map_or(0, |percent| u64::try_from(percent).unwrap_or(u64::MAX))
}
