//! An API server without a node, in a folder of its own: started, killed and started again.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;

use crate::lane::Road;

/// How long a start may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of the `crest` binary. Dropping it ends it and removes its state.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    has_answered: bool,
    /// What it is started with beside the place where it stands.
    options: Vec<String>,
    controllers: &'static str,
    child: Option<Child>,
}

impl Server {
    /// Finds the `crest` binary that was built beside this program; `None` if it was not built. Its state goes to a
    /// folder in `parent`. Nothing runs yet.
    pub fn prepare(parent: &Path) -> anyhow::Result<Option<Self>> {
        let here = std::env::current_exe().context("cannot find this program's own file")?;
        // Tests stand one folder below programs.
        let candidates =
            [here.with_file_name("crest"), here.parent().unwrap_or(&here).with_file_name("crest")];
        let Some(program) = candidates.into_iter().find(|path| path.is_file()) else { return Ok(None) };
        let folder = tempfile::tempdir_in(parent)
            .with_context(|| format!("cannot write to `{}`", parent.display()))?;
        let (port, options) = (free_port()?, Vec::new());
        let controllers = "none";
        Ok(Some(Self { program, folder, port, has_answered: false, options, controllers, child: None }))
    }

    /// Starts it with these options as well.
    #[must_use]
    pub fn with_options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// From the next start on it runs these controllers; otherwise none.
    pub fn control_by(&mut self, controllers: &'static str) {
        self.controllers = controllers;
    }

    /// Starts it and waits until it answers; tells how long that took.
    pub async fn start(&mut self) -> anyhow::Result<Duration> {
        let begun = kit::clock::monotonic();
        self.spawn()?;
        while begun.elapsed() < PATIENCE {
            if let Ok(client) = self.client().await
                && client.apiserver_version().await.is_ok()
            {
                self.has_answered = true;
                return Ok(begun.elapsed());
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                let status = status?;
                anyhow::ensure!(!self.has_answered, "the server ended, {status}");
                // Somebody may have got the port since it was found free; nobody knows it yet.
                self.port = free_port()?;
                self.spawn()?;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::bail!("the server did not answer within {PATIENCE:?}")
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["server", "--controllers", self.controllers, "--log", "warn"]);
        command.arg("--state-dir").arg(self.folder.path()).arg("--port").arg(self.port.to_string());
        command.args(&self.options);
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        Ok(())
    }

    /// Ends it as a crash would, at once.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().context("the server does not run")?.id())
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client over TLS, as an outside administrator has it, with connections of its own.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        Ok(kube::Client::try_from(self.config().await?)?)
    }

    /// The same for whoever `token` stands for.
    pub async fn client_with_token(&self, token: &str) -> anyhow::Result<kube::Client> {
        let mut config = self.config().await?;
        config.auth_info =
            kube::config::AuthInfo { token: Some(token.to_owned().into()), ..Default::default() };
        Ok(kube::Client::try_from(config)?)
    }

    /// Connections that cost little, for an administrator.
    pub async fn road(&self) -> anyhow::Result<Road> {
        Road::new(&self.config().await?, None)
    }

    /// The file with which an administrator finds it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    async fn config(&self) -> anyhow::Result<kube::Config> {
        config(&self.kubeconfig()).await
    }
}

/// A port of this host that nobody has now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// How to reach the server of a kubeconfig; every answer is seen, those included that tell to come again.
pub async fn config(kubeconfig: &Path) -> anyhow::Result<kube::Config> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(PATIENCE);
    config.default_retry = false;
    Ok(config)
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("the benchmark's server could not be ended: {error:#}");
        }
    }
}

/// The folder for state that a benchmark is given as its first argument; that of the build otherwise.
pub fn parent_folder() -> PathBuf {
    std::env::args().nth(1).unwrap_or_else(|| "target".to_owned()).into()
}

/// What a process holds in memory, in MiB.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    Ok(Resident::of(pid)?.mib())
}

/// What a process holds in memory, by where it comes from, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// Its own.
    pub anonymous: f64,
    /// Pages of files, of its program above all: the kernel drops them when memory runs short.
    pub files: f64,
}

impl Resident {
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib: f64 =
                line.with_context(|| format!("no {name}"))?.trim().trim_end_matches(" kB").parse()?;
            anyhow::Ok(kib / 1024.0)
        };
        Ok(Self { anonymous: mib("RssAnon")?, files: mib("RssFile")? + mib("RssShmem")? })
    }

    pub fn mib(&self) -> f64 {
        self.anonymous + self.files
    }
}

impl std::fmt::Display for Resident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} MiB ({:.0} its own, {:.0} of files)", self.mib(), self.anonymous, self.files)
    }
}

/// How long a process has computed by now, in all its threads.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name in /proc/PID/stat")?;
    // The state is the third field of the line and the first one here; user and system time are the 14th and 15th.
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()
        .context("no CPU times in /proc/PID/stat")?;
    // The kernel tells programs in hundredths, whatever it counts in itself (USER_HZ).
    Ok(Duration::from_millis(ticks * 10))
}
