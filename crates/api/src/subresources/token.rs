//! `serviceaccounts/token`: a token for an account, for some audiences, for a while, and bound to an object if the
//! client wants that.

use axum::body::Body;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kinds::kind::TOKEN_REQUEST;
use kinds::status::{Failure, FieldError};
use serde_json::{Value, json};

use crate::admission::Review;
use crate::authentication::service_account::{Bound, Claims, Private};
use crate::call::Call;
use crate::query::WriteOptions;
use crate::{admission, guard, object, respond, verbs};

const GROUP: &str = "authentication.k8s.io";
const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let body = call.take_body().await?;
    let kind = &TOKEN_REQUEST;
    let decoded = kinds::decode::body(kind, call.media_type(), &body)?;
    let mut request = verbs::checked(&call, decoded, options.field_validation)?;
    let account = call.context.registry.get(&call.path).await?;
    let now = call.context.now();
    complete(&call, &mut request, now)?;
    let review = admission::admit(Review::of_create(&call, request, false)).await?;
    let (mut request, warnings) = (review.object, review.warnings);
    let private = private(&call, &request["spec"]["boundObjectRef"], &account).await?;
    let Some(signer) = call.context.security.signer() else {
        return Err(Failure::unavailable("this server has no key to sign tokens with"));
    };
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    let end = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    let id = call.context.birth().uid;
    let claims = Claims {
        aud: texts(&request["spec"]["audiences"]),
        exp: end.as_second(),
        iat: now.as_second(),
        iss: signer.issuer().to_owned(),
        jti: id,
        private,
        nbf: now.as_second(),
        sub: format!("system:serviceaccount:{}:{}", call.namespace(), call.path.name()),
    };
    kinds::defaults::settle(kind, &mut request);
    request["status"] = json!({"token": signer.sign(&claims)?, "expirationTimestamp": object::time(end)});
    let response = respond::object(StatusCode::CREATED, call.accept, kind, request)?;
    Ok(respond::with_warnings(response, &warnings))
}

/// Fills in what the client left out, and refuses what it may not ask for.
fn complete(call: &Call, request: &mut Value, now: Timestamp) -> Result<(), Failure> {
    let said = object::name(request);
    if !said.is_empty() && said != call.path.name() {
        let message = format!(
            "the name of the object ({said}) does not match the name on the URL ({})",
            call.path.name()
        );
        return Err(Failure::bad_request(message));
    }
    object::metadata_mut(request);
    let spec = object::entry_object(request, "spec");
    let seconds = spec.entry("expirationSeconds").or_insert_with(|| DEFAULT_SECONDS.into());
    let seconds = seconds.as_i64().unwrap_or(DEFAULT_SECONDS);
    let why = match seconds {
        ..MIN_SECONDS => Some("may not specify a duration less than 10 minutes"),
        MIN_SECONDS..=MAX_SECONDS => None,
        _ => Some("may not specify a duration larger than 2^32 seconds"),
    };
    if let Some(why) = why {
        let fault = FieldError::invalid("spec.expirationSeconds", seconds, why);
        return Err(Failure::invalid_object(GROUP, "TokenRequest", "", &[fault]));
    }
    verbs::owned(call, |writer| kinds::managed::update(&TOKEN_REQUEST, writer, None, request));
    let spec = object::entry_object(request, "spec");
    if spec.get("audiences").is_none_or(|audiences| texts(audiences).is_empty()) {
        spec.insert("audiences".into(), json!(call.context.security.audiences()));
    }
    object::set_metadata(request, "name", call.path.name());
    object::set_metadata(request, "namespace", call.namespace());
    object::set_metadata(request, "uid", call.context.birth().uid);
    object::set_metadata(request, "creationTimestamp", object::time(now));
    Ok(())
}

/// Whose the token is and what it is bound to, which must be there and must be what the client thinks it is.
async fn private(call: &Call, reference: &Value, account: &Value) -> Result<Private, Failure> {
    let mut private = Private {
        namespace: call.namespace().to_owned(),
        serviceaccount: bound(account),
        ..Private::default()
    };
    if !reference.is_object() {
        guard::token(call, None)?;
        return Ok(private);
    }
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (api_version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
    let (plural, namespace) = match (api_version, kind) {
        ("v1", "Pod") => ("pods", call.namespace()),
        ("v1", "Secret") => ("secrets", call.namespace()),
        ("v1", "Node") => ("nodes", ""),
        _ => {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let message = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Failure::bad_request(message));
        }
    };
    let kind = kinds::find("", "v1", plural).ok_or_else(Failure::no_such_path)?;
    let found = call.context.registry.find(kind, namespace, name).await?;
    let found = found.ok_or_else(|| Failure::not_found(kind, name))?;
    let uid = object::metadata(&found, "uid");
    if !text("uid").is_empty() && text("uid") != uid {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have \
             been deleted and then recreated",
            text("uid")
        );
        return Err(Failure::conflict(kind, name, &why));
    }
    guard::token(call, Some(&found).filter(|_| plural == "pods"))?;
    match plural {
        "pods" => bind_to_pod(call, &mut private, &found).await?,
        "secrets" => private.secret = Some(bound(&found)),
        _ => private.node = Some(bound(&found)),
    }
    Ok(private)
}

async fn bind_to_pod(call: &Call, private: &mut Private, pod: &Value) -> Result<(), Failure> {
    let account = call.path.name();
    if pod["spec"]["serviceAccountName"].as_str().unwrap_or("default") != account {
        let message = format!(
            "cannot bind token for serviceaccount \"{account}\" to pod running with different serviceaccount name."
        );
        return Err(Failure::bad_request(message));
    }
    private.pod = Some(bound(pod));
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if let Some(nodes) = kinds::find("", "v1", "nodes").filter(|_| !node.is_empty()) {
        let found = call.context.registry.find(nodes, "", node).await?;
        let uid = found.map(|found| bound(&found).uid).unwrap_or_default();
        private.node = Some(Bound { name: node.to_owned(), uid });
    }
    Ok(())
}

fn bound(object: &Value) -> Bound {
    Bound { name: object::name(object).to_owned(), uid: object::metadata(object, "uid").to_owned() }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
