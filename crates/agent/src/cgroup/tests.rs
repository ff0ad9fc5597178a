//! Groups on a tree laid out as v2, and on this host's own hierarchies under a name of the test's own.

use expect_test::expect;
use model::{Bytes, MilliCpu};

use super::*;

#[test]
fn mounts_are_recognized() {
    let check = |mountinfo: &str, version: Version| assert_eq!(Mounts::parse(mountinfo).version(), version);
    let v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    let cpu = "33 32 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
    let unified = "31 32 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    check(v2, Version::V2);
    check(cpu, Version::V1);
    check(&format!("{cpu}{unified}garbage\n"), Version::Hybrid);
    let mounts = Mounts::parse(cpu);
    assert_eq!(mounts.v1["cpuacct"], mounts.v1["cpu"]);
    let recursive = v2.replace("rw,nsdelegate", "rw,memory_recursiveprot");
    let recursive = recursive.replace("cgroup2 rw", "cgroup2 rw,memory_recursiveprot");
    assert_eq!([v2, &recursive].map(|text| Mounts::parse(text).protects_recursively), [false, true]);
}

/// A container sees its own group as the root, and the host's tree where it was mounted into it.
#[test]
fn the_hosts_tree_counts_in_a_container() {
    let check = |lines: &[&str], expected: Option<&str>| {
        let mounts = Mounts::parse(&lines.join("\n"));
        assert_eq!(mounts.v2.as_deref(), expected.map(Path::new), "{lines:?}");
    };
    let own = "9 8 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw";
    let hosts = "9 8 0:26 /../../.. /host rw,nosuid - cgroup2 cgroup2 rw";
    let part = "9 8 0:26 /../../../a /part rw,nosuid - cgroup2 cgroup2 rw";
    let same = "9 8 0:26 / /host rw,nosuid master:3 - cgroup2 cgroup2 rw";
    check(&[own], Some("/sys/fs/cgroup"));
    check(&[own, part, hosts], Some("/host"));
    check(&[hosts, own], Some("/host"));
    check(&[own, same], Some("/host"));
    check(&[part], None);
    let v1 = Mounts::parse(
        "9 8 0:3 / /own ro - cgroup cgroup rw,cpu\n9 8 0:3 /.. /host rw - cgroup cgroup rw,cpu",
    );
    assert_eq!(v1.v1["cpu"], Path::new("/host"));
}

/// A directory with the files that the kernel would show.
fn fake_v2(dir: &Path, groups: &[&str]) {
    for group in groups {
        let path = dir.join(group);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("cgroup.controllers"), "cpuset cpu io memory pids\n").unwrap();
        std::fs::write(path.join("cgroup.subtree_control"), "").unwrap();
        std::fs::write(path.join("cpu.idle"), "0").unwrap();
        std::fs::write(path.join("cpu.stat"), "usage_usec 1500000\nuser_usec 1\n").unwrap();
        std::fs::write(path.join("memory.current"), "5000\n").unwrap();
        std::fs::write(path.join("memory.stat"), "anon 1\ninactive_file 2000\n").unwrap();
        std::fs::write(
            path.join("cpu.pressure"),
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=42\nfull avg10=0 total=1\n",
        )
        .unwrap();
        std::fs::write(path.join("cpuset.cpus"), "\n").unwrap();
        std::fs::write(path.join("cpuset.mems"), "\n").unwrap();
        std::fs::write(path.join("cpuset.cpus.effective"), "0-3\n").unwrap();
        std::fs::write(path.join("cpuset.mems.effective"), "0-1\n").unwrap();
        std::fs::write(path.join("cgroup.threads"), "7\n8\n").unwrap();
    }
}

#[test]
fn knobs_on_v2() {
    let dir = tempfile::tempdir().unwrap();
    fake_v2(dir.path(), &["", "crest", "crest/online", "crest-batch"]);
    let groups = Groups::new(&Mounts { v2: Some(dir.path().to_owned()), ..Mounts::default() }, "crest");
    assert_eq!(groups.prepare(MilliCpu(4000)).unwrap(), Vec::<&str>::new());
    let backend = groups.backend();
    backend.set("crest-batch", Knob::Quota(Some(MilliCpu(1500)))).unwrap();
    backend.set("crest/online", Knob::Memory(Some(Bytes(1 << 20)))).unwrap();
    let file = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    expect![[r#"
        1
        150000 100000
        157
        1048576"#]]
    .assert_eq(
        &[
            file("crest-batch/cpu.idle"),
            file("crest-batch/cpu.max"),
            file("crest/online/cpu.weight"),
            file("crest/online/memory.max"),
        ]
        .join("\n"),
    );
    backend.set("crest-batch", Knob::Quota(None)).unwrap();
    assert_eq!(file("crest-batch/cpu.max"), "max 100000");
    assert_eq!(backend.cpu_time("crest").unwrap(), Duration::from_millis(1500));
    assert_eq!(backend.memory("crest").unwrap(), Bytes(3000));
    assert_eq!(backend.cpu_pressure("crest/online"), Some(Duration::from_micros(42)));
    assert_eq!(backend.threads("crest/online"), [7, 8]);
    // What was never kept anywhere stays as it is.
    assert!(backend.set_place("crest-batch", &Place::default()).unwrap());
    assert_eq!(file("crest-batch/cpuset.cpus"), "\n");
    let place = Place { cpus: Some("1,3".parse().unwrap()), mems: Some("0".parse().unwrap()) };
    assert!(backend.set_place("crest-batch", &place).unwrap());
    assert_eq!([file("crest-batch/cpuset.cpus"), file("crest-batch/cpuset.mems")], ["1,3", "0"]);
    assert!(backend.set_place("crest-batch", &Place::default()).unwrap());
    assert_eq!([file("crest-batch/cpuset.cpus"), file("crest-batch/cpuset.mems")], ["0-3", "0-1"]);
    assert!(!backend.set_place("crest-batch/gone", &place).unwrap());
    // A quota that is about to be lowered takes the burst along.
    std::fs::write(dir.path().join("crest/online/cpu.max"), "200000 100000").unwrap();
    std::fs::write(dir.path().join("crest/online/cpu.max.burst"), "200000").unwrap();
    backend.set("crest/online", Knob::Burst(Some(MilliCpu(1000)))).unwrap();
    assert_eq!(file("crest/online/cpu.max.burst"), "100000");
    // Before Linux 5.8 the root group has no such file; any other that has none is gone.
    for group in ["", "crest/online"] {
        std::fs::remove_file(dir.path().join(group).join("cpu.stat")).unwrap();
    }
    assert!(backend.cpu_time("").unwrap() > Duration::ZERO && backend.cpu_time("crest/online").is_err());
    std::fs::remove_file(dir.path().join("crest/online/cpuset.cpus.effective")).unwrap();
    let missing = groups.prepare(MilliCpu(4000)).unwrap();
    assert!(missing[0].starts_with("the cpuset controller is missing"), "{missing:?}");
    std::fs::remove_file(dir.path().join("crest-batch/cpu.idle")).unwrap();
    let applied = backend.set("crest-batch", Knob::Idle(true)).unwrap();
    assert!(matches!(applied, Applied::Instead(_)));
    assert_eq!(file("crest-batch/cpu.weight"), "1");
}

/// The real kernel, v1, v2 or both: whatever this host has. Needs root.
#[test]
fn knobs_on_this_host() {
    let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
    let root = format!("crest-test-{}", std::process::id());
    let groups = Groups::new(&mounts, &root);
    let _removed = Removed(groups.clone());
    groups.prepare(MilliCpu(2000)).unwrap();
    let backend = groups.backend();
    let pod = groups.pod(QosClass::Batch, "x");
    backend.create(&pod).unwrap();
    for knob in [
        Knob::Weight(MilliCpu(100)),
        Knob::Quota(Some(MilliCpu(250))),
        Knob::Memory(Some(Bytes(64 << 20))),
        Knob::Tasks(1024),
    ] {
        assert_eq!(backend.set(&pod, knob).unwrap(), Applied::Fully);
    }
    let batch = groups.class(QosClass::Batch);
    let quotas = [Some(MilliCpu(500)), Some(MilliCpu(333)), None];
    for quota in quotas {
        backend.set(&batch, Knob::Quota(quota)).unwrap();
        let has = quotas.map(|other| backend.has_quota(&batch, other).unwrap());
        assert_eq!(has, quotas.map(|other| other == quota), "{quota:?}");
    }
    assert!(backend.cpu_time("").unwrap() > Duration::ZERO);
    assert_eq!(backend.cpu_time(&pod).unwrap(), Duration::ZERO);
    assert_eq!(backend.threads(&pod), Vec::<u32>::new());
    groups.remove_all().unwrap();
    groups.remove_all().unwrap();
    assert!(backend.cpu_time(&pod).is_err());
}

/// The Pod's group and one in it, as a runtime makes it: what hands controllers down may have no process of its own.
fn container_in(mounts: &Mounts, groups: &Groups, pod: &str) -> String {
    let container = format!("{pod}/c");
    if mounts.version() == Version::V2 {
        groups.backend().create(pod).unwrap();
        std::fs::create_dir(mounts.v2.as_ref().unwrap().join(&container)).unwrap();
    } else {
        groups.backend().create(&container).unwrap();
    }
    container
}

/// Files of the hands and what they say, on the real kernel.
fn hands_say(mounts: &Mounts, group: &str, disk: Disk) -> Vec<String> {
    let files: &[(&str, &str)] = match mounts.version() {
        Version::V2 => &[
            ("", "memory.min"),
            ("", "memory.low"),
            ("", "memory.high"),
            ("", "cpu.max.burst"),
            ("", "io.weight"),
            ("", "io.max"),
        ],
        Version::V1 | Version::Hybrid => &[
            ("memory", "memory.soft_limit_in_bytes"),
            ("cpu", "cpu.cfs_burst_us"),
            ("blkio", "blkio.bfq.weight"),
            ("blkio", "blkio.throttle.write_bps_device"),
        ],
    };
    let say = |(controller, file): &(&str, &str)| {
        let root = mounts.v1.get(*controller).or(mounts.v2.as_ref()).unwrap();
        let text = std::fs::read_to_string(root.join(group).join(file));
        text.map_or_else(|_| "absent".to_owned(), |text| text.trim().replace(&disk.to_string(), "disk"))
    };
    files.iter().map(say).collect()
}

/// Every hand on the real kernel, and all of it taken back. Needs root.
#[test]
fn hands_on_this_host() {
    let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
    let groups = Groups::new(&mounts, &format!("crest-test-hands-{}", std::process::id()));
    let _removed = Removed(groups.clone());
    groups.prepare(MilliCpu(2000)).unwrap();
    let backend = groups.backend();
    let pod = groups.pod(QosClass::Online, "x");
    backend.create(&pod).unwrap();
    // A virtual machine that runs from memory has no disk but those that could be made of files.
    let loops = Path::new("/sys/block/loop0").exists().then_some(Disk { major: 7, minor: 0 });
    let found = Disk::of(Path::new("/")).or(loops);
    let disk = found.unwrap_or(Disk { major: 254, minor: 0 });
    let before = hands_say(&mounts, &pod, disk);
    let bound = |write| found.map(|disk| Knob::IoBound(disk, IoBound { read: None, write }));
    let set = |knobs: &[Knob]| {
        // The second time nothing is written, and that says the same.
        let twice: Vec<Applied> = knobs.iter().map(|knob| backend.set(&pod, *knob).unwrap()).collect();
        assert_eq!(knobs.iter().map(|knob| backend.set(&pod, *knob).unwrap()).collect::<Vec<_>>(), twice);
    };
    let mib = Bytes(1 << 20);
    backend.set(&pod, Knob::Quota(Some(MilliCpu(500)))).unwrap();
    set(&[Knob::MemoryMin(mib), Knob::MemoryLow(mib), Knob::MemoryHigh(Some(mib))]);
    // More than the quota, and less, as a quota that is about to be lowered has it.
    set(&[
        Knob::Burst(Some(MilliCpu(9000))),
        Knob::Burst(Some(MilliCpu(200))),
        Knob::Burst(Some(MilliCpu(500))),
    ]);
    set(&[Knob::IoWeight(10)]);
    set(bound(Some(1 << 20)).as_slice());
    let held = hands_say(&mounts, &pod, disk);
    // A quota below the burst, which the kernel would refuse, takes the burst along.
    backend.set(&pod, Knob::Quota(Some(MilliCpu(100)))).unwrap();
    set(&[Knob::Burst(Some(MilliCpu(100)))]);
    set(&[Knob::MemoryMin(Bytes(0)), Knob::MemoryLow(Bytes(0)), Knob::MemoryHigh(None), Knob::Burst(None)]);
    set(&[Knob::IoWeight(100)]);
    set(bound(None).as_slice());
    assert_eq!(hands_say(&mounts, &pod, disk), before);
    let written = match (mounts.version(), found) {
        (Version::V2, None) => vec!["1048576", "1048576", "1048576", "50000", "default 10", ""],
        (Version::V2, Some(_)) => vec![
            "1048576",
            "1048576",
            "1048576",
            "50000",
            "default 10",
            "disk rbps=max wbps=1048576 riops=max wiops=max",
        ],
        (_, None) => vec!["1048576", "50000", "10", ""],
        (_, Some(_)) => vec!["1048576", "50000", "10", "disk 1048576"],
    };
    assert_eq!(held, written);
    let gone = backend.set("crest-test-not-there", Knob::Burst(Some(MilliCpu(1)))).unwrap_err();
    assert!(gone.is_gone(), "{gone:?}");
}

/// What the kernel counts of a process that works.
#[test]
fn counters_on_this_host() {
    let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
    let groups = Groups::new(&mounts, &format!("crest-test-count-{}", std::process::id()));
    let _removed = Removed(groups.clone());
    groups.prepare(MilliCpu(2000)).unwrap();
    let backend = groups.backend();
    let pod = groups.pod(QosClass::Online, "x");
    backend.create(&pod).unwrap();
    backend.set(&pod, Knob::Quota(Some(MilliCpu(100)))).unwrap();
    let container = container_in(&mounts, &groups, &pod);
    let mut child = std::process::Command::new("sh");
    let child = child.args(["-c", "read go; while :; do :; done"]).stdin(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    let roots = mounts.v1.values().chain(&mounts.v2).map(|root| root.join(&container));
    for procs in roots.filter(|root| root.exists()).map(|root| root.join("cgroup.procs")) {
        std::fs::write(procs, child.id().to_string()).unwrap();
    }
    assert_eq!(backend.some_process(&container), Some(child.id()));
    drop(child.stdin.take());
    let throttled = || backend.counters(&pod).cpu.unwrap().throttled > Duration::ZERO;
    let begun = kit::clock::monotonic();
    while !throttled() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    let counters = backend.counters(&pod);
    child.kill().unwrap();
    child.wait().unwrap();
    let cpu = counters.cpu.unwrap();
    assert!(
        cpu.used > Duration::ZERO && cpu.throttled_periods > 0 && cpu.throttled > Duration::ZERO,
        "{cpu:?}"
    );
    let memory = counters.memory.unwrap();
    assert!(memory.used > 0 && memory.used >= memory.working_set, "{memory:?}");
    assert!(counters.io.is_some(), "{counters:?}");
    if mounts.version() == Version::V2 {
        assert!(counters.pressure.cpu.is_some() && memory.scanned.is_some(), "{counters:?}");
    }
    assert_eq!(backend.children(&groups.class(QosClass::Online)), [pod]);
    assert_eq!(backend.counters("crest-test-not-there"), Counters::default());
}

/// The same on a host with cgroup v2: this very program runs again inside a virtual machine.
#[test]
fn the_same_in_a_guest() {
    if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        println!("skipped: qemu-system-x86 is not installed");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/guest.sh");
    let this = std::env::current_exe().unwrap();
    let command = format!("{} --test-threads 1 on_this_host a_look_costs", this.display());
    let mut guest = std::process::Command::new("sh");
    let said = guest.arg(script).arg(command).arg(&this).arg("/usr/bin/busybox").output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
    assert!(text.contains("6 passed"), "{text}");
}

/// The real kernel moves a process that runs, wherever in the tree its group is. Needs root, and two CPUs to choose from.
#[test]
fn places_on_this_host() {
    let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
    let root = format!("crest-test-place-{}", std::process::id());
    let groups = Groups::new(&mounts, &root);
    let _removed = Removed(groups.clone());
    groups.prepare(MilliCpu(2000)).unwrap();
    let backend = groups.backend();
    let all = backend.usable_cpus(&groups.class(QosClass::Online)).unwrap();
    let pod = groups.pod(QosClass::Online, "x");
    let container = container_in(&mounts, &groups, &pod);
    let tree = mounts.v1.get("cpuset").or(mounts.v2.as_ref()).unwrap();
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let procs = tree.join(&container).join("cgroup.procs");
    std::fs::write(procs, child.id().to_string()).unwrap();
    let affinity = || {
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        let set = nix::sched::sched_getaffinity(pid).unwrap();
        (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap()).collect::<CpuSet>()
    };
    let mut seen = vec![affinity()];
    for cpu in all.iter().take(2) {
        let place = Place { cpus: Some([cpu].into_iter().collect()), mems: None };
        assert!(backend.set_place(&pod, &place).unwrap());
        seen.push(affinity());
    }
    assert!(backend.set_place(&pod, &Place::default()).unwrap());
    seen.push(affinity());
    child.kill().unwrap();
    child.wait().unwrap();
    let one = |place: usize| all.iter().skip(place).take(1).collect::<CpuSet>();
    let expected = [vec![all.clone()], (0..all.len().min(2)).map(one).collect(), vec![all.clone()]].concat();
    assert_eq!(seen, expected);
}

/// As CRI-O has them where what watches a container is in its Pod's group.
#[test]
fn what_watches_a_container_is_not_it() {
    let dir = tempfile::tempdir().unwrap();
    let pod = "kubepods.slice/kubepods-podx.slice";
    for number in 0..20 {
        for kind in ["crio", "crio-conmon"] {
            std::fs::create_dir_all(dir.path().join(format!("{pod}/{kind}-id{number}.scope"))).unwrap();
        }
    }
    let mounts = Mounts { v2: Some(dir.path().to_owned()), ..Mounts::default() };
    let groups = Groups::of_kubelet(&mounts, "", Some(Driver::Systemd)).unwrap();
    for number in 0..20 {
        let expected = format!("{pod}/crio-id{number}.scope");
        assert_eq!(groups.container(pod, &format!("id{number}")), expected);
    }
}

/// As cgroup v1 leaves it when a CPU is switched off and on again. Needs root, and two CPUs.
#[test]
fn what_the_kernel_struck_is_given_back() {
    let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
    let groups = Groups::new(&mounts, &format!("crest-test-struck-{}", std::process::id()));
    let _removed = Removed(groups.clone());
    groups.prepare(MilliCpu(2000)).unwrap();
    let backend = groups.backend();
    let all = backend.usable_cpus(&groups.class(QosClass::Online)).unwrap();
    let pinned = groups.pod(QosClass::Online, "pinned");
    backend.create(&pinned).unwrap();
    let one = Place { cpus: Some(all.iter().take(1).collect()), mems: None };
    assert!(backend.set_place(&pinned, &one).unwrap());
    if let Some(root) = mounts.v1.get("cpuset") {
        for group in groups.line_of(QosClass::Online).iter().rev() {
            std::fs::write(root.join(group).join("cpuset.cpus"), one.cpus.as_ref().unwrap().to_string())
                .unwrap();
        }
    }
    groups.widen().unwrap();
    assert_eq!(backend.usable_cpus(&groups.class(QosClass::Online)).unwrap(), all);
    assert_eq!(Some(backend.usable_cpus(&pinned).unwrap()), one.cpus, "what is below stays");
}

/// Removes the groups of a test that failed, too.
struct Removed(Groups);

impl Drop for Removed {
    fn drop(&mut self) {
        self.0.remove_all().unwrap();
    }
}
