//! A batch job in the hands of its owner: submitted, watched, paused, cancelled, begun again, and asked why it fails.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::cluster::{Cluster, Said};

/// Twelve instances that each wait for leave, and one after them.
fn job(out: &Path) -> String {
    format!(
        r#"
apiVersion: crest.dev/v1alpha1
kind: DagJob
metadata: {{name: steered}}
spec:
  parameters: {{DAY: yesterday}}
  keepWorkersSeconds: 300
  volumes: [{{name: out, hostPath: {{path: {out}, type: DirectoryOrCreate}}}}]
  tasks:
    - name: work
      instances: 12
      parallelism: 2
      maxAttempts: 1
      image: busybox:test
      command: [sh, -c, 'echo instance $CREST_INSTANCE_INDEX of $DAY; echo ran >> /out/$CREST_INSTANCE_INDEX; until [ -e /out/go ]; do sleep 0.1; done; [ ! -e /out/fail ]']
      volumeMounts: [{{name: out, mountPath: /out}}]
      resources: {{cpu: 50m, memory: 16Mi}}
    - name: end
      dependsOn: [work]
      instances: 1
      image: busybox:test
      command: [sh, -c, 'ls /out']
      volumeMounts: [{{name: out, mountPath: /out}}]
      resources: {{cpu: 50m, memory: 16Mi}}
"#,
        out = out.display()
    )
}

fn verb(cluster: &Cluster, arguments: &[&str]) -> Said {
    let kubeconfig = cluster.state_dir().join("kubeconfig");
    cluster.crest(&[&["job"], arguments, &["--kubeconfig", kubeconfig.to_str().unwrap()]].concat())
}

fn status(cluster: &Cluster) -> Value {
    let said = verb(cluster, &["get", "steered", "--output", "json"]);
    serde_json::from_str::<Value>(&said.stdout).unwrap()["status"].clone()
}

fn until_phase(cluster: &Cluster, phase: &str) {
    cluster.until(phase, |cluster| status(cluster)["phase"] == phase);
}

fn succeeded(cluster: &Cluster) -> u64 {
    status(cluster)["tasks"]["work"]["succeeded"].as_u64().unwrap_or(0)
}

#[test]
fn a_job_does_as_its_owner_says() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let out = cluster.state_dir().join("out");
    let manifest = cluster.state_dir().join("steered.yaml");
    fs::write(&manifest, job(&out)).unwrap();
    let said = verb(&cluster, &["submit", "-f", manifest.to_str().unwrap(), "--parameter", "DAY=$(today)"]);
    assert!(said.stdout.contains("dagjob/steered submitted"), "{said:?}");
    cluster.until("two instances run", |cluster| status(cluster)["tasks"]["work"]["running"] == 2);

    // A pause lets the two end, and no third begins.
    assert!(verb(&cluster, &["pause", "steered"]).code == 0);
    until_phase(&cluster, "Paused");
    fs::write(out.join("go"), "").unwrap();
    cluster.until("what ran has ended", |cluster| succeeded(cluster) == 2);
    let said = verb(&cluster, &["diagnose", "steered"]);
    assert!(said.stdout.contains("it is paused"), "{said:?}");
    assert!(!out.join("2").exists(), "nothing was begun during the pause");

    // What fails, fails the job, and says why.
    fs::write(out.join("fail"), "").unwrap();
    assert!(verb(&cluster, &["resume", "steered"]).code == 0);
    until_phase(&cluster, "Failed");
    let said = verb(&cluster, &["diagnose", "steered"]);
    assert!(
        said.stdout.contains("exit code 1") && said.stdout.contains("crest job retry steered"),
        "{said:?}"
    );
    let said = verb(&cluster, &["pause", "steered"]);
    assert!(said.code != 0 && said.stderr.contains("has ended (Failed)"), "{said:?}");

    // Begun again it goes on with what is unfinished, until it is cancelled.
    fs::remove_file(out.join("go")).unwrap();
    fs::remove_file(out.join("fail")).unwrap();
    assert!(verb(&cluster, &["retry", "steered"]).code == 0);
    cluster.until("two instances run again", |cluster| status(cluster)["tasks"]["work"]["running"] == 2);
    assert!(verb(&cluster, &["cancel", "steered"]).code == 0);
    until_phase(&cluster, "Cancelled");
    assert_eq!(status(&cluster)["conditions"][0]["reason"], "Cancelled");
    assert_eq!(succeeded(&cluster), 2, "what is finished stays finished");

    fs::write(out.join("go"), "").unwrap();
    assert!(verb(&cluster, &["retry", "steered"]).code == 0);
    until_phase(&cluster, "Succeeded");
    let ran = |index: u32| fs::read_to_string(out.join(index.to_string())).unwrap().lines().count();
    assert_eq!((ran(0), ran(1)), (1, 1), "what was finished never ran again");

    let said = verb(&cluster, &["list"]);
    assert!(said.stdout.contains("steered") && said.stdout.contains("13/13"), "{said:?}");
    let said = verb(&cluster, &["logs", "steered", "--task", "work"]);
    assert!(said.stdout.contains("instance 11 of $(today)"), "{said:?}");
    let page = verb(&cluster, &["get", "steered", "--output", "html"]).stdout;
    assert!(page.contains("12/12 done") && page.contains("</svg>"), "{page}");
    assert!(verb(&cluster, &["top", "steered"]).stdout.contains("ASKED CPU"));
    let said = verb(&cluster, &["get", "nowhere"]);
    assert!(said.code != 0 && said.stderr.contains("no job `nowhere`"), "{said:?}");
}
