//! How the CPUs of a machine lie: NUMA nodes with their memory, and physical cores with their hyper-threads.
//!
//! The agent of a host tells it by the annotation [`CPU_TOPOLOGY`](crate::names::CPU_TOPOLOGY) of its Node:
//!
//! ```text
//! {"numa":[{"id":0,"socket":0,"memory":67108864,"cores":["0,4","1,5"]},{"id":1,"socket":1,"cores":["2,6","3,7"]}]}
//! ```

use serde::{Deserialize, Serialize};

use crate::cpu_set::CpuSet;

/// The CPUs of a machine that are online.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct CpuTopology {
    /// In the order of their ids; those without CPUs are left out.
    numa: Vec<NumaNode>,
}

/// Memory and the cores that are near to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumaNode {
    pub id: u16,
    /// Where a NUMA node reaches over several, that of its first core.
    pub socket: u16,
    /// In bytes, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The hyper-threads of each physical core, in the order of their first.
    pub cores: Vec<CpuSet>,
}

/// Why what claims to be a topology is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    #[error("there are two NUMA nodes {0}")]
    TwiceTheNode(u16),
    #[error("CPUs {0} belong to two cores")]
    TwiceTheCpu(CpuSet),
    #[error("a core of NUMA node {0} has no CPU")]
    EmptyCore(u16),
    #[error("there is no CPU")]
    Empty,
}

#[derive(Deserialize)]
struct Raw {
    numa: Vec<NumaNode>,
}

impl TryFrom<Raw> for CpuTopology {
    type Error = TopologyError;

    fn try_from(raw: Raw) -> Result<Self, TopologyError> {
        Self::try_new(raw.numa)
    }
}

impl CpuTopology {
    pub fn try_new(mut numa: Vec<NumaNode>) -> Result<Self, TopologyError> {
        numa.retain(|node| !node.cores.is_empty());
        numa.sort_by_key(|node| node.id);
        let mut seen = CpuSet::default();
        for node in &mut numa {
            node.cores.sort_by_key(CpuSet::first);
            for core in &node.cores {
                let twice = core.common(&seen);
                if !twice.is_empty() {
                    return Err(TopologyError::TwiceTheCpu(twice));
                }
                if core.is_empty() {
                    return Err(TopologyError::EmptyCore(node.id));
                }
                seen.add(core);
            }
        }
        if let Some(twins) = numa.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(TopologyError::TwiceTheNode(twins[0].id));
        }
        if seen.is_empty() {
            return Err(TopologyError::Empty);
        }
        Ok(Self { numa })
    }

    pub fn numa(&self) -> &[NumaNode] {
        &self.numa
    }

    /// All CPUs.
    pub fn cpus(&self) -> CpuSet {
        let mut all = CpuSet::default();
        self.numa.iter().flat_map(|node| &node.cores).for_each(|core| all.add(core));
        all
    }

    /// The NUMA nodes, by id, that have some of `cpus`.
    pub fn numa_of(&self, cpus: &CpuSet) -> Vec<u16> {
        let has = |node: &&NumaNode| node.cores.iter().any(|core| !core.common(cpus).is_empty());
        self.numa.iter().filter(has).map(|node| node.id).collect()
    }

    pub fn n_cores(&self) -> usize {
        self.numa.iter().map(|node| node.cores.len()).sum()
    }

    pub fn n_sockets(&self) -> usize {
        self.numa.iter().map(|node| node.socket).collect::<std::collections::BTreeSet<_>>().len()
    }
}

impl NumaNode {
    pub fn cpus(&self) -> CpuSet {
        let mut all = CpuSet::default();
        self.cores.iter().for_each(|core| all.add(core));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let read = serde_json::from_str::<CpuTopology>(text);
        let told = read.map(|topology| serde_json::to_string(&topology).unwrap());
        match (told, expected) {
            (Ok(told), Ok(expected)) => assert_eq!(told, expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (told, _) => panic!("{text}: {told:?}"),
        }
    }

    #[test]
    fn what_a_node_tells_is_checked_and_put_in_order() {
        let told = r#"{"numa":[{"id":0,"socket":0,"memory":9,"cores":["0,4","1,5"]},{"id":1,"socket":1,"cores":["2-3"]}]}"#;
        check(told, Ok(told));
        let unordered = r#"{"numa":[{"id":1,"socket":1,"cores":["2-3"]},{"id":0,"socket":0,"memory":9,"cores":["1,5","0,4"]}]}"#;
        check(unordered, Ok(told));
        let memory_only =
            r#"{"numa":[{"id":0,"socket":0,"cores":["0"]},{"id":2,"socket":0,"memory":5,"cores":[]}]}"#;
        check(memory_only, Ok(r#"{"numa":[{"id":0,"socket":0,"cores":["0"]}]}"#));
        check(r#"{"numa":[]}"#, Err("there is no CPU"));
        check(r#"{"numa":[{"id":0,"socket":0,"cores":["0","0-1"]}]}"#, Err("CPUs 0 belong to two cores"));
        check(r#"{"numa":[{"id":0,"socket":0,"cores":["0",""]}]}"#, Err("a core of NUMA node 0 has no CPU"));
        let twins = r#"{"numa":[{"id":3,"socket":0,"cores":["0"]},{"id":3,"socket":0,"cores":["1"]}]}"#;
        check(twins, Err("there are two NUMA nodes 3"));
        check(r#"{"numa":[{"id":0,"socket":0,"cores":["0-99999"]}]}"#, Err("is not a CPU number"));
    }

    #[test]
    fn the_numa_nodes_of_some_cpus() {
        let text =
            r#"{"numa":[{"id":0,"socket":0,"cores":["0,4","1,5"]},{"id":4,"socket":1,"cores":["2-3"]}]}"#;
        let topology: CpuTopology = serde_json::from_str(text).unwrap();
        let numa_of = |list: &str| topology.numa_of(&list.parse().unwrap());
        assert_eq!(numa_of("1,4"), [0]);
        assert_eq!(numa_of("3,5"), [0, 4]);
        assert!(numa_of("17").is_empty());
        assert_eq!(topology.cpus().to_string(), "0-5");
        assert_eq!((topology.n_cores(), topology.n_sockets()), (3, 2));
    }
}
