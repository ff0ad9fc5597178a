//! Answers: objects, lists and refusals in the encoding and shape that the client accepts.

use axum::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, Response, StatusCode};
use kinds::Kind;
use kinds::status::Failure;
use kinds::table::IncludeObject;
use serde_json::{Value, json};
use store::Entry;

use crate::accept::{Accept, Encoding, Shape, ShapeVersion};
use crate::record::Place;
use crate::registry::Written;
use crate::{object, record, yaml};

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
        Shape::Metadata => kinds::table::partial_metadata(value),
        Shape::MetadataList => {
            let message = format!("you requested PartialObjectMetadataList, but {} is not a list", kind.kind);
            return Err(Failure::new(406, "NotAcceptable", message));
        }
    };
    self::shaped(status, accept, shaped)
}

/// An object that was written, shaped as the client accepts it.
pub(crate) fn written(
    status: StatusCode,
    accept: Accept,
    kind: &Kind,
    written: Written,
) -> Result<Response<Body>, Failure> {
    match written {
        Written::Entry(entry) => self::entry(status, accept, kind, &entry),
        Written::Object(value) => object(status, accept, kind, value),
    }
}

/// One object as it stands in the store, shaped as the client accepts it.
pub(crate) fn entry(
    status: StatusCode,
    accept: Accept,
    kind: &Kind,
    entry: &Entry,
) -> Result<Response<Body>, Failure> {
    if accept != Accept::default() {
        return object(status, accept, kind, record::decode(kind, entry)?);
    }
    let mut bytes = Vec::with_capacity(entry.value.len() + 64);
    record::splice(kind, &entry.value, entry.modified, Place::Alone, &mut bytes)?;
    Ok(bytes_of(status, Encoding::Json.media_type(), bytes))
}

/// A value that has the shape that the client accepts, named in the version that it asked for.
pub(crate) fn shaped(
    status: StatusCode,
    accept: Accept,
    mut value: Value,
) -> Result<Response<Body>, Failure> {
    if accept.version != ShapeVersion::V1 {
        name_version(&mut value, accept.shape_version());
    }
    encoded(status, accept.encoding, &value)
}

/// Names the version of a shape and of the shapes in it.
pub(crate) fn name_version(value: &mut Value, version: &str) {
    if value["apiVersion"] == "meta.k8s.io/v1" {
        value["apiVersion"] = version.into();
    }
    for (list, inner) in [("rows", "/object"), ("items", "")] {
        let items = value.get_mut(list).and_then(Value::as_array_mut);
        for item in items.into_iter().flatten().filter_map(|item| item.pointer_mut(inner)) {
            if item["apiVersion"] == "meta.k8s.io/v1" {
                item["apiVersion"] = version.into();
            }
        }
    }
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
        Encoding::Yaml => yaml::write(value).into_bytes(),
        Encoding::Protobuf => kinds::encode::protobuf(value).ok_or_else(no_protobuf)?,
    };
    Ok(bytes_of(status, encoding.media_type(), bytes))
}

/// 406: what is asked for has no such form.
pub(crate) fn no_protobuf() -> Failure {
    Failure::not_acceptable(&[Encoding::Json.media_type(), Encoding::Yaml.media_type()])
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
