//! An engine of its own per test: own state, network namespace, control groups; nothing of it is left.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pouch::cri;
use pouch::cri::runtime_service_client::RuntimeServiceClient;
use pouch::image::ImageStore;
use pouch::image::build::Recipe;
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::Channel;

pub(crate) const IMAGE: &str = "busybox:test";
static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Daemon {
    pub(crate) client: RuntimeServiceClient<Channel>,
    pub(crate) home: tempfile::TempDir,
    pub(crate) cgroup: String,
    process: Child,
    netns: PathBuf,
}

impl Daemon {
    pub(crate) async fn start() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = tempfile::tempdir().unwrap();
        build_image(home.path());
        let cgroup = format!("pouch-test-{}-{number}", std::process::id());
        let netns = home.path().join("netns");
        fs::File::create(&netns).unwrap();
        let pinned = Command::new("unshare").arg(format!("--net={}", netns.display())).arg("true").status();
        assert!(pinned.unwrap().success());
        let mut loopback = Command::new("nsenter");
        loopback.arg(format!("--net={}", netns.display())).args(["busybox", "ip", "link", "set", "lo", "up"]);
        assert!(loopback.status().unwrap().success());
        let process = launch(home.path(), &netns, &cgroup, &[]);
        let client = connect(home.path()).await;
        Self { client, home, cgroup, process, netns }
    }

    /// As a power cut of the process, then a new one.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = launch(self.home.path(), &self.netns, &self.cgroup, &[]);
        self.client = connect(self.home.path()).await;
    }

    /// As it is asked to end, which it does at once.
    pub(crate) async fn terminate(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..1000 {
            if self.process.try_wait().unwrap().is_some_and(|status| status.success()) {
                return;
            }
            pause.tick().await;
        }
        panic!("the engine does not end");
    }

    pub(crate) async fn sandbox(&mut self) -> String {
        self.sandbox_of("", cri::LinuxPodSandboxConfig::default()).await
    }

    pub(crate) async fn sandbox_of(&mut self, runtime: &str, linux: cri::LinuxPodSandboxConfig) -> String {
        let config = cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata {
                name: "pod".to_owned(),
                uid: "uid".to_owned(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: "pod-host".to_owned(),
            log_directory: self.home.path().join("logs").display().to_string(),
            linux: Some(linux),
            ..Default::default()
        };
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: runtime.to_owned() };
        self.client.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id
    }

    pub(crate) async fn create(&mut self, sandbox: &str, config: cri::ContainerConfig) -> String {
        self.try_create(sandbox, config).await.unwrap()
    }

    pub(crate) async fn try_create(
        &mut self,
        sandbox: &str,
        config: cri::ContainerConfig,
    ) -> Result<String, tonic::Status> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: None,
        };
        Ok(self.client.create_container(request).await?.into_inner().container_id)
    }

    pub(crate) async fn launch(&mut self, sandbox: &str, config: cri::ContainerConfig) -> String {
        let id = self.create(sandbox, config).await;
        self.client.start_container(cri::StartContainerRequest { container_id: id.clone() }).await.unwrap();
        id
    }

    pub(crate) async fn status(&mut self, id: &str) -> cri::ContainerStatus {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        self.client.container_status(request).await.unwrap().into_inner().status.unwrap()
    }

    /// What the engine tells of a container beyond the interface.
    pub(crate) async fn info(&mut self, id: &str) -> serde_json::Value {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let info = self.client.container_status(request).await.unwrap().into_inner().info;
        serde_json::from_str(&info["info"]).unwrap()
    }

    pub(crate) async fn exited(&mut self, id: &str) -> cri::ContainerStatus {
        self.until(id, cri::ContainerState::ContainerExited).await
    }

    /// The interface has no event to await: it is asked again and again, within reason.
    async fn until(&mut self, id: &str, state: cri::ContainerState) -> cri::ContainerStatus {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..3000 {
            let status = self.status(id).await;
            if status.state() == state {
                return status;
            }
            pause.tick().await;
        }
        panic!("{id} does not become {state:?}");
    }

    pub(crate) async fn exec(&mut self, id: &str, command: &[&str]) -> cri::ExecSyncResponse {
        self.try_exec(id, command, 20).await.unwrap()
    }

    pub(crate) async fn try_exec(
        &mut self,
        id: &str,
        command: &[&str],
        timeout: i64,
    ) -> Result<cri::ExecSyncResponse, tonic::Status> {
        let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd: words(command), timeout };
        Ok(self.client.exec_sync(request).await?.into_inner())
    }

    pub(crate) async fn stop(&mut self, id: &str, timeout: i64) {
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout };
        self.client.stop_container(request).await.unwrap();
    }

    pub(crate) async fn remove_sandbox(&mut self, id: &str) {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.client.remove_pod_sandbox(request).await.unwrap();
    }

    /// The log without times.
    pub(crate) fn log(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.home.path().join("logs").join(name)).unwrap_or_default();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    /// Returns when the log has that many lines.
    pub(crate) async fn logged(&self, name: &str, n_lines: usize) {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..2000 {
            if self.log(name).len() >= n_lines {
                return;
            }
            pause.tick().await;
        }
        panic!("the log `{name}` stays short");
    }

    pub(crate) async fn is_gone(&self, pid: nix::unistd::Pid) -> bool {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..500 {
            if nix::sys::signal::kill(pid, None).is_err() {
                return true;
            }
            pause.tick().await;
        }
        false
    }

    /// For good: the test's only thread goes where the engine's loopback is.
    pub(crate) fn enter_netns(&self) {
        let netns = fs::File::open(&self.netns).unwrap();
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    }

    pub(crate) fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let home = self.home.path().to_str().unwrap();
        let ours = mounts.lines().filter(|line| line.contains(home) && !line.contains("/netns "));
        ours.map(str::to_owned).collect()
    }

    /// Control groups of this engine's containers, in every hierarchy.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        let roots = hierarchies.map(|path| path.join(&self.cgroup));
        let entries = roots.flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten());
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let purged = launch(self.home.path(), &self.netns, &self.cgroup, &["--purge"]).wait().unwrap();
        let unpinned = Command::new("umount").arg(&self.netns).status().unwrap();
        if !std::thread::panicking() {
            assert!(purged.success() && unpinned.success());
            assert_eq!(self.mounts(), Vec::<String>::new());
            assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
        }
    }
}

fn launch(home: &Path, netns: &Path, cgroup: &str, more: &[&str]) -> Child {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).arg(env!("CARGO_BIN_EXE_pouchd"));
    command.arg("--root").arg(home.join("root")).arg("--run-dir").arg(home.join("run"));
    command.arg("--socket").arg(home.join("cri.sock")).args(["--cgroup-root", cgroup, "--log", "warn"]);
    command.args(["--bridge", "pouchtest0", "--nft-table", "pouchtest"]).args(more);
    command.stdin(Stdio::null()).spawn().unwrap()
}

async fn connect(home: &Path) -> RuntimeServiceClient<Channel> {
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..1000 {
        if let Ok(channel) = cri::connect(&home.join("cri.sock")).await {
            let mut client = RuntimeServiceClient::new(channel);
            if client.version(cri::VersionRequest::default()).await.is_ok() {
                return client;
            }
        }
        pause.tick().await;
    }
    panic!("the engine does not answer");
}

/// A root file system of one static binary.
fn build_image(home: &Path) {
    let rootfs = home.join("rootfs");
    for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    fs::copy("/usr/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for name in
        ["sh", "echo", "sleep", "cat", "id", "true", "hostname", "ls", "stty", "tail", "dd", "nc", "kill"]
    {
        symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/tmp:/bin/sh\n").unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\nweb:x:33:\nlog:x:40:web\n").unwrap();
    let store = ImageStore::open(&home.join("root")).unwrap();
    let recipe = Recipe { tag: IMAGE.to_owned(), cmd: words(&["sh"]), ..Default::default() };
    store.build(&rootfs, &recipe, &()).unwrap();
    fs::remove_dir_all(&rootfs).unwrap();
}

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A container that runs `command`, with its log at `name`.
pub(crate) fn container(name: &str, command: &[&str]) -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(cri::ImageSpec { image: IMAGE.to_owned(), ..Default::default() }),
        command: words(command),
        log_path: name.to_owned(),
        labels: HashMap::from([("name".to_owned(), name.to_owned())]),
        ..Default::default()
    }
}

pub(crate) fn shell(name: &str, script: &str) -> cri::ContainerConfig {
    container(name, &["sh", "-c", script])
}
