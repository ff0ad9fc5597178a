//! The command line, as data.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::agent_verb::AgentOptions;
use crate::bounds::BatchBounds;
use crate::explain::{ExplainVerb, WhatIfOptions};
use crate::job::JobVerb;
use crate::node::NodeVerb;
use crate::plan::PlanVerb;
use crate::scheduler::SchedulerOptions;
use crate::security::SecurityOptions;
use crate::server::ServerOptions;
use crate::settings::{Settings, parse_instance};
use crate::sim::SimVerb;
use crate::store_verbs::StoreVerb;
use crate::tide::TideVerb;
use crate::token::TokenVerb;

/// One pool of machines for online services and batch jobs, behind a Kubernetes API.
#[derive(Debug, Parser)]
#[command(name = "crest", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a one-machine cluster in the background and wait until it is ready
    Up(UpOptions),
    /// Stop the cluster and everything that it runs; objects and images stay unless --purge is given
    Down(DownOptions),
    /// Run the cluster in the foreground, logging to standard error
    Run(RunOptions),
    /// Run the API server, alone or with controllers and schedulers, on this host or on one etcd with others
    Server(ServerOptions),
    /// Place pods of a Kubernetes that is there already, as one more scheduler beside its own
    Scheduler(SchedulerOptions),
    /// Share a node of a Kubernetes that is there already between services and batch, beside its kubelet
    Agent(AgentOptions),
    /// Back up, restore and check what the API server stores
    #[command(subcommand)]
    Store(StoreVerb),
    /// Say what runs and how it fares
    Status(StatusOptions),
    /// Print the administrator's kubeconfig
    Kubeconfig,
    /// Let further machines join: make, list and delete bootstrap tokens
    #[command(subcommand)]
    Token(TokenVerb),
    /// Join this machine to a cluster; list and remove the cluster's nodes
    #[command(subcommand)]
    Node(NodeVerb),
    /// Say what could be better, and the steps that lead there; nothing is changed
    #[command(subcommand)]
    Plan(PlanVerb),
    /// Show, plan, begin and take back tides: hosts that leave batch for some hours
    #[command(subcommand)]
    Tide(TideVerb),
    /// Load, pull, build, list and remove container images
    #[command(subcommand)]
    Image(ImageVerb),
    /// Say why a pod waits, and what would place it
    #[command(subcommand)]
    Explain(ExplainVerb),
    /// Place a manifest's pods on the cluster as it is now, or as it would be with more nodes, without acting
    WhatIf(WhatIfOptions),
    /// Submit batch jobs, follow them, and steer them
    #[command(subcommand)]
    Job(JobVerb),
    /// Let the placement engine place recorded clusters, without touching any
    #[command(subcommand)]
    Sim(SimVerb),
    /// Measure a service alone, beside plain batch, and beside batch through Crest
    Demo(DemoOptions),
    /// Print a completion script for a shell
    Completion { shell: clap_complete::Shell },
}

/// Where the instance stands. The defaults suit one instance per host.
impl Command {
    /// Whether it serves others, and must outlive a connection or a pipe that breaks.
    pub(crate) fn stays(&self) -> bool {
        use Command::{Agent, Demo, Node, Run, Scheduler, Server, Up};
        matches!(self, Agent(_) | Demo(_) | Node(_) | Run(_) | Scheduler(_) | Server(_) | Up(_))
    }
}

#[derive(Debug, Args)]
struct Place {
    /// Name of this instance; folders, cgroups and interfaces are named after it
    #[arg(long, global = true, default_value = "crest", value_parser = parse_instance, env = "CREST_INSTANCE")]
    instance: String,
    /// Address to listen on
    #[arg(long, global = true, default_value = "127.0.0.1")]
    address: Ipv4Addr,
    /// Port of the Kubernetes API
    #[arg(long, visible_alias = "port", global = true, default_value_t = 6443, env = "CREST_API_PORT")]
    api_port: u16,
    /// Port of the node's own API, which serves logs and exec
    #[arg(long, global = true, default_value_t = 10250, env = "CREST_KUBELET_PORT")]
    kubelet_port: u16,
    /// Addresses of Pods on this host
    #[arg(long, global = true, default_value = "10.88.0.0/16", env = "CREST_POD_CIDR")]
    pod_cidr: String,
    /// Addresses of Services
    #[arg(long, global = true, default_value = "10.96.0.0/16")]
    service_cidr: String,
    /// Registry to ask first when an image is pulled, as docker.io=localhost:5000 or *=localhost:5000; repeat for more
    #[arg(long = "registry-mirror", global = true, value_name = "REGISTRY=HOST")]
    registry_mirrors: Vec<pouch::image::Mirror>,
    /// Folder in which the instance keeps its state
    #[arg(long, global = true, default_value = "/var/lib", hide = true)]
    state_parent: PathBuf,
    /// Folder for sockets and pinned namespaces
    #[arg(long, global = true, default_value = "/run", hide = true)]
    run_parent: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct UpOptions {
    /// Give up when the cluster is not ready after this many seconds
    #[arg(long, default_value_t = 60)]
    pub(crate) timeout_seconds: u64,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) logging: LogOptions,
    #[command(flatten)]
    pub(crate) security: SecurityOptions,
    #[command(flatten)]
    pub(crate) bounds: BatchBounds,
    /// Leave the terminal's session (set by `crest up`)
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LogOptions {
    /// What to log: a level, or directives such as `warn,api=debug`
    #[arg(long, default_value = "info", env = "CREST_LOG")]
    pub(crate) log: String,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

impl LogOptions {
    /// Logs from now on.
    pub(crate) fn init(&self) -> anyhow::Result<()> {
        let format = match self.log_format {
            LogFormat::Text => kit::telemetry::Format::Text,
            LogFormat::Json => kit::telemetry::Format::Json,
        };
        Ok(kit::telemetry::init(&self.log, format)?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct DownOptions {
    /// Delete objects, images, logs and certificates as well
    #[arg(long)]
    pub(crate) purge: bool,
    /// Wait this long for containers to end by themselves
    #[arg(long, default_value_t = 10)]
    pub(crate) grace_seconds: u64,
}

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// How a command answers: for people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Load images from an OCI layout (folder or tar) or from a `docker save` archive
    Load { archive: PathBuf },
    /// Pull an image from a registry
    Pull {
        reference: String,
        /// User name for the registry; the password is read from standard input
        #[arg(long)]
        username: Option<String>,
    },
    /// List images
    #[command(alias = "list")]
    Ls {
        #[arg(long, short, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Remove an image by name or id
    Rm { reference: String },
    /// Make an image of one layer from a folder that holds a root filesystem
    BuildRootfs(BuildOptions),
}

#[derive(Debug, Args)]
pub(crate) struct BuildOptions {
    pub(crate) folder: PathBuf,
    /// Name of the image, for example `nginx:demo`
    #[arg(long)]
    pub(crate) tag: String,
    /// Program that a container of this image starts; repeat for its arguments
    #[arg(long)]
    pub(crate) entrypoint: Vec<String>,
    /// Arguments that a Pod may replace; repeat for several
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,
    /// Environment as NAME=value; repeat for several
    #[arg(long)]
    pub(crate) env: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Length of each of the three phases
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
    /// Requests per second; by default what keeps about 30% of the machine busy
    #[arg(long)]
    pub(crate) requests_per_second: Option<u32>,
    /// Folder for report.json and report.html
    #[arg(long, default_value = "out/demo")]
    pub(crate) report_dir: PathBuf,
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

impl Cli {
    pub(crate) fn settings(&self) -> Settings {
        let place = &self.place;
        Settings {
            instance: place.instance.clone(),
            address: place.address,
            api_port: place.api_port,
            kubelet_port: place.kubelet_port,
            pod_cidr: place.pod_cidr.clone(),
            service_cidr: place.service_cidr.clone(),
            registry_mirrors: place.registry_mirrors.clone(),
            state_parent: place.state_parent.clone(),
            run_parent: place.run_parent.clone(),
            own_state_dir: None,
            own_pki_dir: None,
        }
    }
}

pub(crate) fn print_completion(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "crest", &mut std::io::stdout());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
