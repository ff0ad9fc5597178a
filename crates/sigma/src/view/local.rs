//! What one row alone means to a class: whether a pod more finds room there, and how good that would be. Each part
//! runs from 0 to [`FULL`]; the weights are kube-scheduler's. Whole numbers only, so that every machine decides alike.

use crate::cluster::{CPU_COLUMN, Cluster, Host, MEMORY_COLUMN, Row, Template};
use crate::pod::Pod;
use crate::policy::Fill;
use crate::reason::Reason;
use crate::score::{Part, Score};

use super::levels::Levels;
use super::rules::Level;
use super::{FULL, View};

impl View {
    /// The score of a seat without its cell's part; `None` when it has no room, or a rule of its row forbids it.
    pub(super) fn local(&self, cluster: &Cluster, template: &Template, seat: usize) -> Option<u64> {
        Some(self.seats[seat].base + self.local_score(cluster, template, seat)?.total(&self.weights))
    }

    /// What of a seat's score depends on more than labels and taints, and not on its cell.
    pub(super) fn local_score(&self, cluster: &Cluster, template: &Template, seat: usize) -> Option<Score> {
        let row = self.seats[seat].row;
        let beyond = cluster.beyond_reserved(row, template);
        if !cluster.resources.fits(row, beyond.as_ref().unwrap_or(&template.demand.amounts))
            || has_port_conflict(&cluster.hosts[row], &template.pod)
            || cluster.gpus.check(row, template.pod.gpu.as_ref()).is_err()
            || cluster.check_load(row, &template.pod).is_err()
            || cluster.volumes.check((row, &cluster.hosts[row].name), &template.pod.volumes).is_err()
            || self.rules.check(&self.topologies, &self.tallies, Level::Row, row).is_err()
        {
            return None;
        }
        let cpus = cluster.cpus.rate(row, &template.pod).ok()?;
        let leaning = self.rules.leaning(Level::Row);
        // Falls with the crowd and never ends: one beside none differs more than ten beside nine.
        let room = |crowding: u64| FULL * leaning / (leaning + crowding).max(1);
        let crowding = self.rules.crowding(&self.topologies, &self.tallies, Level::Row, row);
        let fill = match self.policy.fill {
            Fill::Spread => least_allocated(cluster, template, row),
            Fill::Pack => FULL - least_allocated(cluster, template, row).min(FULL),
        };
        let usability = cluster.usability(row, &template.pod);
        let if_even = |value: u64| if usability.is_even_better { value } else { 0 };
        Some(Score::of([
            (Part::Fill, if_even(fill)),
            (Part::Balance, if_even(balanced(cluster, template, row))),
            (Part::Apart, crowding.map_or(0, room)),
            (Part::Company, self.wishes.score(seat)),
            (Part::Images, cluster.images.score(row, &self.images, FULL)),
            (Part::Reserved, if beyond.is_some() { FULL } else { 0 }),
            (Part::Coolness, cluster.coolness(row, &template.pod, FULL)),
            (Part::Cpus, cpus),
            (Part::Gpus, usability.gpus),
        ]))
    }
}

/// What of the row is not in the pieces that the pod needs, or may not be used: GPUs, CPUs of its own, load, volumes.
pub(super) fn misfits(cluster: &Cluster, template: &Template, row: Row) -> impl Iterator<Item = Reason> {
    let pod = &template.pod;
    let found = [
        cluster.gpus.check(row, pod.gpu.as_ref()),
        cluster.cpus.check(row, pod),
        cluster.check_load(row, pod),
        cluster.volumes.check((row, &cluster.hosts[row].name), &pod.volumes),
    ];
    found.into_iter().filter_map(Result::err)
}

pub(super) fn has_port_conflict(host: &Host, pod: &Pod) -> bool {
    pod.host_ports.iter().any(|port| host.ports.iter().any(|held| held.conflicts(port)))
}

/// The mean free share of CPU and memory once the pod is there.
fn least_allocated(cluster: &Cluster, template: &Template, row: Row) -> u64 {
    let free = |index: usize, column: usize| {
        let allocatable = cluster.resources.columns[column].allocatable(row);
        let used = cluster.resources.guessed[index][row] + u128::from(template.demand.guessed[index]);
        part(u128::from(allocatable).saturating_sub(used), allocatable)
    };
    u64::midpoint(free(0, CPU_COLUMN), free(1, MEMORY_COLUMN))
}

/// How even CPU and memory are used once the pod is there: a node with one of them gone strands the other.
fn balanced(cluster: &Cluster, template: &Template, row: Row) -> u64 {
    let used = |column: usize| {
        let asked =
            template.demand.amounts.iter().find(|(id, _)| *id == column).map_or(0, |(_, amount)| *amount);
        let column = &cluster.resources.columns[column];
        part(column.used(row) + u128::from(asked), column.allocatable(row)).min(FULL)
    };
    // The standard deviation of two numbers is half their distance.
    FULL - used(CPU_COLUMN).abs_diff(used(MEMORY_COLUMN)) / 2
}

/// `amount` of `whole`, of [`FULL`].
fn part(amount: u128, whole: u64) -> u64 {
    // Nearly always small enough for one plain division.
    match u64::try_from(amount) {
        Ok(amount) if amount < u64::MAX / FULL => (amount * FULL).checked_div(whole).unwrap_or(0),
        Ok(_) | Err(_) => {
            let part = amount.saturating_mul(u128::from(FULL)).checked_div(u128::from(whole)).unwrap_or(0);
            u64::try_from(part).unwrap_or(u64::MAX)
        }
    }
}

/// What is wished of each row alone, and the range of it, which makes it comparable.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    of_seat: Vec<i64>,
    levels: Levels<i64>,
    most: i64,
    /// The distance of the most from the least, as the next power of two: so it seldom changes.
    range: u64,
}

impl Wishes {
    /// `is_any`: there are wishes on single rows.
    pub(super) fn new(n_seats: usize, is_any: bool) -> Self {
        let n_seats = if is_any { n_seats } else { 0 };
        Self { of_seat: vec![0; n_seats], levels: Levels::of(0, n_seats), most: 0, range: 0 }
    }

    pub(super) fn set(&mut self, seat: usize, wish: i64) {
        let Some(before) = self.of_seat.get_mut(seat) else { return };
        let before = std::mem::replace(before, wish);
        self.levels.shift(before, wish);
    }

    /// Takes in the new range. True when all scores are others now.
    pub(super) fn settle(&mut self) -> bool {
        let Some((least, most)) = self.levels.range() else { return false };
        let distance = most.abs_diff(least);
        let range = if distance == 0 { 0 } else { distance.checked_next_power_of_two().unwrap_or(u64::MAX) };
        let is_news = (most, range) != (self.most, self.range);
        (self.most, self.range) = (most, range);
        is_news
    }

    fn score(&self, seat: usize) -> u64 {
        // Where all are alike, a wish decides nothing.
        let Some(wish) = self.of_seat.get(seat).filter(|_| self.range > 0) else { return 0 };
        FULL - super::share(self.most.abs_diff(*wish), self.range)
    }
}
