//! Who may do what: a pure table.
//!
//! ```text
//!   system:masters      everything
//!   system:crest:*      everything, but secrets only for those parts that need them
//!   system:nodes        what an agent needs, and of nodes and leases only its own
//!   authenticated       discovery
//!   anyone              health and version
//! ```
//! The verbs are those of Kubernetes: get, list, watch, create, update, patch, delete, deletecollection.

use crate::authentication::{AUTHENTICATED, MASTERS, User};

/// What someone wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    Object(ObjectAction<'a>),
    /// A path that is no object, with its method in lower case.
    Path {
        verb: &'a str,
        path: &'a str,
    },
}

/// A verb on an object, on all objects of a kind, or on a subresource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectAction<'a> {
    pub verb: &'a str,
    /// Empty for the core group.
    pub group: &'a str,
    /// The plural.
    pub resource: &'a str,
    pub subresource: Option<&'a str>,
    /// `None` for objects of the cluster and for all namespaces at once.
    pub namespace: Option<&'a str>,
    /// `None` for all objects. In a create, where the path has no name, give the name in the body if it is known
    /// already: an agent may create only its own Node and Lease.
    pub name: Option<&'a str>,
}

/// Whether `user` may do it.
pub fn may(user: &User, action: Action<'_>) -> bool {
    if user.is_in(MASTERS) {
        return true;
    }
    match action {
        Action::Path { verb, path } => may_see_path(user, verb, path),
        Action::Object(action) => is_component_allowed(user, action) || is_agent_allowed(user, action),
    }
}

/// Why not, in Kubernetes' words; what follows `... is forbidden: `.
pub fn refusal(user: &User, action: Action<'_>) -> String {
    let name = &user.name;
    match action {
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
    }
}

/// Open to everyone, so that load balancers and clients without credentials can ask whether the server lives.
const OPEN_PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];
/// Open to all who have proven who they are: what a client needs to find its way.
const DISCOVERY_PATHS: [&str; 4] = ["/api", "/apis", "/openapi", "/.well-known"];

fn may_see_path(user: &User, verb: &str, path: &str) -> bool {
    if !matches!(verb, "get" | "head" | "options") {
        return false;
    }
    let is_under =
        |top: &str| path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    OPEN_PATHS.into_iter().any(is_under)
        || (user.is_in(AUTHENTICATED) && DISCOVERY_PATHS.into_iter().any(is_under))
        || user.groups.iter().any(|group| group.starts_with(COMPONENT_PREFIX))
}

const COMPONENT_PREFIX: &str = "system:crest:";
/// Fuxi keeps the workers' tokens in Secrets; the controllers delete all that a namespace holds.
const SECRET_KEEPERS: [&str; 2] = ["system:crest:fuxi", "system:crest:controllers"];

fn is_component_allowed(user: &User, action: ObjectAction<'_>) -> bool {
    let is_secret = action.group.is_empty() && action.resource == "secrets";
    let mut groups = user.groups.iter().filter(|group| group.starts_with(COMPONENT_PREFIX));
    groups.any(|group| !is_secret || SECRET_KEEPERS.contains(&group.as_str()))
}

/// Which objects of a kind a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Any,
    /// Only the object that is named as the agent's node.
    OwnName,
    /// As [`Scope::OwnName`], in the namespace of the nodes' leases.
    OwnLease,
}

/// What an agent may do with one kind or subresource.
struct Rule {
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    verbs: &'static [&'static str],
    scope: Scope,
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch"];
const CHANGE: &[&str] = &["update", "patch"];
const LEASES: &str = "kube-node-lease";

const fn rule(resource: &'static str, verbs: &'static [&'static str], scope: Scope) -> Rule {
    Rule { group: "", resource, subresource: None, verbs, scope }
}

const fn status(resource: &'static str, scope: Scope) -> Rule {
    Rule { group: "", resource, subresource: Some("status"), verbs: CHANGE, scope }
}

const fn of_group(group: &'static str, rule: Rule) -> Rule {
    Rule { group, ..rule }
}

/// An agent reads the ConfigMaps and Secrets of all Pods, not only of those on its node: unlike a kube-apiserver,
/// this table does not follow the references from Pods.
const AGENT_RULES: [Rule; 14] = [
    rule("pods", READ, Scope::Any),
    rule("pods", &["delete"], Scope::Any),
    status("pods", Scope::Any),
    rule("configmaps", READ, Scope::Any),
    rule("secrets", READ, Scope::Any),
    rule("services", READ, Scope::Any),
    rule("serviceaccounts", READ, Scope::Any),
    rule("namespaces", READ, Scope::Any),
    rule("nodes", READ, Scope::Any),
    rule("nodes", WRITE, Scope::OwnName),
    status("nodes", Scope::OwnName),
    rule("events", WRITE, Scope::Any),
    of_group("events.k8s.io", rule("events", WRITE, Scope::Any)),
    of_group("coordination.k8s.io", rule("leases", &["get", "create", "update", "patch"], Scope::OwnLease)),
];

fn is_agent_allowed(user: &User, action: ObjectAction<'_>) -> bool {
    let Some(node) = user.node_name() else { return false };
    AGENT_RULES.iter().any(|rule| {
        rule.group == action.group
            && rule.resource == action.resource
            && rule.subresource == action.subresource
            && rule.verbs.contains(&action.verb)
            && rule.scope.holds(node, action)
    })
}

impl Scope {
    fn holds(self, node: &str, action: ObjectAction<'_>) -> bool {
        // A create may come without a name; see the field's comment.
        let is_own = action.name.map_or(action.verb == "create", |name| name == node);
        match self {
            Self::Any => true,
            Self::OwnName => is_own,
            Self::OwnLease => is_own && action.namespace == Some(LEASES),
        }
    }
}

#[cfg(test)]
mod tests;
