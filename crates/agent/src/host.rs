//! What the host is and has, read once from the kernel.

use std::path::Path;

use model::CpuSet;
use nix::sys::statvfs::statvfs;
use pouch::cri;

/// Facts of the host that do not change while it runs.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub milli_cpu: u64,
    pub memory: u64,
    pub disk: u64,
    pub kernel: String,
    pub os_image: String,
    pub machine_id: String,
    pub boot_id: String,
    pub hostname: String,
    pub dns: cri::DnsConfig,
    /// No process can be made less likely to be killed than this one, short of a capability.
    pub lowest_oom_score: i64,
}

impl Facts {
    /// Reads the facts. What cannot be read stays empty: the Node then says so by its zeros.
    pub fn read(root: &Path) -> Self {
        let text =
            |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        Self {
            milli_cpu: milli_cpu(),
            memory: meminfo("MemTotal").unwrap_or_default(),
            disk: statvfs(root).map(|stat| stat.blocks() * stat.fragment_size()).unwrap_or_default(),
            kernel: text("/proc/sys/kernel/osrelease"),
            os_image: os_image(&text("/etc/os-release")),
            machine_id: text("/etc/machine-id"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            hostname: text("/proc/sys/kernel/hostname"),
            dns: dns(&text("/etc/resolv.conf")),
            lowest_oom_score: if may_lower_oom_score() {
                -997
            } else {
                text("/proc/self/oom_score_adj").parse().unwrap_or(0)
            },
        }
    }
}

/// What of the host's CPUs is online and may be used.
pub fn milli_cpu() -> u64 {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64 * 1000
}

/// Those of the whole host: a container sees how many it may use itself.
pub fn online_cpus() -> std::io::Result<CpuSet> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    text.parse().map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

/// A value of `/proc/meminfo` in bytes.
pub fn meminfo(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Whether this process has CAP_SYS_RESOURCE.
fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << CAP_SYS_RESOURCE) != 0
}

fn os_image(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

/// The host's name servers, as far as a Pod can reach them: not those on the host's own loopback.
fn dns(resolv_conf: &str) -> cri::DnsConfig {
    let mut dns = cri::DnsConfig::default();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.servers.extend(words.filter(|server| !server.starts_with("127."))),
            Some("search") => dns.searches = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolver_configuration_of_the_host() {
        let dns =
            dns("# c\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch a.b c\noptions ndots:5 edns0\n");
        assert_eq!(dns.servers, ["10.0.0.2"]);
        assert_eq!(dns.searches, ["a.b", "c"]);
        assert_eq!(dns.options, ["ndots:5", "edns0"]);
    }

    #[test]
    fn this_host_has_something() {
        let facts = Facts::read(Path::new("/"));
        assert!(facts.milli_cpu >= 1000 && facts.memory > 0 && facts.disk > 0 && !facts.kernel.is_empty());
        assert_eq!(os_image("ID=x\nPRETTY_NAME=\"Some Linux 1\"\n"), "Some Linux 1");
    }
}
