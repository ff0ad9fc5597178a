//! Which [`ColocationPolicy`] is in force on this host, and from where each of its values is.
//!
//! ```text
//!   policies, labels of the Node ──watch──► choose ──► under (what the agent was started with, what the policy names)
//!                                                       └► rule ──► colocation, hands: within seconds, without a restart
//! ```
//! A policy that cannot be read leaves in force what was, also before the agent started anew: so it is never a way to lend
//! more. That it does is said by whoever tells of the host.

mod choose;
mod kept;
mod terms;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use model::colocation_policy::ColocationPolicy;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::choose::{Choice, choose};
use crate::config::Arbiter;

/// What is in force on a host.
#[derive(Clone, Debug)]
pub struct Rule {
    pub arbiter: Arbiter,
    pub told: Told,
}

/// What is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The policy; `None` where none selects the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Why it is not in force as it stands now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    pub values: Vec<Value>,
}

/// One value in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Value {
    /// As `cpu.marginPercent`.
    pub name: String,
    pub value: String,
    pub by_policy: bool,
}

impl Rule {
    /// Where there is no policy.
    pub fn without_policy(arbiter: Arbiter) -> Self {
        Self::of(&arbiter, &Choice::default())
    }

    fn of(base: &Arbiter, choice: &Choice) -> Self {
        let arbiter = terms::under(base, &choice.spec);
        let values = terms::values(&arbiter, &choice.spec);
        let told = Told { policy: choice.policy.clone(), trouble: choice.trouble.clone(), values };
        Self { arbiter, told }
    }
}

/// Keeps the rule of one host.
pub struct Policies {
    pub client: kube::Client,
    pub node_name: String,
    /// What the agent was started with.
    pub base: Arbiter,
    pub rules: watch::Sender<Arc<Rule>>,
    /// Where what was followed last outlives the agent.
    pub file: PathBuf,
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").field("node", &self.node_name).finish_non_exhaustive()
    }
}

/// What was heard of the cluster.
#[derive(Default)]
struct Heard {
    policies: BTreeMap<String, serde_json::Value>,
    /// As they are being listed anew.
    listed: BTreeMap<String, serde_json::Value>,
    labels: BTreeMap<String, String>,
    choice: Choice,
    /// Whether both the policies and the Node are known: until then nothing is decided.
    knows: (bool, bool),
    /// What was said last of a watch that broke.
    complaint: String,
}

impl Policies {
    /// Follows the cluster until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        let kind = ApiResource::erase::<ColocationPolicy>(&());
        let policies: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        let nodes: Api<Node> = Api::all(self.client.clone());
        let own = watcher::Config::default().fields(&format!("metadata.name={}", self.node_name));
        let mut policies = watch_objects(policies, watcher::Config::default()).default_backoff().boxed();
        let mut nodes = watch_objects(nodes, own).default_backoff().boxed();
        let mut heard = Heard { choice: self.kept(), ..Heard::default() };
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                Some(event) = policies.next() => match event {
                    Ok(event) => heard.policy(event),
                    Err(error) => heard.complain(&error),
                },
                Some(event) = nodes.next() => match event {
                    Ok(Event::Apply(node) | Event::InitApply(node)) => {
                        heard.labels = node.metadata.labels.unwrap_or_default();
                        heard.knows.1 = true;
                    }
                    Ok(Event::Init | Event::InitDone | Event::Delete(_)) => {}
                    Err(error) => heard.complain(&error),
                },
            }
            self.decide(&mut heard);
        }
    }

    /// What was followed before this agent started is in force until another is heard of.
    fn kept(&self) -> Choice {
        let found = kept::load(&self.file).unwrap_or_else(|error| {
            tracing::warn!(file = %self.file.display(), error, "The colocation policy of before is not known");
            None
        });
        let Some(choice) = found else { return Choice::default() };
        self.rules.send_replace(Arc::new(Rule::of(&self.base, &choice)));
        choice
    }

    fn decide(&self, heard: &mut Heard) {
        if heard.knows != (true, true) {
            return;
        }
        let choice = choose(&heard.policies, &heard.labels, &heard.choice);
        if choice == heard.choice {
            return;
        }
        let policy = choice.policy.as_deref().unwrap_or("none");
        match &choice.trouble {
            None => tracing::info!(policy, "Another colocation policy is in force"),
            Some(trouble) => tracing::warn!(policy, trouble, "What was in force stays so"),
        }
        self.rules.send_replace(Arc::new(Rule::of(&self.base, &choice)));
        if let Err(error) = kept::keep(&self.file, &choice) {
            tracing::warn!(file = %self.file.display(), error = %kit::Chain(&error), "The colocation policy is not kept for the next start");
        }
        heard.choice = choice;
    }
}

impl Heard {
    fn policy(&mut self, event: Event<DynamicObject>) {
        let named = |policy: DynamicObject| (policy.metadata.name.unwrap_or_default(), policy.data);
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(policy) => self.listed.extend([named(policy)]),
            Event::InitDone => {
                self.policies = std::mem::take(&mut self.listed);
                self.knows.0 = true;
            }
            Event::Apply(policy) => self.policies.extend([named(policy)]),
            Event::Delete(policy) => drop(self.policies.remove(&named(policy).0)),
        }
    }

    /// Once for each thing: a cluster may not know the kind at all, or grant no right to it.
    fn complain(&mut self, error: &watcher::Error) {
        let complaint = kit::Chain(error).to_string();
        if complaint != self.complaint {
            tracing::warn!(error = %complaint, "Colocation policies are not heard of; what was in force stays so");
            self.complaint = complaint;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    /// Of an agent whose API server does not answer.
    fn policies(file: &Path) -> (Policies, watch::Receiver<Arc<Rule>>) {
        let base = Arbiter::default();
        let (rules, rule) = watch::channel(Arc::new(Rule::without_policy(base.clone())));
        let nobody = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = kube::Client::try_from(nobody).unwrap();
        (Policies { client, node_name: "n".to_owned(), base, rules, file: file.to_owned() }, rule)
    }

    #[tokio::test]
    async fn an_agent_begins_with_what_was_followed_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.json");
        let (before, _rule) = policies(&file);
        let mut heard = Heard { knows: (true, true), ..Heard::default() };
        for margin in [json!(40), json!("much")] {
            let policy = json!({"spec": {"cpu": {"marginPercent": margin}}});
            heard.policies.insert("careful".to_owned(), policy);
            before.decide(&mut heard);
        }
        assert!(heard.choice.trouble.is_some());
        let (after, mut rule) = policies(&file);
        let token = CancellationToken::new();
        let follow = async {
            let begun = tokio::time::timeout(std::time::Duration::from_secs(10), rule.changed()).await;
            token.cancel();
            begun.expect("what was kept is in force").unwrap();
        };
        tokio::join!(after.run(token.clone()), follow);
        let rule = rule.borrow();
        assert_eq!(rule.told.policy.as_deref(), Some("careful"));
        assert!((rule.arbiter.cpu.margin - 0.4).abs() < 1e-9);
    }
}
