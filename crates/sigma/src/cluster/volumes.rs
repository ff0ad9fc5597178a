//! Which volumes are attached where, and what nodes can attach. A volume that several pods of a node use is attached
//! once.

use std::collections::{BTreeMap, HashMap};

use crate::reason::Reason;
use crate::volume::{Attachment, Disk, Volumes};

use super::{Cluster, Row};

/// The volumes of all nodes.
#[derive(Debug, Default)]
pub(crate) struct AttachedVolumes {
    /// How many volumes of a driver a node can hold, by node and driver. A driver that is not named has no limit.
    limits: HashMap<String, BTreeMap<String, u64>>,
    rows: HashMap<Row, OnRow>,
    /// On how many rows each volume is.
    spread: HashMap<Attachment, usize>,
    /// Pods by the claims that only one may use.
    claims: HashMap<String, usize>,
}

#[derive(Debug, Default)]
struct OnRow {
    /// How many pods use each volume.
    users: HashMap<Attachment, usize>,
    n_volumes: BTreeMap<String, u64>,
    disks: Vec<Disk>,
}

impl AttachedVolumes {
    pub(crate) fn take(&mut self, row: Row, volumes: &Volumes) {
        for claim in &volumes.exclusive {
            *self.claims.entry(claim.clone()).or_default() += 1;
        }
        if !volumes.is_shared() {
            return;
        }
        let here = self.rows.entry(row).or_default();
        here.disks.extend(volumes.disks.iter().cloned());
        for each in &volumes.attached {
            let n_users = here.users.entry(each.clone()).or_default();
            *n_users += 1;
            if *n_users == 1 {
                *here.n_volumes.entry(each.driver.clone()).or_default() += 1;
                *self.spread.entry(each.clone()).or_default() += 1;
            }
        }
    }

    pub(crate) fn release(&mut self, row: Row, volumes: &Volumes) {
        for claim in &volumes.exclusive {
            lower(&mut self.claims, claim);
        }
        let Some(here) = self.rows.get_mut(&row).filter(|_| volumes.is_shared()) else { return };
        for disk in &volumes.disks {
            if let Some(position) = here.disks.iter().position(|held| held == disk) {
                here.disks.swap_remove(position);
            }
        }
        for each in volumes.attached.iter() {
            if lower(&mut here.users, each) {
                lower(&mut self.spread, each);
                if let Some(n_volumes) = here.n_volumes.get_mut(&each.driver) {
                    *n_volumes = n_volumes.saturating_sub(1);
                }
            }
        }
        if here.users.is_empty() && here.disks.is_empty() {
            self.rows.remove(&row);
        }
    }

    /// Whether some other pod uses a claim that only one may use.
    pub(crate) fn is_claimed(&self, volumes: &Volumes) -> bool {
        volumes.exclusive.iter().any(|claim| self.claims.contains_key(claim))
    }

    /// How many pods there are for each claim of `volumes` that only one may use.
    pub(crate) fn claimed(&self, volumes: &Volumes) -> usize {
        volumes.exclusive.iter().filter_map(|claim| self.claims.get(claim)).sum()
    }

    /// Whether the node can attach what it lacks of `volumes`, and no disk is in use.
    pub(crate) fn check(&self, (row, node): (Row, &str), volumes: &Volumes) -> Result<(), Reason> {
        if !volumes.is_shared() {
            return Ok(());
        }
        let here = self.rows.get(&row);
        let mut held = here.iter().flat_map(|here| &here.disks);
        if held.any(|held| volumes.disks.iter().any(|disk| disk.conflicts(held))) {
            return Err(Reason::DiskInUse);
        }
        let Some(limits) = self.limits.get(node) else { return Ok(()) };
        for (driver, limit) in limits {
            let is_new = |each: &&Attachment| {
                each.driver == *driver && here.is_none_or(|here| !here.users.contains_key(*each))
            };
            let n_new = volumes.attached.iter().filter(is_new).count() as u64;
            let n_held = here.and_then(|here| here.n_volumes.get(driver)).copied().unwrap_or(0);
            if n_new > 0 && n_held.saturating_add(n_new) > *limit {
                return Err(Reason::TooManyVolumes);
            }
        }
        Ok(())
    }

    /// What tells pods with such volumes apart: those volumes that are attached somewhere, and, of others, how many of
    /// each driver.
    pub(crate) fn sort_of(&self, volumes: &Volumes) -> SortOfVolumes {
        let mut sort = SortOfVolumes::default();
        for each in &volumes.attached {
            if self.spread.contains_key(each) {
                sort.shared.push(each.clone());
            } else {
                *sort.n_new.entry(each.driver.clone()).or_default() += 1;
            }
        }
        sort
    }
}

/// See [`AttachedVolumes::sort_of`].
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SortOfVolumes {
    shared: Vec<Attachment>,
    n_new: BTreeMap<String, u64>,
}

impl Cluster {
    /// How many volumes of each driver a node can attach; drivers that are not named have no limit. True when that is
    /// news.
    pub fn set_volume_limits(&mut self, node: &str, limits: BTreeMap<String, u64>) -> bool {
        let known = &mut self.volumes.limits;
        let before =
            if limits.is_empty() { known.remove(node) } else { known.insert(node.to_owned(), limits) };
        let is_news = before.as_ref() != self.volumes.limits.get(node);
        if let Some(row) = self.row(node).filter(|_| is_news) {
            self.changes.touch(row, self.hosts.len());
        }
        is_news
    }
}

/// One less; true when that was the last.
fn lower<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else { return false };
    *count -= 1;
    let is_gone = *count == 0;
    if is_gone {
        counts.remove(key);
    }
    is_gone
}
