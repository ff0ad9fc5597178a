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
