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
use std::path::Path;

use super::ImportError;
use super::table::{Row, Table};

/// A whole GPU.
pub const WHOLE_GPU_MILLI: u32 = 1000;

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
        (0, 0) | (1, 1..WHOLE_GPU_MILLI) | (1.., WHOLE_GPU_MILLI) => Ok(pod),
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
