//! The judge against sums made by hand, the search against the judge, plans against what they promise.

mod evaluating;
mod planning;
mod searching;

use super::*;

/// Machines of so many cores and so much memory, with room for ten of the one thing that is counted.
fn machines(sizes: &[(f64, f64)]) -> Vec<Machine> {
    sizes.iter().map(|&(cpu, memory)| Machine { cpu, memory, counts: vec![10] }).collect()
}

/// An app with these cores over time, one unit of memory and one of what is counted.
fn app(cpu: &[f64]) -> App {
    App { cpu: cpu.to_vec(), memory: vec![1.0; cpu.len()], counts: vec![1], machines: None }
}

/// One free item for each of `apps`.
fn items(apps: &[u32]) -> Vec<Item> {
    apps.iter().map(|&app| Item { app: AppId(app), tie: Tie::Free }).collect()
}

fn at(machines: &[u32]) -> Placement {
    machines.iter().map(|&machine| Some(MachineId(machine))).collect()
}
