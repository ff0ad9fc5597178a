//! A second machine, played by a network namespace, joins the cluster by a token, runs Pods and leaves again.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::cluster::{Cluster, Said, free_port, run};

/// A host of its own: a namespace with one cable to this one. Gone without a trace afterwards.
struct Machine {
    name: String,
    ours: String,
    theirs: String,
    kubelet_port: u16,
    agent: Option<Child>,
}

impl Machine {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = (std::process::id() + NEXT.fetch_add(5_000, Ordering::Relaxed)) % 10_000;
        let (second, third) = (number / 250, number % 250);
        let machine = Self {
            name: format!("j{number}"),
            ours: format!("10.{}.{third}.1", 200 + second % 50),
            theirs: format!("10.{}.{third}.2", 200 + second % 50),
            kubelet_port: free_port(),
            agent: None,
        };
        let name = &machine.name;
        let inside = |command: &str| format!("-n {name} {command}");
        for command in [
            format!("netns add {name}"),
            format!("link add {name}a type veth peer name {name}b netns {name}"),
            format!("addr add {}/24 dev {name}a", machine.ours),
            format!("link set {name}a up"),
            inside(&format!("addr add {}/24 dev {name}b", machine.theirs)),
            inside(&format!("link set {name}b up")),
            inside("link set lo up"),
        ] {
            let said = run(Command::new("ip").args(command.split(' ')), "");
            assert_eq!(said.code, 0, "ip {command}: {said:?}");
        }
        machine
    }

    fn crest(&self, arguments: &[&str]) -> Command {
        // Another network and the same everything else: `ip netns exec` would hide the cgroups, too.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(env!("CARGO_BIN_EXE_crest"));
        command.args(arguments).args([
            "--instance",
            &self.name,
            "--address",
            &self.theirs,
            "--kubelet-port",
            &self.kubelet_port.to_string(),
            "--pod-cidr",
            "10.99.0.0/16",
        ]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        run(&mut self.crest(arguments), "")
    }

    /// Starts the agent; `words` are those of `crest node join`.
    fn join(&mut self, words: &[&str]) {
        let log = fs::File::create(self.log()).unwrap();
        let mut command = self.crest(&["node", "join", "--node-name", "second"]);
        command.args(words).stdin(Stdio::null()).stderr(log);
        self.agent = Some(command.spawn().unwrap());
    }

    fn log(&self) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("{}.log", self.name))
    }

    fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut agent) = self.agent.take() {
            // `nsenter` becomes the program itself, so this is its process.
            kill_process(Pid::from_child(&agent), signal).unwrap();
            agent.wait().unwrap();
        }
    }

    /// Has the image and joins `cluster`; the words of `crest node join`.
    fn enter(&mut self, cluster: &Cluster) -> Vec<String> {
        let folder = cluster.busybox();
        let built =
            self.run(&["image", "build-rootfs", &folder, "--tag", "busybox:test", "--cmd", "/bin/sh"]);
        assert_eq!(built.code, 0, "{built:?}");
        let token = cluster.crest(&["token", "create", "--ttl", "1h"]);
        assert_eq!(token.code, 0, "{token:?}");
        let words: Vec<String> = token.stdout.split_whitespace().skip(3).map(str::to_owned).collect();
        let wrong = format!("sha256:{}", "0".repeat(64));
        let refused = self.run(&["node", "join", &words[0], "--token", &words[2], "--ca-cert-hash", &wrong]);
        assert!(refused.code != 0 && refused.stderr.contains("another"), "{refused:?}");
        self.join(&words.iter().map(String::as_str).collect::<Vec<_>>());
        cluster.until("the second node is there", |cluster| {
            cluster.kubectl(&["get", "node", "second"]).code == 0
        });
        cluster.ok(&["wait", "--for=condition=Ready", "node/second", "--timeout=60s"]);
        words
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
        let down = self.run(&["down", "--purge", "--grace-seconds", "1"]);
        let gone = run(Command::new("ip").args(["netns", "del", &self.name]), "");
        // Deleting the namespace takes both ends of the cable along.
        if std::thread::panicking() {
            println!("{}", fs::read_to_string(self.log()).unwrap_or_default());
        } else {
            assert_eq!((down.code, gone.code), (0, 0), "{down:?} {gone:?}");
        }
        let _log = fs::remove_file(self.log());
    }
}

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: far}
spec:
  nodeSelector: {kubernetes.io/hostname: second}
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "busybox:test", command: [sh, -c, "echo from afar; sleep 1000"]}]
"#;

fn can_run() -> bool {
    let can_run = rustix::process::geteuid().is_root() && super::cluster::find_kubectl().is_some();
    if !can_run {
        println!("skipped: network namespaces need root, and the test needs kubectl");
    }
    can_run
}

#[test]
fn a_second_machine_joins_runs_pods_and_leaves() {
    if !can_run() {
        return;
    }
    let mut machine = Machine::new();
    let cluster = Cluster::start_at(&machine.ours).unwrap();
    let words = machine.enter(&cluster);

    cluster.apply(POD);
    cluster.ok(&["wait", "--for=condition=Ready", "pod/far", "--timeout=60s"]);
    // The API server believes the agent by the certificate that the cluster issued.
    cluster
        .until("its logs are read", |cluster| cluster.kubectl(&["logs", "far"]).stdout.contains("from afar"));
    let requests = cluster.ok(&["get", "csr"]);
    assert_eq!(requests.matches("Approved,Issued").count(), 2, "{requests}");

    // From the second time on it needs no token, and finds its Pods running.
    machine.stop();
    let deleted = cluster.crest(&["token", "delete", &words[2]]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    machine.join(&[]);
    cluster.until("it serves again", |cluster| cluster.kubectl(&["exec", "far", "--", "true"]).code == 0);
    let restarts =
        cluster.ok(&["get", "pod", "far", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"]);
    assert_eq!(restarts, "0");

    let listed = cluster.crest(&["node", "list"]);
    assert!(listed.stdout.lines().any(|line| line.starts_with("second") && line.contains(&machine.theirs)));
    let removed = cluster.crest(&["node", "remove", "second"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    machine.stop();
    assert!(cluster.kubectl(&["get", "pod", "far"]).code != 0);
    assert!(Path::new("/run/netns").join(&machine.name).exists());
}

/// Instances that each wait for leave, in two waves.
fn far_job(out: &Path) -> String {
    format!(
        r#"
apiVersion: crest.dev/v1alpha1
kind: DagJob
metadata: {{name: steered}}
spec:
  volumes: [{{name: out, hostPath: {{path: {out}, type: DirectoryOrCreate}}}}]
  tasks:
    - name: work
      instances: 12
      parallelism: 2
      maxAttempts: 1
      image: busybox:test
      command: [sh, -c, 'echo instance $CREST_INSTANCE_INDEX; echo ran >> /out/$CREST_INSTANCE_INDEX; until [ -e /out/go ]; do sleep 0.1; done']
      volumeMounts: [{{name: out, mountPath: /out}}]
      resources: {{cpu: 50m, memory: 16Mi}}
"#,
        out = out.display()
    )
}

/// Many instances that each write their number once.
fn many_job(out: &Path) -> String {
    let one = r#"echo $CREST_INSTANCE_INDEX >> /out/many; sleep 0.01"#;
    let steered =
        far_job(out).replace("name: steered", "name: many").replace("instances: 12", "instances: 1500");
    let (before, after) = steered.split_once("      command: ").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    format!("{before}      command: [sh, -c, '{one}']\n{after}")
}

/// What ran, by file: each instance writes a line for each time that it begins.
fn ran(out: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(out).into_iter().flatten().flatten();
    let instances = files.filter(|file| file.file_name() != "go");
    let mut ran: Vec<_> = instances
        .map(|file| {
            (file.file_name().to_string_lossy().into_owned(), fs::read_to_string(file.path()).unwrap())
        })
        .collect();
    ran.sort();
    ran
}

#[test]
fn a_job_runs_on_a_joined_machine_whatever_dies_meanwhile() {
    if !can_run() {
        return;
    }
    let mut machine = Machine::new();
    let cluster = Cluster::start_at(&machine.ours).unwrap();
    machine.enter(&cluster);
    let nodes = cluster.ok(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]);
    let first = nodes.split(' ').find(|name| *name != "second").unwrap().to_owned();
    cluster.ok(&["cordon", &first]);
    let out = cluster.state_dir().join("out");
    cluster.apply(&far_job(&out));
    let running = |cluster: &Cluster| cluster.job_status("steered")["tasks"]["work"]["running"] == 2;
    cluster.until("two instances run", |cluster| running(cluster) && ran(&out).len() == 2);
    let before = ran(&out);
    let pods = ["get", "pods", "-l", "crest.dev/dagjob", "-o", "jsonpath={.items[*].spec.nodeName}"];
    assert_eq!(cluster.ok(&pods), "second second");
    cluster.until("their logs are read", |cluster| {
        cluster.job(&["logs", "steered", "--task", "work"]).stdout.contains("instance 0")
    });

    // The control plane dies and comes back: the workers of the other machine greet it again.
    kill_process(Pid::from_raw(cluster.pid()).unwrap(), Signal::KILL).unwrap();
    let up = cluster.crest(&["up"]);
    assert_eq!(up.code, 0, "{up:?}\n{}", cluster.log());
    cluster.until("they run still", running);
    // So does the agent between them.
    machine.end(Signal::KILL);
    machine.join(&[]);
    cluster.until("the agent serves again", |cluster| {
        cluster.job(&["logs", "steered", "--task", "work"]).stdout.contains("instance 0")
    });
    assert_eq!(ran(&out), before, "nothing was begun again");

    // Ended while nobody could hear it, and told all the same.
    machine.end(Signal::KILL);
    fs::write(out.join("go"), "").unwrap();
    machine.join(&[]);
    let status = cluster.ended_job("steered");
    assert_eq!(
        (&status["phase"], &status["tasks"]["work"]["succeeded"]),
        (&"Succeeded".into(), &12.into()),
        "{status}"
    );
    let each_once: Vec<_> = ran(&out).into_iter().map(|(_, lines)| lines).collect();
    assert_eq!(each_once, vec!["ran\n"; 12]);

    // Many in a row, while the cable is out for a while, and then the agent dies with its end of all connections.
    cluster.apply(&many_job(&out));
    let written = || fs::read_to_string(out.join("many")).unwrap_or_default();
    let cable = format!("{}a", machine.name);
    cluster.until("many begin", |_| written().lines().count() >= 200);
    for state in ["down", "up"] {
        let said = run(Command::new("ip").args(["link", "set", &cable, state]), "");
        assert_eq!(said.code, 0, "{said:?}");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    cluster.until("they go on", |_| written().lines().count() >= 700);
    machine.end(Signal::KILL);
    machine.join(&[]);
    let status = cluster.ended_job("many");
    assert_eq!(
        (&status["phase"], &status["tasks"]["work"]["succeeded"]),
        (&"Succeeded".into(), &1500.into()),
        "{status}"
    );
    let mut numbers: Vec<u32> = written().lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..1500), "each once, but {} began", numbers.len());
}
