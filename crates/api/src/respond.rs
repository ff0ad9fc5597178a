//! Answers: objects, lists and refusals in the encoding and shape that the client accepts.

use axum::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, Response, StatusCode};
use kinds::Kind;
use kinds::status::Failure;
use kinds::table::IncludeObject;
use serde_json::{Value, json};

use crate::accept::{Accept, Encoding, Shape};
use crate::{object, record};

/// One object, shaped as the client accepts it.
pub(crate) fn object(
    status: StatusCode,
    accept: Accept,
    kind: &Kind,
    value: Value,
) -> Result<Response<Body>, Failure> {
    let shaped = match accept.shape {
        _ if value["kind"] == "Status" => value,
        Shape::Object => value,
        Shape::Table => table(kind, &[value], IncludeObject::Metadata),
        Shape::Metadata => kinds::table::partial_metadata(&value),
        Shape::MetadataList => {
            let message = format!("you requested PartialObjectMetadataList, but {} is not a list", kind.kind);
            return Err(Failure::new(406, "NotAcceptable", message));
        }
    };
    encoded(status, accept.encoding, &shaped)
}

/// A table of `objects` with the revision of the object, if there is one, as its own.
pub(crate) fn table(kind: &Kind, objects: &[Value], include: IncludeObject) -> Value {
    let mut table = kinds::table::render(kind, objects, kit::clock::wall(), include);
    if let [only] = objects {
        table["metadata"] = json!({"resourceVersion": object::metadata(only, "resourceVersion")});
    }
    table
}

/// A value as it is, in the encoding asked for.
pub(crate) fn encoded(
    status: StatusCode,
    encoding: Encoding,
    value: &Value,
) -> Result<Response<Body>, Failure> {
    let bytes = match encoding {
        Encoding::Json => {
            let mut bytes = Vec::with_capacity(1024);
            record::write_json(&mut bytes, value)?;
            bytes
        }
        Encoding::Yaml => serde_yaml_ng::to_string(value)
            .map_err(|error| Failure::internal(format!("cannot write YAML: {error}")))?
            .into_bytes(),
    };
    Ok(bytes_of(status, encoding.media_type(), bytes))
}

/// Bytes that are already in the form of `media_type`.
pub(crate) fn bytes_of(
    status: StatusCode,
    media_type: &'static str,
    bytes: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A refusal: a `Status`.
pub(crate) fn failure(failure: &Failure, encoding: Encoding) -> Response<Body> {
    let (code, status) = failure.to_response();
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = encoded(code, encoding, &status)
        .unwrap_or_else(|_| bytes_of(code, Encoding::Json.media_type(), status.to_string()));
    if let Some(seconds) = status["details"]["retryAfterSeconds"].as_u64() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// All of a response together: clients refuse long headers. Where there are more, each is cut to its beginning.
const MAX_WARNING_BYTES: usize = 4096;
const MAX_WARNING: usize = 256;

/// Adds `Warning` headers, which kubectl prints. Characters that a header cannot carry are replaced.
pub(crate) fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    let mut left = MAX_WARNING_BYTES;
    let is_much = warnings.iter().map(String::len).sum::<usize>() > MAX_WARNING_BYTES;
    let longest = if is_much { MAX_WARNING } else { MAX_WARNING_BYTES };
    for warning in warnings {
        let warning: String = warning.chars().take(longest).collect();
        left = match left.checked_sub(warning.len()) {
            Some(left) => left,
            None => break,
        };
        let escaped = warning.replace('\\', "\\\\").replace('"', "\\\"");
        let clean: String =
            escaped.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{clean}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}
