//! All roles and bindings of the cluster, and what they make of a user's wish. Pure: what stands in the store is told
//! to it, see `mirror`.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use serde_json::Value;

use super::rule;
use super::{Action, Decision};
use crate::authentication::{SERVICE_ACCOUNT_PREFIX, User};
use crate::object;

/// Roles and bindings. Those of the cluster stand under the empty namespace.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    roles: HashMap<(String, String), Vec<PolicyRule>>,
    bindings: HashMap<String, BTreeMap<String, Binding>>,
}

#[derive(Debug)]
struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// A binding that applies to a user, and the rules that it gives; `None` if the role is not there.
struct Grant<'a> {
    namespace: &'a str,
    name: &'a str,
    binding: &'a Binding,
    subject: &'a Subject,
    rules: Option<&'a [PolicyRule]>,
}

impl Policy {
    /// Takes in a Role, ClusterRole, RoleBinding or ClusterRoleBinding. One that cannot be read grants nothing.
    pub(crate) fn put(&mut self, resource: &str, object: &Value) {
        let (namespace, name) = (object::namespace(object).to_owned(), object::name(object).to_owned());
        if resource.ends_with("bindings") {
            let parsed = parse::<RoleRef>(&object["roleRef"]);
            let subjects = parse::<Vec<Subject>>(&object["subjects"]).unwrap_or_default();
            let binding = Binding { role: parsed.unwrap_or_default(), subjects };
            self.bindings.entry(namespace).or_default().insert(name, binding);
        } else {
            let rules = parse(&object["rules"]).unwrap_or_default();
            self.roles.insert((namespace, name), rules);
        }
    }

    /// Forgets an object.
    pub(crate) fn remove(&mut self, resource: &str, namespace: &str, name: &str) {
        if resource.ends_with("bindings") {
            if let Some(bindings) = self.bindings.get_mut(namespace) {
                bindings.remove(name);
            }
        } else {
            self.roles.remove(&(namespace.to_owned(), name.to_owned()));
        }
    }

    /// Forgets all objects of a resource.
    pub(crate) fn clear(&mut self, resource: &str) {
        let is_of_cluster = resource.starts_with("cluster");
        if resource.ends_with("bindings") {
            self.bindings.retain(|namespace, _| namespace.is_empty() != is_of_cluster);
        } else {
            self.roles.retain(|(namespace, _), _| namespace.is_empty() != is_of_cluster);
        }
    }

    /// Whether a binding lets `user` do it, and which.
    pub(crate) fn decide(&self, user: &User, action: Action<'_>) -> Decision {
        let namespace = match action {
            Action::Object(action) => action.namespace,
            Action::Path { .. } => None,
        };
        let mut missing = Vec::new();
        for grant in self.grants(user, namespace) {
            match grant.rules {
                None => missing.push(grant.missing()),
                Some(rules) if rules.iter().any(|rule| rule::allows(rule, action)) => {
                    return Decision::Allowed(format!("RBAC: allowed by {}", grant.describe()));
                }
                Some(_) => {}
            }
        }
        match missing.as_slice() {
            [] => Decision::NoOpinion(String::new()),
            [only] => Decision::NoOpinion(format!("RBAC: {only}")),
            several => Decision::NoOpinion(format!("RBAC: [{}]", several.join(", "))),
        }
    }

    /// All that `user` may do in a namespace, and in the cluster as a whole.
    pub(crate) fn rules_of(&self, user: &User, namespace: Option<&str>) -> Vec<PolicyRule> {
        self.grants(user, namespace).filter_map(|grant| grant.rules).flatten().cloned().collect()
    }

    /// The rules of a role; `namespace` is empty for those of the cluster.
    pub(crate) fn role(&self, namespace: &str, name: &str) -> Option<&[PolicyRule]> {
        self.roles.get(&(namespace.to_owned(), name.to_owned())).map(Vec::as_slice)
    }

    /// The bindings of the cluster first, then those of the namespace, each by name.
    fn grants<'a>(&'a self, user: &'a User, namespace: Option<&'a str>) -> impl Iterator<Item = Grant<'a>> {
        let places = [Some(""), namespace.filter(|namespace| !namespace.is_empty())];
        places.into_iter().flatten().flat_map(move |place| {
            let bindings = self.bindings.get(place).into_iter().flatten();
            bindings.filter_map(move |(name, binding)| {
                let subject = binding.subjects.iter().find(|subject| is_subject(user, subject, place))?;
                let home = if binding.role.kind == "ClusterRole" { "" } else { place };
                let rules = self.role(home, &binding.role.name);
                Some(Grant { namespace: place, name, binding, subject, rules })
            })
        })
    }
}

impl Grant<'_> {
    fn describe(&self) -> String {
        let RoleRef { kind, name: role, .. } = &self.binding.role;
        let Subject { kind: who, name: subject, namespace: home, .. } = self.subject;
        let subject = match home.as_deref().filter(|_| who == "ServiceAccount") {
            Some(home) => format!("{who} \"{subject}/{home}\""),
            None => format!("{who} \"{subject}\""),
        };
        let binding = if self.namespace.is_empty() {
            format!("ClusterRoleBinding \"{}\"", self.name)
        } else {
            format!("RoleBinding \"{}/{}\"", self.name, self.namespace)
        };
        format!("{binding} of {kind} \"{role}\" to {subject}")
    }

    fn missing(&self) -> String {
        let RoleRef { kind, name, .. } = &self.binding.role;
        format!("{}.rbac.authorization.k8s.io \"{name}\" not found", kind.to_lowercase())
    }
}

/// Whether a binding in `place` means `user` by `subject`.
fn is_subject(user: &User, subject: &Subject, place: &str) -> bool {
    match subject.kind.as_str() {
        "User" => user.name == subject.name,
        "Group" => user.is_in(&subject.name),
        "ServiceAccount" => {
            let home = subject.namespace.as_deref().filter(|home| !home.is_empty()).unwrap_or(place);
            let own = user.name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
            !home.is_empty() && own == Some((home, subject.name.as_str()))
        }
        _ => false,
    }
}

/// `null` reads as nothing: a ClusterRole that is aggregated has no rules until it is.
fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}
