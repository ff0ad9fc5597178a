//! A release cluster for a benchmark: an instance of its own, gone afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::server::free_port;

/// A running instance; dropping it takes it down.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    place: Vec<String>,
    instance: String,
}

impl Cluster {
    /// Finds the `crest` binary that was built beside this program, and chooses free ports. Nothing runs yet.
    pub fn prepare() -> anyhow::Result<Self> {
        let here = std::env::current_exe().context("cannot find this program's own file")?;
        let program = here.with_file_name("crest");
        anyhow::ensure!(program.exists(), "`{}` is not built: run `make bench`", program.display());
        let instance = format!("b{}", std::process::id() % 1_000_000);
        let place = ["--instance", &instance, "--pod-cidr", "10.201.0.0/16"].map(str::to_owned);
        let ports = ["--api-port", "--kubelet-port"].map(str::to_owned);
        let mut cluster = Self { program, place: place.to_vec(), instance };
        for option in ports {
            cluster.place.extend([option, free_port()?.to_string()]);
        }
        Ok(cluster)
    }

    /// It is to be reached there, and not only by this host.
    pub fn address(&mut self, address: &str) {
        self.place.extend(["--address", address].map(str::to_owned));
    }

    /// Runs a command of `crest` on this instance.
    pub fn crest(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.ask(arguments).map(drop)
    }

    /// The same; tells what it said.
    pub fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.program).args(arguments).args(&self.place).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "crest {arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The name of its groups, interfaces and folders.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    pub fn state_dir(&self) -> PathBuf {
        Path::new("/var/lib").join(&self.instance)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.state_dir().join("kubeconfig")
    }

    /// The process that runs everything.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let path = Path::new("/run").join(&self.instance).join("crest.pid");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(text.trim().parse()?)
    }

    /// A client over TLS, as an outside user has it, on a connection of its own.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// An image `bench:busybox` from Debian's static busybox.
    pub fn with_busybox(&self) -> anyhow::Result<()> {
        let folder = self.busybox()?.display().to_string();
        self.crest(&["image", "build-rootfs", &folder, "--tag", "bench:busybox"])
    }

    /// A folder with Debian's static busybox, to make an image of.
    pub fn busybox(&self) -> anyhow::Result<PathBuf> {
        let rootfs = self.state_dir().join("busybox");
        std::fs::create_dir_all(rootfs.join("bin"))?;
        std::fs::copy("/bin/busybox", rootfs.join("bin/busybox"))
            .context("busybox-static is not installed")?;
        std::os::unix::fs::symlink("busybox", rootfs.join("bin/sleep"))?;
        Ok(rootfs)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.crest(&["down", "--purge", "--grace-seconds", "1"]) {
            eprintln!("the benchmark's cluster could not be taken down: {error:#}");
        }
    }
}
