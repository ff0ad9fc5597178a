//! Instances that do everything wrong, on a real cluster: each fails alone and says why, and all others go on.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cluster::Cluster;

/// No log may be larger, however much is written in how short a time.
const LARGEST_LOGS: u64 = 1 << 30;

/// A job of one instance, which `script` is.
fn job(name: &str, script: &str, (limit, memory): (u32, &str)) -> String {
    format!(
        r"
apiVersion: crest.dev/v1alpha1
kind: DagJob
metadata: {{name: {name}}}
spec:
  keepWorkersSeconds: 300
  tasks:
    - name: only
      instances: 1
      maxAttempts: 1
      timeoutSeconds: {limit}
      image: busybox:test
      command: [sh, -c, '{script}']
      resources: {{cpu: 50m, memory: {memory}}}
"
    )
}

/// Runs a job to its end, in which it fails or succeeds; what its only instance said.
fn outcome(cluster: &Cluster, name: &str, script: &str, bounds: (u32, &str)) -> (String, String) {
    cluster.apply(&job(name, script, bounds));
    let last = cluster.ended_job(name);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&last["phase"]), text(&last["tasks"]["only"]["lastFailure"]))
}

/// Whether a process of this host has `word` in its command line.
fn some_process_has(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|line| line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes()))
}

/// How much the process that runs the cluster holds in memory, in KiB.
fn resident(cluster: &Cluster) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", cluster.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn size_of(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_of(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[test]
fn hostile_instances_harm_nobody() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let before = resident(&cluster);

    // One that detaches a process, twice removed and in a session of its own, ends with it.
    let detach = "busybox setsid sh -c \"sleep 98761 & sleep 98761\" & sleep 0.5";
    let (phase, _) = outcome(&cluster, "detach", detach, (30, "32Mi"));
    assert_eq!(phase, "Succeeded");
    assert!(!some_process_has("98761"), "it outlived its instance");

    // Deaf to SIGTERM.
    let deaf = "trap \"\" TERM; while :; do sleep 1; done";
    let (_, failure) = outcome(&cluster, "deaf", deaf, (2, "32Mi"));
    assert_eq!(failure, "instance 0 attempt 1: killed after its time limit of 2 s");

    // More memory than it asked for: alone and as a part of an instance that goes on.
    let greedy = "busybox dd if=/dev/zero of=/dev/null bs=200M count=1";
    for (name, script) in [("greedy", greedy.to_owned()), ("part", format!("({greedy}) || exit 7"))] {
        let (_, failure) = outcome(&cluster, name, &script, (30, "32Mi"));
        let expected = "instance 0 attempt 1: out of memory: limit 32Mi, the task's resources.memory";
        assert!(failure.starts_with(expected), "{name}: {failure}");
        let label = format!("crest.dev/dagjob={name}");
        let phase = ["get", "pods", "-l", &label, "-o", "jsonpath={.items[*].status.phase}"];
        cluster.until("its only worker ends well", |cluster| cluster.ok(&phase) == "Succeeded");
    }

    // Forks without end: as many as its worker may have.
    let bomb = "bomb() { bomb | bomb & }; bomb; sleep 98762";
    let (phase, failure) = outcome(&cluster, "bomb", bomb, (3, "64Mi"));
    assert!(phase == "Failed" && failure.starts_with("instance 0 attempt 1: "), "{failure}");
    assert!(!some_process_has("98762"), "it outlived its instance");

    // Binary on both outputs.
    let binary = "busybox head -c 300000 /dev/urandom; busybox head -c 3000 /dev/urandom >&2; exit 3";
    let (_, failure) = outcome(&cluster, "binary", binary, (30, "32Mi"));
    assert!(failure.starts_with("instance 0 attempt 1: exit code 3"), "{failure}");
    assert!(cluster.job(&["diagnose", "binary"]).stdout.contains("exit code 3"));

    loud_instances_are_bounded(&cluster);

    // Whoever behaves notices nothing.
    let (phase, _) = outcome(&cluster, "good", "echo fine", (30, "32Mi"));
    assert_eq!(phase, "Succeeded");
    let grown = resident(&cluster).saturating_sub(before) >> 10;
    println!("the process of the cluster holds {grown} MiB more");
    assert!(grown < 200, "{grown} MiB more");
}

/// A job of three instances, one after another, of which the first is `script` and has 16 MiB of disk.
fn filler(name: &str, script: &str, more: &str) -> String {
    format!(
        r#"
apiVersion: crest.dev/v1alpha1
kind: DagJob
metadata: {{name: {name}}}
spec:
  volumes: [{{name: own, emptyDir: {{}}}}]
  tasks:
    - name: only
      instances: 3
      parallelism: 1
      maxAttempts: 1
      successPolicy: {{maxFailedPercent: 50}}
      image: busybox:test
      {more}
      volumeMounts: [{{name: own, mountPath: /own}}]
      command: [sh, -c, '{script}']
      resources: {{cpu: 50m, memory: 64Mi, ephemeral-storage: 16Mi}}
"#
    )
}

#[test]
fn who_fills_the_disk_is_killed_alone() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let first = "[ $CREST_INSTANCE_INDEX != 0 ] || {";
    let fill = "busybox dd if=/dev/zero bs=1M count=64";
    for (name, script, more) in [
        ("root", format!("{first} {fill} of=/var-big; sleep 60; }}"), ""),
        ("volume", format!("{first} {fill} of=/own/big; sleep 60; }}"), ""),
        ("nameless", format!("{first} exec 3>/own/big; rm /own/big; {fill} >&3; sleep 60; }}"), ""),
        (
            "many",
            format!("{first} mkdir /own/d; for i in $(seq 6000); do : > /own/d/$i; done; sleep 60; }}"),
            "",
        ),
        ("stream", stream(&format!("{fill} of=/own/big; sleep 60")), "mode: Stream"),
    ] {
        cluster.apply(&filler(name, &script, more));
        let status = cluster.ended_job(name);
        let task = &status["tasks"]["only"];
        assert_eq!(
            (&status["phase"], &task["finished"]),
            (&"Succeeded".into(), &"1-2".into()),
            "{name}: {status}"
        );
        let message = task["failures"][0]["message"].as_str().unwrap();
        let expected =
            "instance 0 attempt 1: out of disk: limit 16Mi, the task's resources.ephemeral-storage";
        assert!(message.starts_with(expected), "{name}: {message}");
    }
    // Below the limit nobody is disturbed.
    cluster.apply(&filler("modest", "busybox dd if=/dev/zero of=/own/file bs=1M count=8; sleep 2", ""));
    let status = cluster.ended_job("modest");
    assert_eq!(status["tasks"]["only"]["finished"], "0-2", "{status}");
}

/// A program that takes a stream and answers, but for instance 0, where it does as `hostile` says.
fn stream(hostile: &str) -> String {
    let answers = r#"echo "{\"ready\":true}"; while read -r line; do i=${line#*:}; i=${i%%,*}; if [ $i = 0 ]; then HOSTILE; fi; echo "{\"index\":$i}"; done"#;
    answers.replace("HOSTILE", hostile)
}

#[test]
fn hostile_programs_of_streams_fail_alone() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let answer = r#"echo "{\"index\":0}""#;
    let hostile = [
        ("nonsense", "echo so what", "its program wrote `so what` to standard output, where only answers"),
        ("binary", "busybox head -c 3000 /dev/urandom; echo", "its program wrote `"),
        (
            "endless",
            "busybox yes x | busybox tr -d \"\\n\"",
            "its program wrote more than 65536 bytes without an end of line",
        ),
        ("deaf", "sleep 1000", "killed after its time limit of 3 s"),
        ("closed", "exec >&-; sleep 1000", "its program closed its standard input or output and went on"),
        ("twice", answer, "its program answered instance 0, which it did not hold"),
        ("foreign", "echo \"{\\\"index\\\":77}\"", "its program answered instance 77, which it did not hold"),
        ("dead", "exit 3", "its program ended before it answered: exit code 3"),
        ("killed", "kill -9 $$", "its program ended before it answered: killed by signal 9"),
    ];
    for (name, script, _) in hostile {
        // On a busy machine batch may wait for long: only who never answers is to run out of time.
        let limit = if name == "deaf" { 3 } else { 50 };
        let job = filler(name, &stream(script), &format!("mode: Stream\n      timeoutSeconds: {limit}"));
        cluster.apply(&job.replace("cpu: 50m", "cpu: 20m"));
    }
    // A good one beside them, of which no instance runs twice.
    let good = stream("true").replace("[ $i = 0 ]", "false");
    cluster.apply(&filler("good", &good, "mode: Stream").replace("instances: 3", "instances: 2000"));
    for (name, _, expected) in hostile {
        let status = cluster.ended_job(name);
        let task = &status["tasks"]["only"];
        let message = task["failures"][0]["message"].as_str().unwrap_or_default();
        if name == "twice" {
            // Its first answer counts; what it breaks with the second is whatever it holds then.
            assert!(task["succeeded"].as_u64() >= Some(1), "{name}: {status}");
            if message.is_empty() {
                continue;
            }
        } else {
            assert_eq!(
                (&status["phase"], &task["finished"]),
                (&"Succeeded".into(), &"1-2".into()),
                "{name}: {status}"
            );
            assert!(message.starts_with("instance 0 attempt 1: "), "{name}: {message}");
        }
        assert!(message.contains(expected), "{name}: {message}");
    }
    let status = cluster.ended_job("good");
    let task = &status["tasks"]["only"];
    assert_eq!((&task["finished"], &task["failedAttempts"]), (&"0-1999".into(), &0.into()), "{status}");
}

/// Four gigabytes on each output, as fast as it can.
fn loud_instances_are_bounded(cluster: &Cluster) {
    let start = Instant::now();
    for (name, to) in [("loud", "1"), ("shrill", "2")] {
        let script = format!(
            "busybox yes \"a line of some length, again and again and again\" | busybox head -c 4000000000 >&{to}"
        );
        cluster.apply(&job(name, &script, (40, "64Mi")));
    }
    let logs = cluster.state_dir();
    let (mut largest, mut pending) = (0, vec!["loud", "shrill"]);
    while !pending.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(100), "{pending:?} did not end");
        largest = largest.max(size_of(&logs));
        pending.retain(|job| {
            let phase = cluster.job_status(job)["phase"].clone();
            phase != "Succeeded" && phase != "Failed"
        });
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("logs of 8 GB in {:?}: at most {} MiB on disk", start.elapsed(), largest >> 20);
    assert!(largest < LARGEST_LOGS, "{} MiB", largest >> 20);
}
