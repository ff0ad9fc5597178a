//! What must hold of amounts of resources: of containers, of whole Pods, and wherever else amounts are named.

use std::collections::HashSet;

use model::Quantity;
use serde_json::Value;

use super::super::{Faults, items, list, names, text};
use crate::resources::COUNTED;
use crate::status::FieldError;

/// Whose resources they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::validate) enum Holder {
    Container,
    Pod,
    /// Of a namespace or of whatever else is limited.
    Anything,
}

pub(in crate::validate) const MEASURED: &[&str] = &[
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "storage",
];

pub(in crate::validate) fn check(path: &str, resources: &Value, holder: Holder, faults: &mut Faults) {
    for field in ["limits", "requests"] {
        for (resource, amount) in resources[field].as_object().into_iter().flatten() {
            let path = format!("{path}.{field}[{resource}]");
            name(&path, resource, holder, faults);
            quantity(&path, resource, amount, faults);
            if let (Some(page), Some(parsed)) = (page_size(resource), parse(amount))
                && (page == 0 || parsed.to_units() % page != 0)
            {
                let message = "must be a whole number of pages";
                faults.push(FieldError::invalid(path, amount.clone(), message));
            }
        }
    }
    for (resource, request) in resources["requests"].as_object().into_iter().flatten() {
        within_limit(path, resource, (request, &resources["limits"][resource]), faults);
    }
    let asks_for = |wanted: fn(&str) -> bool| {
        ["limits", "requests"]
            .iter()
            .any(|list| resources[*list].as_object().into_iter().flatten().any(|(name, _)| wanted(name)))
    };
    if asks_for(is_huge) && !asks_for(|name| matches!(name, "cpu" | "memory")) {
        faults.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn page_size(name: &str) -> Option<i128> {
    let size = name.strip_prefix("hugepages-")?;
    Some(Quantity::parse(size).map_or(0, Quantity::to_units))
}

/// Whether more can be promised of a resource than there is.
pub(in crate::validate) fn can_be_shared(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

/// What cannot be shared is asked for as a whole: the request is the limit.
fn within_limit(path: &str, name: &str, (request, limit): (&Value, &Value), faults: &mut Faults) {
    let can_be_shared = can_be_shared(name);
    if limit.is_null() {
        if !can_be_shared {
            let message = "a limit must be set for resources that are not shared";
            faults.push(FieldError::required(format!("{path}.limits"), message));
        }
        return;
    }
    let (Some(asked), Some(allowed)) = (parse(request), parse(limit)) else { return };
    let limit = limit.as_str().unwrap_or_default();
    let message = if asked > allowed && can_be_shared {
        format!("must be less than or equal to {name} limit of {limit}")
    } else if asked != allowed && !can_be_shared {
        format!("must be equal to {name} limit of {limit}")
    } else {
        return;
    };
    faults.push(FieldError::invalid(format!("{path}.requests"), request.clone(), message));
}

/// The devices that a container uses are claimed by its Pod.
pub(super) fn claims(path: &str, resources: &Value, spec: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, claim) in items(path, resources, "claims") {
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            faults.push(FieldError::required(path, ""));
            continue;
        }
        let overlaps = seen.contains(&(name, ""))
            || !seen.insert((name, request))
            || (request.is_empty() && seen.iter().any(|(other, part)| *other == name && !part.is_empty()));
        if overlaps {
            faults.push(FieldError::duplicate(path.as_str(), name));
        }
        if !list(spec, "resourceClaims").iter().any(|claim| text(claim, "name") == name) {
            faults.push(FieldError::not_found(path, name));
        }
    }
}

/// Whether a resource is one of Kubernetes' own.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// The name of a resource: known, or with a domain.
pub(in crate::validate) fn name(path: &str, name: &str, holder: Holder, faults: &mut Faults) {
    let mut faulty = names::qualified_name(name);
    let is_bare = !name.contains('/');
    let is_known = COUNTED.contains(&name)
        || MEASURED.contains(&name)
        || is_huge(name)
        || name.starts_with("requests.hugepages-");
    if faulty.is_empty() && is_bare && !is_known {
        faulty.push("must be a standard resource type or fully qualified".to_owned());
    }
    let is_of_containers = matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge(name);
    match holder {
        Holder::Container if is_bare && !is_of_containers => {
            faulty.push("must be a standard resource for containers".to_owned());
        }
        Holder::Container if !is_native(name) && name.starts_with("requests.") => {
            faulty.push("doesn't follow extended resource name standard".to_owned());
        }
        Holder::Pod if faulty.is_empty() && !(matches!(name, "cpu" | "memory") || is_huge(name)) => {
            let supported = ["cpu", "hugepages-", "memory"];
            faults.push(FieldError::not_supported(path, name, &supported));
        }
        Holder::Container | Holder::Pod | Holder::Anything => {}
    }
    faults.extend(faulty.into_iter().map(|fault| FieldError::invalid(path, name, fault)));
}

/// An amount: not negative, and whole where it is a count.
pub(in crate::validate) fn quantity(path: &str, name: &str, quantity: &Value, faults: &mut Faults) {
    let Some(parsed) = parse(quantity) else { return };
    if parsed.is_negative() {
        faults.push(FieldError::invalid(path, quantity.clone(), "must be greater than or equal to 0"));
    }
    let is_count = COUNTED.contains(&name) || (!is_native(name) && !name.starts_with("requests."));
    if is_count && parsed.to_milli() % 1000 != 0 {
        faults.push(FieldError::invalid(path, quantity.clone(), "must be an integer"));
    }
}

fn parse(quantity: &Value) -> Option<Quantity> {
    Quantity::parse(quantity.as_str()?).ok()
}
