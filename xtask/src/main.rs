//! `cargo xtask tidy`: the house rules that clippy cannot check.
//!
//! Budgets of files, a story at the head of each, no `mod.rs`, and the arrows between the rooms: what a crate
//! may import stands in one table here, so that a new arrow is a visible decision.

mod arrows;
mod files;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    if command.as_deref() != Some("tidy") {
        eprintln!("usage: cargo xtask tidy");
        return ExitCode::from(2);
    }
    match tidy() {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            for fault in &faults {
                eprintln!("{fault}");
            }
            eprintln!("{} faults", faults.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tidy() -> anyhow::Result<Vec<String>> {
    let root = workspace_root()?;
    let mut faults = files::faults(&root)?;
    faults.extend(arrows::faults(&root)?);
    Ok(faults)
}

/// Read at run time: a copied target folder must not tidy the tree that it was built in.
fn workspace_root() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let is_root = |folder: &Path| folder.join("Cargo.lock").exists() && folder.join("crates").exists();
    let found = here.ancestors().find(|folder| is_root(folder));
    found.map(Path::to_path_buf).ok_or_else(|| anyhow::anyhow!("run this inside the Crest workspace"))
}
