//! Control groups as this machine has them: a tree per controller (v1), one tree (v2), or both side by side.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How often, and after what pause, a group is tried to be removed whose processes are still on their way out.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Where the trees are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Controllers of a v1 tree and its mount point.
    legacy: Vec<(Vec<String>, PathBuf)>,
    unified: Option<PathBuf>,
}

/// What the processes of a group use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub cpu_nanoseconds: u64,
    pub memory: u64,
    /// Without what the kernel can take back at once.
    pub working_set: u64,
    pub anonymous: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
}

impl Hierarchies {
    pub(crate) fn detect() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount_point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") if found.unified.is_none() => found.unified = Some(mount_point),
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or_default();
                    found.legacy.push((options.split(',').map(str::to_owned).collect(), mount_point));
                }
                _ => {}
            }
        }
        found
    }

    /// Every tree has the resource controllers in the unified one only.
    pub(crate) fn is_unified(&self) -> bool {
        !self.legacy.iter().any(|(controllers, _)| controllers.iter().any(|name| name == "memory"))
    }

    fn legacy(&self, controller: &str, cgroup: &str) -> Option<PathBuf> {
        let (_, mount_point) =
            self.legacy.iter().find(|(controllers, _)| controllers.iter().any(|name| name == controller))?;
        Some(below(mount_point, cgroup))
    }

    fn unified(&self, cgroup: &str) -> Option<PathBuf> {
        self.unified.as_ref().map(|mount_point| below(mount_point, cgroup))
    }

    /// A process of the group was killed for want of memory.
    pub(crate) fn oom_killed(&self, cgroup: &str) -> bool {
        let events = match self.legacy("memory", cgroup) {
            Some(group) => group.join("memory.oom_control"),
            None => self.unified(cgroup).unwrap_or_default().join("memory.events"),
        };
        field(&fs::read_to_string(events).unwrap_or_default(), "oom_kill") > 0
    }

    /// `None` if there is no such group.
    pub(crate) fn usage(&self, cgroup: &str) -> Option<Usage> {
        let (cpu_nanoseconds, memory_group, names) = match self.legacy("memory", cgroup) {
            Some(memory) => {
                let cpu = number(&self.legacy("cpuacct", cgroup)?.join("cpuacct.usage"))?;
                (cpu, memory, &LEGACY)
            }
            None => {
                let group = self.unified(cgroup)?;
                let cpu = fs::read_to_string(group.join("cpu.stat")).ok()?;
                (field(&cpu, "usage_usec").saturating_mul(1000), group, &UNIFIED)
            }
        };
        let memory = number(&memory_group.join(names.usage))?;
        let stat = fs::read_to_string(memory_group.join("memory.stat")).ok()?;
        Some(Usage {
            cpu_nanoseconds,
            memory,
            working_set: memory.saturating_sub(field(&stat, names.inactive_file)),
            anonymous: field(&stat, names.anonymous),
            page_faults: field(&stat, names.page_faults),
            major_page_faults: field(&stat, names.major_page_faults),
        })
    }

    /// Kills what is in the group and removes it from every tree; none is fine. Blocking.
    pub(crate) fn remove(&self, cgroup: &str) -> io::Result<()> {
        if cgroup.trim_matches('/').is_empty() {
            return Err(io::Error::other("the root of all control groups is not ours to remove"));
        }
        let mount_points = self.legacy.iter().map(|(_, mount_point)| mount_point).chain(&self.unified);
        for group in mount_points.map(|mount_point| below(mount_point, cgroup)) {
            remove_tree(&group)?;
        }
        Ok(())
    }

    /// Kills everything in the group.
    pub(crate) fn kill(&self, cgroup: &str) {
        for controller in ["devices", "memory", "pids", "freezer"] {
            if let Some(group) = self.legacy(controller, cgroup) {
                kill_members(&group);
            }
        }
        if let Some(group) = self.unified(cgroup) {
            kill_members(&group);
        }
    }
}

struct Names {
    usage: &'static str,
    inactive_file: &'static str,
    anonymous: &'static str,
    page_faults: &'static str,
    major_page_faults: &'static str,
}

const LEGACY: Names = Names {
    usage: "memory.usage_in_bytes",
    inactive_file: "total_inactive_file",
    anonymous: "total_rss",
    page_faults: "total_pgfault",
    major_page_faults: "total_pgmajfault",
};
const UNIFIED: Names = Names {
    usage: "memory.current",
    inactive_file: "inactive_file",
    anonymous: "anon",
    page_faults: "pgfault",
    major_page_faults: "pgmajfault",
};

fn below(mount_point: &Path, cgroup: &str) -> PathBuf {
    mount_point.join(cgroup.trim_start_matches('/'))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind `name` at the start of a line; zero if there is none.
fn field(text: &str, name: &str) -> u64 {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.next().and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn kill_members(group: &Path) {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
        // One that has ended meanwhile is what is wanted.
        let _ended = kill_process(pid, Signal::KILL);
    }
}

fn remove_tree(group: &Path) -> io::Result<()> {
    let Ok(children) = fs::read_dir(group) else { return Ok(()) };
    for child in children.flatten().filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&child.path())?;
    }
    let mut result = Ok(());
    for _ in 0..ATTEMPTS {
        result = fs::remove_dir(group);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                kill_members(group);
                std::thread::sleep(PAUSE);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            _ => return result,
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_both() {
        let found = Hierarchies::parse(
            "30 20 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n\
             31 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             32 20 0:28 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n",
        );
        assert!(!found.is_unified());
        assert_eq!(found.legacy("cpuacct", "/a/b"), Some("/sys/fs/cgroup/cpu,cpuacct/a/b".into()));
        assert_eq!(found.unified("/a"), Some("/sys/fs/cgroup/unified/a".into()));
    }

    #[test]
    fn a_machine_with_one_tree() {
        let found = Hierarchies::parse("30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert!(found.is_unified());
    }

    #[test]
    fn fields_are_whole_words() {
        assert_eq!(field("oom_kill_disable 1\nunder_oom 0\noom_kill 3\n", "oom_kill"), 3);
        assert_eq!(field("", "oom_kill"), 0);
    }
}
