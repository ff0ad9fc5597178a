//! A batch job in the hands of its owner: submitted, watched, paused, cancelled, begun again, and asked why it fails.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::cluster::Cluster;

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

fn status(cluster: &Cluster) -> Value {
    cluster.job_status("steered")
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
    let said = cluster.job(&["submit", "-f", manifest.to_str().unwrap(), "--parameter", "DAY=$(today)"]);
    assert!(said.stdout.contains("dagjob/steered submitted"), "{said:?}");
    cluster.until("two instances run", |cluster| status(cluster)["tasks"]["work"]["running"] == 2);

    // A pause lets the two end, and no third begins.
    assert!(cluster.job(&["pause", "steered"]).code == 0);
    until_phase(&cluster, "Paused");
    fs::write(out.join("go"), "").unwrap();
    cluster.until("what ran has ended", |cluster| succeeded(cluster) == 2);
    let said = cluster.job(&["diagnose", "steered"]);
    assert!(said.stdout.contains("it is paused"), "{said:?}");
    assert!(!out.join("2").exists(), "nothing was begun during the pause");

    // What fails, fails the job, and says why.
    fs::write(out.join("fail"), "").unwrap();
    assert!(cluster.job(&["resume", "steered"]).code == 0);
    until_phase(&cluster, "Failed");
    let said = cluster.job(&["diagnose", "steered"]);
    assert!(
        said.stdout.contains("exit code 1") && said.stdout.contains("crest job retry steered"),
        "{said:?}"
    );
    let said = cluster.job(&["pause", "steered"]);
    assert!(said.code != 0 && said.stderr.contains("has ended (Failed)"), "{said:?}");

    // Begun again it goes on with what is unfinished, until it is cancelled.
    fs::remove_file(out.join("go")).unwrap();
    fs::remove_file(out.join("fail")).unwrap();
    assert!(cluster.job(&["retry", "steered"]).code == 0);
    cluster.until("two instances run again", |cluster| status(cluster)["tasks"]["work"]["running"] == 2);
    assert!(cluster.job(&["cancel", "steered"]).code == 0);
    until_phase(&cluster, "Cancelled");
    assert_eq!(status(&cluster)["conditions"][0]["reason"], "Cancelled");
    assert_eq!(succeeded(&cluster), 2, "what is finished stays finished");

    fs::write(out.join("go"), "").unwrap();
    assert!(cluster.job(&["retry", "steered"]).code == 0);
    until_phase(&cluster, "Succeeded");
    let ran = |index: u32| fs::read_to_string(out.join(index.to_string())).unwrap().lines().count();
    assert_eq!((ran(0), ran(1)), (1, 1), "what was finished never ran again");

    let said = cluster.job(&["list"]);
    assert!(said.stdout.contains("steered") && said.stdout.contains("13/13"), "{said:?}");
    let said = cluster.job(&["logs", "steered", "--task", "work"]);
    assert!(said.stdout.contains("instance 11 of $(today)"), "{said:?}");
    let page = cluster.job(&["get", "steered", "--output", "html"]).stdout;
    assert!(page.contains("12/12 done") && page.contains("</svg>"), "{page}");
    assert!(cluster.job(&["top", "steered"]).stdout.contains("ASKED CPU"));
    let said = cluster.job(&["get", "nowhere"]);
    assert!(said.code != 0 && said.stderr.contains("no job `nowhere`"), "{said:?}");
}

/// A Job and a CronJob that know nothing of Crest but a scheduler's name and a quota's.
fn others() -> String {
    let template = r"{metadata: {labels: {crest.dev/quota: reports}}, spec: {schedulerName: fuxi, restartPolicy: Never,
        containers: [{name: run, image: 'busybox:test', command: [sleep, '1'],
            resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {memory: 16Mi}}}]}}";
    format!(
        r"
apiVersion: crest.dev/v1alpha1
kind: BatchQuota
metadata: {{name: reports}}
spec: {{max: {{workers: 1}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: report}}
spec: {{completions: 3, parallelism: 3, template: {template}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly}}
spec: {{schedule: '0 3 * * *', jobTemplate: {{spec: {{template: {template}}}}}}}
"
    )
}

/// Whether Pods wait for their quota, of which no more than one at a time has a place.
fn some_wait(cluster: &Cluster) -> bool {
    let pods = cluster.ok(&["get", "pods", "-l", "crest.dev/quota=reports", "-o", "json"]);
    let pods: Value = serde_json::from_str(&pods).unwrap();
    let pods = pods["items"].as_array().unwrap();
    let (on, off): (Vec<&Value>, Vec<&Value>) =
        pods.iter().partition(|pod| pod["spec"]["nodeName"].is_string());
    let n_placed = on.iter().filter(|pod| pod["status"]["phase"] != "Succeeded").count();
    assert!(n_placed <= 1, "{pods:?}");
    !off.is_empty()
}

#[test]
fn jobs_of_kubernetes_run_on_what_is_left_idle() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    cluster.apply(&others());
    cluster.until("Pods wait for the quota", some_wait);
    cluster.ok(&["create", "job", "tonight", "--from=cronjob/nightly"]);
    for job in ["job/report", "job/tonight"] {
        cluster.until(job, |cluster| {
            some_wait(cluster);
            cluster.ok(&["get", job, "-o", "jsonpath={.status.conditions[*].type}"]).contains("Complete")
        });
    }
    cluster.until("all places are free", |cluster| {
        cluster.ok(&["get", "bq", "reports", "-o", "jsonpath={.status.used.workers}"]) == "0"
    });
    let table = cluster.ok(&["get", "batchquotas"]);
    assert!(table.contains("IN FORCE") && table.contains("workers: 1"), "{table}");
}

/// Each Pod writes its name once, as often as it runs.
fn counted(out: &Path) -> String {
    format!(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {{name: counted}}
spec:
  completions: 8
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      volumes: [{{name: out, hostPath: {{path: {out}, type: DirectoryOrCreate}}}}]
      containers:
        - name: main
          image: busybox:test
          command: [sh, -c, 'echo $HOSTNAME >> /out/ran; sleep 0.5']
          volumeMounts: [{{name: out, mountPath: /out}}]
---
apiVersion: batch/v1
kind: Job
metadata: {{name: endless}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers: [{{name: main, image: 'busybox:test', command: [sleep, '1000']}}]
"#,
        out = out.display()
    )
}

#[test]
fn pods_of_jobs_count_once_whatever_dies_and_whoever_takes_them_away() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let out = cluster.state_dir().join("out");
    cluster.apply(&counted(&out));
    let ran = || fs::read_to_string(out.join("ran")).unwrap_or_default();
    let of_job = "batch.kubernetes.io/job-name=counted";
    for least in [1, 3, 5] {
        cluster.until("Pods run", |_| ran().lines().count() >= least);
        kill_process(Pid::from_raw(cluster.pid()).unwrap(), Signal::KILL).unwrap();
        // These end now, and are taken away as soon as that is possible.
        std::thread::sleep(std::time::Duration::from_millis(600));
        assert_eq!(cluster.crest(&["up"]).code, 0, "{}", cluster.log());
        let ended = "--field-selector=status.phase=Succeeded";
        cluster.ok(&["delete", "pods", "-l", of_job, ended, "--timeout=30s"]);
    }
    cluster.until("the Job is complete", |cluster| {
        cluster
            .ok(&["get", "job/counted", "-o", "jsonpath={.status.conditions[*].type}"])
            .contains("Complete")
    });
    let counts = "jsonpath={.status.succeeded} {.status.failed}";
    assert_eq!(cluster.ok(&["get", "job/counted", "-o", counts]).trim(), "8");
    let mut names: Vec<String> = ran().lines().map(str::to_owned).collect();
    names.sort();
    names.dedup();
    assert_eq!((names.len(), ran().lines().count()), (8, 8), "{names:?}");

    // Who takes away a running Pod, or a Job with all it has, waits for no one.
    let endless = "batch.kubernetes.io/job-name=endless";
    let is_ready = ["wait", "pods", "-l", endless, "--for=condition=Ready", "--timeout=30s"];
    cluster.until("the other runs", |cluster| cluster.kubectl(&is_ready).code == 0);
    cluster.ok(&["delete", "pods", "-l", endless, "--timeout=30s"]);
    cluster.until("another takes its place", |cluster| cluster.kubectl(&is_ready).code == 0);
    cluster.ok(&["delete", "job/endless", "--cascade=foreground", "--timeout=30s"]);
    cluster.ok(&["delete", "job/counted", "--timeout=30s"]);
    cluster.until("no Pod is left", |cluster| cluster.ok(&["get", "pods", "-o", "name"]).is_empty());
}

/// Two Pods that are of use only together, of a class that says that they are batch.
const RANKS: &str = r"
apiVersion: crest.dev/v1alpha1
kind: PodGroup
metadata: {name: ranks}
spec: {minMember: 2}
---
apiVersion: batch/v1
kind: Job
metadata: {name: ranks}
spec:
  completions: 2
  parallelism: 2
  suspend: true
  template:
    metadata: {labels: {crest.dev/pod-group: ranks}}
    spec:
      priorityClassName: crest-free
      restartPolicy: Never
      containers:
        - {name: run, image: 'busybox:test', command: [sleep, '1'], resources: {requests: {cpu: 50m, memory: 16Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: lonely, labels: {crest.dev/pod-group: ranks}}
spec:
  priorityClassName: crest-batch
  restartPolicy: Never
  containers: [{name: run, image: 'busybox:test', command: [sleep, '1']}]
";

#[test]
fn pods_of_a_group_start_together_on_what_is_left_idle() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    cluster.apply(RANKS);
    cluster.until("one of two is there", |cluster| {
        cluster.ok(&["get", "podgroup", "ranks", "-o", "jsonpath={.status.phase}"]) == "Pending"
            && cluster.ok(&["describe", "pod", "lonely"]).contains("1 of 2 Pods of the PodGroup `ranks`")
    });
    cluster.ok(&["patch", "job", "ranks", "-p", r#"{"spec": {"suspend": false}}"#]);
    cluster.until("all have ended", |cluster| {
        cluster.ok(&["get", "job", "ranks", "-o", "jsonpath={.status.succeeded}"]) == "2"
            && cluster.ok(&["get", "pod", "lonely", "-o", "jsonpath={.status.phase}"]) == "Succeeded"
    });
    assert_eq!(cluster.ok(&["get", "podgroup", "ranks", "-o", "jsonpath={.status.phase}"]), "Scheduled");
}
