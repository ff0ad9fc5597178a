//! The container engine as a program of its own, for a kubelet, crictl, or the tests.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pouch::{Config, Engine};
use tokio_util::sync::CancellationToken;

/// Serves the Container Runtime Interface on a unix socket.
#[derive(Debug, Parser)]
struct Arguments {
    /// Images, layers, records of containers.
    #[arg(long, default_value = "/var/lib/pouch")]
    root: PathBuf,
    /// Sockets, namespaces, mounts.
    #[arg(long, default_value = "/run/pouch")]
    run_dir: PathBuf,
    /// Where to listen; `pouch.sock` in the run directory if absent.
    #[arg(long)]
    socket: Option<PathBuf>,
    #[arg(long, default_value = "pouch0")]
    bridge: String,
    #[arg(long, default_value = "10.89.0.0/16")]
    pod_cidr: String,
    #[arg(long, default_value = "pouch")]
    nft_table: String,
    /// Parent of the control groups of sandboxes that name none.
    #[arg(long, default_value = "pouch")]
    cgroup_root: String,
    /// Log directives such as `info,pouch=debug`.
    #[arg(long, default_value = "info")]
    log: String,
    /// Stop and remove everything that the engine made, but images, and end.
    #[arg(long)]
    purge: bool,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // Before there is any other thread.
    if words.next().is_some_and(|word| word == "shim") {
        return pouch::shim::main(words);
    }
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %kit::Chain(error.as_ref()), "The engine cannot run");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    kit::telemetry::init(&arguments.log, kit::telemetry::Format::Text)?;
    let program = std::env::current_exe()?;
    let config = Config {
        socket: arguments.socket.unwrap_or_else(|| arguments.run_dir.join("pouch.sock")),
        root: arguments.root,
        run_dir: arguments.run_dir,
        bridge: arguments.bridge,
        pod_cidr: arguments.pod_cidr,
        nft_table: arguments.nft_table,
        mirrors: Vec::new(),
        shim: vec![program.into(), "shim".into()],
        cgroup_root: arguments.cgroup_root,
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let engine = Engine::build(config).await?;
        if arguments.purge {
            return Ok(engine.purge(std::time::Duration::ZERO).await?);
        }
        let token = CancellationToken::new();
        let signalled = token.clone();
        kit::task::spawn("signals", async move {
            let mut terminate =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
            let terminated = async {
                match &mut terminate {
                    Some(terminate) => drop(terminate.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = terminated => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            signalled.cancel();
        });
        Ok(engine.run(token).await?)
    })
}
