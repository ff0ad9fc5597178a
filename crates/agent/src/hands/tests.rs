//! Hands on the real kernel, with files that are read. Needs root.

mod disk;
mod kubelet;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use level0::shield::Beyond;
use model::{Bytes, MilliCpu, QosClass};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::mover::Mover;
use super::wish::{DiskBounds, Online, Scene, wishes};
use crate::cgroup::{Groups, Knob, Mounts};
use crate::config;

const MIB: u64 = 1 << 20;

/// A host of 160 MiB: services and batch below one group that can hold no more.
struct SmallHost {
    groups: Groups,
    parent: String,
    folder: tempfile::TempDir,
    mounts: Mounts,
}

impl SmallHost {
    fn new(test: &str) -> Self {
        let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
        let parent = format!("crest-test-{test}-{}", std::process::id());
        let groups = Groups::new(&mounts, &format!("{parent}/crest"));
        let host = Self { groups, parent, folder: tempfile::tempdir().unwrap(), mounts };
        host.groups.prepare(MilliCpu(2000)).unwrap();
        host.groups.backend().set(&host.parent, Knob::Memory(Some(Bytes(160 * MIB)))).unwrap();
        host
    }

    /// Reads a file of holes in `group`: pages that the kernel keeps until others want their room.
    fn reads(&self, group: &str, name: &str, bytes: u64) {
        let path = self.folder.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        let procs = self.memory_root().join(group).join("cgroup.procs");
        let script = format!("echo $$ > {} && exec cat {} > /dev/null", procs.display(), path.display());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    fn scene(&self, online: Vec<Online>) -> Scene {
        Scene {
            capacity: 160 * MIB,
            line: self.groups.line_of(QosClass::Online),
            batch: self.groups.class(QosClass::Batch),
            online,
            converted: Vec::new(),
            batch_pods: Vec::new(),
            disk: None,
            disk_bounds: DiskBounds::OfTrees,
            beyond: Beyond::Killed,
            bound: None,
        }
    }

    fn memory_root(&self) -> &Path {
        self.mounts.v1.get("memory").or(self.mounts.v2.as_ref()).unwrap()
    }
}

impl Drop for SmallHost {
    fn drop(&mut self) {
        self.groups.backend().remove(&self.parent).unwrap();
    }
}

/// What a service keeps of the 64 MiB that it read, once batch has streamed half a gibibyte through.
fn kept_beside_a_stream(settings: &config::Hands, bound: Option<u64>) -> u64 {
    let host = SmallHost::new("stream");
    let (pod, batch_pod) = (host.groups.pod(QosClass::Online, "x"), host.groups.pod(QosClass::Batch, "y"));
    let (service, stream) = (format!("{pod}/c"), format!("{batch_pod}/c"));
    for (pod, container) in [(&pod, &service), (&batch_pod, &stream)] {
        host.groups.backend().create(pod).unwrap();
        std::fs::create_dir(host.memory_root().join(container)).unwrap();
    }
    let online = Online { group: pod, below: vec![service.clone()], request: 96 * MIB, ..Online::default() };
    let scene = Scene { bound, ..host.scene(vec![online]) };
    let mut mover = Mover::new(host.groups.clone());
    mover.apply(wishes(settings, &scene).list, kit::clock::monotonic());
    assert_eq!(mover.failures, 0);
    host.reads(&service, "service", 64 * MIB);
    host.reads(&stream, "stream", 512 * MIB);
    host.groups.backend().counters(&service).memory.unwrap().cache
}

#[test]
fn a_stream_of_files_pushes_out_its_own_pages_only() {
    if statfs(&std::env::temp_dir()).unwrap().filesystem_type() == TMPFS_MAGIC {
        println!("skipped: a file system in memory keeps no second copy of what is in it");
        return;
    }
    let plain = kept_beside_a_stream(&config::Hands::none(), None);
    let held = kept_beside_a_stream(&config::Hands::default(), Some(48 * MIB));
    println!("kept of 64 MiB: {} beside a plain stream, {} beside a held one", plain / MIB, held / MIB);
    assert!(held >= 60 * MIB && plain < held, "{plain} {held}");
}
