//! What this host must offer before anything is started, and how to mend what is missing.

use std::fmt;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use crate::settings::Settings;

/// Something that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    what: String,
    mend: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    {}", self.what, self.mend)
    }
}

/// Said to whoever starts a cluster as anyone but root.
pub(crate) const NEEDS_ROOT: &str =
    "containers, cgroups, network interfaces and mounts need root: run the command again with sudo";

/// All obstacles at once; none means that the cluster can start.
pub(crate) fn obstacles(settings: &Settings) -> Vec<Obstacle> {
    let host = [missing_overlay(), missing_cgroups(), missing_program("nft", "nftables")];
    let ports = [
        taken_port(settings.api_address(), "--api-port"),
        taken_port(settings.kubelet_address(), "--kubelet-port"),
    ];
    host.into_iter().chain(ports).flatten().collect()
}

fn obstacle(what: impl Into<String>, mend: impl Into<String>) -> Obstacle {
    Obstacle { what: what.into(), mend: mend.into() }
}

fn missing_overlay() -> Option<Obstacle> {
    let known = || fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("\toverlay\n"));
    if known() {
        return None;
    }
    // As a module it appears only once it is loaded. If modprobe is not there, the second look says so.
    let _loaded = std::process::Command::new("modprobe").arg("overlay").status();
    let mend = "load it with `modprobe overlay`, or use a kernel that has CONFIG_OVERLAY_FS";
    (!known()).then(|| obstacle("the kernel has no overlay filesystem", mend))
}

fn missing_cgroups() -> Option<Obstacle> {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let v1 = Path::new("/sys/fs/cgroup/cpu").exists() && Path::new("/sys/fs/cgroup/memory").exists();
    let mend = "mount it: `mount -t cgroup2 none /sys/fs/cgroup`";
    (!v1 && !v2)
        .then(|| obstacle("no cgroup hierarchy with cpu and memory is mounted at /sys/fs/cgroup", mend))
}

fn missing_program(name: &str, package: &str) -> Option<Obstacle> {
    const FOLDERS: [&str; 6] =
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = FOLDERS.iter().any(|folder| Path::new(folder).join(name).exists());
    let mend = format!("install the package `{package}` (Debian: apt-get install {package})");
    (!found).then(|| obstacle(format!("the program `{name}` is not installed"), mend))
}

fn taken_port(address: SocketAddr, option: &str) -> Option<Obstacle> {
    let error = TcpListener::bind(address).err()?;
    let mend = format!("free it (`ss -ltnp` shows who holds it) or choose another with {option}");
    Some(obstacle(format!("cannot listen on {address}: {error}"), mend))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{missing_program, taken_port};

    #[test]
    fn a_taken_port_is_named_with_the_option_to_change() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = taken_port(address, "--api-port").unwrap().to_string();
        assert!(found.contains(&address.to_string()) && found.contains("--api-port"), "{found}");
        drop(listener);
        assert_eq!(taken_port(address, "--api-port"), None);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        assert_eq!(missing_program("sh", "dash"), None);
        assert!(missing_program("no-such-program", "x").is_some());
    }
}
