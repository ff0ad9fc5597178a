//! Disks, and how fast a group may use them.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A disk, by its device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Disk {
    pub major: u64,
    pub minor: u64,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// The most bytes per second; `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IoBound {
    pub read: Option<u64>,
    pub write: Option<u64>,
}

impl Disk {
    /// The disk on which `path` lies; `None` where that is memory, a network, or several disks.
    pub fn of(path: &Path) -> Option<Self> {
        let device = std::fs::metadata(path).ok()?.dev();
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        whole(Path::new("/sys/dev/block"), Self { major, minor })
    }

    /// Who decides there which request goes next; `None` where the kernel does not tell.
    pub fn scheduler(self) -> Option<String> {
        let file = PathBuf::from(format!("/sys/dev/block/{self}/queue/scheduler"));
        let text = std::fs::read_to_string(file).ok()?;
        let (_, chosen) = text.split_once('[')?;
        chosen.split_once(']').map(|(name, _)| name.to_owned())
    }

    /// Whether `io.cost` divides this disk by weight.
    pub fn has_io_cost(self, v2: &Path) -> bool {
        let text = std::fs::read_to_string(v2.join("io.cost.qos")).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&format!("{self} ")));
        lines.any(|settings| settings.split(' ').any(|setting| setting == "enable=1"))
    }
}

/// Groups are bound on whole disks, not on partitions.
fn whole(sys: &Path, disk: Disk) -> Option<Disk> {
    let device = sys.join(disk.to_string()).canonicalize().ok()?;
    if !device.join("partition").exists() {
        return Some(disk);
    }
    let text = std::fs::read_to_string(device.parent()?.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(Disk { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// What `io.max` says of `disk`: `254:0 rbps=max wbps=1048576 riops=max wiops=max`
pub(super) fn bound_in_v2(text: &str, disk: Disk) -> IoBound {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{disk} "))).unwrap_or_default();
    let value = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name))?.parse().ok();
    IoBound { read: value("rbps="), write: value("wbps=") }
}

/// What a file of `blkio.throttle` says of `disk`: `254:0 1048576`
pub(super) fn bound_in_v1(text: &str, disk: Disk) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(&format!("{disk} ")))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Disk = Disk { major: 254, minor: 0 };

    #[test]
    fn bounds_are_read_back() {
        let of = |text: &str| bound_in_v2(text, DISK);
        assert_eq!(of(""), IoBound::default());
        assert_eq!(of("254:1 rbps=1 wbps=2\n"), IoBound::default());
        let bound = IoBound { read: None, write: Some(7) };
        assert_eq!(of("8:0 rbps=1 wbps=1\n254:0 rbps=max wbps=7 riops=max wiops=max\n"), bound);
        assert_eq!(bound_in_v1("8:0 1\n254:0 7\n", DISK), Some(7));
        assert_eq!(bound_in_v1("254:00 7\n254:0 x\n", DISK), None);
    }

    #[test]
    fn partitions_lead_to_their_disk() {
        let sys = tempfile::tempdir().unwrap();
        let part = sys.path().join("devices/vda/vda1");
        std::fs::create_dir_all(&part).unwrap();
        std::fs::write(part.join("partition"), "1\n").unwrap();
        std::fs::write(sys.path().join("devices/vda/dev"), "254:0\n").unwrap();
        std::os::unix::fs::symlink("devices/vda/vda1", sys.path().join("254:1")).unwrap();
        std::os::unix::fs::symlink("devices/vda", sys.path().join("254:0")).unwrap();
        let of = |minor| whole(sys.path(), Disk { major: 254, minor });
        assert_eq!([of(1), of(0), of(2)], [Some(DISK), Some(DISK), None]);
    }
}
