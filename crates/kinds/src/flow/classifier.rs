//! Which flow a request is part of: the matching FlowSchema of the lowest precedence says so.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::CATCH_ALL;

/// A precedence that a schema does not state.
const DEFAULT_PRECEDENCE: i32 = 1000;
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// What a request says of itself, in the words of authorization.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub user: &'a str,
    pub groups: &'a [String],
    pub verb: &'a str,
    pub target: Target<'a>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Path(&'a str),
    Object { group: &'a str, resource: &'a str, subresource: Option<&'a str>, namespace: Option<&'a str> },
}

impl Request<'_> {
    fn namespace(&self) -> &str {
        match self.target {
            Target::Object { namespace, .. } => namespace.unwrap_or_default(),
            Target::Path(_) => "",
        }
    }
}

/// Requests that are treated as one client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub schema_uid: Arc<str>,
    pub level: Arc<str>,
    pub level_uid: Arc<str>,
    /// Decides which of the level's queues the flow may use.
    pub(super) hash: u64,
}

/// All FlowSchemas that lead to a level, in the order in which they are tried.
#[derive(Debug, Default)]
pub struct Classifier {
    schemas: Vec<Schema>,
}

#[derive(Debug)]
struct Schema {
    name: String,
    spec: FlowSchemaSpec,
    uid: Arc<str>,
    level: Arc<str>,
    level_uid: Arc<str>,
}

impl Classifier {
    /// Reads the stored objects. A schema that cannot be read, or whose level is not there, is as good as none.
    pub fn new(schemas: &[Value], levels: &[Value]) -> Self {
        let mut schemas: Vec<Schema> =
            schemas.iter().filter_map(|schema| Schema::read(schema, levels)).collect();
        schemas.sort_by(|one, other| (one.precedence(), &one.name).cmp(&(other.precedence(), &other.name)));
        Self { schemas }
    }

    /// The flow of a request. What matches nothing is the catch-all's.
    pub fn classify(&self, request: &Request<'_>) -> Flow {
        let matching = self.schemas.iter().find(|schema| schema.matches(request));
        let schema = matching.or_else(|| self.schemas.iter().find(|schema| schema.name == CATCH_ALL));
        schema.map_or_else(Flow::catch_all, |schema| schema.flow(request))
    }
}

impl Flow {
    fn catch_all() -> Self {
        Self { schema_uid: "".into(), level: CATCH_ALL.into(), level_uid: "".into(), hash: 0 }
    }
}

impl Schema {
    fn read(schema: &Value, levels: &[Value]) -> Option<Self> {
        let spec = FlowSchemaSpec::deserialize(&schema["spec"]).ok()?;
        let wanted = spec.priority_level_configuration.name.as_str();
        let level = levels.iter().find(|level| level["metadata"]["name"] == wanted)?;
        let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().into();
        Some(Self {
            name: schema["metadata"]["name"].as_str()?.to_owned(),
            uid: uid(schema),
            level: wanted.into(),
            level_uid: uid(level),
            spec,
        })
    }

    fn precedence(&self) -> i32 {
        self.spec.matching_precedence.unwrap_or(DEFAULT_PRECEDENCE)
    }

    fn matches(&self, request: &Request<'_>) -> bool {
        self.spec.rules.iter().flatten().any(|rules| applies(rules, request))
    }

    fn flow(&self, request: &Request<'_>) -> Flow {
        let distinguisher = match self.spec.distinguisher_method.as_ref().map(|by| by.type_.as_str()) {
            Some("ByUser") => request.user,
            Some("ByNamespace") => request.namespace(),
            _ => "",
        };
        let mut hasher = DefaultHasher::new();
        (&self.name, distinguisher).hash(&mut hasher);
        let Self { uid, level, level_uid, .. } = self;
        Flow {
            schema_uid: uid.clone(),
            level: level.clone(),
            level_uid: level_uid.clone(),
            hash: hasher.finish(),
        }
    }
}

fn applies(rules: &PolicyRulesWithSubjects, request: &Request<'_>) -> bool {
    rules.subjects.iter().any(|subject| is_meant(subject, request))
        && match request.target {
            Target::Path(path) => rules
                .non_resource_rules
                .iter()
                .flatten()
                .any(|rule| has(&rule.verbs, request.verb) && matches_path(rule, path)),
            Target::Object { .. } => {
                rules.resource_rules.iter().flatten().any(|rule| matches_object(rule, request))
            }
        }
}

fn is_meant(subject: &Subject, request: &Request<'_>) -> bool {
    let fits = |wanted: &str, is: &str| wanted == "*" || wanted == is;
    match subject.kind.as_str() {
        "User" => subject.user.as_ref().is_some_and(|user| fits(&user.name, request.user)),
        "Group" => subject
            .group
            .as_ref()
            .is_some_and(|group| group.name == "*" || request.groups.contains(&group.name)),
        "ServiceAccount" => subject.service_account.as_ref().is_some_and(|account| {
            let own = request.user.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
            own.is_some_and(|(namespace, name)| namespace == account.namespace && fits(&account.name, name))
        }),
        _ => false,
    }
}

fn matches_object(rule: &ResourcePolicyRule, request: &Request<'_>) -> bool {
    let Target::Object { group, resource, subresource, namespace } = request.target else { return false };
    let is_resource = |entry: &String| match (entry.split_once('/'), subresource) {
        _ if entry == "*" => true,
        (None, None) => entry == resource,
        (Some((of, part)), Some(subresource)) => of == resource && part == subresource,
        _ => false,
    };
    let is_place = match namespace {
        Some(namespace) => rule.namespaces.as_ref().is_some_and(|allowed| has(allowed, namespace)),
        None => rule.cluster_scope == Some(true),
    };
    has(&rule.verbs, request.verb)
        && has(&rule.api_groups, group)
        && rule.resources.iter().any(is_resource)
        && is_place
}

fn matches_path(rule: &NonResourcePolicyRule, path: &str) -> bool {
    rule.non_resource_urls
        .iter()
        .any(|url| url == path || url.strip_suffix('*').is_some_and(|beginning| path.starts_with(beginning)))
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == wanted)
}

/// The condition `Dangling` that a schema should have, if it has another one: whether its level is missing.
pub fn dangling(schema: &Value, levels: &BTreeSet<String>, now: &str) -> Option<Value> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let (status, reason, what) = match levels.contains(level) {
        true => ("False", "Found", "is there"),
        false => ("True", "NotFound", "does not exist"),
    };
    let mut conditions = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let known = conditions.iter().position(|condition| condition["type"] == "Dangling");
    if known
        .is_some_and(|index| conditions[index]["status"] == status && conditions[index]["reason"] == reason)
    {
        return None;
    }
    let condition = json!({
        "type": "Dangling", "status": status, "lastTransitionTime": now, "reason": reason,
        "message": format!("The PriorityLevelConfiguration \"{level}\" that this FlowSchema names {what}"),
    });
    match known {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
    Some(conditions.into())
}
