//! cgroup v1: one tree per controller. A group is made in all of them, so that none is left behind by its removal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Bytes, CpuSet, MilliCpu};

use super::files::Files;
use super::{
    Applied, Backend, Controller, Counters, Disk, GroupError, InUse, IoBound, Knob, PERIOD_MICROS, Place,
    burst_micros, counters, create_dir, disk, list, names_below, number, numbers_in, quota_micros, read,
    remove_tree, settle, throttled_below, walk, write,
};

/// The mounted v1 hierarchies, and the v2 one of a hybrid host, which holds no controller that matters here.
#[derive(Debug)]
pub(super) struct V1 {
    mounts: BTreeMap<Controller, PathBuf>,
    unified: Option<PathBuf>,
    files: Files,
}

impl V1 {
    pub(super) fn new(mounts: BTreeMap<Controller, PathBuf>, unified: Option<PathBuf>) -> Self {
        Self { mounts, unified, files: Files::new() }
    }

    fn file(&self, controller: &'static str, group: &str, file: &str) -> Result<PathBuf, GroupError> {
        let mount = self.mounts.get(controller).ok_or(GroupError::NoController(controller))?;
        Ok(mount.join(group).join(file))
    }

    /// Hierarchies to make groups in; several controllers may share one, and systemd's own is left alone.
    fn roots(&self) -> BTreeSet<&Path> {
        let named = |controller: &str| controller.starts_with("name=");
        self.mounts.iter().filter(|(name, _)| !named(name)).map(|(_, path)| path.as_path()).collect()
    }

    /// Hierarchies in which others, such as an OCI runtime, may have made groups below ours.
    fn all_roots(&self) -> BTreeSet<&Path> {
        self.mounts.values().chain(&self.unified).map(PathBuf::as_path).collect()
    }

    fn set_idle(&self, group: &str, idle: bool) -> Result<Applied, GroupError> {
        let file = self.file("cpu", group, "cpu.idle")?;
        if file.exists() {
            settle(file, if idle { "1" } else { "0" })?;
            return Ok(Applied::Fully);
        }
        let shares = if idle { "2" } else { "1024" };
        write(self.file("cpu", group, "cpu.shares")?, shares)?;
        Ok(Applied::Instead("cpu.idle is missing: batch has the smallest cpu.shares instead"))
    }

    fn set_weight(&self, group: &str, weight: MilliCpu) -> Result<(), GroupError> {
        let shares = (weight.0.saturating_mul(1024) / 1000).clamp(2, 262_144);
        write(self.file("cpu", group, "cpu.shares")?, &shares.to_string())
    }

    fn set_quota(&self, group: &str, quota: Option<MilliCpu>) -> Result<(), GroupError> {
        let burst = self.file("cpu", group, "cpu.cfs_burst_us")?;
        // The kernel refuses a quota below the burst.
        if quota.is_some_and(|quota| quota_micros(quota) < number(burst.clone()).unwrap_or(0)) {
            write(burst, "0")?;
        }
        // To write them costs the kernel a walk over all below, whatever they said before.
        settle(self.file("cpu", group, "cpu.cfs_period_us")?, &PERIOD_MICROS.to_string())?;
        settle(self.file("cpu", group, "cpu.cfs_quota_us")?, &cfs_quota(quota))
    }
}

fn cfs_quota(quota: Option<MilliCpu>) -> String {
    quota.map_or_else(|| "-1".to_owned(), |quota| quota_micros(quota).to_string())
}

const NO_SHIELD: &str = "memory.min and memory.low are missing (cgroup v1): batch has a soft limit instead, and the kernel \
                         takes from who is above that first";
const NO_HIGH: &str =
    "memory.high is missing (cgroup v1): batch has a hard limit above what it holds instead";
const NO_BURST: &str = "cpu.cfs_burst_us is missing: services with a limit are throttled at every spike";
const NO_IO_WEIGHT: &str =
    "blkio.bfq.weight is missing: batch's disk requests count as much as those of services";
const NO_IO_BOUND: &str = "blkio.throttle is missing: batch's disk bandwidth has no bound";

impl V1 {
    /// What is written is a page less than what unlimited reads as.
    fn set_memory(&self, group: &str, file: &'static str, limit: Option<Bytes>) -> Result<(), GroupError> {
        const UNLIMITED: u64 = 1 << 62;
        let file = self.file("memory", group, file)?;
        match limit {
            Some(limit) => settle(file, &limit.0.to_string()),
            None if number(file.clone())? >= UNLIMITED => Ok(()),
            None => write(file, "-1"),
        }
    }

    /// The group is there, and has no such file.
    fn lacks(file: &Path) -> bool {
        !file.exists() && file.parent().is_some_and(Path::exists)
    }

    fn set_burst(&self, group: &str, most: Option<MilliCpu>) -> Result<Applied, GroupError> {
        let file = self.file("cpu", group, "cpu.cfs_burst_us")?;
        if Self::lacks(&file) {
            return Ok(Applied::Instead(NO_BURST));
        }
        // Minus one is no quota.
        let quota = read(self.file("cpu", group, "cpu.cfs_quota_us")?)?.trim().parse().ok();
        let burst = burst_micros(quota, most);
        settle(file, &burst.to_string()).map(|()| Applied::Fully)
    }

    fn set_io_weight(&self, group: &str, weight: u16) -> Result<Applied, GroupError> {
        let Ok(file) = self.file("blkio", group, "blkio.bfq.weight") else {
            return Ok(Applied::Instead(NO_IO_WEIGHT));
        };
        if Self::lacks(&file) {
            return Ok(Applied::Instead(NO_IO_WEIGHT));
        }
        settle(file, &weight.to_string()).map(|()| Applied::Fully)
    }

    fn set_io_bound(&self, group: &str, disk: Disk, bound: IoBound) -> Result<Applied, GroupError> {
        for (name, bytes) in
            [("blkio.throttle.read_bps_device", bound.read), ("blkio.throttle.write_bps_device", bound.write)]
        {
            let Ok(file) = self.file("blkio", group, name) else {
                return Ok(Applied::Instead(NO_IO_BOUND));
            };
            if Self::lacks(&file) {
                return Ok(Applied::Instead(NO_IO_BOUND));
            }
            if disk::bound_in_v1(&read(file.clone())?, disk) != bytes {
                // Zero takes the bound off.
                write(file, &format!("{disk} {}", bytes.unwrap_or(0)))?;
            }
        }
        Ok(Applied::Fully)
    }

    fn blkio(&self, group: &str) -> Option<counters::Io> {
        let text = |name| read(self.file("blkio", group, name).ok()?).ok();
        let bytes = text("blkio.throttle.io_service_bytes_recursive")?;
        Some(counters::io_v1(&bytes, &text("blkio.throttle.io_serviced_recursive")?))
    }
}

/// A new cpuset has no CPUs and takes no process: it gets its parent's.
fn inherit_cpuset(group: &Path) {
    let Some(parent) = group.parent() else { return };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let empty = read(group.join(file)).is_ok_and(|own| own.trim().is_empty());
        if let (true, Ok(inherited)) = (empty, read(parent.join(file))) {
            // Where this fails, the runtime fails with the reason when it adds the process.
            let _inherited = write(group.join(file), inherited.trim());
        }
    }
}

/// Keeps all groups from `top` down to `wanted`. None may ever have what its parent lacks, so all are widened from the
/// top, and then narrowed from below.
fn keep(groups: &[PathBuf], file: &str, wanted: Option<&CpuSet>) -> Result<(), GroupError> {
    let wanted = match (wanted, groups.first().and_then(|top| top.parent())) {
        (Some(wanted), _) => wanted.clone(),
        (None, Some(parent)) => list(parent.join(file))?,
        (None, None) => return Ok(()),
    };
    let mut found = Vec::new();
    for group in groups {
        found.push((group.join(file), list(group.join(file))?));
    }
    if found.iter().all(|(_, now)| *now == wanted) {
        return Ok(());
    }
    for (path, now) in &mut found {
        let mut wide = now.clone();
        wide.add(&wanted);
        if wide != *now {
            write(path.clone(), &wide.to_string())?;
            *now = wide;
        }
    }
    for (path, now) in found.into_iter().rev() {
        if now != wanted {
            write(path, &wanted.to_string())?;
        }
    }
    Ok(())
}

impl Backend for V1 {
    fn create(&self, group: &str) -> Result<(), GroupError> {
        for root in self.roots() {
            let mut path = root.to_owned();
            for part in group.split('/') {
                path.push(part);
                create_dir(&path)?;
                inherit_cpuset(&path);
            }
        }
        Ok(())
    }

    fn remove(&self, group: &str) -> Result<(), GroupError> {
        self.all_roots().into_iter().map(|root| remove_tree(&root.join(group))).fold(Ok(()), Result::and)
    }

    fn set(&self, group: &str, knob: Knob) -> Result<Applied, GroupError> {
        match knob {
            Knob::Idle(idle) => return self.set_idle(group, idle),
            Knob::Weight(weight) => self.set_weight(group, weight)?,
            Knob::Quota(quota) => self.set_quota(group, quota)?,
            Knob::Memory(limit) => self.set_memory(group, "memory.limit_in_bytes", limit)?,
            Knob::MemoryMin(_) | Knob::MemoryLow(_) => return Ok(Applied::Instead(NO_SHIELD)),
            Knob::MemoryHigh(bound) => {
                self.set_memory(group, "memory.soft_limit_in_bytes", bound)?;
                return Ok(Applied::Instead(NO_HIGH));
            }
            Knob::Burst(most) => return self.set_burst(group, most),
            Knob::IoWeight(weight) => return self.set_io_weight(group, weight),
            Knob::IoBound(disk, bound) => return self.set_io_bound(group, disk, bound),
            Knob::Tasks(_) if !self.mounts.contains_key("pids") => {
                return Ok(Applied::Instead("this host cannot count processes: only memory bounds them"));
            }
            Knob::Tasks(limit) => write(self.file("pids", group, "pids.max")?, &limit.to_string())?,
        }
        Ok(Applied::Fully)
    }

    fn set_place(&self, group: &str, place: &Place) -> Result<bool, GroupError> {
        let top = self.file("cpuset", group, "")?;
        if !top.exists() {
            return Ok(false);
        }
        let mut groups = Vec::new();
        walk(&top, &mut |path| groups.push(path.to_owned()));
        keep(&groups, "cpuset.cpus", place.cpus.as_ref())?;
        if place.mems.is_some() {
            // Memory that is elsewhere already comes along.
            write(top.join("cpuset.memory_migrate"), "1")?;
        }
        keep(&groups, "cpuset.mems", place.mems.as_ref())?;
        Ok(true)
    }

    fn has_quota(&self, group: &str, quota: Option<MilliCpu>) -> Result<bool, GroupError> {
        let says = |file| Ok(read(self.file("cpu", group, file)?)?.trim().to_owned());
        Ok(says("cpu.cfs_quota_us")? == cfs_quota(quota)
            && says("cpu.cfs_period_us")? == PERIOD_MICROS.to_string())
    }

    fn widen(&self, group: &str) -> Result<(), GroupError> {
        let Ok(group) = self.file("cpuset", group, "") else { return Ok(()) };
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let above = list(group.parent().unwrap_or(&group).join(file))?;
            if list(group.join(file))? != above {
                write(group.join(file), &above.to_string())?;
            }
        }
        Ok(())
    }

    fn usable_cpus(&self, group: &str) -> Result<CpuSet, GroupError> {
        list(self.file("cpuset", group, "cpuset.cpus")?)
    }

    fn cpu_time(&self, group: &str) -> Result<Duration, GroupError> {
        self.files.number(self.file("cpuacct", group, "cpuacct.usage")?).map(Duration::from_nanos)
    }

    fn memory_in_use(&self, group: &str) -> Result<InUse, GroupError> {
        let file = |name| self.file("memory", group, name);
        InUse::read(&self.files, file("memory.usage_in_bytes")?, file("memory.stat")?, "total_")
    }

    fn cpu_pressure(&self, _group: &str) -> Option<Duration> {
        None
    }

    fn throttled(&self, group: &str) -> u64 {
        self.mounts.get("cpu").map_or(0, |root| throttled_below(&self.files, &root.join(group)))
    }

    fn threads(&self, group: &str) -> Vec<u32> {
        let mut threads = Vec::new();
        if let Some(root) = self.mounts.get("cpu") {
            walk(&root.join(group), &mut |path| threads.extend(numbers_in(path.join("tasks"))));
        }
        threads
    }

    fn has_idle_class(&self) -> bool {
        self.mounts.get("cpu").is_some_and(|root| root.join("cpu.idle").exists())
    }

    fn may_exceed_parents(&self) -> bool {
        false
    }

    fn exists(&self, group: &str) -> bool {
        self.mounts.get("cpu").is_some_and(|root| root.join(group).exists())
    }

    fn children(&self, group: &str) -> Vec<String> {
        self.mounts.get("cpu").map(|root| names_below(&root.join(group), group)).unwrap_or_default()
    }

    fn counters(&self, group: &str) -> Counters {
        let text = |controller, name| read(self.file(controller, group, name).ok()?).ok();
        let cpu = self.cpu_time(group).ok().zip(text("cpu", "cpu.stat"));
        let used = text("memory", "memory.usage_in_bytes").and_then(|text| text.trim().parse().ok());
        Counters {
            cpu: cpu.map(|(used, stat)| counters::cpu_v1(used, &stat)),
            memory: used
                .zip(text("memory", "memory.stat"))
                .map(|(used, stat)| counters::memory(used, &stat, "total_")),
            io: self.blkio(group),
            pressure: self
                .unified
                .as_ref()
                .map(|root| counters::pressure(&root.join(group)))
                .unwrap_or_default(),
            run_queue: None,
        }
    }

    fn some_process(&self, group: &str) -> Option<u32> {
        numbers_in(self.file("cpu", group, "cgroup.procs").ok()?).first().copied()
    }
}
