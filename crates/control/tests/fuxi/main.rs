//! DagJobs from end to end: the real API server and store, the real batch master, real worker processes. Only the node
//! is played by the test: it starts a process for each worker Pod.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test program with a main of its own"
)]

mod cluster;
mod faulty;
mod folders;
mod guests;
mod inputs;
mod node;
mod quotas;
mod stored;
mod strangers;
mod taints;
mod tides;

use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use model::dagjob::{DagJob, DagJobStatus, JobPhase};
use serde_json::{Value, json};

use cluster::Cluster;
use faulty::{
    a_backup_begins_on_another_node, a_node_where_a_task_fails_is_avoided_by_it,
    a_node_where_several_jobs_fail_is_closed_also_after_a_restart,
    a_worker_that_cannot_start_is_looked_for_elsewhere, a_worker_that_never_comes_is_given_up,
    what_a_dead_node_holds_is_run_elsewhere,
};
use folders::workers_are_made_where_they_have_a_folder;
use guests::{
    a_group_that_has_gathered_its_room_starts_as_a_whole, a_pod_that_has_to_go_goes_in_the_end,
    pods_of_a_group_are_placed_together, pods_of_others_go_when_their_machine_shrinks,
    pods_of_others_keep_to_their_selector_and_their_quota, pods_of_others_share_the_room,
    what_names_no_quota_counts_for_that_of_its_namespace,
};
use inputs::{
    a_list_that_changes_while_it_is_worked_on_changes_nothing, a_million_entries_are_kept_in_little,
    a_vanished_file_and_an_empty_list, ranges_and_items_are_cut_into_pieces, some_may_fail,
};
use quotas::{
    a_faulty_quota_stands_as_it_did_also_after_a_restart, a_job_waits_for_its_quota_and_hears_why,
    a_quota_bounds_its_jobs_and_says_what_they_use, a_task_that_begins_together_waits_for_room_for_all,
};
use stored::{
    a_deleted_secret_is_made_again_with_the_same_token, a_job_whose_list_is_lost_fails_and_says_so,
    a_status_that_another_master_has_stored_is_gone_on_from,
    others_who_store_statuses_all_the_time_disturb_nobody,
};
use strangers::whoever_is_no_worker_takes_next_to_nothing;
use taints::a_tainted_node_is_for_those_who_tolerate_it;
use tides::a_node_that_a_tide_has_is_drained_and_comes_back;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|argument| argument == "worker").is_some() {
        return agent::worker::main(args);
    }
    let wanted =
        args.next().and_then(|argument| argument.into_string().ok()).filter(|word| !word.starts_with('-'));
    // `CREST_LOG=control=debug` shows what the master does.
    #[expect(clippy::disallowed_methods, reason = "this is the program's main")]
    let filter = std::env::var("CREST_LOG").unwrap_or_else(|_| "error".to_owned());
    kit::telemetry::init(&filter, kit::telemetry::Format::Text).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    macro_rules! run {
        ($($name:ident),*) => {$(
            if wanted.as_ref().is_none_or(|wanted| stringify!($name).contains(wanted.as_str())) {
                let limit = Duration::from_secs(120);
                runtime.block_on(async { tokio::time::timeout(limit, $name()).await.expect("in time") });
                println!("test {} ... ok", stringify!($name));
            }
        )*};
    }
    run!(
        a_job_of_two_stages_runs_each_instance_once_within_its_room,
        kill_minus_nine_of_the_master_loses_nothing_and_runs_nothing_again,
        a_killed_worker_is_replaced_and_its_instance_tried_again,
        a_late_instance_is_begun_a_second_time_where_that_is_allowed,
        a_node_where_a_task_fails_is_avoided_by_it,
        a_node_where_several_jobs_fail_is_closed_also_after_a_restart,
        a_backup_begins_on_another_node,
        a_worker_that_cannot_start_is_looked_for_elsewhere,
        a_worker_that_never_comes_is_given_up,
        what_a_dead_node_holds_is_run_elsewhere,
        workers_are_made_where_they_have_a_folder,
        a_tainted_node_is_for_those_who_tolerate_it,
        a_node_that_a_tide_has_is_drained_and_comes_back,
        an_unknown_command_fails_the_job_and_says_so,
        a_job_that_was_stored_unchecked_fails_and_the_others_go_on,
        deleting_a_job_ends_its_workers,
        whoever_is_no_worker_takes_next_to_nothing,
        a_status_that_another_master_has_stored_is_gone_on_from,
        others_who_store_statuses_all_the_time_disturb_nobody,
        a_deleted_secret_is_made_again_with_the_same_token,
        a_job_whose_list_is_lost_fails_and_says_so,
        a_quota_bounds_its_jobs_and_says_what_they_use,
        a_job_waits_for_its_quota_and_hears_why,
        a_faulty_quota_stands_as_it_did_also_after_a_restart,
        a_task_that_begins_together_waits_for_room_for_all,
        a_list_that_changes_while_it_is_worked_on_changes_nothing,
        a_vanished_file_and_an_empty_list,
        ranges_and_items_are_cut_into_pieces,
        a_million_entries_are_kept_in_little,
        some_may_fail,
        pods_of_others_share_the_room,
        pods_of_a_group_are_placed_together,
        a_group_that_has_gathered_its_room_starts_as_a_whole,
        what_names_no_quota_counts_for_that_of_its_namespace,
        pods_of_others_keep_to_their_selector_and_their_quota,
        pods_of_others_go_when_their_machine_shrinks,
        a_pod_that_has_to_go_goes_in_the_end,
        hand_over_is_fast
    );
    ExitCode::SUCCESS
}

fn task(name: &str, instances: u32, script: &str, parents: &[&str]) -> Value {
    json!({
        "name": name,
        "instances": instances,
        "dependsOn": parents,
        "image": "tools",
        "command": ["/bin/sh", "-c", script],
        "resources": { "cpu": "500m", "memory": "64Mi" },
    })
}

fn numbers(text: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = text.lines().map(|line| line.trim().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn condition<'a>(status: &'a DagJobStatus, kind: &str) -> Option<&'a str> {
    let found =
        status.conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
    found.map(|condition| condition.message.as_str())
}

async fn a_job_of_two_stages_runs_each_instance_once_within_its_room() {
    let cluster = Cluster::start().await;
    let split = task("split", 20, "echo $CREST_INSTANCE_INDEX >> $OUT/ran", &[]);
    let merge = task("merge", 1, "wc -l < $OUT/ran > $OUT/merged", &["split"]);
    cluster.create_job("words", json!([split, merge])).await;
    let status = cluster.wait_for("words", |status| status.phase == JobPhase::Succeeded).await;
    assert_eq!(numbers(&cluster.read("ran")), (0..20).collect::<Vec<_>>());
    assert_eq!(cluster.read("merged").trim(), "20");
    assert_eq!(status.tasks["split"].finished, "0-19");
    assert_eq!((status.tasks["split"].succeeded, status.tasks["split"].running), (20, 0));
    assert_eq!(condition(&status, "Complete"), Some("All 21 instances succeeded"));
    assert!(status.start_time.is_some() && status.completion_time.is_some());
    cluster.wait_for_no_pods().await;
    // 2 cores of room, half a core each.
    assert!((2..=4).contains(&cluster.node.most_at_once()), "{}", cluster.node.most_at_once());
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let completed = |event: &Event| {
        event.reason.as_deref() == Some("Completed")
            && event.involved_object.kind.as_deref() == Some("DagJob")
    };
    cluster
        .wait_until(async || events.list(&ListParams::default()).await.unwrap().iter().any(completed))
        .await;
}

async fn kill_minus_nine_of_the_master_loses_nothing_and_runs_nothing_again() {
    let mut cluster = Cluster::start().await;
    let script = "echo $CREST_INSTANCE_INDEX >> $OUT/ran; sleep 0.05";
    cluster.create_job("long", json!([task("only", 150, script, &[])])).await;
    for done in [10, 40, 80, 81] {
        cluster
            .wait_for("long", |status| status.tasks.get("only").is_some_and(|task| task.succeeded >= done))
            .await;
        cluster.kill_master();
        cluster.start_master();
    }
    let status = cluster.wait_for("long", |status| status.phase != JobPhase::Running).await;
    assert_eq!(status.phase, JobPhase::Succeeded);
    assert_eq!(status.tasks["only"].failed_attempts, 0);
    assert_eq!(numbers(&cluster.read("ran")), (0..150).collect::<Vec<_>>());
    cluster.wait_for_no_pods().await;
}

async fn a_killed_worker_is_replaced_and_its_instance_tried_again() {
    let cluster = Cluster::start().await;
    // The first attempt of the first instance kills its worker.
    let script = "echo $CREST_INSTANCE_INDEX/$CREST_INSTANCE_ATTEMPT >> $OUT/ran; \
                  [ $CREST_INSTANCE_INDEX/$CREST_INSTANCE_ATTEMPT != 0/1 ] || kill -9 $PPID; sleep 0.01";
    cluster.create_job("hurt", json!([task("only", 8, script, &[])])).await;
    let status = cluster.wait_for("hurt", |status| status.phase == JobPhase::Succeeded).await;
    assert_eq!(status.tasks["only"].failed_attempts, 1);
    let last = status.tasks["only"].last_failure.clone().unwrap();
    assert!(last.starts_with("instance 0 attempt 1: lost its worker: "), "{last}");
    let ran = cluster.read("ran");
    assert!(ran.contains("0/2\n"));
    assert_eq!(ran.lines().count(), 9);
}

async fn a_late_instance_is_begun_a_second_time_where_that_is_allowed() {
    let cluster = Cluster::start().await;
    // The first attempt of one instance never ends.
    let script = "[ $CREST_INSTANCE_INDEX/$CREST_INSTANCE_ATTEMPT != 7/1 ] || sleep 1000; \
                  echo $CREST_INSTANCE_INDEX/$CREST_INSTANCE_ATTEMPT >> $OUT/ran";
    let mut task = task("only", 20, script, &[]);
    task["backup"] = true.into();
    cluster.create_job("late", json!([task])).await;
    let status = cluster.wait_for("late", |status| status.phase == JobPhase::Succeeded).await;
    assert_eq!((status.tasks["only"].backups, status.tasks["only"].failed_attempts), (1, 0));
    assert_eq!(status.tasks["only"].finished, "0-19");
    assert!(cluster.read("ran").contains("7/2\n"));
    // Who was outrun goes.
    cluster.wait_for_no_pods().await;
}

async fn an_unknown_command_fails_the_job_and_says_so() {
    let cluster = Cluster::start().await;
    let mut bad = task("bad", 1000, "", &[]);
    bad["command"] = json!(["frobnicate", "-x"]);
    let never = task("never", 1, "echo ran > $OUT/never", &["bad"]);
    cluster.create_job("wrong", json!([bad, never])).await;
    let status = cluster.wait_for("wrong", |status| status.phase == JobPhase::Failed).await;
    let message = condition(&status, "Failed").unwrap();
    assert!(message.contains("exit code 127: cannot run `frobnicate`: No such file"), "{message}");
    assert!(status.tasks["bad"].last_failure.as_ref().unwrap().contains("exit code 127"));
    assert_eq!(status.tasks["bad"].succeeded + status.tasks["never"].succeeded, 0);
    assert!(status.completion_time.is_some());
    cluster.wait_for_no_pods().await;
}

async fn a_job_that_was_stored_unchecked_fails_and_the_others_go_on() {
    let cluster = Cluster::start().await;
    let cycle = json!({ "tasks": [task("a", 1, "true", &["b"]), task("b", 1, "true", &["a"])] });
    cluster.store_unchecked("cycle", &cycle).await;
    // One that cannot even be read is passed over.
    cluster.store_unchecked("nonsense", &json!({ "tasks": "many" })).await;
    cluster.create_job("sound", json!([task("only", 1, "true", &[])])).await;
    cluster.wait_for("sound", |status| status.phase == JobPhase::Succeeded).await;
    let cycle = cluster.wait_for_raw("cycle", |status| status["phase"] == "Failed").await;
    assert_eq!(cycle["conditions"][0]["reason"], "InvalidSpec");
    assert!(cycle["conditions"][0]["message"].as_str().unwrap().contains("a -> b -> a"), "{cycle}");
}

async fn deleting_a_job_ends_its_workers() {
    let cluster = Cluster::start().await;
    cluster.create_job("endless", json!([task("only", 4, "echo > $OUT/up; sleep 1000", &[])])).await;
    cluster
        .wait_for("endless", |status| status.tasks.get("only").is_some_and(|task| task.running == 4))
        .await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let first = pods.list(&ListParams::default()).await.unwrap().items.remove(0);
    let spec = first.spec.clone().unwrap();
    assert_eq!(spec.scheduler_name.as_deref(), Some("fuxi"));
    assert_eq!(spec.node_name.as_deref(), Some("here"));
    let owner = &first.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.controller, owner.block_owner_deletion),
        ("DagJob", Some(true), Some(true))
    );
    let jobs: Api<DagJob> = Api::namespaced(cluster.client.clone(), "default");
    jobs.delete("endless", &DeleteParams::default()).await.unwrap();
    cluster.wait_for_no_pods().await;
    cluster.wait_until(async || cluster.node.n_running() == 0).await;
    // The room is free again.
    cluster.create_job("next", json!([task("only", 4, "true", &[])])).await;
    cluster.wait_for("next", |status| status.phase == JobPhase::Succeeded).await;
}

async fn hand_over_is_fast() {
    let cluster = Cluster::start().await;
    let mut many = task("many", 1000, "", &[]);
    many["command"] = json!(["/bin/true"]);
    many["parallelism"] = json!(1);
    cluster.create_job("fast", json!([many])).await;
    cluster.wait_for("fast", |status| status.tasks.get("many").is_some_and(|task| task.running > 0)).await;
    let start = kit::clock::monotonic();
    cluster.wait_for("fast", |status| status.phase == JobPhase::Succeeded).await;
    let spent = start.elapsed();
    println!("1000 instances of /bin/true by one worker in {spent:?}");
    assert!(spent < Duration::from_secs(20));
}
