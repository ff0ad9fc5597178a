//! What must hold of how requests are told apart, and of how many are served at once.

use std::collections::HashSet;

use serde_json::Value;

use super::{Faults, in_range, items, list, names, not_negative, one_of, pod, required, text, unique};
use crate::status::FieldError;

const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// The schema and the level of those who are never to wait.
const EXEMPT: &str = "exempt";

pub(super) fn schema(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    let name = text(&object["metadata"], "name");
    if spec["matchingPrecedence"] == 1 && name != EXEMPT {
        let message = "only the schema named 'exempt' may have matchingPrecedence 1";
        faults.push(FieldError::invalid("spec.matchingPrecedence", 1, message));
    }
    let level = &spec["priorityLevelConfiguration"];
    pod::named("spec.priorityLevelConfiguration", level, "name", names::subdomain, faults);
    if !spec["distinguisherMethod"].is_null() && text(&spec["distinguisherMethod"], "type").is_empty() {
        let supported = ["ByNamespace", "ByUser"];
        faults.push(FieldError::not_supported("spec.distinguisherMethod.type", "", &supported));
    }
    for (path, rule) in items("spec", spec, "rules") {
        for (path, subject) in items(&path, rule, "subjects") {
            self::subject(&path, subject, faults);
        }
        if list(rule, "resourceRules").is_empty() && list(rule, "nonResourceRules").is_empty() {
            let message = "at least one of resourceRules and nonResourceRules has to be non-empty";
            faults.push(FieldError::required(path.clone(), message));
        }
        for (path, rule) in items(&path, rule, "resourceRules") {
            resource_rule(&path, rule, faults);
        }
        for (path, rule) in items(&path, rule, "nonResourceRules") {
            verbs(&path, rule, faults);
            if !alone(&path, rule, "nonResourceURLs", faults) {
                for (path, url) in items(&path, rule, "nonResourceURLs") {
                    self::url(path, url.as_str().unwrap_or_default(), faults);
                }
            }
        }
    }
    conditions(object, faults);
}

fn subject(path: &str, subject: &Value, faults: &mut Faults) {
    const FIELDS: [(&str, &str); 3] =
        [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = text(subject, "kind");
    if kind.is_empty() {
        faults.push(FieldError::not_supported(format!("{path}.kind"), "", &FIELDS.map(|(kind, _)| kind)));
    }
    let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == kind) else { return };
    for (other, field) in FIELDS.iter().filter(|(name, field)| *name != kind && !subject[*field].is_null()) {
        let message = format!("is forbidden when subject kind is not '{other}'");
        faults.push(FieldError::forbidden(format!("{path}.{field}"), message));
    }
    let (path, meant) = (format!("{path}.{field}"), &subject[*field]);
    if meant.is_null() {
        faults.push(FieldError::required(path, format!("is required when subject kind is '{kind}'")));
        return;
    }
    required(&path, meant, "name", faults);
    if kind == "ServiceAccount" {
        if text(meant, "name") != "*" {
            pod::named(&path, meant, "name", names::subdomain, faults);
        }
        required(&path, meant, "namespace", faults);
        pod::named(&path, meant, "namespace", names::label, faults);
    }
}

/// Whether `*` is in a list, where nothing may stand beside it.
fn alone(path: &str, rule: &Value, field: &str, faults: &mut Faults) -> bool {
    let values = list(rule, field);
    let is_all = values.iter().any(|value| *value == "*");
    if is_all && values.len() > 1 {
        let message = "if '*' is present, must not specify others";
        faults.push(FieldError::invalid(format!("{path}.{field}"), values.to_vec(), message));
    }
    is_all
}

fn verbs(path: &str, rule: &Value, faults: &mut Faults) {
    let is_known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if !alone(path, rule, "verbs", faults) && !list(rule, "verbs").iter().all(is_known) {
        let verbs = rule["verbs"].clone();
        faults.push(FieldError::not_supported(format!("{path}.verbs"), verbs, VERBS));
    }
}

fn resource_rule(path: &str, rule: &Value, faults: &mut Faults) {
    verbs(path, rule, faults);
    for field in ["apiGroups", "resources"] {
        alone(path, rule, field, faults);
    }
    if list(rule, "namespaces").is_empty() && rule["clusterScope"] != true {
        let message = "resource rules that are not cluster scoped must supply at least one namespace";
        faults.push(FieldError::required(format!("{path}.namespaces"), message));
    } else if !alone(path, rule, "namespaces", faults) {
        for (path, namespace) in items(path, rule, "namespaces") {
            let namespace = namespace.as_str().unwrap_or_default();
            let faulty = names::label(namespace).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), namespace, fault)));
        }
    }
}

/// A path, of which only the end may stand for any.
fn url(path: String, url: &str, faults: &mut Faults) {
    let stars = url.matches('*').count();
    let message = if url.is_empty() {
        "must not be empty"
    } else if url == "/" {
        return;
    } else if !url.starts_with('/') {
        "must start with slash"
    } else if url.contains(' ') {
        "must not contain white-space"
    } else if url.contains("//") {
        "must not contain double slash"
    } else if stars > 1 || (stars == 1 && !url.ends_with("/*")) {
        "wildcard can only do suffix matching"
    } else {
        return;
    };
    faults.push(FieldError::invalid(path, url, message));
}

pub(super) fn level(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    let (kind, name) = (text(spec, "type"), text(&object["metadata"], "name"));
    if (name == EXEMPT) != (kind == "Exempt") {
        let message = "must be 'Exempt' if and only if `name` is 'exempt'";
        faults.push(FieldError::invalid("spec.type", kind, message));
    }
    let (limited, exempt) = (&spec["limited"], &spec["exempt"]);
    match kind {
        "Exempt" if !limited.is_null() => {
            let message = "must be nil if the type is not Limited";
            faults.push(FieldError::forbidden("spec.limited", message));
        }
        "Exempt" => shares("spec.exempt", exempt, faults),
        "Limited" => {
            if !exempt.is_null() {
                let message = "must be nil if the type is Limited";
                faults.push(FieldError::forbidden("spec.exempt", message));
            }
            if limited.is_null() {
                let message = "must not be empty when type is Limited";
                faults.push(FieldError::required("spec.limited", message));
            } else {
                shares("spec.limited", limited, faults);
                not_negative("spec.limited", limited, "borrowingLimitPercent", faults);
                response(&limited["limitResponse"], faults);
            }
        }
        _ => {}
    }
    conditions(object, faults);
}

fn shares(path: &str, level: &Value, faults: &mut Faults) {
    not_negative(path, level, "nominalConcurrencyShares", faults);
    in_range(path, level, "lendablePercent", 0..=100, faults);
}

fn response(response: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.limited.limitResponse";
    let queuing = format!("{PATH}.queuing");
    match (text(response, "type"), response["queuing"].is_null()) {
        ("", _) => faults.push(FieldError::required(format!("{PATH}.type"), "")),
        ("Queue", true) => {
            let message = "must not be empty if limited.limitResponse.type is Limited";
            faults.push(FieldError::required(queuing, message));
        }
        ("Queue", false) => self::queuing(&queuing, &response["queuing"], faults),
        ("Reject", false) => {
            let message = "must be nil if limited.limitResponse.type is not Limited";
            faults.push(FieldError::forbidden(queuing, message));
        }
        _ => one_of(PATH, response, "type", &["Queue", "Reject"], faults),
    }
}

fn queuing(path: &str, queuing: &Value, faults: &mut Faults) {
    const MAX_QUEUES: i64 = 10_000_000;
    let of = |field: &str| queuing[field].as_i64().unwrap_or_default();
    let (queues, hand) = (of("queues"), of("handSize"));
    let mut refused = |field: &str, message: &str| {
        faults.push(FieldError::invalid(format!("{path}.{field}"), of(field), message));
    };
    for field in ["queueLengthLimit", "queues", "handSize"] {
        if of(field) <= 0 {
            refused(field, "must be positive");
        }
    }
    if queues > MAX_QUEUES {
        refused("queues", "must not be greater than 10000000");
    }
    if hand > queues && hand > 0 {
        refused("handSize", "should not be greater than queues");
    } else if hand > 0 && entropy(queues, hand) > MAX_BITS {
        refused(
            "handSize",
            "more bits would be needed to deal such hands from so many queues than there are",
        );
    }
}

/// As many bits as the hash of a flow has to deal a hand with.
const MAX_BITS: u32 = 60;

/// How many bits choosing a hand takes.
fn entropy(queues: i64, hand: i64) -> u32 {
    let bits: f64 = (0..hand.min(64)).map(|dealt| precise(queues - dealt).log2()).sum();
    // Not negative, as no count is below one, and at most 64 times 24 bits.
    (0..=2048).find(|whole| f64::from(*whole) >= bits).unwrap_or(u32::MAX)
}

fn precise(count: i64) -> f64 {
    u32::try_from(count.max(1)).map_or(f64::MAX, f64::from)
}

/// What the server itself says of how an object is used.
fn conditions(object: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, condition) in items("status", &object["status"], "conditions") {
        required(&path, condition, "type", faults);
        unique(&mut seen, text(condition, "type"), format!("{path}.type"), faults);
    }
}
