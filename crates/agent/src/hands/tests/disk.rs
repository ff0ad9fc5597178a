//! Batch at a real disk: all of it together writes no faster than it may. Needs root.

use std::time::Duration;

use super::*;
use crate::cgroup::{Disk, IoBound, Version};
use crate::hands::ground;
use crate::hands::sides::{Running, sides};

/// How long two containers of batch take to write four mebibytes each, side by side.
fn writes(host: &SmallHost, groups: [&str; 2]) -> Duration {
    let folder = host.folder.path().display();
    let controller = host.mounts.v1.get("blkio").or(host.mounts.v2.as_ref()).unwrap();
    let begun = kit::clock::monotonic();
    let writers = groups.map(|group| {
        let procs = controller.join(group).join("cgroup.procs");
        let name = group.replace('/', "-");
        let write = format!("dd if=/dev/zero of={folder}/{name} bs=64k count=64 oflag=direct status=none");
        let script = format!("echo $$ > {} && exec {write}", procs.display());
        Command::new("sh").args(["-c", &script]).spawn().unwrap()
    });
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    begun.elapsed()
}

#[test]
fn batch_writes_no_faster_than_it_may() {
    let host = SmallHost::new("disk");
    if Disk::of(host.folder.path()).is_none() {
        println!("skipped: files of this host lie on no single disk");
        return;
    }
    let ground = ground::probe(&host.groups, &host.mounts, host.folder.path()).unwrap();
    let running = ["y", "z"].map(|uid| {
        let metadata = serde_json::json!({ "uid": uid, "labels": { "crest.dev/class": "batch" } });
        let pod = serde_json::json!({ "metadata": metadata, "spec": { "containers": [] } });
        Running {
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            containers: vec![("c".to_owned(), "c".to_owned())],
        }
    });
    let (_, batch_pods) = sides(&host.groups, running.into_iter());
    for pod in &batch_pods {
        let container = &pod.below[0];
        if host.mounts.version() == Version::V2 {
            host.groups.backend().create(&pod.group).unwrap();
            std::fs::create_dir(host.memory_root().join(container)).unwrap();
        } else {
            host.groups.backend().create(container).unwrap();
        }
    }
    let scene = Scene {
        batch_pods: batch_pods.clone(),
        disk: ground.disk,
        disk_bounds: ground.disk_bounds,
        ..host.scene(Vec::new())
    };
    let containers = [&*batch_pods[0].below[0], &*batch_pods[1].below[0]];
    let mut mover = Mover::new(host.groups.clone());
    let now = kit::clock::monotonic();
    let io_bound = IoBound { read: None, write: Some(4 * MIB) };
    mover.apply(wishes(&config::Hands { io_bound, ..config::Hands::none() }, &scene).list, now);
    let held = writes(&host, containers);
    mover.apply(wishes(&config::Hands::none(), &scene).list, now);
    let free = writes(&host, containers);
    println!("8 MiB at 4 MiB a second: {held:?}, without a bound: {free:?}");
    assert_eq!(mover.failures, 0);
    // The kernel lets a slice of a second through at once.
    assert!(held >= Duration::from_millis(1500), "{held:?}");
    assert!(free < held, "{free:?} {held:?}");
}
