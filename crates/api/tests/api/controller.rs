//! A controller of kube-rs while its objects change under it: what it made of each in the end is what each ended as.
//!
//! It never asks again by itself, so a change that it is not told of stays unseen, and the test waits in vain.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::Cluster;

const N_OBJECTS: usize = 1_000;
const N_ROUNDS: usize = 3;
/// Changes on their way at once.
const IN_FLIGHT: usize = 32;
const PATIENCE: Duration = Duration::from_secs(120);

fn config(role: &str) -> watcher::Config {
    // So short that every watch is renewed in the midst of it.
    watcher::Config::default().labels(&format!("role={role}")).timeout(2)
}

fn config_map(name: &str, role: &str, round: &str, owner: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"round": round},
        "metadata": {"name": name, "labels": {"role": role}, "ownerReferences": owner}})
}

fn round(map: &ConfigMap) -> &str {
    map.data.as_ref().and_then(|data| data.get("round")).map_or("", String::as_str)
}

/// Gives each parent a child that says the same.
async fn reconcile(parent: Arc<ConfigMap>, maps: Arc<Api<ConfigMap>>) -> Result<Action, kube::Error> {
    let name = format!("{}-child", parent.name_any());
    let child = config_map(&name, "child", round(&parent), &json!([parent.controller_owner_ref(&())]));
    maps.patch(&name, &PatchParams::apply("parenthood").force(), &Patch::Apply(child)).await?;
    Ok(Action::await_change())
}

async fn run_controller(maps: Api<ConfigMap>, token: CancellationToken) {
    Controller::new(maps.clone(), config("parent"))
        .owns(maps.clone(), config("child"))
        .graceful_shutdown_on(token.cancelled_owned())
        .run(reconcile, |_, error, _| unreachable!("a reconcile failed: {error}"), Arc::new(maps))
        .for_each(|done| async move { drop(done) })
        .await;
}

/// Writes every parent in each round, and takes a child away now and then.
async fn churn(maps: &Api<ConfigMap>) {
    for turn in 0..N_ROUNDS {
        let changes = (0..N_OBJECTS).map(|number| async move {
            let name = format!("p{number}");
            if turn == 0 {
                let map = config_map(&name, "parent", "0", &Value::Null);
                return maps
                    .create(&PostParams::default(), &serde_json::from_value(map).unwrap())
                    .await
                    .map(drop);
            }
            if number % 10 == turn {
                // It may not have been born yet.
                drop(maps.delete(&format!("{name}-child"), &DeleteParams::default()).await);
            }
            let patch = Patch::Merge(json!({"data": {"round": turn.to_string()}}));
            maps.patch(&name, &PatchParams::default(), &patch).await.map(drop)
        });
        stream::iter(changes).buffer_unordered(IN_FLIGHT).try_collect::<()>().await.unwrap();
    }
}

/// Returns once every child says what the last round said.
async fn settled(maps: Api<ConfigMap>) {
    let last = (N_ROUNDS - 1).to_string();
    let mut said: HashMap<String, String> = HashMap::new();
    let mut children = std::pin::pin!(watcher(maps, config("child")).default_backoff());
    while let Some(event) = children.try_next().await.unwrap() {
        match event {
            watcher::Event::Apply(child) | watcher::Event::InitApply(child) => {
                said.insert(child.name_any(), round(&child).to_owned());
            }
            watcher::Event::Delete(child) => drop(said.remove(&child.name_any())),
            watcher::Event::Init => said.clear(),
            watcher::Event::InitDone => {}
        }
        if said.len() == N_OBJECTS && said.values().all(|round| *round == last) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_misses_nothing_under_churn() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.remote_client().await, "default");
    let token = CancellationToken::new();
    let controller = kit::task::spawn("controller", run_controller(maps.clone(), token.clone()));
    churn(&maps).await;
    let end = tokio::time::timeout(PATIENCE, settled(maps.clone())).await;
    assert!(end.is_ok(), "a change was missed");
    token.cancel();
    controller.await.unwrap();
}
