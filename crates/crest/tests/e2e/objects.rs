//! The example of objects on a real cluster and a real S3 server; and a store that is not as it was, refuses, or is not there.

use super::cluster::Cluster;
use super::s3::{KEY, S3, SECRET};

const OBJECTS: &str = include_str!("../../../../examples/batch/objects.yaml");

/// A task that reads the objects of `url` and has one attempt.
fn reader(name: &str, (url, endpoint, secret): (&str, &str, &str), script: &str) -> String {
    format!(
        r"
apiVersion: crest.dev/v1alpha1
kind: DagJob
metadata: {{name: {name}}}
spec:
  tasks:
    - name: only
      input: {{objects: {{url: '{url}', endpoint: '{endpoint}', allowHTTP: true, credentials: {secret}}}}}
      parallelism: 1
      maxAttempts: 1
      image: busybox:test
      command: [sh, -c, '{script}']
      resources: {{cpu: 50m, memory: 64Mi}}
"
    )
}

#[test]
fn objects_are_read_and_written() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let s3 = S3::start("0.0.0.0");
    let endpoint = format!("http://{}:{}", cluster.gateway(), s3.port);
    let secret = |name: &str, secret: &str| {
        let (key, secret) = (format!("AWS_ACCESS_KEY_ID={KEY}"), format!("AWS_SECRET_ACCESS_KEY={secret}"));
        cluster.ok(&["create", "secret", "generic", name, "--from-literal", &key, "--from-literal", &secret]);
    };
    secret("s3", SECRET);
    secret("wrong", "another");
    for count in 1..=12 {
        s3.write(&format!("in/{count}.txt"), &"line\n".repeat(count));
    }
    let here = |line: &str| match line.split_once("endpoint: ") {
        Some((indent, _)) => format!("{indent}endpoint: {endpoint}\n{indent}allowHTTP: true\n"),
        None => format!("{}\n", line.replace("busybox:latest", "busybox:test")),
    };
    cluster.apply(&OBJECTS.lines().map(here).collect::<String>());
    let status = cluster.ended_job("objects");
    assert_eq!(status["phase"], "Succeeded", "{status}");
    assert_eq!(s3.read("total/0").trim(), (12 * 13 / 2).to_string());
    assert_eq!((s3.read("out/0").trim(), &status["tasks"]["count"]["input"]["entries"]), ("1", &12.into()));

    // One instance takes the other's object away.
    let script = "until [ -e /.crest-files/go ]; do sleep 0.05; done";
    s3.write("two/a", "a");
    s3.write("two/b", "b");
    cluster.apply(&reader("vanished", ("s3://data/two/", &endpoint, "s3"), script));
    cluster.until("the list is taken and the first runs", |cluster| {
        cluster.job_status("vanished")["tasks"]["only"]["running"] == 1
            && cluster.job_status("vanished")["tasks"]["only"]["input"]["entries"] == 2
    });
    std::fs::remove_file(s3.path("two/b")).unwrap();
    let pod = cluster.ok(&["get", "pods", "-l", "crest.dev/dagjob=vanished", "-o", "name"]);
    cluster.ok(&["exec", pod.trim(), "--", "sh", "-c", "echo > /.crest-files/go"]);
    let failure = failure(&cluster, "vanished");
    let expected = "its input `s3://data/two/b` is not there any more, as it was when the task began";
    assert!(failure.ends_with(expected), "{failure}");

    let nobody = "http://127.0.0.1:9";
    for (name, (url, endpoint, secret), expected) in [
        (
            "wrong",
            ("s3://data/in/", endpoint.as_str(), "wrong"),
            "the store refuses to list `s3://data/in`: are the keys in the Secret `wrong` right, and may they do so?",
        ),
        (
            "missing",
            ("s3://data/in/", &endpoint, "nowhere"),
            "the Secret `nowhere`, named by credentials, is not in the job's namespace",
        ),
        (
            "unreachable",
            ("s3://data/in/", nobody, "s3"),
            "cannot list `s3://data/in` at http://127.0.0.1:9: ",
        ),
    ] {
        cluster.apply(&reader(name, (url, endpoint, secret), "true"));
        let failure = self::failure(&cluster, name);
        assert!(failure.contains(expected), "{name}: {failure}");
    }
    for text in [cluster.ok(&["get", "dagjobs,pods,events,configmaps", "-o", "yaml"]), cluster.whole_log()] {
        assert!(!text.contains(KEY) && !text.contains(SECRET), "a secret is told");
    }
    let faulty = reader("faulty", ("s3://data/in/", "http://user:word@there", "s3"), "true");
    let said = cluster.kubectl_fed(&["apply", "-f", "-"], &faulty);
    let field = "spec.tasks[0].input.objects.endpoint";
    assert!(said.stderr.contains(field) && !said.stderr.contains("word@"), "{said:?}");
}

/// What a job says that has failed.
fn failure(cluster: &Cluster, name: &str) -> String {
    let status = cluster.ended_job(name);
    assert_eq!(status["phase"], "Failed", "{name}: {status}");
    status["tasks"]["only"]["lastFailure"].as_str().unwrap_or_default().to_owned()
}
