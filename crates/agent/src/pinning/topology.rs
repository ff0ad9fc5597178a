//! How the CPUs of a host lie, from the kernel's files below `/sys/devices/system`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use model::cpu_topology::NumaNode;
use model::{CpuSet, CpuTopology};

/// The topology of those CPUs that are online and `usable`; `None` where the kernel does not tell, or there is none.
pub fn read(system: &Path, usable: &CpuSet) -> Option<CpuTopology> {
    let online: CpuSet = value(&system.join("cpu/online"))?;
    let cpus = online.common(usable);
    let mut zones = zones(system);
    // A kernel without NUMA has one node with everything; a CPU of none is as near to the first as to any other.
    let known = zones.iter().fold(CpuSet::default(), |mut known, zone| {
        known.add(&zone.cpus);
        known
    });
    let strays = cpus.without(&known);
    match zones.first_mut() {
        Some(first) => first.cpus.add(&strays),
        None => zones.push(Zone { id: 0, memory: None, cpus: strays }),
    }
    let nodes = zones.into_iter().map(|zone| {
        let cores = cores(system, &zone.cpus.common(&cpus));
        let socket = cores.first().and_then(CpuSet::first).and_then(|cpu| socket(system, cpu)).unwrap_or(0);
        NumaNode { id: zone.id, socket, memory: zone.memory, cores }
    });
    CpuTopology::try_new(nodes.collect()).ok()
}

struct Zone {
    id: u16,
    memory: Option<u64>,
    cpus: CpuSet,
}

/// The NUMA nodes, in the order of their ids.
fn zones(system: &Path) -> Vec<Zone> {
    let entries = fs::read_dir(system.join("node")).into_iter().flatten().filter_map(Result::ok);
    let zone = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
        let cpus = value(&entry.path().join("cpulist"))?;
        Some((id, Zone { id, memory: memory(&entry.path()), cpus }))
    };
    let zones: BTreeMap<u16, Zone> = entries.filter_map(zone).collect();
    zones.into_values().collect()
}

/// `Node 0 MemTotal:       65838820 kB`
fn memory(node: &Path) -> Option<u64> {
    let text = fs::read_to_string(node.join("meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.split_once(" MemTotal:"))?.1;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The hyper-threads of each core, as far as they are among `cpus`.
fn cores(system: &Path, cpus: &CpuSet) -> Vec<CpuSet> {
    let mut left = cpus.clone();
    let mut cores = Vec::new();
    while let Some(cpu) = left.first() {
        let mut core = siblings(system, cpu).common(&left);
        core.insert(cpu);
        left.subtract(&core);
        cores.push(core);
    }
    cores
}

/// Older kernels know the file by its second name. Without either, as in some guests, a CPU is a core.
fn siblings(system: &Path, cpu: usize) -> CpuSet {
    let topology = system.join(format!("cpu/cpu{cpu}/topology"));
    let named = ["core_cpus_list", "thread_siblings_list"];
    named.iter().find_map(|name| value(&topology.join(name))).unwrap_or_default()
}

fn socket(system: &Path, cpu: usize) -> Option<u16> {
    value(&system.join(format!("cpu/cpu{cpu}/topology/physical_package_id")))
}

fn value<T: FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
