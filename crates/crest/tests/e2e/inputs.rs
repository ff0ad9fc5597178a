//! The examples of input lists, outputs and policies, as their documentation says, and what is said of faulty ones.

use std::fs;

use serde_json::Value;

use super::cluster::Cluster;

const FILES: &str = include_str!("../../../../examples/batch/files.yaml");
const RANGES: &str = include_str!("../../../../examples/batch/ranges.yaml");

/// Runs an example to its end, with this cluster's image and `data` in place of `/data` of the host.
fn run(cluster: &Cluster, example: &str, data: &str) -> Value {
    let name = example.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap();
    let host = format!("hostPath: {{path: {data}}}");
    cluster
        .apply(&example.replace("busybox:latest", "busybox:test").replace("hostPath: {path: /data}", &host));
    cluster.ended_job(name)
}

#[test]
fn the_examples_of_input_lists_run() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let data = cluster.state_dir().join("data");
    fs::create_dir_all(data.join("in")).unwrap();
    for count in 1..=40 {
        fs::write(data.join(format!("in/{count}.txt")), "line\n".repeat(count)).unwrap();
    }
    // One that cannot be read, of which a twentieth may be.
    fs::remove_file(data.join("in/7.txt")).unwrap();
    std::os::unix::fs::symlink("nowhere", data.join("in/7.txt")).unwrap();
    let status = run(&cluster, FILES, data.to_str().unwrap());
    assert_eq!(status["phase"], "Succeeded", "{status}");
    let count = &status["tasks"]["count"];
    assert_eq!(count["failedAttempts"], 3, "only the broken one: {count}");
    assert_eq!(fs::read_to_string(data.join("total")).unwrap().trim(), (40 * 41 / 2 - 7).to_string());
    assert_eq!(
        (&count["input"]["entries"], &count["succeeded"], &count["failed"]),
        (&40.into(), &39.into(), &1.into())
    );
    let message = count["failures"][0]["message"].as_str().unwrap();
    assert!(message.contains("its input `/data/in/7.txt` is not there any more"), "{message}");
    let outputs = fs::read_dir(data.join("out")).unwrap().count();
    assert_eq!(outputs, 39, "nothing is left beside them");
    let shown = cluster.job(&["get", "files"]).stdout;
    assert!(shown.contains("39/40") && shown.contains("FAILED"), "{shown}");

    let status = run(&cluster, RANGES, data.to_str().unwrap());
    assert_eq!(status["phase"], "Succeeded", "{status}");
    assert_eq!(
        (&status["tasks"]["sum"]["succeeded"], &status["tasks"]["greet"]["succeeded"]),
        (&20.into(), &2.into())
    );

    let explained = cluster.ok(&["explain", "dagjob.spec.tasks.input"]);
    assert!(
        explained.contains("perInstance") && explained.contains("Names that begin with a dot"),
        "{explained}"
    );
    let faulty = RANGES
        .replace("to: 1000000, chunks: 20", "to: 0, chunks: 0")
        .replace("perInstance: 2", "perInstance: 0");
    let said = cluster.kubectl_fed(&["apply", "-f", "-"], &faulty.replace("name: ranges", "name: faulty"));
    for field in [
        "spec.tasks[0].input.range.to",
        "spec.tasks[0].input.range.chunks",
        "spec.tasks[1].input.perInstance",
    ] {
        assert!(said.code != 0 && said.stderr.contains(field), "{field}: {said:?}");
    }
}
