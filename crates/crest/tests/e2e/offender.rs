//! A service that tells its latency suffers whenever one batch instance works: that one is held back, the other is not.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::cluster::Cluster;

/// Answers with the file of metrics that lies in the shared folder.
fn service(folder: &Path, objective: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: service
  annotations:
    crest.dev/latency-objective: {objective}
    prometheus.io/port: "9100"
spec:
  priorityClassName: crest-online
  terminationGracePeriodSeconds: 1
  volumes: [{{name: shared, hostPath: {{path: {folder}}}}}]
  containers:
    - name: service
      image: busybox:test
      command: [busybox, httpd, -f, -p, "9100", -h, /shared]
      volumeMounts: [{{name: shared, mountPath: /shared}}]
      resources: {{requests: {{cpu: 100m, memory: 16Mi}}}}
"#,
        folder = folder.display()
    )
}

/// One instance works without end, the other for two seconds in four, and says when.
fn jobs(folder: &Path) -> String {
    let job = |name: &str, script: &str| {
        format!(
            r"
---
apiVersion: crest.dev/v1alpha1
kind: DagJob
metadata: {{name: {name}}}
spec:
  volumes: [{{name: shared, hostPath: {{path: {folder}}}}}]
  tasks:
    - name: only
      instances: 1
      image: busybox:test
      command: [sh, -c, '{script}']
      volumeMounts: [{{name: shared, mountPath: /shared}}]
      resources: {{cpu: 50m, memory: 16Mi}}
",
            folder = folder.display()
        )
    };
    let steady = "while :; do :; done";
    let loud = "while :; do echo > /shared/loud; busybox timeout 2 sh -c \"while :; do :; done\"; busybox rm /shared/loud; sleep 2; done";
    job("steady", steady) + &job("loud", loud)
}

/// What the service counts: a hundred requests in each tenth of a second, slow ones while the loud instance works.
fn count(folder: &Path, stop: &AtomicBool) {
    let (mut fast, mut all) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        all += 100;
        fast += if folder.join("loud").exists() { 0 } else { 100 };
        let metrics = format!(
            "# TYPE request_seconds histogram\n\
             request_seconds_bucket{{le=\"0.01\"}} {fast}\n\
             request_seconds_bucket{{le=\"0.2\"}} {all}\n\
             request_seconds_bucket{{le=\"+Inf\"}} {all}\n\
             request_seconds_sum 1\nrequest_seconds_count {all}\n"
        );
        fs::write(folder.join("draft"), metrics).unwrap();
        fs::rename(folder.join("draft"), folder.join("metrics")).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_offender_is_held_back_and_nobody_else() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let folder = tempfile::tempdir().unwrap();
    let refused = cluster.kubectl_fed(&["apply", "-f", "-"], &service(folder.path(), "\"p99 of x\""));
    assert!(
        refused.stderr.contains("write it like `p99(http_request_duration_seconds) < 50ms`"),
        "{refused:?}"
    );

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| count(folder.path(), &stop));
        let guard = StopOnDrop(&stop);
        cluster.apply(&service(folder.path(), "p99(request_seconds) < 50ms"));
        cluster.apply(&jobs(folder.path()));
        let throttled = [
            "get",
            "events",
            "--field-selector",
            "reason=Throttled",
            "-o",
            "jsonpath={.items[*].involvedObject.name}",
        ];
        // Batch works only where others leave it something, and this machine may be busy.
        let patience = Duration::from_secs(240);
        cluster.until_after(patience, "one is held back", |cluster| !cluster.ok(&throttled).is_empty());
        let names = cluster.ok(&throttled);
        assert!(names.split(' ').all(|name| name.starts_with("loud-")), "{names}");
        let told = cluster.crest(&["explain", "node", "--output", "json"]).stdout;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&told["offenders"], &told["moves"]), (&1.into(), &0.into()), "{told}");
        assert!(told["offences"].as_u64() >= Some(1) && told["latency"].is_number(), "{told}");
        drop(guard);
    });
}

/// Ends the counting also where an assertion fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
