//! Whom the kernel kills for want of memory, and whether it did, as the container's own cgroup counts it.

use fuxi::protocol::Exit;

/// Of either version of cgroups, as they appear in a container: where kills are counted, and where the limit stands.
const GROUPS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory.max"),
    ("/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
];

/// Where a process says whether it is to be killed before others, from -1000 to 1000; its children begin with the same.
const SCORE: &str = "/proc/self/oom_score_adj";

/// Starts a process that the kernel kills before us, and so does with all that comes of it.
pub(super) fn before_us<T>(spawn: impl FnOnce() -> T) -> T {
    // Whoever may not raise it may still go on: then whoever is larger is killed.
    let own = std::fs::read_to_string(SCORE).ok();
    let _raised = std::fs::write(SCORE, "1000");
    let spawned = spawn();
    // Back to what we were started with takes no privilege.
    let _lowered = own.map(|own| std::fs::write(SCORE, own.trim()));
    spawned
}

/// How often the kernel had killed when we looked last.
#[derive(Debug)]
pub(super) struct Memory {
    kills: u64,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { kills: kills() }
    }

    /// How a process ended that nobody of us has killed. Whoever fails when one of its own was killed has failed of that.
    pub(super) fn explain(&mut self, exit: Exit) -> Exit {
        if exit.is_success() || !matches!(exit, Exit::Code(_) | Exit::Signal(_)) {
            return exit;
        }
        let before = std::mem::replace(&mut self.kills, kills());
        if self.kills > before { Exit::OutOfMemory { limit: limit() } } else { exit }
    }
}

fn kills() -> u64 {
    let texts = GROUPS.iter().filter_map(|(counter, _)| std::fs::read_to_string(counter).ok());
    texts.filter_map(|text| count_in(&text)).sum()
}

fn limit() -> u64 {
    let texts = GROUPS.iter().filter_map(|(_, limit)| std::fs::read_to_string(limit).ok());
    texts.filter_map(|text| text.trim().parse::<u64>().ok()).min().unwrap_or(0)
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
