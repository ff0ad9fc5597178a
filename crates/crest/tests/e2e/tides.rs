//! A host that leaves batch for a window: its job's workers end, nothing of batch is left, and all of it comes back.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::cluster::{Cluster, Said};

fn job(out: &Path) -> String {
    format!(
        r#"
apiVersion: crest.dev/v1alpha1
kind: DagJob
metadata: {{name: flowing}}
spec:
  volumes: [{{name: out, hostPath: {{path: {out}, type: DirectoryOrCreate}}}}]
  tasks:
    - name: work
      instances: 5000
      parallelism: 2
      maxAttempts: 1
      image: busybox:test
      command: [sh, -c, 'sleep 1; echo ran >> /out/$CREST_INSTANCE_INDEX']
      volumeMounts: [{{name: out, mountPath: /out}}]
      resources: {{cpu: 50m, memory: 16Mi}}
"#,
        out = out.display()
    )
}

const TIDE: &str = r#"
apiVersion: crest.dev/v1alpha1
kind: Tide
metadata: {name: evening}
spec: {hosts: "100%", leadSeconds: 30, graceSeconds: 5}
"#;

impl Cluster {
    /// A verb of `crest tide`.
    fn tide(&self, arguments: &[&str]) -> Said {
        let kubeconfig = self.state_dir().join("kubeconfig");
        self.crest(&[&["tide"], arguments, &["--kubeconfig", kubeconfig.to_str().unwrap()]].concat())
    }

    fn tide_status(&self) -> Value {
        let said = self.tide(&["show", "evening", "--output", "json"]);
        serde_json::from_str::<Value>(&said.stdout).unwrap_or_default()["status"].clone()
    }

    fn until_tide(&self, phase: &str) -> Value {
        self.until(&format!("the tide is {phase}"), |cluster| cluster.tide_status()["phase"] == phase);
        self.tide_status()
    }

    fn succeeded(&self) -> u64 {
        self.job_status("flowing")["tasks"]["work"]["succeeded"].as_u64().unwrap_or(0)
    }

    fn until_it_flows(&self) {
        let before = self.succeeded();
        self.until("the job goes on", |cluster| cluster.succeeded() > before + 2);
    }

    fn n_workers(&self) -> usize {
        self.ok(&["get", "pods", "-l", "crest.dev/dagjob=flowing", "-o", "name"]).lines().count()
    }

    fn mark(&self) -> String {
        self.ok(&["get", "nodes", "-o", r"jsonpath={.items[*].metadata.annotations.crest\.dev/tide}"])
    }
}

#[test]
fn a_host_leaves_batch_for_a_window_and_comes_back() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let out = cluster.state_dir().join("out");
    cluster.apply(&job(&out));
    cluster.until_it_flows();
    let refused = cluster.kubectl_fed(&["apply", "-f", "-"], &TIDE.replace("100%", "110%"));
    assert!(refused.code != 0 && refused.stderr.contains("spec.hosts"), "{refused:?}");
    cluster.apply(TIDE);
    let said = cluster.tide(&["undo", "evening"]);
    assert!(said.code != 0 && said.stderr.contains("no window now"), "{said:?}");
    let said = cluster.tide(&["plan", "evening", "--for", "1m"]);
    assert!(said.stdout.contains("1 of 1 hosts") && said.stdout.contains("all are free in time"), "{said:?}");
    assert_eq!(cluster.mark(), "", "a plan changes nothing");

    // A window, from the first word of it to the last.
    let said = cluster.tide(&["start", "evening", "--for", "15s"]);
    assert!(said.stdout.contains("hosts are to be free from"), "{said:?}");
    cluster.until("the host is announced", |cluster| cluster.mark().contains("Announced"));
    let said = cluster.tide(&["start", "evening", "--for", "15s"]);
    assert!(said.code != 0 && said.stderr.contains("crest tide undo evening"), "{said:?}");
    let handed = cluster.until_tide("HandedOver");
    assert_eq!((cluster.n_workers(), &handed["handedOver"]), (0, &Value::from(1)), "{handed}");
    let (done, mark) = (cluster.succeeded(), cluster.mark());
    assert!(mark.contains("HandedOver"), "{mark}");
    // Batch has nothing of it until the window is over.
    let after = cluster.until_tide("Calm");
    let past = &after["past"][0];
    assert_eq!(past["outcome"], "Met", "{after}");
    assert!(past["free"].as_str() <= past["from"].as_str(), "{after}");
    assert!(cluster.succeeded() <= done + 4, "batch ran on a host that was the services'");
    cluster.until_it_flows();
    assert_eq!(cluster.mark(), "");

    // What ran was let end.
    let status = cluster.job_status("flowing");
    let events = cluster.ok(&["get", "events"]);
    assert_eq!(status["tasks"]["work"]["failedAttempts"], 0, "{status}\n{events}");
    let lines = |entry: std::io::Result<fs::DirEntry>| {
        fs::read_to_string(entry.unwrap().path()).unwrap().lines().count()
    };
    assert!(fs::read_dir(&out).unwrap().all(|entry| lines(entry) <= 1), "an instance ended well twice");

    // One that is undone, and one whose tide goes while it has the host.
    cluster.tide(&["start", "evening", "--for", "10m"]);
    cluster.until("it has begun", |cluster| cluster.tide_status()["phase"] != "Calm");
    let said = cluster.tide(&["undo", "evening"]);
    assert!(said.code == 0 && said.stdout.contains("batch gets its hosts back"), "{said:?}");
    let undone = cluster.until_tide("Calm");
    assert_eq!((&undone["past"][0]["outcome"], cluster.mark().as_str()), (&"Undone".into(), ""), "{undone}");
    cluster.until_it_flows();
    cluster.tide(&["start", "evening", "--for", "10m"]);
    cluster.until("the host is closed", |cluster| !cluster.mark().is_empty());
    cluster.ok(&["delete", "tide", "evening"]);
    cluster.until("the host is open", |cluster| cluster.mark().is_empty());
    cluster.until_it_flows();
}

const SERVICE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: shop, labels: {app: shop}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: busybox:test
      command: [sleep, "600"]
      resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}
"#;

const GROWING: &str = r#"
apiVersion: crest.dev/v1alpha1
kind: Tide
metadata: {name: evening}
spec:
  hosts: "100%"
  leadSeconds: 11
  graceSeconds: 1
  resize: [{selector: {matchLabels: {app: shop}}, cpuPercent: 300}]
"#;

impl Cluster {
    /// The bound of the service's CPU in its own control group, in hundredths of a core.
    fn bound_of_shop(&self) -> String {
        let script = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null";
        let said = self.kubectl(&["exec", "shop", "--", "sh", "-c", script]);
        said.stdout.split_whitespace().next().unwrap_or_default().to_owned()
    }

    fn until_bound(&self, expected: &str) {
        self.until(&format!("the service's quota is {expected}"), |cluster| {
            cluster.bound_of_shop() == expected
        });
    }
}

#[test]
fn a_service_has_more_of_its_host_while_that_is_handed_over() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    cluster.apply(SERVICE);
    cluster.ok(&["wait", "--for=condition=Ready", "pod/shop", "--timeout=120s"]);
    assert_eq!(cluster.bound_of_shop(), "20000");
    cluster.apply(GROWING);
    let restarts =
        r"jsonpath={.status.containerStatuses[0].restartCount}{.metadata.annotations.crest\.dev/tide-resize}";

    // By the window's end, and by its being undone.
    cluster.tide(&["start", "evening", "--for", "12s"]);
    cluster.until_bound("60000");
    let status = cluster.tide_status();
    assert_eq!(status["resize"]["resized"], 1, "{status}");
    cluster.until_bound("20000");
    cluster.until_tide("Calm");
    cluster.tide(&["start", "evening", "--for", "10m"]);
    cluster.until_bound("60000");
    let said = cluster.tide(&["undo", "evening"]);
    assert_eq!(said.code, 0, "{said:?}");
    cluster.until_bound("20000");
    cluster.until("nothing is noted", |cluster| cluster.ok(&["get", "pod", "shop", "-o", restarts]) == "0");

    // A tide that goes while the service has more.
    cluster.tide(&["start", "evening", "--for", "10m"]);
    cluster.until_bound("60000");
    cluster.ok(&["delete", "tide", "evening"]);
    cluster.until_bound("20000");
    cluster.until("nothing is noted", |cluster| cluster.ok(&["get", "pod", "shop", "-o", restarts]) == "0");
}
