//! A second machine, played by a network namespace: an agent and an engine that have joined a cluster, in a process of their
//! own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, ListParams};
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::Cluster;
use crate::server::free_port;

/// The name of its Node.
pub const NODE: &str = "second";
/// Ends of the cable between both machines.
const OURS: &str = "10.203.0.1";
const THEIRS: &str = "10.203.0.2";
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// And how long to join.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// A host of its own: a namespace with one cable to this one. Gone without a trace afterwards.
#[derive(Debug)]
pub struct Machine {
    name: String,
    program: PathBuf,
    kubelet_port: u16,
    agent: Option<Child>,
}

impl Machine {
    /// Lays the cable. Nothing runs yet.
    pub fn prepare() -> anyhow::Result<Self> {
        let name = format!("m{}", std::process::id() % 1_000_000);
        let program = std::env::current_exe()?.with_file_name("crest");
        let machine = Self { name, program, kubelet_port: free_port()?, agent: None };
        let name = &machine.name;
        for command in [
            format!("netns add {name}"),
            format!("link add {name}a type veth peer name {name}b netns {name}"),
            format!("addr add {OURS}/24 dev {name}a"),
            format!("link set {name}a up"),
            format!("-n {name} addr add {THEIRS}/24 dev {name}b"),
            format!("-n {name} link set {name}b up"),
            format!("-n {name} link set lo up"),
        ] {
            ip(&command)?;
        }
        Ok(machine)
    }

    /// Where the other machine finds this one.
    pub fn address_of_host(&self) -> &'static str {
        OURS
    }

    /// The process of its agent.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.agent.as_ref().context("the agent does not run")?.id())
    }

    /// Joins `cluster`, and has its image.
    pub fn join(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let folder = cluster.busybox()?.display().to_string();
        self.build_image(&folder, "bench:busybox")?;
        let words = cluster.ask(&["token", "create", "--ttl", "1h"])?;
        // `crest node join`, and what it needs.
        let words = words.split_whitespace().skip(3);
        let log = File::create(self.log())?;
        let mut command = self.crest(&["node", "join", "--node-name", NODE, "--log", "warn"]);
        // `nsenter` becomes the program itself, so this is its process.
        self.agent = Some(command.args(words).stdin(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    /// Makes an image of a folder there.
    pub fn build_image(&self, folder: &str, tag: &str) -> anyhow::Result<()> {
        let built = self.crest(&["image", "build-rootfs", folder, "--tag", tag]).output()?;
        anyhow::ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Ok(())
    }

    fn crest(&self, arguments: &[&str]) -> Command {
        // Another network and the same everything else: `ip netns exec` would hide the cgroups, too.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(&self.program);
        command.args(arguments).args(["--instance", &self.name, "--address", THEIRS]);
        command.args(["--kubelet-port", &self.kubelet_port.to_string(), "--pod-cidr", "10.202.0.0/16"]);
        command
    }

    fn log(&self) -> PathBuf {
        std::env::temp_dir().join(format!("{}.log", self.name))
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if let Some(mut agent) = self.agent.take() {
            kill_process(Pid::from_child(&agent), Signal::TERM)?;
            let begun = kit::clock::monotonic();
            while agent.try_wait()?.is_none() {
                if begun.elapsed() > PATIENCE {
                    agent.kill()?;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let down = self.crest(&["down", "--purge", "--grace-seconds", "1"]).output()?;
        anyhow::ensure!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
        // Deleting the namespace takes both ends of the cable along.
        ip(&format!("netns del {}", self.name))?;
        Ok(std::fs::remove_file(self.log())?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!(
                "the second machine could not be taken down, its log is {}: {error:#}",
                self.log().display()
            );
        }
    }
}

/// Waits for the second machine, and has nothing placed on the first.
pub async fn keep_to_second(client: &Client) -> anyhow::Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    let begun = kit::clock::monotonic();
    while nodes.get_opt(NODE).await?.is_none() {
        anyhow::ensure!(begun.elapsed() < JOIN_PATIENCE, "the second machine does not join");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for node in nodes.list(&ListParams::default()).await? {
        let name = node.metadata.name.context("a Node without a name")?;
        if name != NODE {
            nodes.cordon(&name).await?;
        }
    }
    Ok(())
}

fn ip(command: &str) -> anyhow::Result<()> {
    let said = Command::new("ip").args(command.split(' ')).output()?;
    anyhow::ensure!(said.status.success(), "ip {command}: {}", String::from_utf8_lossy(&said.stderr));
    Ok(())
}
