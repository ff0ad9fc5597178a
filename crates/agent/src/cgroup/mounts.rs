//! Which cgroup hierarchies this host has mounted, and where.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A controller of a v1 hierarchy, by the name in its mount options.
pub type Controller = String;

/// How a host keeps its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
    /// CPU and memory in v1, and a v2 hierarchy beside it.
    Hybrid,
}

impl Version {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
        }
    }
}

/// What is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    pub v1: BTreeMap<Controller, PathBuf>,
    pub v2: Option<PathBuf>,
    /// Whether what a group of v2 keeps of memory and its children do not claim is shared out among them.
    pub protects_recursively: bool,
}

impl Mounts {
    /// Reads the text of `/proc/self/mountinfo`. Of several mounts of one tree the first counts of those that show most.
    pub fn parse(mountinfo: &str) -> Self {
        let mut seen: Vec<Mount<'_>> = mountinfo.lines().filter_map(Mount::parse).collect();
        seen.sort_by_key(|mount| std::cmp::Reverse(mount.view));
        let mut mounts = Self::default();
        for mount in seen {
            if mount.is_v2 {
                // One tree, so all mounts of it say the same.
                let mut options = mount.options.split(',');
                mounts.protects_recursively |= options.any(|option| option == "memory_recursiveprot");
                mounts.v2.get_or_insert(mount.point);
                continue;
            }
            let options = mount.options.split(',');
            for option in options.filter(|option| !["rw", "ro", "xattr", "none"].contains(option)) {
                mounts.v1.entry(option.to_owned()).or_insert_with(|| mount.point.clone());
            }
        }
        mounts
    }

    pub fn version(&self) -> Version {
        match (self.v1.contains_key("cpu"), &self.v2) {
            (false, Some(_)) => Version::V2,
            (true, Some(_)) => Version::Hybrid,
            (_, None) => Version::V1,
        }
    }
}

/// A mount of a whole tree, as far as this process may see it.
struct Mount<'a> {
    is_v2: bool,
    point: PathBuf,
    options: &'a str,
    view: View,
}

/// How far up a mount shows the tree, and whether it can be written. A container with a cgroup namespace of its own has its
/// own group mounted as a root; that of the host, if it is mounted into it, is above that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct View {
    levels_above: usize,
    is_writable: bool,
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 / /mount/point rw,noatime master:1 - cgroup2 source options`
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point, flags) = (mount.next()?, PathBuf::from(mount.next()?), mount.next()?);
        let mut filesystem = filesystem.split(' ');
        let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
        let mut levels = root.split('/').filter(|level| !level.is_empty());
        // A bind mount of a part of the tree is not the tree.
        if !matches!(kind, "cgroup" | "cgroup2") || levels.clone().any(|level| level != "..") {
            return None;
        }
        let view = View {
            levels_above: levels.by_ref().count(),
            is_writable: flags.split(',').any(|flag| flag == "rw"),
        };
        Some(Self { is_v2: kind == "cgroup2", point, options, view })
    }
}
