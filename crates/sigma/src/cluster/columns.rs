//! One column per resource and per label key, indexed by node row.

use std::collections::HashMap;

use super::Beside;
use crate::label::Labels;
use crate::reason::Reason;
use crate::resources::{Amounts, CPU, MEMORY, PODS};

use super::Row;

/// kube-scheduler's guess for a container that asks for nothing, so that such pods spread as well.
const GUESSED_CPU: u64 = 100;
const GUESSED_MEMORY: u64 = 200 << 20;

pub(crate) const CPU_COLUMN: usize = 0;
pub(crate) const MEMORY_COLUMN: usize = 1;
pub(crate) const PODS_COLUMN: usize = 2;

/// What a pod takes, by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) amounts: Vec<(usize, u64)>,
    /// CPU and memory as scoring sees them: with guesses for what was not asked for.
    pub(crate) guessed: [u64; 2],
}

/// One resource over all nodes.
#[derive(Debug, Default)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Templates that ask for it.
    n_users: usize,
    /// Up to the last row that has, or had, any: what somebody has made up takes no room for each node.
    allocatable: Vec<u64>,
    /// Wider than the amounts, so that no sum of pods that others bound overflows and subtracting is exact.
    used: Vec<u128>,
}

impl Column {
    #[inline]
    pub(crate) fn allocatable(&self, row: Row) -> u64 {
        self.allocatable.get(row).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn used(&self, row: Row) -> u128 {
        self.used.get(row).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn used_mut(&mut self, row: Row) -> &mut u128 {
        at(&mut self.used, row)
    }

    fn free(&self, row: Row) -> u64 {
        self.allocatable(row).saturating_sub(u64::try_from(self.used(row)).unwrap_or(u64::MAX))
    }
}

/// The amount of a row, which may lie beyond the end.
fn at<T: Copy + Default>(amounts: &mut Vec<T>, row: Row) -> &mut T {
    if amounts.len() <= row {
        amounts.resize(row + 1, T::default());
    }
    &mut amounts[row]
}

/// All resources over all nodes.
#[derive(Debug)]
pub(crate) struct ResourceColumns {
    pub(crate) columns: Vec<Column>,
    pub(crate) guessed: [Vec<u128>; 2],
    ids: HashMap<String, usize>,
    /// Columns of resources that nobody asks for and no node has.
    unused: Vec<usize>,
    n_rows: usize,
}

impl Default for ResourceColumns {
    fn default() -> Self {
        let mut columns = Self {
            columns: Vec::new(),
            guessed: [Vec::new(), Vec::new()],
            ids: HashMap::new(),
            unused: Vec::new(),
            n_rows: 0,
        };
        for name in [CPU, MEMORY, PODS] {
            let column = columns.id(name);
            // These stay.
            columns.columns[column].n_users = 1;
        }
        columns
    }
}

impl ResourceColumns {
    /// What a pod takes, to be [given up](Self::give_up) when no template asks for it any more.
    pub(crate) fn demand(&mut self, requests: &Amounts) -> Demand {
        let asked = requests.iter().filter(|(name, amount)| **amount > 0 && *name != PODS);
        let mut amounts: Vec<(usize, u64)> = asked.map(|(name, amount)| (self.id(name), *amount)).collect();
        amounts.push((PODS_COLUMN, 1));
        amounts.sort_unstable();
        amounts.iter().for_each(|&(column, _)| self.columns[column].n_users += 1);
        let or_guess =
            |name: &str, guess| requests.get(name).copied().filter(|&amount| amount > 0).unwrap_or(guess);
        Demand { amounts, guessed: [or_guess(CPU, GUESSED_CPU), or_guess(MEMORY, GUESSED_MEMORY)] }
    }

    /// A template that asked for this is gone.
    pub(crate) fn give_up(&mut self, demand: &Demand) {
        for &(id, _) in &demand.amounts {
            let column = &mut self.columns[id];
            column.n_users -= 1;
            if column.n_users == 0 && column.allocatable.is_empty() {
                self.ids.remove(&column.name);
                *column = Column::default();
                self.unused.push(id);
            }
        }
    }

    /// Whether anything is different now.
    pub(crate) fn set_allocatable(&mut self, row: Row, amounts: &Amounts) -> bool {
        for name in amounts.keys() {
            self.id(name);
        }
        let mut is_changed = false;
        for column in &mut self.columns {
            if column.allocatable.is_empty() && !amounts.contains_key(&column.name) {
                continue;
            }
            let amount = amounts.get(&column.name).copied().unwrap_or(0);
            is_changed |= column.allocatable(row) != amount;
            *at(&mut column.allocatable, row) = amount;
        }
        is_changed
    }

    /// Makes `row` a row of zeros.
    pub(crate) fn reset(&mut self, row: Row) {
        self.n_rows = self.n_rows.max(row + 1);
        for column in &mut self.columns {
            column.allocatable.get_mut(row).into_iter().for_each(|amount| *amount = 0);
            column.used.get_mut(row).into_iter().for_each(|amount| *amount = 0);
        }
        for guessed in &mut self.guessed {
            guessed.resize(self.n_rows, 0);
            guessed[row] = 0;
        }
    }

    pub(crate) fn take(&mut self, row: Row, demand: &Demand) {
        for &(column, amount) in &demand.amounts {
            *self.columns[column].used_mut(row) += u128::from(amount);
        }
        for (guessed, amount) in self.guessed.iter_mut().zip(demand.guessed) {
            guessed[row] += u128::from(amount);
        }
    }

    pub(crate) fn release(&mut self, row: Row, demand: &Demand) {
        for &(column, amount) in &demand.amounts {
            *self.columns[column].used_mut(row) -= u128::from(amount);
        }
        for (guessed, amount) in self.guessed.iter_mut().zip(demand.guessed) {
            guessed[row] -= u128::from(amount);
        }
    }

    /// Whether `amounts` by column find room on the row.
    pub(crate) fn fits(&self, row: Row, amounts: &[(usize, u64)]) -> bool {
        amounts.iter().all(|&(column, amount)| self.has_room(row, column, amount))
    }

    fn has_room(&self, row: Row, column: usize, amount: u64) -> bool {
        let column = &self.columns[column];
        column.used(row) + u128::from(amount) <= u128::from(column.allocatable(row))
    }

    /// The resources that a row lacks for `amounts`. A resource that was not asked for is never short, even where
    /// more is in use than there is.
    pub(crate) fn short(&self, row: Row, amounts: &[(usize, u64)]) -> Vec<Reason> {
        let lacks = |&&(column, amount): &&(usize, u64)| !self.has_room(row, column, amount);
        let name = |&(column, _): &(usize, u64)| match column {
            PODS_COLUMN => Reason::TooManyPods,
            _ => Reason::Insufficient(self.columns[column].name.clone()),
        };
        amounts.iter().filter(lacks).map(name).collect()
    }

    /// CPU and memory that are free on a row.
    pub(crate) fn beside(&self, row: Row) -> Beside {
        Beside { cpu: self.columns[CPU_COLUMN].free(row), memory: self.columns[MEMORY_COLUMN].free(row) }
    }

    pub(crate) fn free(&self, row: Row, name: &str) -> u64 {
        self.ids.get(name).map_or(0, |&id| self.columns[id].free(row))
    }

    pub(crate) fn used(&self, row: Row, name: &str) -> u64 {
        let used = self.ids.get(name).map_or(0, |&id| self.columns[id].used(row));
        u64::try_from(used).unwrap_or(u64::MAX)
    }

    fn id(&mut self, name: &str) -> usize {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = self.unused.pop().unwrap_or_else(|| {
            self.columns.push(Column::default());
            self.columns.len() - 1
        });
        name.clone_into(&mut self.columns[id].name);
        self.ids.insert(name.to_owned(), id);
        id
    }
}

/// No such label on the node.
pub(crate) const NO_VALUE: u32 = u32::MAX;

/// Labels of all nodes: per key one column of value ids.
#[derive(Debug, Default)]
pub(crate) struct LabelColumns {
    keys: HashMap<String, Vec<u32>>,
    values: Vec<String>,
    value_ids: HashMap<String, u32>,
}

impl LabelColumns {
    pub(crate) fn set(&mut self, row: Row, labels: &Labels) {
        for column in self.keys.values_mut().filter(|column| column.len() > row) {
            column[row] = NO_VALUE;
        }
        for (key, value) in labels {
            let id = self.value_id(value);
            let column = self.keys.entry(key.clone()).or_default();
            if column.len() <= row {
                column.resize(row + 1, NO_VALUE);
            }
            column[row] = id;
        }
    }

    /// Identifies the value of `key` on a row; equal values have equal ids.
    pub(crate) fn value_at(&self, row: Row, key: &str) -> u32 {
        self.keys.get(key).and_then(|column| column.get(row)).copied().unwrap_or(NO_VALUE)
    }

    pub(crate) fn get(&self, row: Row, key: &str) -> Option<&str> {
        let id = usize::try_from(self.value_at(row, key)).ok()?;
        self.values.get(id).map(String::as_str)
    }

    /// One more than the largest identifier of a value.
    pub(crate) fn n_values(&self) -> usize {
        self.values.len()
    }

    fn value_id(&mut self, value: &str) -> u32 {
        if let Some(&id) = self.value_ids.get(value) {
            return id;
        }
        let id = u32::try_from(self.values.len()).expect("fewer than 2^32 label values fit in memory");
        self.values.push(value.to_owned());
        self.value_ids.insert(value.to_owned(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_that_somebody_made_up_leave_nothing_behind() {
        let amounts = |name: &str| Amounts::from([(name.to_owned(), 1)]);
        let mut columns = ResourceColumns::default();
        (0..1000).for_each(|row| columns.reset(row));
        columns.set_allocatable(0, &amounts("gpu"));
        let n_before = columns.columns.len();
        for number in 0..100 {
            let demand = columns.demand(&amounts(&format!("x{number}")));
            assert_eq!(columns.short(7, &demand.amounts).len(), 2, "no row has that, nor a place for pods");
            assert!(columns.columns.iter().all(|column| column.allocatable.len() < 1000));
            columns.give_up(&demand);
        }
        assert_eq!(columns.columns.len(), n_before + 1);
        let demand = columns.demand(&amounts("gpu"));
        columns.give_up(&demand);
        assert_eq!(columns.free(0, "gpu"), 1);
    }
}
