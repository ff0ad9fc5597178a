//! Nobody grants what they do not have, unless they were given the verbs `escalate` and `bind` for it.

use k8s_openapi::api::rbac::v1::PolicyRule;
use kinds::status::Failure;
use serde::Deserialize;
use serde_json::Value;

use crate::authentication::MASTERS;
use crate::authorization::{Action, ObjectAction, first_uncovered};
use crate::call::Call;
use crate::object;

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn write(call: &Call, new: &Value, current: Option<&Value>) -> Result<(), Failure> {
    let kind = &call.path.kind;
    if kind.group != RBAC || call.user.is_in(MASTERS) {
        return Ok(());
    }
    match kind.plural {
        "roles" | "clusterroles" => write_role(call, new, current),
        _ => write_binding(call, new, current),
    }
}

fn write_role(call: &Call, new: &Value, current: Option<&Value>) -> Result<(), Failure> {
    let fields = ["rules", "aggregationRule"];
    let is_same = current.is_some_and(|current| fields.iter().all(|field| new[*field] == current[*field]));
    if is_same || may(call, "escalate", call.path.kind.plural, call.namespace(), object::name(new)) {
        return Ok(());
    }
    let mut wanted = rules(&new["rules"]);
    if new["aggregationRule"].is_object() {
        // What it will hold is up to whoever writes roles with its labels.
        wanted.extend(everything());
    }
    must_own(call, new, &wanted)
}

fn write_binding(call: &Call, new: &Value, current: Option<&Value>) -> Result<(), Failure> {
    let role = &new["roleRef"];
    if current.is_some_and(|current| current["roleRef"] == *role && current["subjects"] == new["subjects"]) {
        return Ok(());
    }
    let name = role["name"].as_str().unwrap_or_default();
    let (plural, home) =
        if role["kind"] == "ClusterRole" { ("clusterroles", "") } else { ("roles", call.namespace()) };
    if may(call, "bind", plural, call.namespace(), name) {
        return Ok(());
    }
    let kind = kinds::find(RBAC, "v1", plural).ok_or_else(Failure::no_such_path)?;
    let wanted = call.context.authorizer.role(home, name);
    must_own(call, new, &wanted.ok_or_else(|| Failure::not_found(kind, name))?)
}

fn must_own(call: &Call, new: &Value, wanted: &[PolicyRule]) -> Result<(), Failure> {
    let namespace = Some(call.namespace()).filter(|namespace| !namespace.is_empty());
    let owned = call.context.authorizer.rules_of(&call.user, namespace);
    let owned: Vec<&PolicyRule> = owned.iter().collect();
    let Some(missing) = first_uncovered(&owned, wanted) else { return Ok(()) };
    let rule = serde_json::to_string(missing).unwrap_or_default();
    let user = &call.user;
    let why = format!(
        "user \"{}\" (groups={:?}) is attempting to grant RBAC permissions not currently held: {rule}",
        user.name, user.groups
    );
    Err(Failure::forbidden(&call.path.kind, object::name(new), &why))
}

fn may(call: &Call, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
    let action = ObjectAction {
        verb,
        group: RBAC,
        resource,
        namespace: Some(namespace).filter(|namespace| !namespace.is_empty()),
        name: Some(name),
        ..ObjectAction::default()
    };
    call.context.authorizer.decide(&call.user, Action::Object(action)).is_allowed()
}

fn rules(value: &Value) -> Vec<PolicyRule> {
    Vec::deserialize(value).unwrap_or_default()
}

fn everything() -> [PolicyRule; 2] {
    let star = || vec!["*".to_owned()];
    let objects = PolicyRule {
        verbs: star(),
        api_groups: Some(star()),
        resources: Some(star()),
        ..PolicyRule::default()
    };
    let paths = PolicyRule { verbs: star(), non_resource_urls: Some(star()), ..PolicyRule::default() };
    [objects, paths]
}
