//! kill -9 on the whole of Crest: nothing is lost, nothing runs twice.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::cluster::Cluster;

const SLEEPER: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: sleeper}, spec: {terminationGracePeriodSeconds: 1, containers: [
  {name: c, image: 'busybox:test', command: [sh, -c, 'echo started; exec sleep 1000']}]}}";

fn job(out: &str) -> String {
    format!(
        r#"
apiVersion: crest.dev/v1alpha1
kind: DagJob
metadata: {{name: counted}}
spec:
  volumes: [{{name: out, hostPath: {{path: {out}, type: DirectoryOrCreate}}}}]
  tasks:
    - name: first
      instances: 40
      image: busybox:test
      command: [sh, -c, 'sleep 0.1; echo ran >> /out/first-$CREST_INSTANCE_INDEX']
      volumeMounts: [{{name: out, mountPath: /out}}]
      resources: {{cpu: 100m, memory: 16Mi}}
    - name: second
      dependsOn: [first]
      instances: 4
      image: busybox:test
      command: [sh, -c, 'echo ran >> /out/second-$CREST_INSTANCE_INDEX']
      volumeMounts: [{{name: out, mountPath: /out}}]
      resources: {{cpu: 100m, memory: 16Mi}}
"#
    )
}

/// The process of the sleeper's container, by its command line.
fn sleeper_pid(cluster: &Cluster) -> String {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut found = processes.filter(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let cgroup = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        line.starts_with(b"sleep\x001000") && cgroup.contains(&format!("/{}/", cluster.instance))
    });
    found.next().expect("the sleeper runs").file_name().to_string_lossy().into_owned()
}

fn kill_crest(cluster: &Cluster) {
    let pid = Pid::from_raw(cluster.pid()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn succeeded(cluster: &Cluster) -> u32 {
    let path = "jsonpath={.status.tasks.first.succeeded}";
    cluster.ok(&["get", "dagjob", "counted", "-o", path]).parse().unwrap_or(0)
}

#[test]
fn containers_run_on_and_the_job_goes_on() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    cluster.apply(SLEEPER);
    cluster.ok(&["wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s"]);
    let pid = sleeper_pid(&cluster);
    let container =
        cluster.ok(&["get", "pod", "sleeper", "-o", "jsonpath={.status.containerStatuses[0].containerID}"]);
    let out = cluster.state_dir().join("out");
    cluster.apply(&job(&out.display().to_string()));

    // Once after a while, in which instances end while nobody listens; once while what was killed is still taken apart.
    for (at_least, pause) in [(3, 300), (15, 0)] {
        cluster.until("the job makes progress", |cluster| succeeded(cluster) >= at_least);
        kill_crest(&cluster);
        std::thread::sleep(Duration::from_millis(pause));
        let up = cluster.crest(&["up"]);
        assert_eq!(up.code, 0, "{up:?}\n{}", cluster.log());
        assert_eq!(sleeper_pid(&cluster), pid, "the container was adopted, not started again");
    }
    cluster.ok(&["wait", "--for=condition=Complete", "dagjob/counted", "--timeout=120s"]);
    for (task, count) in [("first", 40), ("second", 4)] {
        for index in 0..count {
            let path = out.join(format!("{task}-{index}"));
            let runs = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(runs, "ran\n", "instance {index} of {task} ran exactly once");
        }
    }
    let restarts =
        cluster.ok(&["get", "pod", "sleeper", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"]);
    let after =
        cluster.ok(&["get", "pod", "sleeper", "-o", "jsonpath={.status.containerStatuses[0].containerID}"]);
    assert_eq!((restarts.as_str(), after), ("0", container));
    assert!(cluster.ok(&["logs", "sleeper"]).contains("started"));
}
