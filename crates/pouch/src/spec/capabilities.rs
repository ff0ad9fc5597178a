//! Capabilities: what a container has by default, what its configuration adds and drops, what this host can give.

use std::collections::BTreeSet;
use std::fs;

use crate::cri;

/// By number.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Enough to install and run ordinary services as root inside, not enough to reach the host.
const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What this host lets its root give away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub capabilities: BTreeSet<String>,
    /// Scores below this one cannot be given.
    pub least_oom_score_adj: i64,
}

impl Host {
    pub(crate) fn probe() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let own_score = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
        let capabilities = bounding_set(&status);
        let least_oom_score_adj = match capabilities.contains("CAP_SYS_RESOURCE") {
            true => -1000,
            false => own_score.trim().parse().unwrap_or(0),
        };
        Self { capabilities, least_oom_score_adj }
    }
}

fn bounding_set(status: &str) -> BTreeSet<String> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bits = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    let held = NAMES.iter().enumerate().filter(|(number, _)| bits >> number & 1 == 1);
    held.map(|(_, name)| (*name).to_owned()).collect()
}

/// No capability has that name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no capability")]
pub(crate) struct UnknownCapability(String);

/// The set to give, and what was wanted but this host cannot give.
pub(super) fn choose(
    wanted: Option<&cri::Capability>,
    privileged: bool,
    host: &Host,
) -> Result<(BTreeSet<String>, Vec<String>), UnknownCapability> {
    let all = || NAMES.iter().map(|name| (*name).to_owned());
    if privileged {
        // All that there is: nobody asked for one in particular.
        return Ok((host.capabilities.clone(), Vec::new()));
    }
    let mut chosen: BTreeSet<String> = DEFAULT.iter().map(|name| (*name).to_owned()).collect();
    let nothing = cri::Capability::default();
    let wanted = wanted.unwrap_or(&nothing);
    for name in parse(&wanted.add_capabilities)? {
        match name.as_str() {
            "ALL" => chosen.extend(all()),
            _ => drop(chosen.insert(name)),
        }
    }
    for name in parse(&wanted.drop_capabilities)? {
        match name.as_str() {
            // What is added by name stays, as Kubernetes has it: drop ALL, add one.
            "ALL" => chosen = parse(&wanted.add_capabilities)?.filter(|name| name != "ALL").collect(),
            _ => drop(chosen.remove(&name)),
        }
    }
    let missing = chosen.difference(&host.capabilities).cloned().collect();
    Ok((chosen.intersection(&host.capabilities).cloned().collect(), missing))
}

fn parse(names: &[String]) -> Result<impl Iterator<Item = String>, UnknownCapability> {
    let mut parsed = Vec::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let full = if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if full != "ALL" && !NAMES.contains(&full.as_str()) {
            return Err(UnknownCapability(name.clone()));
        }
        parsed.push(full);
    }
    Ok(parsed.into_iter())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(add: &[&str], drop: &[&str], expect: &Expect) {
        let wanted = cri::Capability {
            add_capabilities: add.iter().map(|name| (*name).to_owned()).collect(),
            drop_capabilities: drop.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        // The host of a virtual machine whose root lacks CAP_SYS_RESOURCE (number 24).
        let host = Host { capabilities: bounding_set("CapBnd:\t000001fffeffffff\n"), least_oom_score_adj: 0 };
        let line = match choose(Some(&wanted), false, &host) {
            Ok((chosen, missing)) => {
                format!("{} chosen, {:?} missing", chosen.len(), missing)
            }
            Err(error) => error.to_string(),
        };
        expect.assert_eq(&line);
    }

    #[test]
    fn defaults() {
        check(&[], &[], &expect!["14 chosen, [] missing"]);
    }

    #[test]
    fn added_and_dropped_by_short_or_full_name() {
        check(&["net_admin"], &["CAP_KILL", "CHOWN"], &expect!["13 chosen, [] missing"]);
    }

    #[test]
    fn all_dropped_but_one() {
        check(&["NET_BIND_SERVICE"], &["ALL"], &expect!["1 chosen, [] missing"]);
    }

    #[test]
    fn what_the_host_lacks_is_told() {
        check(&["ALL"], &[], &expect![[r#"40 chosen, ["CAP_SYS_RESOURCE"] missing"#]]);
    }

    #[test]
    fn unknown() {
        check(&["FLY"], &[], &expect!["`FLY` is no capability"]);
    }
}
