//! What the server says of itself: version, health, discovery, OpenAPI.

use std::sync::Arc;

use axum::body::Body;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use kinds::discovery::{self, Document};
use kinds::openapi::OpenApi;
use kinds::status::Failure;
use serde_json::json;

use crate::accept::{self, Discovery, Encoding};
use crate::catalog::Served;
use crate::context::Context;
use crate::query::Query;
use crate::respond;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// The form of OpenAPI v2 that kubectl before 1.28 asks for.
const OPENAPI_V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The document at this path, or `None` if the path is about objects.
pub(crate) fn find(
    context: &Context,
    served: &Served,
    parts: &Parts,
) -> Option<Result<Response<Body>, Failure>> {
    let Served { discovery, openapi, .. } = served;
    let path = parts.uri.path().trim_end_matches('/');
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let known = match segments.as_slice() {
        [] => fixed(parts, Some(discovery.paths()), JSON),
        ["version"] => version(),
        // Whoever asks in whatever way is told: it is the simplest of clients that ask.
        ["healthz" | "livez" | "readyz", check @ ..] => return Some(Ok(health(check))),
        ["api"] => api(context, discovery, parts),
        ["apis"] => group_list(discovery, parts),
        ["apis", group] => plain(parts, discovery.group(group)),
        ["api", version] => plain(parts, discovery.resource_list("", version)),
        ["apis", group, version] => plain(parts, discovery.resource_list(group, version)),
        [".well-known", "openid-configuration"] => issuer(context),
        ["openid", "v1", "jwks"] => issuer_keys(context),
        ["openapi", "v2"] => openapi_v2(openapi, parts),
        // Clients read it as JSON, whatever it is called; it has been called so from the start.
        ["openapi", "v3"] => fixed(parts, Some(openapi.v3_index()), TEXT),
        ["openapi", "v3", path @ ..] => openapi_v3(openapi, parts, &path.join("/")),
        _ => return None,
    };
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    Some(if is_read { known } else { known.and(Err(Failure::method_not_allowed())) })
}

/// Whether a path is below a group that is served, where refusals are objects.
pub(crate) fn is_of_group(served: &Served, path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    match (segments.next(), segments.next()) {
        (Some("api"), _) => true,
        (Some("apis"), Some(group)) => served.discovery.group(group).is_some(),
        _ => false,
    }
}

/// 404 for those who do not speak of objects.
pub(crate) fn not_found() -> Response<Body> {
    respond::bytes_of(StatusCode::NOT_FOUND, TEXT, "404 page not found\n")
}

/// That the server answers is all that there is to say; the checks are there for those who ask for one by name.
fn health(check: &[&str]) -> Response<Body> {
    match check {
        [] | ["ping" | "log" | "etcd"] => respond::bytes_of(StatusCode::OK, TEXT, "ok"),
        _ => not_found(),
    }
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

fn api(
    context: &Context,
    discovery: &discovery::Discovery,
    parts: &Parts,
) -> Result<Response<Body>, Failure> {
    match Discovery::parse(header(parts, &ACCEPT))? {
        Discovery::Aggregated => fixed(parts, Some(discovery.aggregated_core()), AGGREGATED),
        Discovery::Plain(encoding) => {
            respond::encoded(StatusCode::OK, encoding, &discovery::api_versions(&context.advertised))
        }
    }
}

fn group_list(discovery: &discovery::Discovery, parts: &Parts) -> Result<Response<Body>, Failure> {
    match Discovery::parse(header(parts, &ACCEPT))? {
        Discovery::Aggregated => fixed(parts, Some(discovery.aggregated_groups()), AGGREGATED),
        Discovery::Plain(_) => plain(parts, Some(discovery.group_list())),
    }
}

/// A document of discovery that is the same for all, in the encoding that the client accepts.
fn plain(parts: &Parts, document: Option<Arc<Document>>) -> Result<Response<Body>, Failure> {
    match Discovery::parse(header(parts, &ACCEPT))? {
        Discovery::Aggregated | Discovery::Plain(Encoding::Json) => fixed(parts, document, JSON),
        Discovery::Plain(encoding) => {
            let document = document.ok_or_else(Failure::no_such_path)?;
            let value = serde_json::from_slice(&document.bytes)
                .map_err(|error| Failure::internal(format!("cannot read a document of ours: {error}")))?;
            respond::encoded(StatusCode::OK, encoding, &value)
        }
    }
}

fn openapi_v2(openapi: &OpenApi, parts: &Parts) -> Result<Response<Body>, Failure> {
    if accept::prefers(header(parts, &ACCEPT), OPENAPI_V2_PROTOBUF) {
        // The `@` of the type that is asked for may not stand in an answer's.
        let media_type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        return fixed(parts, Some(openapi.v2_protobuf()), media_type);
    }
    fixed(parts, Some(openapi.v2_json()), JSON)
}

/// A document asked for by its current hash never changes under that name, so that clients may keep it.
fn openapi_v3(openapi: &OpenApi, parts: &Parts, path: &str) -> Result<Response<Body>, Failure> {
    let document = openapi.v3(path);
    if document.is_none() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    }
    let mut response = fixed(parts, document.clone(), JSON)?;
    let hash = Query::parse(&parts.uri)?.get("hash").map(str::to_owned);
    if hash.is_some() && hash.as_deref() == document.as_ref().map(|document| document.hash.as_str()) {
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        response.headers_mut().insert(CACHE_CONTROL, forever);
    }
    Ok(response)
}

/// A document as it stands now, or 304 if the client has it.
fn fixed(
    parts: &Parts,
    document: Option<Arc<Document>>,
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
        let bytes = bytes::Bytes::from_owner(Arc::clone(&document.bytes));
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
