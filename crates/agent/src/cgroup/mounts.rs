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
}

impl Mounts {
    /// Reads the text of `/proc/self/mountinfo`.
    pub fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            mounts.add(line);
        }
        mounts
    }

    /// `36 35 98:0 / /mount/point rw,noatime master:1 - cgroup2 source options`
    fn add(&mut self, line: &str) -> Option<()> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, PathBuf::from(mount.next()?));
        let mut filesystem = filesystem.split(' ');
        let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
        match kind {
            // A bind mount of a part of the tree is not the tree.
            "cgroup2" if root == "/" => {
                self.v2.get_or_insert(point);
            }
            "cgroup" if root == "/" => {
                for option in
                    options.split(',').filter(|option| !["rw", "ro", "xattr", "none"].contains(option))
                {
                    self.v1.entry(option.to_owned()).or_insert_with(|| point.clone());
                }
            }
            _ => {}
        }
        Some(())
    }

    pub fn version(&self) -> Version {
        match (self.v1.contains_key("cpu"), &self.v2) {
            (false, Some(_)) => Version::V2,
            (true, Some(_)) => Version::Hybrid,
            (_, None) => Version::V1,
        }
    }
}
