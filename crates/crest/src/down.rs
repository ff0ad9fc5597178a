//! `crest down`: stop everything and leave no trace.
//!
//! Works from what stands on disk and in the kernel, so it cleans up after a crash as well.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::cli::DownOptions;
use crate::daemon::{self, InstanceLock};
use crate::run;
use crate::settings::Settings;

pub(crate) fn down(settings: &Settings, options: &DownOptions) -> anyhow::Result<()> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "`crest down` needs root: run it with sudo");
    daemon::stop(&settings.run_dir(), Duration::from_secs(10))?;
    // Held so that nobody starts the instance while it is taken apart.
    let lock = InstanceLock::take(&settings.run_dir())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(take_apart(settings, Duration::from_secs(options.grace_seconds)))?;
    remove(&settings.run_dir())?;
    drop(lock);
    if options.purge {
        remove(&settings.state_dir())?;
        println!("Crest is down; its state is deleted.");
    } else {
        println!("Crest is down; objects and images stay in `{}`.", settings.state_dir().display());
    }
    Ok(())
}

async fn take_apart(settings: &Settings, grace: Duration) -> anyhow::Result<()> {
    if !settings.pouch_dir().exists() {
        return Ok(());
    }
    let engine = pouch::Engine::build(run::roles::engine_config(settings)?).await?;
    engine.purge(grace).await.context("cannot stop all containers")?;
    agent::remove_traces(&settings.state_dir(), &settings.instance)
        .context("cannot remove what the agent made")
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}
