//! Whether the kernel killed for want of memory, as the container's own cgroup counts it.

use fuxi::protocol::Exit;

/// Of either version of cgroups, as they appear in a container.
const COUNTERS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
/// SIGKILL, and how a shell tells of a child that it ended.
const KILLED: [Exit; 2] = [Exit::Signal(9), Exit::Code(128 + 9)];

/// How often the kernel had killed when we looked last.
#[derive(Debug)]
pub(super) struct Memory {
    kills: u64,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { kills: kills() }
    }

    /// How a process ended that nobody of us has killed.
    pub(super) fn explain(&mut self, exit: Exit) -> Exit {
        if !KILLED.contains(&exit) {
            return exit;
        }
        let before = std::mem::replace(&mut self.kills, kills());
        if self.kills > before { Exit::OutOfMemory } else { exit }
    }
}

fn kills() -> u64 {
    let texts = COUNTERS.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    texts.filter_map(|text| count_in(&text)).sum()
}

fn count_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::count_in;

    #[test]
    fn both_versions_count_alike() {
        assert_eq!(count_in("low 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(count_in(""), None);
    }
}
