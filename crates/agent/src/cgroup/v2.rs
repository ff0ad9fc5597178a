//! cgroup v2: one tree; controllers are handed down level by level.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{CpuSet, MilliCpu};

use super::files::Files;
use super::{
    Applied, Backend, Counters, Disk, GroupError, InUse, IoBound, Knob, PERIOD_MICROS, Place, burst_micros,
    counters, cpu_time_of_host, create_dir, disk, keyed, list, names_below, number, numbers_in, quota_micros,
    read, remove_tree, settle, throttled_below, walk, write,
};

#[derive(Debug)]
pub(super) struct V2 {
    root: PathBuf,
    files: Files,
}

const WANTED: [&str; 5] = ["cpu", "memory", "pids", "io", "cpuset"];

impl V2 {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, files: Files::new() }
    }

    fn file(&self, group: &str, file: &str) -> PathBuf {
        self.root.join(group).join(file)
    }

    /// Lets the children of `path` use the controllers that `path` has.
    fn hand_down(&self, path: &Path) -> Result<(), GroupError> {
        let available = read(path.join("cgroup.controllers"))?;
        let enabled = read(path.join("cgroup.subtree_control")).unwrap_or_default();
        let has = |list: &str, name: &str| list.split_whitespace().any(|controller| controller == name);
        for controller in WANTED.into_iter().filter(|name| has(&available, name) && !has(&enabled, name)) {
            // One by one: a controller that the host cannot hand down must not take the others with it.
            let result = write(path.join("cgroup.subtree_control"), &format!("+{controller}"));
            if ["cpu", "memory"].contains(&controller) {
                result?;
            }
        }
        Ok(())
    }
}

const NO_MIN: &str = "memory.min is missing: all memory of services may be reclaimed";
const NO_LOW: &str = "memory.low is missing: memory of services is reclaimed like that of batch";
const NO_HIGH: &str = "memory.high is missing: batch has a hard limit above what it holds instead";
const NO_BURST: &str = "cpu.max.burst is missing: services with a limit are throttled at every spike";
const NO_IO_WEIGHT: &str = "io.weight is missing: batch's disk requests count as much as those of services";
const NO_IO_BOUND: &str = "io.max is missing: batch's disk bandwidth has no bound";

impl V2 {
    /// Sets what not every kernel has.
    fn optional(
        &self,
        group: &str,
        file: &str,
        value: &str,
        lack: &'static str,
    ) -> Result<Applied, GroupError> {
        if self.lacks(group, file) {
            return Ok(Applied::Instead(lack));
        }
        settle(self.file(group, file), value).map(|()| Applied::Fully)
    }

    /// The group is there, and has no such file.
    fn lacks(&self, group: &str, file: &str) -> bool {
        let file = self.file(group, file);
        !file.exists() && file.parent().is_some_and(Path::exists)
    }

    fn set_burst(&self, group: &str, most: Option<MilliCpu>) -> Result<Applied, GroupError> {
        if self.lacks(group, "cpu.max.burst") {
            return Ok(Applied::Instead(NO_BURST));
        }
        let burst = burst_micros(self.quota(group)?, most);
        settle(self.file(group, "cpu.max.burst"), &burst.to_string()).map(|()| Applied::Fully)
    }

    /// The quota in microseconds of its period, if there is one.
    fn quota(&self, group: &str) -> Result<Option<u64>, GroupError> {
        let text = read(self.file(group, "cpu.max"))?;
        Ok(text.split_whitespace().next().and_then(|quota| quota.parse().ok()))
    }

    /// The kernel refuses a quota below the burst.
    fn drop_burst(&self, group: &str, quota: Option<MilliCpu>) -> Result<(), GroupError> {
        let file = self.file(group, "cpu.max.burst");
        let burst = number(file.clone()).unwrap_or(0);
        if quota.is_some_and(|quota| quota_micros(quota) < burst) { write(file, "0") } else { Ok(()) }
    }

    fn set_io_weight(&self, group: &str, weight: u16) -> Result<Applied, GroupError> {
        let mut applied = Applied::Instead(NO_IO_WEIGHT);
        // The second is that of the disk scheduler bfq, where it is in use.
        for file in ["io.weight", "io.bfq.weight"] {
            if !self.lacks(group, file) {
                settle(self.file(group, file), &format!("default {weight}"))?;
                applied = Applied::Fully;
            }
        }
        Ok(applied)
    }

    fn set_io_bound(&self, group: &str, disk: Disk, bound: IoBound) -> Result<Applied, GroupError> {
        if self.lacks(group, "io.max") {
            return Ok(Applied::Instead(NO_IO_BOUND));
        }
        let file = self.file(group, "io.max");
        if disk::bound_in_v2(&read(file.clone())?, disk) != bound {
            let most = |bytes: Option<u64>| bytes.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string());
            write(file, &format!("{disk} rbps={} wbps={}", most(bound.read), most(bound.write)))?;
        }
        Ok(Applied::Fully)
    }
}

/// Weight 100 stands for one core's shares of 1024, by the formula of the OCI runtimes.
fn weight(promised: MilliCpu) -> u64 {
    let shares = (promised.0.saturating_mul(1024) / 1000).clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

fn cpu_max(quota: Option<MilliCpu>) -> String {
    let value = quota.map_or_else(|| "max".to_owned(), |quota| quota_micros(quota).to_string());
    format!("{value} {PERIOD_MICROS}")
}

/// What the group above really has, as the kernel reckons it, by the file of the same name.
fn parent_of(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let above = file.ancestors().nth(2).unwrap_or(file);
    above.join(format!("{name}.effective"))
}

impl Backend for V2 {
    fn create(&self, group: &str) -> Result<(), GroupError> {
        let mut path = self.root.clone();
        self.hand_down(&path)?;
        for part in group.split('/') {
            path.push(part);
            create_dir(&path)?;
            self.hand_down(&path)?;
        }
        Ok(())
    }

    fn remove(&self, group: &str) -> Result<(), GroupError> {
        remove_tree(&self.root.join(group))
    }

    fn set(&self, group: &str, knob: Knob) -> Result<Applied, GroupError> {
        match knob {
            Knob::Idle(idle) => {
                let file = self.file(group, "cpu.idle");
                if !file.exists() {
                    write(self.file(group, "cpu.weight"), if idle { "1" } else { "100" })?;
                    return Ok(Applied::Instead(
                        "cpu.idle is missing: batch has the smallest cpu.weight instead",
                    ));
                }
                settle(file, if idle { "1" } else { "0" })?;
            }
            Knob::Weight(promised) => write(self.file(group, "cpu.weight"), &weight(promised).to_string())?,
            Knob::Quota(quota) => {
                self.drop_burst(group, quota)?;
                write(self.file(group, "cpu.max"), &cpu_max(quota))?;
            }
            Knob::Memory(limit) => {
                let value = limit.map_or_else(|| "max".to_owned(), |limit| limit.0.to_string());
                write(self.file(group, "memory.max"), &value)?;
            }
            Knob::Tasks(limit) => {
                let file = self.file(group, "pids.max");
                if !file.exists() {
                    return Ok(Applied::Instead("this host cannot count processes: only memory bounds them"));
                }
                write(file, &limit.to_string())?;
            }
            Knob::MemoryMin(bytes) => {
                return self.optional(group, "memory.min", &bytes.0.to_string(), NO_MIN);
            }
            Knob::MemoryLow(bytes) => {
                return self.optional(group, "memory.low", &bytes.0.to_string(), NO_LOW);
            }
            Knob::MemoryHigh(bound) => {
                let value = bound.map_or_else(|| "max".to_owned(), |bound| bound.0.to_string());
                return self.optional(group, "memory.high", &value, NO_HIGH);
            }
            Knob::Burst(most) => return self.set_burst(group, most),
            Knob::IoWeight(weight) => return self.set_io_weight(group, weight),
            Knob::IoBound(disk, bound) => return self.set_io_bound(group, disk, bound),
        }
        Ok(Applied::Fully)
    }

    fn set_place(&self, group: &str, place: &Place) -> Result<bool, GroupError> {
        if !self.root.join(group).exists() {
            return Ok(false);
        }
        for (file, wanted) in [("cpuset.cpus", &place.cpus), ("cpuset.mems", &place.mems)] {
            let file = self.file(group, file);
            if !file.exists() {
                return Err(GroupError::NoController("cpuset"));
            }
            let now = list(file.clone())?;
            let wanted = match wanted {
                Some(wanted) => wanted.clone(),
                // Nothing of its own is what the parent has. But the kernel lets a group with processes not go back to
                // that: it gets all that its parent has, by name.
                None if now.is_empty() => continue,
                None => list(parent_of(&file))?,
            };
            if now != wanted {
                write(file, &wanted.to_string())?;
            }
        }
        Ok(true)
    }

    fn has_quota(&self, group: &str, quota: Option<MilliCpu>) -> Result<bool, GroupError> {
        Ok(read(self.file(group, "cpu.max"))?.trim() == cpu_max(quota))
    }

    fn widen(&self, _group: &str) -> Result<(), GroupError> {
        // Here the kernel remembers what was asked for.
        Ok(())
    }

    fn usable_cpus(&self, group: &str) -> Result<CpuSet, GroupError> {
        let file = self.file(group, "cpuset.cpus.effective");
        if file.exists() { list(file) } else { Err(GroupError::NoController("cpuset")) }
    }

    fn cpu_time(&self, group: &str) -> Result<Duration, GroupError> {
        let told = self.files.read(self.file(group, "cpu.stat"), |text| keyed(text, "usage_usec"));
        let told = told.map(Duration::from_micros);
        // Before Linux 5.8 the root has no such file.
        if group.is_empty() { told.or_else(|_| cpu_time_of_host()) } else { told }
    }

    fn memory_in_use(&self, group: &str) -> Result<InUse, GroupError> {
        let file = |name| self.file(group, name);
        InUse::read(&self.files, file("memory.current"), file("memory.stat"), "")
    }

    fn cpu_pressure(&self, group: &str) -> Option<Duration> {
        self.files.read(self.file(group, "cpu.pressure"), counters::stall).ok().map(|stall| stall.some)
    }

    fn throttled(&self, group: &str) -> u64 {
        throttled_below(&self.files, &self.root.join(group))
    }

    fn threads(&self, group: &str) -> Vec<u32> {
        let mut threads = Vec::new();
        walk(&self.root.join(group), &mut |path| threads.extend(numbers_in(path.join("cgroup.threads"))));
        threads
    }

    fn has_idle_class(&self) -> bool {
        // The root has no such file; any group that exists shows it.
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().filter_map(Result::ok);
        entries.into_iter().any(|entry| entry.path().join("cpu.idle").exists())
    }

    fn may_exceed_parents(&self) -> bool {
        true
    }

    fn exists(&self, group: &str) -> bool {
        self.root.join(group).exists()
    }

    fn children(&self, group: &str) -> Vec<String> {
        names_below(&self.root.join(group), group)
    }

    fn counters(&self, group: &str) -> Counters {
        counters::of_v2(&self.root.join(group))
    }

    fn some_process(&self, group: &str) -> Option<u32> {
        numbers_in(self.file(group, "cgroup.procs")).first().copied()
    }
}
