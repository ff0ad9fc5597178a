//! The Pods that the kubelet runs on this host, as the API tells them, kept in the registry that Level-0 reads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::pinning::Pinner;
use crate::pods::Registry;
use crate::pods::observed::{Instance, State};
use crate::pods::registry::{Entry, Live, Order};

/// How often it is looked at who has CPUs of its own.
const CHECK: Duration = Duration::from_secs(1);
/// On the API's image of a Pod that a kubelet has from a file: the Pod's own uid, by which its group is named.
const STATIC_UID: &str = "kubernetes.io/config.hash";
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) struct Follower {
    client: Client,
    node: String,
    registry: Registry,
    pinner: Arc<Pinner>,
    /// By uid.
    lives: HashMap<String, watch::Sender<Live>>,
    /// While a list comes in: who is on it.
    listed: HashSet<String>,
}

impl Follower {
    pub(super) fn new(client: Client, node: String, registry: Registry, pinner: Arc<Pinner>) -> Self {
        Self { client, node, registry, pinner, lives: HashMap::new(), listed: HashSet::new() }
    }

    /// Follows until `token` is cancelled. Who is known then stays known, for those who take back what they did to it.
    pub(super) async fn run(mut self, token: CancellationToken) {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let selector = format!("spec.nodeName={}", self.node);
        let events = watch_objects(pods, watcher::Config::default().fields(&selector)).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut checks = tokio::time::interval(CHECK);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = checks.tick() => self.pinner.reconcile(&self.registry),
                event = events.try_next() => match event {
                    Ok(Some(event)) => self.take(event),
                    Ok(None) => return,
                    Err(error) => tracing::warn!(error = %kit::Chain(&error), "Watch of Pods broke; trying again"),
                },
            }
        }
    }

    fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                let pod = by_own_uid(pod);
                self.listed.extend(pod.metadata.uid.clone());
                self.apply(pod);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                for uid in self.registry.uids().into_iter().filter(|uid| !listed.contains(uid)) {
                    self.remove(&uid);
                }
            }
            Event::Apply(pod) => self.apply(by_own_uid(pod)),
            Event::Delete(pod) => self.remove(by_own_uid(pod).metadata.uid.as_deref().unwrap_or_default()),
        }
    }

    fn apply(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let live = Live { sandbox: None, containers: running(&pod) };
        let pod = Arc::new(pod);
        if let (Some(entry), Some(lives)) = (self.registry.get(&uid), self.lives.get(&uid)) {
            lives.send_replace(live);
            entry.orders.send_modify(|order| order.renew(pod));
            return;
        }
        let (orders, _) = watch::channel(Order::new(pod));
        let (lives, live) = watch::channel(live);
        self.lives.insert(uid.clone(), lives);
        self.registry.insert(uid, Entry { orders, poke: Arc::new(Notify::new()), live });
    }

    fn remove(&mut self, uid: &str) {
        self.registry.remove(uid);
        self.lives.remove(uid);
    }
}

/// Whether the API has but an image of the Pod, which does not end it when it goes.
pub(super) fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR))
}

fn by_own_uid(mut pod: Pod) -> Pod {
    if is_mirror(&pod) {
        let own = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(STATIC_UID));
        pod.metadata.uid = own.cloned().or(pod.metadata.uid);
    }
    pod
}

/// The containers of `pod` that have processes.
pub(super) fn running(pod: &Pod) -> Vec<Instance> {
    let Some(status) = &pod.status else { return Vec::new() };
    let lists =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().filter_map(instance).collect()
}

fn instance(container: &ContainerStatus) -> Option<Instance> {
    let running = container.state.as_ref()?.running.as_ref()?;
    // `containerd://<id>`: the engine's name is not in the name of the group.
    let (_, id) = container.container_id.as_deref()?.split_once("://")?;
    Some(Instance {
        id: id.to_owned(),
        sandbox: String::new(),
        name: container.name.clone(),
        attempt: u32::try_from(container.restart_count).unwrap_or_default(),
        image: container.image.clone(),
        image_ref: container.image_id.clone(),
        state: State::Running {
            since: running.started_at.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_from_a_file_is_known_by_the_uid_that_its_group_has() {
        let uid = |annotations: Value| {
            let pod = json!({"metadata": {"name": "etcd-a", "uid": "1-2", "annotations": annotations}});
            by_own_uid(serde_json::from_value(pod).unwrap()).metadata.uid.unwrap()
        };
        assert_eq!(
            uid(json!({"kubernetes.io/config.mirror": "c0ffee", "kubernetes.io/config.hash": "c0ffee"})),
            "c0ffee"
        );
        assert_eq!(uid(json!({"kubernetes.io/config.hash": "c0ffee"})), "1-2", "anyone may write that");
        assert_eq!(uid(json!({})), "1-2");
    }
}
