//! What the server says of itself: version, health, discovery, OpenAPI.

use axum::body::Body;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use kinds::discovery::{self, Aggregated, Document};
use kinds::status::Failure;
use serde_json::json;

use crate::accept::{self, Encoding};
use crate::context::Context;
use crate::query::Query;
use crate::respond;

const JSON: &str = "application/json";
/// The form of OpenAPI v2 that kubectl before 1.28 asks for.
const OPENAPI_V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The document at this path, or `None` if the path is about objects.
pub(crate) fn find(context: &Context, parts: &Parts) -> Option<Result<Response<Body>, Failure>> {
    let path = parts.uri.path().trim_end_matches('/');
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let known = match segments.as_slice() {
        ["version"] => version(),
        ["healthz" | "livez" | "readyz", ..] => Ok(respond::bytes_of(StatusCode::OK, "text/plain", "ok")),
        ["api"] => api(context, parts),
        ["apis"] => group_list(parts),
        ["apis", group] => fixed(parts, discovery::group(group), JSON),
        ["api", version] => fixed(parts, discovery::resource_list("", version), JSON),
        ["apis", group, version] => fixed(parts, discovery::resource_list(group, version), JSON),
        [".well-known", "openid-configuration"] => issuer(context),
        ["openid", "v1", "jwks"] => issuer_keys(context),
        ["openapi", "v2"] => openapi_v2(parts),
        ["openapi", "v3"] => fixed(parts, Some(kinds::openapi::v3_index()), JSON),
        ["openapi", "v3", path @ ..] => openapi_v3(parts, &path.join("/")),
        _ => return None,
    };
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    Some(if is_read { known } else { known.and(Err(Failure::method_not_allowed())) })
}

fn version() -> Result<Response<Body>, Failure> {
    let version = json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35", "gitVersion": format!("v1.36.2+crest-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
    });
    respond::encoded(StatusCode::OK, Encoding::Json, &version)
}

/// What those need to know who verify service-account tokens themselves.
fn issuer(context: &Context) -> Result<Response<Body>, Failure> {
    let issuer = context.security.signer().ok_or_else(Failure::no_such_path)?.issuer();
    let configuration = json!({
        "issuer": issuer,
        "jwks_uri": format!("https://{}/openid/v1/jwks", context.advertised),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    let mut response = respond::encoded(StatusCode::OK, Encoding::Json, &configuration)?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(response)
}

fn issuer_keys(context: &Context) -> Result<Response<Body>, Failure> {
    let keys = context.security.signer().ok_or_else(Failure::no_such_path)?.public_keys();
    let mut response = respond::bytes_of(StatusCode::OK, "application/jwk-set+json", keys.to_string());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(response)
}

fn api(context: &Context, parts: &Parts) -> Result<Response<Body>, Failure> {
    match aggregated(parts) {
        Some(form) => aggregated_document(parts, form, discovery::aggregated_core(form)),
        None => {
            respond::encoded(StatusCode::OK, Encoding::Json, &discovery::api_versions(&context.advertised))
        }
    }
}

fn group_list(parts: &Parts) -> Result<Response<Body>, Failure> {
    match aggregated(parts) {
        Some(form) => aggregated_document(parts, form, discovery::aggregated_groups(form)),
        None => fixed(parts, Some(discovery::group_list()), JSON),
    }
}

fn aggregated(parts: &Parts) -> Option<Aggregated> {
    accept::aggregated_discovery(header(parts, &ACCEPT))
}

fn aggregated_document(
    parts: &Parts,
    form: Aggregated,
    document: &'static Document,
) -> Result<Response<Body>, Failure> {
    let media_type = match form {
        Aggregated::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Aggregated::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    fixed(parts, Some(document), media_type)
}

fn openapi_v2(parts: &Parts) -> Result<Response<Body>, Failure> {
    if accept::prefers(header(parts, &ACCEPT), OPENAPI_V2_PROTOBUF) {
        // The `@` of the type that is asked for may not stand in an answer's.
        let media_type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        return fixed(parts, Some(kinds::openapi::v2_protobuf()), media_type);
    }
    fixed(parts, Some(kinds::openapi::v2_json()), JSON)
}

/// A document asked for by its current hash never changes under that name, so that clients may keep it.
fn openapi_v3(parts: &Parts, path: &str) -> Result<Response<Body>, Failure> {
    let document = kinds::openapi::v3(path);
    let mut response = fixed(parts, document, JSON)?;
    let hash = Query::parse(&parts.uri)?.get("hash").map(str::to_owned);
    if hash.is_some() && hash.as_deref() == document.map(|document| document.hash.as_str()) {
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        response.headers_mut().insert(CACHE_CONTROL, forever);
    }
    Ok(response)
}

/// A document that never changes while the server runs, or 304 if the client has it.
fn fixed(
    parts: &Parts,
    document: Option<&'static Document>,
    media_type: &'static str,
) -> Result<Response<Body>, Failure> {
    let document = document.ok_or_else(Failure::no_such_path)?;
    let tag = format!("\"{}\"", document.hash);
    let known = header(parts, &IF_NONE_MATCH).unwrap_or_default();
    let has_it = known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag);
    let mut response = if has_it {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let bytes = bytes::Bytes::from_owner(std::sync::Arc::clone(&document.bytes));
        respond::bytes_of(StatusCode::OK, media_type, bytes)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn header<'a>(parts: &'a Parts, name: &http::HeaderName) -> Option<&'a str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}
