//! Rules of roles: what one allows, and whether some rules grant all that another one does. Pure.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{Action, ObjectAction};

/// A rule that stands for more single permissions than this is not looked through: nobody writes such a one by hand.
const MAX_COMBINATIONS: usize = 1 << 18;

/// Whether `rule` allows `action`.
pub(crate) fn allows(rule: &PolicyRule, action: Action<'_>) -> bool {
    match action {
        Action::Path { verb, path } => {
            has(&rule.verbs, verb) && list(&rule.non_resource_urls).iter().any(|url| is_url(url, path))
        }
        Action::Object(action) => allows_object(rule, action),
    }
}

fn allows_object(rule: &PolicyRule, action: ObjectAction<'_>) -> bool {
    let names = list(&rule.resource_names);
    has(&rule.verbs, action.verb)
        && has(list(&rule.api_groups), action.group)
        && list(&rule.resources).iter().any(|entry| is_resource(entry, action.resource, action.subresource))
        && (names.is_empty() || action.name.is_some_and(|name| names.iter().any(|known| known == name)))
}

/// `pods`, `pods/log`, `*/log` or `*`; a resource alone does not stand for its subresources.
fn is_resource(entry: &str, resource: &str, subresource: Option<&str>) -> bool {
    match (entry.split_once('/'), subresource) {
        _ if entry == "*" => true,
        (None, None) => entry == resource,
        (Some((left, right)), Some(subresource)) => (left == "*" || left == resource) && right == subresource,
        _ => false,
    }
}

/// A path, or the beginning of one with a star behind it.
fn is_url(entry: &str, path: &str) -> bool {
    entry == path || entry.strip_suffix('*').is_some_and(|beginning| path.starts_with(beginning))
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == wanted)
}

fn list(values: &Option<Vec<String>>) -> &[String] {
    values.as_deref().unwrap_or_default()
}

/// The first of `wanted` that `owned` does not grant in full: nobody gives away what they do not have.
pub(crate) fn first_uncovered<'a>(owned: &[&PolicyRule], wanted: &'a [PolicyRule]) -> Option<&'a PolicyRule> {
    wanted.iter().find(|rule| !is_covered(owned, rule))
}

fn is_covered(owned: &[&PolicyRule], wanted: &PolicyRule) -> bool {
    let urls = list(&wanted.non_resource_urls);
    let objects = [&wanted.verbs, list(&wanted.api_groups), list(&wanted.resources)];
    let count = |parts: &[&[String]]| parts.iter().map(|part| part.len()).try_fold(1, usize::checked_mul);
    let size = count(&[objects[0], objects[1], objects[2]]);
    if size.is_none_or(|size| size > MAX_COMBINATIONS) {
        return false;
    }
    let names = list(&wanted.resource_names);
    let all_urls = wanted.verbs.iter().all(|verb| {
        urls.iter().all(|url| owned.iter().any(|rule| has(&rule.verbs, verb) && grants_url(rule, url)))
    });
    all_urls
        && objects[0].iter().all(|verb| {
            objects[1].iter().all(|group| {
                objects[2].iter().all(|resource| grants_names(owned, [verb, group, resource], names))
            })
        })
}

fn grants_url(rule: &PolicyRule, url: &str) -> bool {
    list(&rule.non_resource_urls).iter().any(|entry| is_url(entry, url))
}

/// Whether every one of `names` is granted, or, if there are none, every object.
fn grants_names(owned: &[&PolicyRule], [verb, group, resource]: [&str; 3], names: &[String]) -> bool {
    let fits = |rule: &&&PolicyRule| {
        let resources = list(&rule.resources);
        let sub = resource.split_once('/').map(|(_, subresource)| format!("*/{subresource}"));
        has(&rule.verbs, verb)
            && has(list(&rule.api_groups), group)
            && (has(resources, resource) || sub.is_some_and(|sub| resources.contains(&sub)))
    };
    let granted = |name: Option<&String>| {
        owned.iter().filter(fits).any(|rule| {
            let known = list(&rule.resource_names);
            known.is_empty() || name.is_some_and(|name| known.contains(name))
        })
    };
    if names.is_empty() { granted(None) } else { names.iter().all(|name| granted(Some(name))) }
}
