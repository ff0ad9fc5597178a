//! `crest run`: every role of a one-machine cluster in this process.
//!
//! ```text
//!   lock ──► store ──► certificates ──► API server ──► engine, agent, controllers, schedulers ──► wait for a signal
//! ```
//! Ending it ends none of the containers: they are adopted at the next start. `crest down` ends them.

pub(crate) mod certificates;
pub(crate) mod roles;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::RunOptions;
use crate::daemon::InstanceLock;
use crate::runtime;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, options: &RunOptions) -> anyhow::Result<()> {
    if options.detached {
        rustix::process::setsid().context("cannot leave the terminal's session")?;
    }
    options.logging.init()?;
    anyhow::ensure!(rustix::process::geteuid().is_root(), "`crest run` needs root: run it with sudo");
    prepare_folders(settings)?;
    let _lock = InstanceLock::take(&settings.run_dir())?;
    kit::tls::install_default_provider();
    // Two threads serve a machine well: work that blocks has threads of its own.
    let runtime = runtime::serving(2)?;
    runtime.block_on(serve(settings, options))
}

async fn serve(settings: &Settings, options: &RunOptions) -> anyhow::Result<()> {
    let token = CancellationToken::new();
    let cluster = roles::Cluster::start(settings, options, &token).await?;
    tracing::info!(instance = %settings.instance, api = %settings.api_address(), "Crest runs");
    tokio::select! {
        () = until_signalled() => tracing::info!("Stopping: asked by a signal; containers run on"),
        () = token.cancelled() => {}
    }
    token.cancel();
    cluster.ended().await;
    Ok(())
}

pub(crate) async fn until_signalled() {
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt)] = signals else {
        // Without handlers the signals end the process at once, which is safe at any moment.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

pub(crate) fn prepare_folders(settings: &Settings) -> anyhow::Result<()> {
    // State holds every Secret, so it is root's alone; sockets guard themselves.
    for (folder, mode) in
        [(settings.state_dir(), 0o700), (settings.run_dir(), 0o755), (settings.worker_dir(), 0o755)]
    {
        let made = fs::create_dir_all(&folder);
        let made = made.and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(mode)));
        made.with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    share_binary(&settings.worker_dir())
}

/// Puts this program where batch containers see it. A copy, not a link: the original may be replaced by an upgrade
/// while workers run, and they must go on with what they started as.
fn share_binary(worker_dir: &Path) -> anyhow::Result<()> {
    let program = fs::read_link("/proc/self/exe").context("cannot find this program's own file")?;
    let shared = worker_dir.join("crest");
    let same = || -> Option<bool> {
        let (ours, theirs) = (fs::metadata(&program).ok()?, fs::metadata(&shared).ok()?);
        Some(ours.len() == theirs.len() && ours.modified().ok()? <= theirs.modified().ok()?)
    };
    if same() == Some(true) {
        return Ok(());
    }
    let part = worker_dir.join(".crest.part");
    fs::copy(&program, &part).with_context(|| format!("cannot copy this program to `{}`", part.display()))?;
    fs::rename(&part, &shared).with_context(|| format!("cannot put `{}` in place", shared.display()))
}
