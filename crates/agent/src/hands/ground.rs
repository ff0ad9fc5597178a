//! What this host's kernel gives the hands: found by trying on a group that is there for nothing else.

use std::path::{Path, PathBuf};

use level0::shield::Beyond;
use model::{Bytes, MilliCpu, QosClass};

use super::wish::DiskBounds;
use crate::cgroup::{Applied, Disk, GroupError, Groups, IoBound, Knob, Mounts, Version};
use crate::schedstat;

/// What there is to work with.
#[derive(Clone, Debug, PartialEq)]
pub struct Ground {
    /// The disk that Pods write to.
    pub disk: Option<Disk>,
    pub disk_bounds: DiskBounds,
    /// What the kernel does to batch beyond its bound.
    pub beyond: Beyond,
    /// Whether the kernel gives batch what services leave of what is kept for them.
    pub shares_unused_shield: bool,
    /// What the kernel lacks, and what stands in for it.
    pub missing: Vec<String>,
}

/// Tries every knob; `folder` is where the files of Pods lie.
pub fn probe(groups: &Groups, mounts: &Mounts, folder: &Path) -> Result<Ground, GroupError> {
    let backend = groups.backend();
    let group = format!("{}/probe", groups.class(QosClass::Batch));
    backend.create(&group)?;
    let mut missing = Vec::new();
    let mut try_out = |knob: Knob| match backend.set(&group, knob) {
        Ok(Applied::Fully) => true,
        Ok(Applied::Instead(lack)) => {
            // Both shields are missing for one reason.
            if !missing.iter().any(|known| known == lack) {
                missing.push(lack.to_owned());
            }
            false
        }
        Err(error) => {
            missing.push(kit::Chain(&error).to_string());
            false
        }
    };
    const SOME: Bytes = Bytes(1 << 20);
    try_out(Knob::MemoryMin(SOME));
    try_out(Knob::MemoryLow(SOME));
    let slows = try_out(Knob::MemoryHigh(Some(SOME)));
    let has_quota = backend.set(&group, Knob::Quota(Some(MilliCpu(100)))).is_ok();
    if has_quota {
        try_out(Knob::Burst(Some(MilliCpu(100))));
    }
    let has_weight = try_out(Knob::IoWeight(50));
    let disk = Disk::of(folder);
    if let Some(disk) = disk {
        try_out(Knob::IoBound(disk, IoBound { read: None, write: Some(1 << 30) }));
    } else {
        missing.push("files of Pods lie on no single disk: batch's disk bandwidth has no bound".to_owned());
    }
    missing.extend(disk.filter(|_| has_weight).and_then(|disk| weightless(disk, mounts)));
    backend.remove(&group)?;
    missing.extend(schedstat::lack());
    let is_silent = |root: &PathBuf| mounts.version() == Version::V2 && !root.join("cpu.stat").exists();
    if mounts.v2.as_ref().is_some_and(is_silent) {
        let lack =
            "cpu.stat of the root group is missing: the host's CPU use is read in hundredths of a second";
        missing.push(lack.to_owned());
    }
    let disk_bounds =
        if mounts.version() == Version::V2 { DiskBounds::OfTrees } else { DiskBounds::OfGroups };
    if disk_bounds == DiskBounds::OfGroups && disk.is_some() {
        missing.push(
            "cgroup v1 bounds no tree of groups at disks: containers of batch get equal parts".to_owned(),
        );
    }
    let beyond = if slows { Beyond::Slowed } else { Beyond::Killed };
    // In a tree of our own batch stands beside the groups of services, not in them.
    let shares_unused_shield = mounts.protects_recursively && groups.are_foreign();
    Ok(Ground { disk, disk_bounds, beyond, shares_unused_shield, missing })
}

/// Why weights count for nothing at `disk`, if so: they are files on every host, and read by two schedulers only.
fn weightless(disk: Disk, mounts: &Mounts) -> Option<String> {
    let scheduler = disk.scheduler().unwrap_or_else(|| "none".to_owned());
    let has_cost = mounts.v2.as_ref().is_some_and(|root| disk.has_io_cost(root));
    (scheduler != "bfq" && !has_cost).then(|| {
        format!(
            "disk {disk} has the scheduler `{scheduler}` and no io.cost, to which weights are nothing: only a bound \
             holds batch's disk bandwidth"
        )
    })
}
