//! What the Node says of batch. The kubelet owns all else of its status, and keeps what it does not know: so only our own
//! resources and conditions are patched in, and only when they say something else.

use std::time::Duration;

use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, NodeStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Client};
use model::{Quantity as Amount, names};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::colocation::Reserved;
use crate::node::Offer;
use crate::node::describe::{batch_offered, dated, is_known, isolation, offered};

/// How often what the Node says is compared to what it should.
const TICK: Duration = Duration::from_secs(1);
/// After a refusal.
const PAUSE: Duration = Duration::from_secs(10);
/// Conditions are told again after this time, so that their age says that somebody is there.
const FRESH: SignedDuration = SignedDuration::from_secs(300);

/// Keeps our part of the Node's status.
pub(super) struct Keeper {
    pub(super) client: Client,
    pub(super) node: String,
    pub(super) cgroup_version: &'static str,
    pub(super) missing: Vec<String>,
    pub(super) offers: watch::Receiver<Offer>,
    pub(super) reservations: watch::Sender<Reserved>,
}

impl Keeper {
    /// Tells until `token` is cancelled, then takes back what was told.
    pub(super) async fn run(self, token: CancellationToken) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let selector = format!("metadata.name={}", self.node);
        let events =
            watch_objects(nodes.clone(), watcher::Config::default().fields(&selector)).default_backoff();
        let mut events = std::pin::pin!(events);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut node: Option<Node> = None;
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                event = events.try_next() => match event {
                    Ok(Some(Event::Apply(new) | Event::InitApply(new))) => {
                        self.reservations.send_replace(reserved(&new));
                        node = Some(new);
                    }
                    Ok(Some(Event::Delete(_))) => node = None,
                    Ok(Some(Event::Init | Event::InitDone)) => {}
                    Ok(None) => break,
                    Err(error) => tracing::warn!(error = %kit::Chain(&error), "Watch of the Node broke; trying again"),
                },
                _ = ticks.tick() => {
                    let Some(known) = &node else { continue };
                    let Some(patch) = self.patch(known, kit::clock::wall()) else { continue };
                    let told = token.run_until_cancelled(self.tell(&nodes, patch)).await;
                    match told {
                        Some(Some(told)) => node = Some(told),
                        Some(None) => ticks.reset_after(PAUSE),
                        None => break,
                    }
                }
            }
        }
        // Whoever asks this process to end does not wait for ever.
        let _late = tokio::time::timeout(PAUSE, self.tell(&nodes, nothing())).await;
    }

    async fn tell(&self, nodes: &Api<Node>, patch: Value) -> Option<Node> {
        let told = nodes.patch_status(&self.node, &PatchParams::default(), &Patch::Strategic(patch)).await;
        told.inspect_err(|error| {
            tracing::warn!(node = self.node, error = %kit::Chain(error), "Offer to batch not told");
        })
        .ok()
    }

    /// What is to be told; `None` while nothing is known, and where the Node says it already.
    fn patch(&self, node: &Node, now: Timestamp) -> Option<Value> {
        let offer = self.offers.borrow().clone();
        if !is_known(&offer) {
            return None;
        }
        let ours = [isolation(self.cgroup_version, &self.missing), batch_offered(&offer)];
        patch(node.status.as_ref(), &offer, &ours, now)
    }
}

/// Pure.
fn patch(
    status: Option<&NodeStatus>,
    offer: &Offer,
    conditions: &[NodeCondition],
    now: Timestamp,
) -> Option<Value> {
    let resources = offered(offer);
    let told = status.cloned().unwrap_or_default();
    let before = told.conditions.unwrap_or_default();
    let amounts = [told.capacity.unwrap_or_default(), told.allocatable.unwrap_or_default()];
    // The server writes 5000 as 5k.
    let same = |one: &Quantity, other: &Quantity| units(one) == units(other);
    let has_amounts = amounts.iter().all(|amounts| {
        resources.iter().all(|(name, amount)| amounts.get(name).is_some_and(|told| same(told, amount)))
    });
    let has_conditions = conditions.iter().all(|ours| {
        before.iter().any(|told| {
            let heard = told.last_heartbeat_time.as_ref();
            let is_fresh = heard.is_some_and(|heard| now.duration_since(heard.0) < FRESH);
            is_fresh
                && (&told.type_, &told.status, &told.message) == (&ours.type_, &ours.status, &ours.message)
        })
    });
    if has_amounts && has_conditions {
        return None;
    }
    let conditions: Vec<NodeCondition> = conditions.iter().map(|own| dated(own, &before, now)).collect();
    Some(json!({ "status": { "capacity": resources, "allocatable": resources, "conditions": conditions } }))
}

/// Takes back all that is told.
fn nothing() -> Value {
    let lent = [names::BATCH_CPU, names::BATCH_MEMORY, names::MID_CPU, names::MID_MEMORY];
    let amounts: serde_json::Map<String, Value> =
        lent.into_iter().map(|name| (name.to_owned(), Value::Null)).collect();
    let conditions = [isolation("", &[]), batch_offered(&Offer::default())]
        .map(|condition| json!({ "$patch": "delete", "type": condition.type_ }));
    json!({ "status": { "capacity": amounts, "allocatable": amounts, "conditions": conditions } })
}

/// What the kubelet keeps from Pods for the system and itself.
fn reserved(node: &Node) -> Reserved {
    let Some(status) = &node.status else { return Reserved::default() };
    let kept = |resource: &str| -> Option<(Amount, Amount)> {
        let of = |amounts: &Option<std::collections::BTreeMap<String, Quantity>>| {
            Amount::parse(&amounts.as_ref()?.get(resource)?.0).ok()
        };
        Some((of(&status.capacity)?, of(&status.allocatable)?))
    };
    let milli = |(all, left): (Amount, Amount)| {
        model::MilliCpu::from(all).0.saturating_sub(model::MilliCpu::from(left).0)
    };
    let bytes =
        |(all, left): (Amount, Amount)| model::Bytes::from(all).0.saturating_sub(model::Bytes::from(left).0);
    Reserved {
        milli_cpu: kept("cpu").map(milli).unwrap_or_default(),
        memory: kept("memory").map(bytes).unwrap_or_default(),
    }
}

fn units(quantity: &Quantity) -> Option<i128> {
    Amount::parse(&quantity.0).ok().map(Amount::to_units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &Value) -> NodeStatus {
        serde_json::from_value(text.clone()).unwrap()
    }

    fn told(cpu: &str, message: &str, heard: &str) -> NodeStatus {
        let amounts = json!({ "cpu": "4", names::BATCH_CPU: cpu, names::BATCH_MEMORY: "1k", names::MID_CPU: "0", names::MID_MEMORY: "0" });
        let condition = json!({ "type": "BatchOffered", "status": "True", "reason": "Measured", "message": message,
            "lastHeartbeatTime": heard });
        status(&json!({ "capacity": amounts, "allocatable": amounts, "conditions": [
            { "type": "Ready", "status": "True" }, condition] }))
    }

    #[test]
    fn only_what_differs_is_told_and_only_what_is_ours() {
        let offer =
            Offer { milli_cpu: 5000, memory: 1000, explanation: "why".to_owned(), ..Offer::default() };
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let fresh = "2026-01-01T00:58:00Z";
        let check = |status: Option<NodeStatus>, is_told: bool| {
            let patch = patch(status.as_ref(), &offer, &[batch_offered(&offer)], now);
            assert_eq!(patch.is_some(), is_told, "{status:?}");
            let Some(patch) = patch else { return };
            let of =
                |key: &str| patch["status"][key].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(
                of("capacity"),
                [names::BATCH_CPU, names::BATCH_MEMORY, names::MID_CPU, names::MID_MEMORY]
            );
            assert_eq!(of("allocatable"), of("capacity"));
            assert_eq!(patch["status"]["conditions"].as_array().unwrap().len(), 1);
        };
        check(None, true);
        check(Some(told("5k", "why", fresh)), false);
        check(Some(told("5000", "why", fresh)), false);
        // As a kubelet says of a resource that nobody tells it of.
        check(Some(told("0", "why", fresh)), true);
        check(Some(told("5k", "other", fresh)), true);
        check(Some(told("5k", "why", "2026-01-01T00:54:00Z")), true);
    }

    #[test]
    fn what_the_kubelet_keeps_counts_as_the_systems() {
        let check = |status: Value, milli_cpu, memory| {
            let node = serde_json::from_value(json!({ "metadata": {}, "status": status })).unwrap();
            assert_eq!(reserved(&node), Reserved { milli_cpu, memory });
        };
        let all = json!({ "cpu": "4", "memory": "8Gi" });
        check(json!({ "capacity": all, "allocatable": { "cpu": "3500m", "memory": "7Gi" } }), 500, 1 << 30);
        check(json!({ "capacity": all, "allocatable": { "cpu": "5", "memory": "8Gi" } }), 0, 0);
        check(json!({ "capacity": all }), 0, 0);
        check(json!({ "capacity": { "cpu": "many" }, "allocatable": { "cpu": "1" } }), 0, 0);
    }
}
