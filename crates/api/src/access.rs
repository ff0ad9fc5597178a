//! Who asks, and whether they may: the gate before every request.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use kinds::status::Failure;
use kit::tls::PeerIdentity;

use crate::authentication::{MASTERS, User};
use crate::authorization::{self, Action, ObjectAction};
use crate::call::Call;
use crate::context::Context;

const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// The user behind a request: of this process, or by certificate or token.
pub(crate) fn user(context: &Context, parts: &Parts) -> Result<User, Failure> {
    let user = match parts.extensions.get::<User>() {
        Some(user) => user.clone(),
        None => {
            let authorization =
                parts.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
            context.authenticator.user(parts.extensions.get::<PeerIdentity>(), authorization)?
        }
    };
    impersonated(user, &parts.headers)
}

/// Administrators may ask what another user would see (`kubectl --as`).
fn impersonated(user: User, headers: &HeaderMap) -> Result<User, Failure> {
    let text = |name: &HeaderName| {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<&str>>()
    };
    let (names, groups) = (text(&IMPERSONATE_USER), text(&IMPERSONATE_GROUP));
    match names.first() {
        None if groups.is_empty() => Ok(user),
        None => Err(Failure::bad_request("requested groups without impersonating a user")),
        Some(name) if user.is_in(MASTERS) => Ok(User::new(name, groups)),
        Some(name) => {
            let message = format!(
                "users \"{name}\" is forbidden: User \"{}\" cannot impersonate resource \"users\" in API group \"\" \
                 at the cluster scope",
                user.name
            );
            Err(Failure::new(403, "Forbidden", message))
        }
    }
}

/// 403 if the user may not read this path, which is no object.
pub(crate) fn may_see_path(user: &User, parts: &Parts) -> Result<(), Failure> {
    let verb = parts.method.as_str().to_ascii_lowercase();
    let action = Action::Path { verb: &verb, path: parts.uri.path() };
    if authorization::may(user, action) {
        return Ok(());
    }
    let message = format!("forbidden: {}", authorization::refusal(user, action));
    Err(Failure::new(403, "Forbidden", message))
}

/// 403 if the user may not do what the call asks. `name` is the object's where the path has none.
pub(crate) fn may(call: &Call, name: Option<&str>) -> Result<(), Failure> {
    let path = &call.path;
    // A namespace is in itself, as Kubernetes sees it.
    let own = path.name.as_deref().filter(|_| path.kind.kind == "Namespace");
    let action = Action::Object(ObjectAction {
        verb: call.verb.as_str(),
        group: path.kind.group,
        resource: path.kind.plural,
        subresource: path.subresource.as_deref(),
        namespace: path.namespace.as_deref().or(own),
        name: path.name.as_deref().or(name),
    });
    if authorization::may(&call.user, action) {
        return Ok(());
    }
    let subject = path.name.as_deref().or(name).unwrap_or_default();
    Err(Failure::forbidden(path.kind, subject, &authorization::refusal(&call.user, action)))
}
