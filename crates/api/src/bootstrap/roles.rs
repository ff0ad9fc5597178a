//! The roles and bindings that every cluster has, read from a table of ours.

use serde_json::{Value, json};

const TABLE: &str = include_str!("roles.txt");
pub(super) const GROUP: &str = "rbac.authorization.k8s.io";
/// Whether later versions add to a role or binding what they have more.
pub(super) const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const READ: &str = "get,list,watch";
const WRITE: &str = "create,delete,deletecollection,patch,update";
const ALL: &str = "create,delete,deletecollection,get,list,patch,update,watch";

/// All of them: roles first, in the order of the table.
pub(crate) fn objects() -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    for line in TABLE.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["clusterrole", name] => objects.push(role("ClusterRole", "", name)),
            ["role", namespace, name] => objects.push(role("Role", namespace, name)),
            ["bind", role, "as", name, "to", subjects @ ..] => {
                objects.push(binding(role, Some(name), subjects))
            }
            ["bind", role, "to", subjects @ ..] => objects.push(binding(role, None, subjects)),
            _ => {
                if let Some(role) = objects.last_mut() {
                    extend(role, line);
                }
            }
        }
    }
    objects
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    });
    metadata["annotations"][AUTO_UPDATE] = "true".into();
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

fn role(kind: &str, namespace: &str, name: &str) -> Value {
    json!({"kind": kind, "apiVersion": format!("{GROUP}/v1"), "metadata": metadata(namespace, name), "rules": []})
}

/// Adds one line of the table to a role.
fn extend(role: &mut Value, line: &str) {
    let label =
        |target: &str| format!("{GROUP}/aggregate-to-{target}").replace(GROUP, "rbac.authorization.k8s.io");
    if let Some(target) = line.strip_prefix("+ ") {
        role["metadata"]["labels"][label(target)] = "true".into();
        return;
    }
    if let Some(target) = line.strip_prefix("= ") {
        let mut labels = json!({});
        labels[label(target)] = "true".into();
        role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        // It is filled when the roles that it is the sum of are brought together.
        role["rules"] = Value::Null;
        return;
    }
    let parts: Vec<&str> = line.split('|').map(str::trim).collect();
    let list = |text: &str| json!(text.split(',').collect::<Vec<_>>());
    let groups = |text: &str| {
        json!(text.split(',').map(|group| if group == "core" { "" } else { group }).collect::<Vec<_>>())
    };
    let verbs = |text: &str| {
        list(match text {
            "READ" => READ,
            "WRITE" => WRITE,
            "ALL" => ALL,
            other => other,
        })
    };
    let rule = match parts.as_slice() {
        [verb, paths] => json!({"verbs": verbs(verb), "nonResourceURLs": list(paths)}),
        [verb, group, resources] => {
            json!({"verbs": verbs(verb), "apiGroups": groups(group), "resources": list(resources)})
        }
        [verb, group, resources, names] => json!({
            "verbs": verbs(verb), "apiGroups": groups(group), "resources": list(resources),
            "resourceNames": list(names),
        }),
        _ => return,
    };
    if let Some(rules) = role.get_mut("rules").and_then(Value::as_array_mut) {
        rules.push(rule);
    }
}

/// `role` is the name of a ClusterRole, or `namespace/name` of a Role.
fn binding(role: &str, name: Option<&str>, subjects: &[&str]) -> Value {
    let (kind, namespace, role) = match role.split_once('/') {
        Some((namespace, role)) => ("Role", namespace, role),
        None => ("ClusterRole", "", role),
    };
    let subjects: Vec<Value> = subjects.chunks(2).filter_map(subject).collect();
    let mut binding = json!({
        "kind": format!("{kind}Binding"), "apiVersion": format!("{GROUP}/v1"),
        "metadata": metadata(namespace, name.unwrap_or(role)),
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
    });
    if !subjects.is_empty() {
        binding["subjects"] = subjects.into();
    }
    binding
}

fn subject(words: &[&str]) -> Option<Value> {
    match words {
        ["account", account] => {
            let (namespace, name) = account.split_once('/')?;
            Some(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}))
        }
        [kind, name] => {
            let kind = if *kind == "group" { "Group" } else { "User" };
            Some(json!({"kind": kind, "apiGroup": GROUP, "name": name}))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::objects;

    #[test]
    fn every_line_of_the_table_is_understood() {
        let objects = objects();
        let of = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).count();
        let counts = ["ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"].map(of);
        assert_eq!(counts, [37, 7, 18, 7]);
        for role in objects.iter().filter(|object| object["kind"] == "ClusterRole") {
            let rules = role["rules"].as_array().map_or(0, Vec::len);
            assert!(rules > 0 || role["aggregationRule"].is_object(), "{role}");
        }
        let lines = super::TABLE.lines().filter(|line| line.contains(" | ")).count() - 1;
        let rules = objects.iter().filter_map(|role| role["rules"].as_array()).map(Vec::len).sum::<usize>();
        assert_eq!(rules, lines);
    }

    #[test]
    fn bindings_are_of_roles_that_are_there() {
        let objects = objects();
        for binding in objects.iter().filter(|object| object["roleRef"].is_object()) {
            let is_it = |role: &&Value| {
                role["kind"] == binding["roleRef"]["kind"]
                    && role["metadata"]["name"] == binding["roleRef"]["name"]
                    && role["metadata"]["namespace"] == binding["metadata"]["namespace"]
            };
            assert!(objects.iter().any(|role| is_it(&role)), "{binding}");
        }
    }
}
