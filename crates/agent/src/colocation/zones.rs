//! The host's NUMA zones: what each has in use, and how what batch is offered is divided among them, for those outside.
//!
//! Nothing is read on a host of one zone. What is published has the form of `zones` in a NodeResourceTopology, as
//! topology-aware schedulers read it, in an annotation of the Node.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use level0::capacity::Explanation;
use level0::zones::{Reading, Terms, Zones as Dividing};
use model::names::{BATCH_CPU, BATCH_MEMORY};
use model::{CpuSet, CpuTopology};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

/// A zone moves by so much of its capacity before that is told.
const TELLING_CHANGE: f64 = 0.1;

/// One zone and what it offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Zone {
    pub id: u16,
    /// In milli-cores.
    pub cpu: Terms,
    /// In bytes.
    pub memory: Terms,
}

/// Looks at the zones of a host.
#[derive(Debug)]
pub(super) struct Zones {
    topology: watch::Receiver<Option<Arc<CpuTopology>>>,
    /// Where the kernel tells of NUMA nodes, and of its CPUs.
    system: PathBuf,
    stat: PathBuf,
    /// By CPU, in the kernel's ticks.
    busy: HashMap<usize, u64>,
    read_at: Option<Duration>,
    cpu: Dividing,
    memory: Dividing,
    told: Vec<Zone>,
}

impl Zones {
    pub(super) fn new(topology: watch::Receiver<Option<Arc<CpuTopology>>>) -> Self {
        Self::below(topology, "/sys/devices/system".into(), "/proc/stat".into())
    }

    fn below(topology: watch::Receiver<Option<Arc<CpuTopology>>>, system: PathBuf, stat: PathBuf) -> Self {
        Self {
            topology,
            system,
            stat,
            busy: HashMap::new(),
            read_at: None,
            cpu: Dividing::default(),
            memory: Dividing::default(),
            told: Vec::new(),
        }
    }

    /// Divides what the host offers; `own` are CPUs that are somebody's alone. Empty where there is but one zone.
    pub(super) fn divide(
        &mut self,
        own: &CpuSet,
        (cpu, memory): (&Explanation, &Explanation),
        now: Duration,
    ) -> Vec<Zone> {
        let topology = self.topology.borrow().clone();
        let Some(topology) = topology.filter(|topology| topology.numa().len() > 1) else { return Vec::new() };
        let ticks = fs::read_to_string(&self.stat).map(|text| busy(&text)).unwrap_or_default();
        let before = std::mem::replace(&mut self.busy, ticks);
        let elapsed = self.read_at.replace(now).map_or(0.0, |at| now.saturating_sub(at).as_secs_f64());
        let used = |cpu: usize| {
            let ticks = self.busy.get(&cpu)?.checked_sub(*before.get(&cpu)?)?;
            (elapsed > 0.01).then(|| ticks as f64 / elapsed)
        };
        let cpus = topology.numa().iter().map(|zone| {
            let cpus = zone.cpus();
            let own = cpus.common(own);
            let shared = cpus.without(&own);
            let reading = Reading {
                capacity: cpus.len() as f64 * 1000.0,
                own: own.len() as f64 * 1000.0,
                used: shared.iter().filter_map(used).sum(),
            };
            (zone.id, reading)
        });
        let cpus: Vec<(u16, Reading)> = cpus.collect();
        let memories = topology.numa().iter().map(|zone| {
            let info = fs::read_to_string(self.system.join(format!("node/node{}/meminfo", zone.id)));
            let info = info.map(|text| meminfo(&text)).unwrap_or_default();
            let capacity = zone.memory.unwrap_or(info.total);
            (zone.id, Reading { capacity: capacity as f64, own: 0.0, used: info.used as f64 })
        });
        let memories: Vec<(u16, Reading)> = memories.collect();
        let cpu = self.cpu.divide(cpu, &cpus, now);
        let mut memory = self.memory.divide(memory, &memories, now);
        let zone = |(id, cpu)| Zone { id, cpu, memory: memory.remove(&id).unwrap_or_default() };
        cpu.into_iter().map(zone).collect()
    }

    /// Whether `zones` differ enough from what was told; they then count as told if `must` or they do.
    pub(super) fn tell(&mut self, zones: &[Zone], must: bool) -> bool {
        let moved = |new: &Terms, old: &Terms| {
            new.offered.abs_diff(old.offered) as f64 > TELLING_CHANGE * new.capacity.max(0) as f64
        };
        let differs = |(new, old): (&Zone, &Zone)| {
            new.id != old.id || moved(&new.cpu, &old.cpu) || moved(&new.memory, &old.memory)
        };
        let is_news = zones.len() != self.told.len() || zones.iter().zip(&self.told).any(differs);
        if is_news || must {
            self.told = zones.to_vec();
        }
        is_news
    }
}

/// As `zones` of a NodeResourceTopology; `None` where there is but one.
pub(super) fn published(zones: &[Zone]) -> Option<String> {
    let resource = |name: &str, terms: &Terms| {
        let offered = terms.offered.to_string();
        json!({"name": name, "capacity": terms.capacity.to_string(), "allocatable": offered, "available": offered})
    };
    let zone = |zone: &Zone| {
        json!({"name": format!("node-{}", zone.id), "type": "Node",
            "resources": [resource(BATCH_CPU, &zone.cpu), resource(BATCH_MEMORY, &zone.memory)]})
    };
    (zones.len() > 1).then(|| Value::from(zones.iter().map(zone).collect::<Vec<_>>()).to_string())
}

/// Ticks in which each CPU did something: `cpu1 user nice system idle iowait irq softirq steal ...`.
fn busy(stat: &str) -> HashMap<usize, u64> {
    let cpu = |line: &str| {
        let mut words = line.strip_prefix("cpu")?.split(' ');
        let cpu = words.next()?.parse().ok()?;
        let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
        Some((cpu, [user, nice, system, irq, softirq].into_iter().fold(0, u64::saturating_add)))
    };
    stat.lines().filter_map(cpu).collect()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    total: u64,
    /// What the kernel cannot give away at once.
    used: u64,
}

/// `Node 0 MemTotal:       65838820 kB`
fn meminfo(text: &str) -> Memory {
    let line = |line: &str| {
        let (_, rest) = line.trim().strip_prefix("Node ")?.split_once(' ')?;
        let (name, amount) = rest.split_once(':')?;
        Some((name.to_owned(), amount.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?))
    };
    let lines: BTreeMap<String, u64> = text.lines().filter_map(line).collect();
    let bytes = |name: &str| lines.get(name).copied().unwrap_or(0).saturating_mul(1024);
    let total = bytes("MemTotal");
    let given_away = ["MemFree", "Active(file)", "Inactive(file)", "SReclaimable"].map(bytes);
    Memory { total, used: given_away.into_iter().fold(total, u64::saturating_sub) }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// A host of two zones with two CPUs each, whose files can change.
    struct Host {
        folder: tempfile::TempDir,
        zones: Zones,
        _topology: watch::Sender<Option<Arc<CpuTopology>>>,
    }

    impl Host {
        fn of(topology: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (sender, topology) = watch::channel(Some(Arc::new(serde_json::from_str(topology).unwrap())));
            let (system, stat) = (folder.path().join("sys"), folder.path().join("stat"));
            Self { zones: Zones::below(topology, system, stat), folder, _topology: sender }
        }

        fn says(&self, path: &str, text: &str) {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn uses(&self, node: u16, free_kib: u64) {
            let info = format!(
                "\nNode {node} MemTotal:       4096 kB\nNode {node} MemFree:  {free_kib} kB\nNode {node} Active(file):   96 kB\n"
            );
            self.says(&format!("sys/node/node{node}/meminfo"), &info);
        }

        fn divide(&mut self, own: &str, second: u64) -> Vec<Zone> {
            let cpu = Explanation {
                capacity: 4000,
                margin: 400,
                online_measured: 1000,
                offered: 2600,
                ..Explanation::default()
            };
            let memory = Explanation { capacity: 8 << 20, offered: 4 << 20, ..Explanation::default() };
            self.zones.divide(&own.parse().unwrap(), (&cpu, &memory), Duration::from_secs(second))
        }
    }

    const TWO: &str = r#"{"numa":[{"id":0,"socket":0,"memory":4194304,"cores":["0","1"]},{"id":1,"socket":1,"cores":["2-3"]}]}"#;

    fn offered(zones: &[Zone]) -> Vec<(i64, i64)> {
        zones.iter().map(|zone| (zone.cpu.offered, zone.memory.offered)).collect()
    }

    #[test]
    fn what_is_in_use_where_is_read_from_the_kernels_files() {
        let mut host = Host::of(TWO);
        let stat = |ticks: [u64; 4]| {
            let line = |(cpu, ticks): (usize, u64)| format!("cpu{cpu} {ticks} 0 0 999 5 0 0 0 0 0\n");
            format!("cpu  1 2 3 4\n{}intr 7 8\n", (0..).zip(ticks).map(line).collect::<String>())
        };
        host.says("stat", &stat([100, 100, 100, 100]));
        host.uses(0, 4000);
        host.uses(1, 2000);
        // Before there is a second look, nobody knows where what is used is.
        assert_eq!(offered(&host.divide("", 0)), [(1300, 2_097_152), (1300, 2_097_152)]);
        host.says("stat", &stat([150, 150, 100, 100]));
        assert_eq!(offered(&host.divide("", 1)), [(800, 2_097_152), (1800, 2_097_152)]);
        // What CPUs do that are somebody's own is not what others find taken.
        assert_eq!(host.divide("0", 2)[0].cpu.own, 1000);
        // A counter that went back and files that are gone: by what was known, and no harm done.
        host.says("stat", &stat([0, 0, 0, 0]));
        let sum = |zones: &[Zone]| zones.iter().map(|zone| zone.cpu.offered).sum::<i64>();
        assert!((2598..=2600).contains(&sum(&host.divide("", 3))));
        fs::remove_file(host.folder.path().join("stat")).unwrap();
        fs::remove_dir_all(host.folder.path().join("sys")).unwrap();
        assert!((2598..=2600).contains(&sum(&host.divide("", 4))));
    }

    #[test]
    fn a_host_of_one_zone_has_none() {
        let mut host = Host::of(r#"{"numa":[{"id":0,"socket":0,"cores":["0","1"]}]}"#);
        assert!(host.divide("", 0).is_empty());
        assert_eq!(published(&[]), None);
    }

    #[test]
    fn zones_are_told_as_others_know_them() {
        let terms = |offered| Terms { capacity: 2000, own: 0, taken: 0, offered };
        let zone = |id, offered| Zone { id, cpu: terms(offered), memory: terms(7) };
        expect![[r#"[{"name":"node-0","resources":[{"allocatable":"1500","available":"1500","capacity":"2000","name":"kubernetes.io/batch-cpu"},{"allocatable":"7","available":"7","capacity":"2000","name":"kubernetes.io/batch-memory"}],"type":"Node"},{"name":"node-2","resources":[{"allocatable":"300","available":"300","capacity":"2000","name":"kubernetes.io/batch-cpu"},{"allocatable":"7","available":"7","capacity":"2000","name":"kubernetes.io/batch-memory"}],"type":"Node"}]"#]]
        .assert_eq(&published(&[zone(0, 1500), zone(2, 300)]).unwrap());
        let mut host = Host::of(TWO);
        let mut tell = |zones: &[Zone], must| host.zones.tell(zones, must);
        assert!(tell(&[zone(0, 1500), zone(1, 300)], false));
        assert!(!tell(&[zone(0, 1350), zone(1, 450)], false), "less than a tenth of the zone");
        assert!(tell(&[zone(0, 1250), zone(1, 550)], false));
        assert!(!tell(&[zone(0, 1150), zone(1, 650)], true), "as the host is told anyway");
        assert!(!tell(&[zone(0, 1050), zone(1, 750)], false));
        assert!(tell(&[], false));
    }

    #[test]
    fn the_kernels_lines() {
        let meminfo = meminfo(
            "Node 0 MemTotal:   1000 kB\nNode 0 MemFree:  100 kB\nNode 0 Active(file): 50 kB\nNode 0 Inactive(file): 30 kB\nNode 0 SReclaimable: 20 kB\nNode 0 Shmem: 5 kB\nodd",
        );
        assert_eq!(meminfo, Memory { total: 1000 << 10, used: 800 << 10 });
        assert_eq!(
            busy("cpu 1 1 1 1 1 1 1\ncpu3 1 2 4 100 100 8 16 32\ncpux 1\ncpu4 1 2"),
            HashMap::from([(3, 31)])
        );
    }
}
