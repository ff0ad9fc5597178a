//! Acting as another: `Impersonate-User`, `-Uid`, `-Group` and `-Extra-<key>`, each only if a role lets one.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use kinds::status::Failure;

use crate::access;
use crate::attributes::Attributes;
use crate::authentication::{AUTHENTICATED, SERVICE_ACCOUNT_PREFIX, UNAUTHENTICATED, User};
use crate::authorization::{Action, Authorizer, ObjectAction};
use crate::request;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// The user as whom the request is to be done: the one that the headers name, or `user` itself.
pub(crate) fn impersonated(
    authorizer: &Authorizer,
    user: User,
    headers: &HeaderMap,
    attributes: &Attributes,
) -> Result<User, Failure> {
    let wanted = wanted(headers);
    if wanted.name.is_empty() {
        let is_asked = wanted != User::default();
        let why = "requested a group, uid or extra without impersonating a user name";
        return if is_asked { Err(Failure::bad_request(why)) } else { Ok(user) };
    }
    if let Some(refused) = first_refused(authorizer, &user, &wanted) {
        return Err(refusal(&user, attributes, refused));
    }
    Ok(completed(wanted))
}

fn wanted(headers: &HeaderMap) -> User {
    let all = |name: &HeaderName| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let first = |name: &HeaderName| all(name).into_iter().next().unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            let key = request::percent_decoded(key).unwrap_or_else(|| key.to_owned());
            extra.entry(key).or_default().push(value.to_owned());
        }
    }
    User { name: first(&USER), uid: first(&UID), groups: all(&GROUP), extra }
}

/// The resource of the first part of `wanted` that `user` may not take on.
fn first_refused(authorizer: &Authorizer, user: &User, wanted: &User) -> Option<&'static str> {
    let may = |group, resource, subresource, namespace, name| {
        let action = ObjectAction {
            verb: "impersonate",
            group,
            resource,
            subresource,
            namespace,
            name,
            on_node: None,
        };
        authorizer.decide(user, Action::Object(action)).is_allowed()
    };
    let account = wanted.name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
    let name = match account {
        Some((namespace, name)) => may("", "serviceaccounts", None, Some(namespace), Some(name)),
        None => may("", "users", None, None, Some(&wanted.name)),
    };
    let groups = wanted.groups.iter().all(|group| may("", "groups", None, None, Some(group)));
    let uid = wanted.uid.is_empty() || may(AUTHENTICATION, "uids", None, None, Some(&wanted.uid));
    let extra = wanted.extra.iter().all(|(key, values)| {
        values.iter().all(|value| may(AUTHENTICATION, "userextras", Some(key), None, Some(value)))
    });
    let parts = [(name, "users"), (groups, "groups"), (uid, "uids"), (extra, "userextras")];
    parts.into_iter().find(|(allowed, _)| !allowed).map(|(_, resource)| resource)
}

/// Told of what the request is about, as of a verb that nobody was given.
fn refusal(user: &User, attributes: &Attributes, resource: &str) -> Failure {
    let verb = format!("impersonate-on:user-info:{}", attributes.verb);
    let why = format!("and none of its roles lets it impersonate such {resource}");
    match &attributes.object {
        Some(target) => access::refused(user, Action::Object(target.action(&verb)), &why),
        None => access::refused(user, Action::Path { verb: &verb, path: &attributes.path }, &why),
    }
}

/// With the groups that go without saying.
fn completed(mut user: User) -> User {
    let account = user.name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
    if let Some((namespace, name)) = account
        && user.groups.is_empty()
    {
        user.groups = User::service_account(namespace, name, "").groups;
    }
    let says_how = user.groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED);
    if !says_how {
        let is_nobody = user.name == User::anonymous().name;
        user.groups.push(if is_nobody { UNAUTHENTICATED } else { AUTHENTICATED }.to_owned());
    }
    user
}
