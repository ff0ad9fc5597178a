//! Policies of co-location reach a running agent, which may read them with a node's rights only.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use model::colocation_policy::{ColocationPolicy, ColocationPolicySpec};
use serde_json::json;

use super::{Host, NODE, passed};

impl Host {
    pub(super) async fn follows_policies(&self) {
        let policies: Api<ColocationPolicy> = Api::all(self.client.clone());
        let make = async |name: &str, spec: serde_json::Value| {
            let spec: ColocationPolicySpec = serde_json::from_value(spec).unwrap();
            policies.create(&PostParams::default(), &ColocationPolicy::new(name, spec)).await
        };
        let refused = make("odd", json!({"cpu": {"marginPercent": 150}})).await.unwrap_err().to_string();
        assert!(refused.contains("spec.cpu.marginPercent: Invalid value: 150"), "{refused}");
        let for_pool =
            json!({"nodeSelector": {"matchLabels": {"pool": "web"}}, "cpu": {"marginPercent": 60}});
        make("b-pool", for_pool).await.unwrap();
        make("c-all", json!({"cpu": {"marginPercent": 30}})).await.unwrap();
        self.offers("by c-all", |offer| offer.contains("By ColocationPolicy c-all")).await;
        let nodes: Api<Node> = Api::all(self.client.clone());
        let label = |value: Option<&str>| Patch::Merge(json!({"metadata": {"labels": {"pool": value}}}));
        nodes.patch(NODE, &PatchParams::default(), &label(Some("web"))).await.unwrap();
        self.offers("by b-pool", |offer| offer.contains("By ColocationPolicy b-pool")).await;
        let all_is_kept = Patch::Merge(json!({"spec": {"cpu": {"marginPercent": 100}}}));
        policies.patch("b-pool", &PatchParams::default(), &all_is_kept).await.unwrap();
        self.offers("nothing", |offer| offer.contains(" 0 possible, 0 offered. Memory")).await;
        nodes.patch(NODE, &PatchParams::default(), &label(None)).await.unwrap();
        self.offers("by c-all", |offer| offer.contains("By ColocationPolicy c-all")).await;
        for name in ["b-pool", "c-all"] {
            policies.delete(name, &DeleteParams::default()).await.unwrap();
        }
        self.offers("by itself", |offer| offer.contains("offered") && !offer.contains("By")).await;
        passed("follows policies");
    }

    /// Within seconds.
    async fn offers(&self, what: &str, is_right: impl Fn(&str) -> bool) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let says = |node: Option<&Node>| {
            let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
            let mut offer =
                conditions.into_iter().flatten().filter(|condition| condition.type_ == "BatchOffered");
            is_right(offer.next().and_then(|condition| condition.message.as_deref()).unwrap_or_default())
        };
        let waited = await_condition(nodes.clone(), NODE, says);
        if tokio::time::timeout(Duration::from_secs(10), waited).await.is_err() {
            panic!("not {what}: {:?}", nodes.get(NODE).await.unwrap().status.unwrap().conditions);
        }
    }
}
