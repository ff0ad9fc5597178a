//! Who asks, and whether they may: the gate before every request.

use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use kinds::status::Failure;
use kit::tls::PeerIdentity;

use crate::attributes::Attributes;
use crate::authentication::{self, User};
use crate::authorization::{self, Action, ObjectAction};
use crate::call::Call;
use crate::context::Context;
use crate::request::ObjectPath;

/// How clients that cannot set headers (browsers) send their token.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Who has proven to be behind a request: by being of this process, by certificate or by token; else nobody.
pub(crate) async fn authenticate(context: &Context, parts: &Parts) -> Result<User, Failure> {
    if let Some(user) = parts.extensions.get::<User>() {
        return Ok(user.clone());
    }
    if let Some(peer) = parts.extensions.get::<PeerIdentity>() {
        return authentication::by_certificate(peer);
    }
    let Some(token) = bearer_token(parts) else { return Ok(User::anonymous()) };
    match authentication::token::review(context, &token, &[]).await {
        Ok(authenticated) => Ok(authenticated.user),
        Err(error) => {
            tracing::debug!(error = %kit::Chain(&error), "Refused a token");
            Err(Failure::unauthorized())
        }
    }
}

/// The token of a request; another scheme than `Bearer` is as good as none.
fn bearer_token(parts: &Parts) -> Option<String> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some((scheme, token)) = header.and_then(|text| text.split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return Some(token.trim().to_owned()).filter(|token| !token.is_empty());
    }
    let protocols = parts.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok())?;
    let encoded = protocols.split(',').find_map(|protocol| protocol.trim().strip_prefix(TOKEN_PROTOCOL))?;
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, encoded).ok()?;
    String::from_utf8(bytes).ok().filter(|token| !token.is_empty())
}

/// 403 if the user may not do what the request asks.
pub(crate) async fn authorize(
    context: &Context,
    user: &User,
    attributes: &Attributes,
) -> Result<(), Failure> {
    let action = attributes.action();
    match context.authorizer.decide_fresh(context, user, action).await {
        authorization::Decision::Allowed(_) => Ok(()),
        authorization::Decision::NoOpinion(why) => Err(refused(user, action, &why)),
    }
}

/// 403 in the words for what was asked.
pub(crate) fn refused(user: &User, action: Action<'_>, why: &str) -> Failure {
    let said = authorization::refusal(user, action, why);
    match action {
        Action::Path { .. } => Failure::new(403, "Forbidden", format!("forbidden: {said}")),
        Action::Object(ObjectAction { group, resource, name, .. }) => {
            Failure::forbidden_resource(group, resource, name.unwrap_or_default(), &said)
        }
    }
}

/// 403 if the user may not do `verb` at `path` too: a patch that creates is a creation.
pub(crate) fn may_also(call: &Call, path: &ObjectPath, verb: &str) -> Result<(), Failure> {
    let action = Action::Object(action(path, verb));
    match call.context.authorizer.decide(&call.user, action) {
        authorization::Decision::Allowed(_) => Ok(()),
        authorization::Decision::NoOpinion(why) => Err(refused(&call.user, action, &why)),
    }
}

fn action<'a>(path: &'a ObjectPath, verb: &'a str) -> ObjectAction<'a> {
    ObjectAction {
        verb,
        group: path.kind.group,
        resource: path.kind.plural,
        subresource: path.subresource.as_deref(),
        namespace: path.namespace.as_deref(),
        name: path.name.as_deref(),
        on_node: None,
    }
}
