//! Who may do what: the masters everything, agents what their node needs, all others what roles are bound to them.
//!
//! ```text
//!   (user, action) ──► masters ──► node graph ──► roles and bindings ──► allowed, or no opinion
//!                                       ▲                 ▲
//!                         Pods ─────────┴──── mirror ─────┴──── (Cluster)Roles and their bindings
//! ```
//! The verbs are those of Kubernetes: get, list, watch, create, update, patch, delete, deletecollection, and what
//! roles name beside them (bind, escalate, impersonate, approve, sign).

pub(crate) mod mirror;
mod node;
mod policy;
mod rule;

use k8s_openapi::api::rbac::v1::PolicyRule;
use parking_lot::RwLock;

use crate::authentication::{MASTERS, User};
use node::Graph;
use policy::Policy;

pub(crate) use rule::first_uncovered;

/// What someone wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    Object(ObjectAction<'a>),
    /// A path that is no object, with its method in lower case.
    Path {
        verb: &'a str,
        path: &'a str,
    },
}

/// A verb on an object, on all objects of a kind, or on a subresource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectAction<'a> {
    pub(crate) verb: &'a str,
    /// Empty for the core group.
    pub(crate) group: &'a str,
    /// The plural.
    pub(crate) resource: &'a str,
    pub(crate) subresource: Option<&'a str>,
    /// `None` for objects of the cluster and for all namespaces at once.
    pub(crate) namespace: Option<&'a str>,
    /// `None` for all objects, and for those that are to be created.
    pub(crate) name: Option<&'a str>,
    /// The node whose Pods alone a list or watch selects.
    pub(crate) on_node: Option<&'a str>,
}

/// What the rules say; the text is the reason, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed(String),
    NoOpinion(String),
}

impl Decision {
    pub(crate) fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

/// The rules as they stand, kept up to date by [`mirror`].
#[derive(Debug, Default)]
pub(crate) struct Authorizer {
    policy: RwLock<Policy>,
    graph: RwLock<Graph>,
}

impl Authorizer {
    pub(crate) fn decide(&self, user: &User, action: Action<'_>) -> Decision {
        let graph = self.graph.read();
        self.decide_with(&graph, user, action)
    }

    fn decide_with(&self, graph: &Graph, user: &User, action: Action<'_>) -> Decision {
        if user.is_in(MASTERS) {
            return Decision::Allowed(String::new());
        }
        let policy = self.policy.read();
        let by_node = user
            .node_name()
            .map(|node| graph.decide(node, policy.role("", "system:node").unwrap_or_default(), action));
        match (by_node, policy.decide(user, action)) {
            (Some(Decision::Allowed(why)), _) => Decision::Allowed(why),
            (Some(Decision::NoOpinion(why)), Decision::NoOpinion(also)) => {
                let reasons = [why, also].into_iter().filter(|reason| !reason.is_empty());
                Decision::NoOpinion(reasons.collect::<Vec<_>>().join(", "))
            }
            (_, decision) => decision,
        }
    }

    /// All rules that hold for `user` in a namespace.
    pub(crate) fn rules_of(&self, user: &User, namespace: Option<&str>) -> Vec<PolicyRule> {
        self.policy.read().rules_of(user, namespace)
    }

    /// The rules of a role; `namespace` is empty for those of the cluster.
    pub(crate) fn role(&self, namespace: &str, name: &str) -> Option<Vec<PolicyRule>> {
        self.policy.read().role(namespace, name).map(<[PolicyRule]>::to_vec)
    }
}

/// Why not, in Kubernetes' words; what follows `... is forbidden: `.
pub(crate) fn refusal(user: &User, action: Action<'_>, why: &str) -> String {
    let name = &user.name;
    let said = match action {
        Action::Path { verb, path } => format!("User \"{name}\" cannot {verb} path \"{path}\""),
        Action::Object(action) => {
            let ObjectAction { verb, group, resource, .. } = action;
            let subresource = action.subresource.map(|name| format!("/{name}")).unwrap_or_default();
            let place = match action.namespace {
                Some(namespace) => format!("in the namespace \"{namespace}\""),
                None => "at the cluster scope".to_owned(),
            };
            format!(
                "User \"{name}\" cannot {verb} resource \"{resource}{subresource}\" in API group \"{group}\" {place}"
            )
        }
    };
    if why.is_empty() { said } else { format!("{said}: {why}") }
}

#[cfg(test)]
mod tests;
