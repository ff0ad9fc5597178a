//! What a look says, and what it costs.

use std::fs;

use model::MilliCpu;

use super::*;
use crate::cgroup::Mounts;

#[test]
fn a_namespace_is_the_sum_of_its_devices() {
    let text = "Inter-|   Receive\n face |bytes\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n\
                \u{20} eth0: 10 2 0 0 0 0 0 0 30 4 0 0 0 0 0 0\n  eth1:1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n broken: 1 x\n";
    let sum = Network { received_bytes: 11, received_packets: 3, sent_bytes: 31, sent_packets: 5 };
    assert_eq!(devices(text), Some(sum));
    assert_eq!(devices("Inter-|\n face |\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n"), None);
    assert_eq!(devices(""), None);
}

/// Calls of `read` that this thread has made.
fn reads() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap();
    text.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
}

/// A hundred containers of the real kernel. Needs root.
#[test]
fn a_look_costs_a_bounded_number_of_reads_a_container() {
    const CONTAINERS: u64 = 100;
    let mounts = Mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap());
    let groups = Groups::new(&mounts, &format!("crest-test-cost-{}", std::process::id()));
    let _removed = Removed(groups.clone());
    groups.prepare(MilliCpu(2000)).unwrap();
    let target = |number: u64| {
        let group = format!("{}/c", groups.pod(QosClass::Online, &number.to_string()));
        groups.backend().create(&group).unwrap();
        Target {
            namespace: "n".into(),
            name: number.to_string(),
            class: QosClass::Online,
            has_network: true,
            containers: vec![("c".into(), group)],
        }
    };
    let targets: Vec<Target> = (0..CONTAINERS).map(target).collect();
    let (before, began) = (reads(), kit::clock::monotonic());
    let signals = read(&groups, targets, &mut Waiting::default());
    let (took, made) = (began.elapsed(), reads() - before);
    println!("{made} reads, {took:?} for {CONTAINERS} containers");
    assert!(signals.pods.iter().all(|pod| pod.containers[0].1.memory.is_some()));
    // Each of the ten files takes one to read it and one to see that it has ended, and so does the list of threads; both
    // classes count, too.
    assert!(made <= (CONTAINERS + 2) * 24, "{made}");
}

/// Removes the groups of a test that failed, too.
struct Removed(Groups);

impl Drop for Removed {
    fn drop(&mut self) {
        self.0.remove_all().unwrap();
    }
}
