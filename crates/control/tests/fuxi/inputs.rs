//! Input lists and success policies from end to end.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use model::dagjob::JobPhase;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::{condition, task};

fn with_input(name: &str, script: &str, input: Value) -> Value {
    let mut task = task(name, 0, script, &[]);
    task.as_object_mut().unwrap().remove("instances");
    task["input"] = input;
    task
}

fn sorted_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

pub(crate) async fn a_list_that_changes_while_it_is_worked_on_changes_nothing() {
    let mut cluster = Cluster::start().await;
    let folder = cluster.folder("in");
    for index in 0..60 {
        std::fs::write(folder.join(format!("{index:02}")), "").unwrap();
    }
    let script = "echo ${CREST_INPUT##*/} >> $OUT/ran; until [ -e $OUT/go ]; do sleep 0.02; done";
    let listed = with_input("only", script, json!({ "files": format!("{}/*", folder.display()) }));
    let mut after = task("after", 1, "wc -l < $OUT/ran > $OUT/count", &["only"]);
    after["startAtPercent"] = json!(100);
    cluster.create_job("listed", json!([listed, after])).await;
    cluster.wait_for("listed", |status| status.tasks.get("only").is_some_and(|task| task.running > 0)).await;
    // More files, one less, and another master in between.
    std::fs::write(folder.join("60"), "").unwrap();
    cluster.kill_master();
    cluster.start_master();
    cluster.write("go", "");
    let status = cluster.wait_for("listed", |status| status.phase == JobPhase::Succeeded).await;
    let input = status.tasks["only"].input.clone().unwrap();
    assert_eq!((status.tasks["only"].instances, input.entries, input.parts), (60, 60, 1));
    let expected: Vec<String> = (0..60).map(|index| format!("{index:02}")).collect();
    assert_eq!(sorted_lines(&cluster.read("ran")), expected, "each once");
    assert_eq!(cluster.read("count").trim(), "60");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let maps = maps.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(maps.len(), 1, "taken once");
    let owner = &maps[0].metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("DagJob", "listed"));
    cluster.wait_for_no_pods().await;
}

pub(crate) async fn a_vanished_file_and_an_empty_list() {
    let cluster = Cluster::start().await;
    let folder = cluster.folder("in");
    for name in ["a", "b"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    // The first takes the other's file away.
    let script = format!("rm -f {}/b", folder.display());
    let mut gone = with_input("gone", &script, json!({ "files": folder }));
    gone["parallelism"] = json!(1);
    cluster.create_job("gone", json!([gone])).await;
    let status = cluster.wait_for("gone", |status| status.phase == JobPhase::Failed).await;
    let message = condition(&status, "Failed").unwrap();
    assert!(message.contains("/in/b` is not there any more, as it was when the task began"), "{message}");

    let empty = with_input("empty", "false", json!({ "files": format!("{}/*.parquet", folder.display()) }));
    let after = task("after", 1, "echo ran > $OUT/after", &["empty"]);
    cluster.create_job("empty", json!([empty, after])).await;
    let status = cluster.wait_for("empty", |status| status.phase == JobPhase::Succeeded).await;
    assert_eq!(
        (status.tasks["empty"].instances, status.tasks["empty"].input.as_ref().unwrap().entries),
        (0, 0)
    );
    assert_eq!(cluster.read("after"), "ran\n");

    let nowhere = with_input("nowhere", "true", json!({ "files": "/no/such/folder/*.csv" }));
    cluster.create_job("nowhere", json!([nowhere])).await;
    let status = cluster.wait_for("nowhere", |status| status.phase == JobPhase::Failed).await;
    let message = condition(&status, "Failed").unwrap();
    assert!(
        message.contains("taking the input list, attempt 3")
            && message.contains("there is no `/no/such/folder`"),
        "{message}"
    );
    cluster.wait_for_no_pods().await;
}

pub(crate) async fn ranges_and_items_are_cut_into_pieces() {
    let cluster = Cluster::start().await;
    let script = "echo $CREST_INSTANCE_INDEX $CREST_INSTANCE_COUNT $CREST_INPUT >> $OUT/ran";
    let range = with_input("range", script, json!({ "range": { "from": 1, "to": 10, "chunks": 3 } }));
    let items = with_input("items", script, json!({ "items": ["x", "y", "z"], "perInstance": 2 }));
    cluster.create_job("pieces", json!([range, items])).await;
    cluster.wait_for("pieces", |status| status.phase == JobPhase::Succeeded).await;
    let lines = sorted_lines(&cluster.read("ran"));
    assert_eq!(lines, ["0 2 x y", "0 3 1 4", "1 2 z", "1 3 5 7", "2 3 8 10"]);
}

/// A million files, as names: what the API and the master hold of them.
pub(crate) async fn a_million_entries_are_kept_in_little() {
    let cluster = Cluster::start().await;
    let folder = cluster.folder("in");
    // A thousand names in each of a thousand folders, of which all but one are links to the first.
    std::fs::create_dir(folder.join("000")).unwrap();
    for index in 0..1000 {
        std::fs::write(folder.join(format!("000/part-{index:05}.parquet")), "").unwrap();
    }
    for index in 1..1000 {
        std::os::unix::fs::symlink("000", folder.join(format!("{index:03}"))).unwrap();
    }
    let input = json!({ "files": format!("{}/*/part-*.parquet", folder.display()), "perInstance": 500 });
    let many = with_input("many", "echo \"$CREST_INPUT\" | wc -l >> $OUT/ran", input);
    cluster.create_job("many", json!([many])).await;
    let start = kit::clock::monotonic();
    let status = cluster
        .wait_for("many", |status| status.tasks.get("many").is_some_and(|task| task.input.is_some()))
        .await;
    let input = status.tasks["many"].input.clone().unwrap();
    println!("1,000,000 files listed and kept in {} ConfigMaps in {:?}", input.parts, start.elapsed());
    assert_eq!((input.entries, status.tasks["many"].instances), (1_000_000, 2000));
    let status = cluster.wait_for("many", |status| status.phase.is_ended()).await;
    assert_eq!(status.phase, JobPhase::Succeeded, "{status:?}");
    let counts = cluster.read("ran");
    assert_eq!(counts.lines().count(), 2000);
    assert!(counts.lines().all(|line| line.trim() == "500"));
}

pub(crate) async fn some_may_fail() {
    let mut cluster = Cluster::start().await;
    let script = "case $CREST_INSTANCE_INDEX in 3|7) echo bad luck >&2; exit 4;; esac";
    let mut most = task("most", 20, script, &[]);
    most["successPolicy"] = json!({ "maxFailedPercent": 10 });
    most["maxAttempts"] = json!(2);
    let hold = task("hold", 1, "until [ -e $OUT/go ]; do sleep 0.02; done", &["most"]);
    cluster.create_job("most", json!([most.clone(), hold])).await;
    cluster.wait_for("most", |status| status.tasks.get("hold").is_some_and(|task| task.running > 0)).await;
    cluster.kill_master();
    cluster.start_master();
    cluster.write("go", "");
    let status = cluster.wait_for("most", |status| status.phase == JobPhase::Succeeded).await;
    let task = &status.tasks["most"];
    assert_eq!((task.succeeded, task.failed, task.failed_attempts), (18, 2, 4));
    assert_eq!(task.failed_instances, "3,7");
    assert!(
        task.failures.iter().all(|failure| failure.message.contains("exit code 4: bad luck")),
        "{task:?}"
    );
    let message = condition(&status, "Complete").unwrap();
    assert_eq!(message, "19 of 21 instances succeeded; 2 failed, and successPolicy lets them");

    most["successPolicy"] = json!({ "maxFailedPercent": 5, "failFast": false });
    cluster.create_job("few", json!([most])).await;
    let status = cluster.wait_for("few", |status| status.phase == JobPhase::Failed).await;
    let message = condition(&status, "Failed").unwrap();
    assert!(
        message.starts_with(
            "task `most`: 2 of 20 instances failed, and successPolicy.maxFailedPercent 5 allows 1"
        ),
        "{message}"
    );
    assert_eq!(status.tasks["most"].succeeded, 18, "all others were run");
}
