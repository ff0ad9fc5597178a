//! Alibaba's GPU cluster of 2023 ("openb"): nodes and pods with whole GPUs and shares of one.
//!
//! ```text
//!   nodes: sn,cpu_milli,memory_mib,gpu,model
//!   pods:  name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec,qos,...]
//! ```
//!
//! Some of the published pod lists stop at `gpu_milli`; what a list does not say asks for nothing.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sigma::gpu::{GpuAsk, GpuRequest, MOST_GPUS, NodeGpus, WHOLE_MILLI};
use sigma::label::Labels;
use sigma::node::Node;
use sigma::resources::{CPU, MEMORY, PODS};
use sigma::{Pending, Pod, PodId};

use crate::Scene;

use super::ImportError;
use super::table::{Row, Table};

const COUNT: &str = "a whole number, 0 or more,";
const NODE_COLUMNS: [&str; 5] = ["sn", "cpu_milli", "memory_mib", "gpu", "model"];
const POD_COLUMNS: [&str; 5] = ["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"];

/// A line of the list of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenbNode {
    pub name: String,
    pub cpu_milli: u64,
    pub memory_mib: u64,
    pub n_gpus: u32,
    /// Empty where there is no GPU.
    pub model: String,
}

/// A line of a list of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenbPod {
    pub name: String,
    pub cpu_milli: u64,
    pub memory_mib: u64,
    pub n_gpus: u32,
    /// Of each of the GPUs; a share only where one GPU is asked for.
    pub gpu_milli: u32,
    /// Models that will do; none named means any.
    pub models: BTreeSet<String>,
}

impl OpenbPod {
    /// All that the pod asks of GPUs.
    pub fn total_gpu_milli(&self) -> u64 {
        u64::from(self.n_gpus) * u64::from(self.gpu_milli)
    }
}

/// Reads a list of nodes.
pub fn nodes(path: &Path) -> Result<Vec<OpenbNode>, ImportError> {
    let table = Table::with_header(path, &NODE_COLUMNS)?;
    let mut seen = BTreeSet::new();
    table.rows().map(|row| node(row, &mut seen)).collect()
}

/// Reads a list of pods.
pub fn pods(path: &Path) -> Result<Vec<OpenbPod>, ImportError> {
    let table = Table::with_header(path, &POD_COLUMNS)?;
    let mut seen = BTreeSet::new();
    table.rows().map(|row| pod(row, &mut seen)).collect()
}

fn node(row: Row<'_>, seen: &mut BTreeSet<String>) -> Result<OpenbNode, ImportError> {
    Ok(OpenbNode {
        name: name(row, "sn", seen)?,
        cpu_milli: row.value("cpu_milli", COUNT)?,
        memory_mib: row.value("memory_mib", COUNT)?,
        n_gpus: row.value("gpu", COUNT)?,
        model: row.text("model").to_owned(),
    })
}

fn pod(row: Row<'_>, seen: &mut BTreeSet<String>) -> Result<OpenbPod, ImportError> {
    let pod = OpenbPod {
        name: name(row, "name", seen)?,
        cpu_milli: row.value("cpu_milli", COUNT)?,
        memory_mib: row.value("memory_mib", COUNT)?,
        n_gpus: row.value("num_gpu", COUNT)?,
        gpu_milli: row.value("gpu_milli", COUNT)?,
        models: row
            .text("gpu_spec")
            .split('|')
            .filter(|model| !model.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    match (pod.n_gpus, pod.gpu_milli) {
        (0, 0) | (1, 1..WHOLE_MILLI) | (1.., WHOLE_MILLI) => Ok(pod),
        (0, _) => Err(row.fault("gpu_milli", "0 beside `num_gpu` 0")),
        (1, _) => Err(row.fault("gpu_milli", "1 to 1000 beside `num_gpu` 1")),
        (2.., _) => Err(row.fault("gpu_milli", "1000 (a share is of one GPU alone)")),
    }
}

fn name(row: Row<'_>, column: &str, seen: &mut BTreeSet<String>) -> Result<String, ImportError> {
    let name = row.text(column).to_owned();
    if name.is_empty() {
        return Err(row.fault(column, "a name"));
    }
    if !seen.insert(name.clone()) {
        return Err(row.repeated(&name));
    }
    Ok(name)
}

/// The pod lists of the data set by their names, the default one first.
pub const VARIANTS: [&str; 4] = ["default", "cpu100", "gpushare40", "multigpu30"];

/// Where a folder keeps the list of the nodes that have GPUs, which the published experiments ran on.
pub fn node_list(folder: &Path) -> PathBuf {
    folder.join("openb_node_list_gpu_node.csv")
}

/// Where a folder keeps a variant's list of pods.
pub fn pod_list(folder: &Path, variant: &str) -> PathBuf {
    folder.join(format!("openb_pod_list_{variant}.csv"))
}

/// A folder's nodes with GPUs, and a variant's pods waiting in the order of the list.
pub fn scene(folder: &Path, variant: &str) -> Result<Scene, ImportError> {
    let nodes = nodes(&node_list(folder))?;
    let pods = pods(&pod_list(folder, variant))?;
    let waiting = |pod: &OpenbPod| Pending { id: PodId::new(&pod.name), pod: pod.pod().into() };
    Ok(Scene {
        nodes: nodes.iter().map(OpenbNode::node).collect(),
        pending: pods.iter().map(waiting).collect(),
        ..Scene::default()
    })
}

/// The list bounds no number of pods, so neither does the node.
const UNBOUNDED_PODS: u64 = u32::MAX as u64;
const MIB: u64 = 1024 * 1024;

impl OpenbNode {
    /// The node in the engine's words.
    pub fn node(&self) -> Node {
        let memory = self.memory_mib.saturating_mul(MIB);
        let amounts = [(CPU, self.cpu_milli), (MEMORY, memory), (PODS, UNBOUNDED_PODS)];
        Node {
            name: self.name.clone(),
            allocatable: amounts.map(|(name, amount)| (name.to_owned(), amount)).into(),
            labels: Labels::from([(model::names::HOSTNAME_LABEL.to_owned(), self.name.clone())]),
            gpus: NodeGpus {
                count: u16::try_from(self.n_gpus).unwrap_or(MOST_GPUS),
                model: self.model.clone(),
            },
            ..Node::default()
        }
    }
}

impl OpenbPod {
    /// The pod in the engine's words.
    pub fn pod(&self) -> Pod {
        let memory = self.memory_mib.saturating_mul(MIB);
        let ask = match (self.n_gpus, self.gpu_milli) {
            (0, _) => None,
            (count, WHOLE_MILLI) => Some(GpuAsk::Whole(u16::try_from(count).unwrap_or(u16::MAX))),
            (_, milli) => u16::try_from(milli).ok().map(GpuAsk::Share),
        };
        Pod {
            requests: [(CPU, self.cpu_milli), (MEMORY, memory)]
                .map(|(name, amount)| (name.to_owned(), amount))
                .into(),
            gpu: ask.map(|ask| GpuRequest { ask, models: self.models.clone() }),
            ..Pod::default()
        }
    }
}
