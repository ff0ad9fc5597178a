//! What a job has in the store beside its Pods, and what becomes of it when others lay hands on that.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use model::dagjob::{DagJob, JobPhase};
use serde_json::json;

use super::{condition, numbers, task};
use crate::cluster::Cluster;

const WAITS: &str = "echo $CREST_INSTANCE_INDEX >> $OUT/ran; while ! [ -e $OUT/go ]; do sleep 0.05; done";

/// A master that was deposed may have stored a status that a newer one has not seen, and told workers so.
pub(crate) async fn a_status_that_another_master_has_stored_is_gone_on_from() {
    let cluster = Cluster::start().await;
    cluster.create_job("shared", json!([task("only", 8, WAITS, &[])])).await;
    cluster.wait_for("shared", |status| status.tasks.get("only").is_some_and(|task| task.running == 4)).await;
    let jobs: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), "default", &ApiResource::erase::<DagJob>(&()));
    let other = json!({ "type": "Seen", "status": "True", "reason": "Other", "message": "by another master",
        "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let only = json!({ "instances": 8, "succeeded": 2, "finished": "6-7" });
    let patch = json!({ "status": { "conditions": [other], "tasks": { "only": only } } });
    jobs.patch_status("shared", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    // Now its own master has something to store.
    for (desired, phase) in [("Paused", JobPhase::Paused), ("Running", JobPhase::Running)] {
        let patch = json!({ "spec": { "desiredState": desired } });
        jobs.patch("shared", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        cluster.wait_for("shared", |status| status.phase == phase).await;
    }
    cluster.write("go", "");
    let status = cluster.wait_for("shared", |status| status.phase == JobPhase::Succeeded).await;
    assert_eq!(condition(&status, "Seen"), Some("by another master"));
    assert_eq!((status.tasks["only"].finished.as_str(), status.tasks["only"].failed_attempts), ("0-7", 0));
    // What runs goes on, and what is done already is not run at all.
    assert_eq!(numbers(&cluster.read("ran")), (0..6).collect::<Vec<_>>());
    cluster.wait_for_no_pods().await;
}

/// However often that happens, and just when workers come, none is disturbed and nothing runs twice.
pub(crate) async fn others_who_store_statuses_all_the_time_disturb_nobody() {
    let mut cluster = Cluster::start().await;
    let script = "echo $CREST_INSTANCE_INDEX >> $OUT/ran; sleep 0.1";
    cluster.create_job("busy", json!([task("only", 60, script, &[])])).await;
    cluster.wait_for("busy", |status| status.tasks.get("only").is_some_and(|task| task.succeeded > 3)).await;
    let jobs: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), "default", &ApiResource::erase::<DagJob>(&()));
    for round in 0..30 {
        if round == 10 {
            cluster.kill_master();
            cluster.start_master();
        }
        let other = json!({ "type": "Seen", "status": "True", "reason": "Other", "message": format!("{round}"),
            "lastTransitionTime": "2026-01-01T00:00:00Z" });
        let patch = json!({ "status": { "conditions": [other] } });
        jobs.patch_status("busy", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let status = cluster.wait_for("busy", |status| status.phase == JobPhase::Succeeded).await;
    assert_eq!((status.tasks["only"].finished.as_str(), status.tasks["only"].failed_attempts), ("0-59", 0));
    assert_eq!(numbers(&cluster.read("ran")), (0..60).collect::<Vec<_>>());
    cluster.wait_for_no_pods().await;
}

pub(crate) async fn a_deleted_secret_is_made_again_with_the_same_token() {
    let cluster = Cluster::start().await;
    cluster.create_job("token", json!([task("only", 6, WAITS, &[])])).await;
    cluster.wait_for("token", |status| status.tasks.get("only").is_some_and(|task| task.running == 4)).await;
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "default");
    let secret = secrets.list(&ListParams::default()).await.unwrap().items.remove(0);
    secrets.delete(&secret.name_any(), &DeleteParams::default()).await.unwrap();
    // One worker goes, and the next one finds no Secret.
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let of_before = async || -> BTreeSet<String> {
        pods.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect()
    };
    let before = of_before().await;
    pods.delete(before.first().unwrap(), &DeleteParams::default()).await.unwrap();
    let again = async || {
        secrets.get_opt(&secret.name_any()).await.unwrap().is_some_and(|again| again.data == secret.data)
    };
    cluster.wait_until(again).await;
    cluster.write("go", "");
    cluster.wait_for("token", |status| status.phase == JobPhase::Succeeded).await;
}

pub(crate) async fn a_job_whose_list_is_lost_fails_and_says_so() {
    let mut cluster = Cluster::start().await;
    let folder = cluster.folder("in");
    for name in ["a", "b", "c"] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    let mut only = task("only", 0, WAITS, &[]);
    only.as_object_mut().unwrap().remove("instances");
    only["input"] = json!({ "files": folder.join("*").to_string_lossy() });
    cluster.create_job("list", json!([only])).await;
    cluster.wait_for("list", |status| status.tasks.get("only").is_some_and(|task| task.running == 3)).await;
    cluster.kill_master();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let mut names = maps.list(&ListParams::default()).await.unwrap().items;
    names.retain(|map| map.name_any().starts_with("list-input-"));
    assert_eq!(names.len(), 1);
    maps.delete(&names[0].name_any(), &DeleteParams::default()).await.unwrap();
    cluster.start_master();
    let status = cluster.wait_for("list", |status| status.phase == JobPhase::Failed).await;
    let message = condition(&status, "Failed").unwrap();
    let expected =
        format!("task `only`: the ConfigMap `{}` with a part of the input list is gone", names[0].name_any());
    assert!(message.starts_with(&expected), "{message}");
    cluster.wait_for_no_pods().await;
}
