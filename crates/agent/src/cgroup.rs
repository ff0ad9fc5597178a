//! The agent's hands: groups of processes with shares, quotas, limits and an idle class, on cgroup v1, v2 or both.
//!
//! ```text
//!   crest/online/pod<uid>/<container>     promised capacity, weighed against each other and against the system
//!   crest-batch/pod<uid>/<container>      lives on what is left: idle class, quota
//! ```
//!
//! Batch stands beside `crest`, not in it: the idle class counts among siblings only, so below `crest` batch would
//! yield to online but push the host's own processes aside with the whole weight of `crest`.

pub mod counters;
pub mod disk;
mod files;
pub mod layout;
pub mod mounts;
mod v1;
mod v2;

use std::fmt::Debug;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use files::Files;
use model::{Bytes, CpuSet, MilliCpu, QosClass};

pub use counters::Counters;
pub use disk::{Disk, IoBound};
pub use layout::Driver;
use layout::Layout;
pub use mounts::{Controller, Mounts, Version};

/// A group could not be made, changed, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error("cannot write `{value}` to `{path}`")]
    Write { path: PathBuf, value: String, source: io::Error },
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot make the group `{path}`")]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot remove the group `{path}`")]
    Remove { path: PathBuf, source: io::Error },
    #[error("`{path}` does not say what it should")]
    Garbled { path: PathBuf },
    #[error("`{path}` was set to `{value}` and says `{found}`")]
    Ignored { path: PathBuf, value: String, found: String },
    #[error("this host has no cgroup controller `{0}`")]
    NoController(&'static str),
}

impl GroupError {
    /// Whether the group went away in between, as groups of Pods do.
    pub fn is_gone(&self) -> bool {
        let (Self::Write { source, .. } | Self::Read { source, .. }) = self else { return false };
        source.kind() == io::ErrorKind::NotFound
            || source.raw_os_error() == Some(nix::errno::Errno::ENODEV as i32)
    }
}

/// One thing to set on a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// Weight among siblings, as the cores that the group was promised.
    Weight(MilliCpu),
    Idle(bool),
    /// `None` is no limit.
    Quota(Option<MilliCpu>),
    /// `None` is no limit.
    Memory(Option<Bytes>),
    /// The most processes and threads.
    Tasks(u32),
    /// Memory that is never taken from the group.
    MemoryMin(Bytes),
    /// Memory that is taken from the group only when no other group has any left to give.
    MemoryLow(Bytes),
    /// Memory beyond which the group is reclaimed from and slowed down; `None` is no bound.
    MemoryHigh(Option<Bytes>),
    /// Time that the quota left over and that may be used in the next period: as much as the quota itself, and no more than this,
    /// which is what the quota is about to be. `None` is none.
    Burst(Option<MilliCpu>),
    /// Weight at disks among siblings, of which each has 100 unless it says otherwise.
    IoWeight(u16),
    /// The most bytes per second from and to a disk.
    IoBound(Disk, IoBound),
}

/// Where the processes of a group may run and have their memory; `None` is wherever its parent's may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub cpus: Option<CpuSet>,
    /// Numbers of NUMA nodes.
    pub mems: Option<CpuSet>,
}

/// Memory of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    pub all: Bytes,
    /// Of that, pages of files: those that can be dropped at once, and those that were used again of late.
    pub inactive_file: Bytes,
    pub active_file: Bytes,
}

impl InUse {
    /// What cannot be dropped at once.
    pub fn working_set(self) -> Bytes {
        Bytes(self.all.0.saturating_sub(self.inactive_file.0))
    }

    /// What is of no file: others get it only if a process gives it back or ends.
    pub fn without_files(self) -> Bytes {
        Bytes(self.working_set().0.saturating_sub(self.active_file.0))
    }

    /// `prefix` is that of the sums over all groups below, which v1 keeps apart.
    fn read(files: &Files, all: PathBuf, stat: PathBuf, prefix: &str) -> Result<Self, GroupError> {
        let all = Bytes(files.number(all)?);
        files.read(stat, |text| {
            let value = |key: &str| keyed(text, &format!("{prefix}{key}")).map(Bytes);
            let (inactive_file, active_file) =
                (value("inactive_file")?, value("active_file").unwrap_or_default());
            Some(Self { all, inactive_file, active_file })
        })
    }
}

/// How well a knob took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Fully,
    /// Something weaker stands in for what the kernel lacks.
    Instead(&'static str),
}

/// A way to reach groups; a group is named by its path below the hierarchy's root.
pub trait Backend: Debug + Send + Sync {
    fn create(&self, group: &str) -> Result<(), GroupError>;
    /// Removes the group and all below it. Groups with processes in them are refused by the kernel.
    fn remove(&self, group: &str) -> Result<(), GroupError>;
    fn set(&self, group: &str, knob: Knob) -> Result<Applied, GroupError>;
    /// Keeps the group and all below it to a place; false where there is no such group. Writes only what differs.
    fn set_place(&self, group: &str, place: &Place) -> Result<bool, GroupError>;
    /// Gives the group, if it has lost some, all the CPUs that its parent has; what is below it stays as it is.
    fn widen(&self, group: &str) -> Result<(), GroupError>;
    /// The CPUs that the group can be kept to; an error where groups cannot be kept to CPUs.
    fn usable_cpus(&self, group: &str) -> Result<CpuSet, GroupError>;
    /// Whether the group has just this quota, whoever wrote it.
    fn has_quota(&self, group: &str, quota: Option<MilliCpu>) -> Result<bool, GroupError>;
    /// CPU time used so far.
    fn cpu_time(&self, group: &str) -> Result<Duration, GroupError>;
    fn memory_in_use(&self, group: &str) -> Result<InUse, GroupError>;
    /// Memory in use that cannot be dropped at once.
    fn memory(&self, group: &str) -> Result<Bytes, GroupError> {
        self.memory_in_use(group).map(InUse::working_set)
    }
    /// Time in which some thread of the group waited for a CPU so far, where the kernel keeps it per group.
    fn cpu_pressure(&self, group: &str) -> Option<Duration>;
    /// In how many periods so far a quota of the group, or of one below it, was used up.
    fn throttled(&self, group: &str) -> u64;
    /// The threads in the group and all below it.
    fn threads(&self, group: &str) -> Vec<u32>;
    fn has_idle_class(&self) -> bool;
    /// Whether a group may be allowed more of the processor than its parent; where not, the kernel refuses to bound the
    /// parent.
    fn may_exceed_parents(&self) -> bool;
    fn exists(&self, group: &str) -> bool;
    /// The groups right below the group.
    fn children(&self, group: &str) -> Vec<String>;
    /// All that the kernel counts of the group and those below it.
    fn counters(&self, group: &str) -> Counters;
    /// Some process in the group, if there is any.
    fn some_process(&self, group: &str) -> Option<u32>;
}

/// The groups of one agent.
#[derive(Clone, Debug)]
pub struct Groups {
    backend: Arc<dyn Backend>,
    layout: Layout,
}

impl Groups {
    /// The groups below `root` on this host, by what is mounted.
    pub fn new(mounts: &Mounts, root: &str) -> Self {
        Self { backend: backend(mounts), layout: Layout::Own { root: root.to_owned() } }
    }

    /// The groups that a kubelet of this host has made below `parent`, which is empty for the root of the tree; `None`
    /// where there is no kubelet, or none with `driver`.
    pub fn of_kubelet(mounts: &Mounts, parent: &str, driver: Option<Driver>) -> Option<Self> {
        let backend = backend(mounts);
        let layout = Layout::of_kubelet(&*backend, parent, driver)?;
        Some(Self { backend, layout })
    }

    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The group of all Pods of `class`.
    pub fn class(&self, class: QosClass) -> String {
        self.layout.class(class)
    }

    /// The groups that hold all Pods of `class`, from the top.
    pub fn line_of(&self, class: QosClass) -> Vec<String> {
        self.layout.line_of(class)
    }

    pub fn pod(&self, class: QosClass, uid: &str) -> String {
        self.layout.pod(&*self.backend, class, uid)
    }

    /// The group of container `id` of the Pod with `group`.
    pub fn container(&self, group: &str, id: &str) -> String {
        self.layout.container(&*self.backend, group, id)
    }

    /// Whether a kubelet has made them: batch stands among the groups of services then, and batch Pods are in the idle class
    /// one by one, since their class has no group for us to set it on.
    pub fn are_foreign(&self) -> bool {
        self.layout.is_foreign()
    }

    /// Makes the groups of both classes, unless they are a kubelet's. Says what the kernel lacks.
    pub fn prepare(&self, capacity: MilliCpu) -> Result<Vec<&'static str>, GroupError> {
        let mut missing = Vec::new();
        let online = self.class(QosClass::Online);
        let batch = self.class(QosClass::Batch);
        if self.layout.is_foreign() {
            return Ok(missing);
        }
        // Together, Pods weigh as much as the machine has cores: else all of them share one process's weight.
        for group in self.line_of(QosClass::Online) {
            self.backend.create(&group)?;
            self.backend.set(&group, Knob::Weight(capacity))?;
        }
        if let Err(error) = self.widen() {
            tracing::warn!(error = %kit::Chain(&error), "Services may not use all CPUs");
        }
        self.backend.create(&batch)?;
        if let Applied::Instead(what) = self.backend.set(&batch, Knob::Idle(true))? {
            missing.push(what);
        }
        if self.backend.usable_cpus(&online).is_err() {
            missing.push("the cpuset controller is missing or not handed down: no Pod is pinned to CPUs");
        }
        Ok(missing)
    }

    /// Gives the groups that hold all services the CPUs of the host: cgroup v1 strikes those that are switched off, and does not
    /// give them back when they are on again.
    pub fn widen(&self) -> Result<(), GroupError> {
        if self.layout.is_foreign() {
            return Ok(());
        }
        self.line_of(QosClass::Online).iter().try_for_each(|group| self.backend.widen(group))
    }

    /// Removes every group of this agent.
    pub fn remove_all(&self) -> Result<(), GroupError> {
        if self.layout.is_foreign() {
            return Ok(());
        }
        let tops = [QosClass::Batch, QosClass::Online].map(|class| self.line_of(class).swap_remove(0));
        tops.into_iter().map(|top| self.backend.remove(&top)).fold(Ok(()), Result::and)
    }
}

fn backend(mounts: &Mounts) -> Arc<dyn Backend> {
    match mounts.version() {
        Version::V2 => Arc::new(v2::V2::new(mounts.v2.clone().unwrap_or_default())),
        Version::V1 => Arc::new(v1::V1::new(mounts.v1.clone(), None)),
        Version::Hybrid => Arc::new(v1::V1::new(mounts.v1.clone(), mounts.v2.clone())),
    }
}

fn write(path: PathBuf, value: &str) -> Result<(), GroupError> {
    std::fs::write(&path, value).map_err(|source| GroupError::Write { path, value: value.to_owned(), source })
}

/// Writes `value` unless the file says so already, and sees to it that it does afterwards.
fn settle(path: PathBuf, value: &str) -> Result<(), GroupError> {
    if read(path.clone())?.trim() == value {
        return Ok(());
    }
    write(path.clone(), value)?;
    let found = read(path.clone())?.trim().to_owned();
    if found == value { Ok(()) } else { Err(GroupError::Ignored { path, value: value.to_owned(), found }) }
}

fn read(path: PathBuf) -> Result<String, GroupError> {
    // These files have no size beforehand; with room for all of it, most are read at one go.
    let mut text = String::with_capacity(8192);
    // A file that is read as a whole is asked for its size first, twice; what is only taken from is not.
    let result = std::fs::File::open(&path).and_then(|file| file.take(u64::MAX).read_to_string(&mut text));
    result.map(|_| text).map_err(|source| GroupError::Read { path, source })
}

fn number(path: PathBuf) -> Result<u64, GroupError> {
    let text = read(path.clone())?;
    text.trim().parse().map_err(|_| GroupError::Garbled { path })
}

fn list(path: PathBuf) -> Result<CpuSet, GroupError> {
    let text = read(path.clone())?;
    text.parse().map_err(|_| GroupError::Garbled { path })
}

/// The value of `key` among lines of `key value`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key).and_then(|(_, value)| value.trim().parse().ok())
}

/// CPU time of the whole host, to the hundredth of a second, for kernels whose root group does not tell it.
fn cpu_time_of_host() -> Result<Duration, GroupError> {
    let path = PathBuf::from("/proc/stat");
    let text = read(path.clone())?;
    // `cpu  user nice system idle iowait irq softirq steal ...`; what guests use is in `user`.
    let times = text.lines().find_map(|line| line.strip_prefix("cpu "));
    let times: Vec<u64> = times.into_iter().flat_map(str::split_whitespace).flat_map(str::parse).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = times[..] else {
        return Err(GroupError::Garbled { path });
    };
    Ok(Duration::from_millis((user + nice + system + irq + softirq).saturating_mul(10)))
}

fn create_dir(path: &Path) -> Result<(), GroupError> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(GroupError::Create { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Removes a group's directory and those below it: the files in them are the kernel's and go with them.
fn remove_tree(path: &Path) -> Result<(), GroupError> {
    let failed = |source| GroupError::Remove { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in
        entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        remove_tree(&entry.path())?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Names of the groups right below `path`.
fn names_below(path: &Path, group: &str) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    groups.map(|entry| format!("{group}/{}", entry.file_name().to_string_lossy())).collect()
}

/// All groups at and below `path`.
fn walk(path: &Path, visit: &mut dyn FnMut(&Path)) {
    visit(path);
    // Its name above, its own for itself, and one of each folder below: to list some dozens of files costs more than to ask.
    if std::fs::metadata(path).is_ok_and(|folder| folder.nlink() == 2) {
        return;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        walk(&entry.path(), visit);
    }
}

/// The sum of what the groups at and below `path` were throttled.
fn throttled_below(files: &Files, path: &Path) -> u64 {
    let throttled = |text: &str| keyed(text, "nr_throttled");
    let mut sum = 0;
    walk(path, &mut |path| sum += files.read(path.join("cpu.stat"), throttled).unwrap_or(0));
    sum
}

fn numbers_in(path: PathBuf) -> Vec<u32> {
    read(path).map(|text| text.lines().filter_map(|line| line.parse().ok()).collect()).unwrap_or_default()
}

/// Length of the period that quotas count in.
const PERIOD_MICROS: u64 = 100_000;

/// The quota in microseconds per period; the kernel refuses less than a millisecond.
fn quota_micros(quota: MilliCpu) -> u64 {
    (quota.0.saturating_mul(PERIOD_MICROS) / 1000).max(1000)
}

/// The burst in microseconds per period, of a quota in the same.
fn burst_micros(quota: Option<u64>, most: Option<MilliCpu>) -> u64 {
    quota.zip(most).map_or(0, |(quota, most)| quota.min(quota_micros(most)))
}

#[cfg(test)]
mod tests;
