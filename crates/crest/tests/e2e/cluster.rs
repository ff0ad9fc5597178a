//! A real cluster for a test: its own instance, ports and addresses; gone without a trace afterwards.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Cluster {
    pub(crate) instance: String,
    api_port: u16,
    kubelet_port: u16,
    pod_cidr: String,
    /// Where it listens.
    pub(crate) address: String,
    kubectl: PathBuf,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Cluster {
    /// Starts a cluster, or explains in one line why this host cannot and returns `None`.
    pub(crate) fn start() -> Option<Self> {
        Self::start_at("127.0.0.1")
    }

    /// As [`Cluster::start`] at an address of this host.
    pub(crate) fn start_at(address: &str) -> Option<Self> {
        let kubectl = find_kubectl()?;
        if !is_root() {
            println!("skipped: starting containers needs root");
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("t{}-{number}", std::process::id() % 100_000);
        let second = 100 + (std::process::id() + number) % 100;
        let pod_cidr = format!("10.{second}.0.0/16");
        let address = address.to_owned();
        let (api_port, kubelet_port) = (free_port(), free_port());
        let cluster = Self { instance, api_port, kubelet_port, pod_cidr, address, kubectl };
        let up = cluster.crest(&["up"]);
        assert_eq!(up.code, 0, "crest up: {}{}\n{}", up.stdout, up.stderr, cluster.log());
        Some(cluster)
    }

    pub(crate) fn crest(&self, arguments: &[&str]) -> Said {
        let place = [
            "--instance",
            &self.instance,
            "--address",
            &self.address,
            "--api-port",
            &self.api_port.to_string(),
            "--kubelet-port",
            &self.kubelet_port.to_string(),
            "--pod-cidr",
            &self.pod_cidr,
        ];
        run(Command::new(env!("CARGO_BIN_EXE_crest")).args(arguments).args(place), "")
    }

    /// A verb of `crest job`.
    pub(crate) fn job(&self, arguments: &[&str]) -> Said {
        let kubeconfig = self.state_dir().join("kubeconfig");
        self.crest(&[&["job"], arguments, &["--kubeconfig", kubeconfig.to_str().unwrap()]].concat())
    }

    /// The status of a job.
    pub(crate) fn job_status(&self, name: &str) -> Value {
        let said = self.job(&["get", name, "--output", "json"]);
        serde_json::from_str::<Value>(&said.stdout).unwrap_or_default()["status"].clone()
    }

    /// The status of a job when it has ended well or failed.
    pub(crate) fn ended_job(&self, name: &str) -> Value {
        let mut status = Value::Null;
        self.until(name, |cluster| {
            status = cluster.job_status(name);
            matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"))
        });
        status
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Said {
        self.kubectl_fed(arguments, "")
    }

    pub(crate) fn kubectl_fed(&self, arguments: &[&str], stdin: &str) -> Said {
        run(&mut self.kubectl_command(arguments), stdin)
    }

    pub(crate) fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        // A home of its own: kubectl caches discovery there by server address, and ports are used again.
        let home = self.state_dir().join("home");
        command
            .arg("--kubeconfig")
            .arg(self.state_dir().join("kubeconfig"))
            .args(arguments)
            .env("HOME", home);
        command
    }

    /// The command's standard output; it must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let said = self.kubectl(arguments);
        assert_eq!(said.code, 0, "kubectl {arguments:?}: {}{}\n{}", said.stdout, said.stderr, self.log());
        said.stdout
    }

    pub(crate) fn apply(&self, manifest: &str) -> String {
        let said = self.kubectl_fed(&["apply", "-f", "-"], &yaml(manifest));
        assert_eq!(said.code, 0, "kubectl apply: {}{}\n{}", said.stdout, said.stderr, self.log());
        said.stdout
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        Path::new("/var/lib").join(&self.instance)
    }

    /// The process that runs the cluster.
    pub(crate) fn pid(&self) -> i32 {
        let path = Path::new("/run").join(&self.instance).join("crest.pid");
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    /// This host, as Pods reach it.
    pub(crate) fn gateway(&self) -> String {
        self.pod_cidr.replace(".0.0/16", ".0.1")
    }

    /// All that the cluster's process has said.
    pub(crate) fn whole_log(&self) -> String {
        fs::read_to_string(self.state_dir().join("crest.log")).unwrap_or_default()
    }

    /// The last of the log, for the message of a failed assertion.
    pub(crate) fn log(&self) -> String {
        let text = self.whole_log();
        let from = text.len().saturating_sub(6000);
        text.get(from..).unwrap_or(&text).to_owned()
    }

    /// An image `busybox:test` from Debian's static busybox, in the cluster's store.
    pub(crate) fn with_busybox(&self) {
        let folder = self.busybox();
        let built =
            self.crest(&["image", "build-rootfs", &folder, "--tag", "busybox:test", "--cmd", "/bin/sh"]);
        assert_eq!(built.code, 0, "{built:?}");
    }

    /// A folder with that image's files.
    pub(crate) fn busybox(&self) -> String {
        let rootfs = self.state_dir().join("busybox");
        fs::create_dir_all(rootfs.join("bin")).unwrap();
        fs::create_dir_all(rootfs.join("etc")).unwrap();
        fs::create_dir_all(rootfs.join("tmp")).unwrap();
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is installed");
        for applet in [
            "sh", "sleep", "true", "false", "cat", "echo", "ls", "env", "wget", "httpd", "hostname", "id",
            "tar", "rm", "mkdir", "test", "wc", "awk", "seq",
        ] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
        rootfs.display().to_string()
    }

    /// Asks again until `holds`; the event to wait for has no watch that a command line could follow.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < Duration::from_secs(60), "never happened: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = self.crest(&["down", "--purge", "--grace-seconds", "1"]);
        if !std::thread::panicking() {
            assert_eq!(down.code, 0, "crest down: {}{}", down.stdout, down.stderr);
        }
    }
}

pub(crate) fn run(command: &mut Command, stdin: &str) -> Said {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that does not read its input closes it: that is its right.
    let _written = child.stdin.take().expect("stdin is piped").write_all(stdin.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    Said {
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        code: status.code().unwrap_or(-1),
    }
}

/// The kubectl on the path, or one that is fetched; a line says so where there is neither.
pub(crate) fn find_kubectl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|program| program.exists());
    found.or_else(|| fetch_kubectl("1.33"))
}

/// Downloads a kubectl for the test; `None`, with a line that says so, where that cannot be done.
pub(crate) fn fetch_kubectl(version: &str) -> Option<PathBuf> {
    fetch("kubectl", version)
}

/// As [`fetch_kubectl`] for kubectl or the helm that comes with a version of it.
pub(crate) fn fetch(program: &str, version: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("target/kubectl");
    let script = root.join("scripts/kubectl.sh");
    let fetched = run(Command::new("sh").arg(script).arg(version).arg(&folder).arg(program), "");
    if fetched.code != 0 {
        println!("skipped: {program} {version} cannot be fetched: {}", fetched.stderr.trim());
        return None;
    }
    Some(folder.join(format!("{program}-{version}")))
}

/// kubectl takes a document that begins with a brace for JSON; behind a separator it is YAML.
pub(crate) fn yaml(manifest: &str) -> String {
    format!("---\n{manifest}")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
