//! The stored form of an object: its JSON without `resourceVersion`, which is the revision of its entry.
//!
//! `kind`, `apiVersion` and `metadata` always come first, so that the revision can be put into the bytes without
//! parsing them: reads and watches of thousands of objects cost no JSON tree each.

use bytes::Bytes;
use kinds::Kind;
use kinds::status::Failure;
use serde_json::{Map, Value};
use store::{Entry, Revision};

use crate::object;

/// What comes first in the stored form.
const HEAD: [&str; 3] = ["kind", "apiVersion", "metadata"];

/// Whether an object stands alone or in a list, whose items leave out `kind` and `apiVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Alone,
    InList,
}

/// The bytes to store for `object`.
pub(crate) fn encode(kind: &Kind, object: &Value) -> Result<Bytes, Failure> {
    if kinds::convert::is_stored_as_served(kind) {
        return encode_as(object);
    }
    let mut stored = object.clone();
    kinds::convert::to_storage(kind, &mut stored);
    encode_as(&stored)
}

/// The bytes of an object that is in its stored form already.
pub(crate) fn encode_as(stored: &Value) -> Result<Bytes, Failure> {
    let nothing = Map::new();
    let metadata = stored["metadata"].as_object().unwrap_or(&nothing);
    let mut out = Vec::with_capacity(2048);
    out.push(b'{');
    for field in ["kind", "apiVersion"] {
        if let Some(value) = stored.get(field) {
            write_field(&mut out, field, value)?;
        }
    }
    begin_field(&mut out, "metadata")?;
    out.push(b'{');
    for (field, value) in metadata.iter().filter(|(field, _)| *field != "resourceVersion") {
        write_field(&mut out, field, value)?;
    }
    out.push(b'}');
    let fields = stored.as_object().into_iter().flatten();
    for (field, value) in fields.filter(|(field, _)| !HEAD.contains(&field.as_str())) {
        write_field(&mut out, field, value)?;
    }
    out.push(b'}');
    Ok(out.into())
}

fn write_field(out: &mut Vec<u8>, field: &str, value: &Value) -> Result<(), Failure> {
    begin_field(out, field)?;
    write_json(out, value)
}

/// Writes all that stands before the value of a field.
fn begin_field(out: &mut Vec<u8>, field: &str) -> Result<(), Failure> {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write_json(out, &field)?;
    out.push(b':');
    Ok(())
}

/// The object that `entry` holds, as `kind` serves it.
pub(crate) fn decode(kind: &Kind, entry: &Entry) -> Result<Value, Failure> {
    decode_at(kind, &entry.value, entry.modified)
}

/// As [`decode`], but saying another revision: how watchers see the last state of a deleted object.
pub(crate) fn decode_at(kind: &Kind, value: &[u8], revision: Revision) -> Result<Value, Failure> {
    let mut object: Value = serde_json::from_slice(value)
        .map_err(|error| Failure::internal(format!("a stored {} is no JSON: {error}", kind.kind)))?;
    kinds::convert::from_storage(kind, &mut object);
    object::set_metadata(&mut object, "resourceVersion", revision.0.to_string());
    Ok(object)
}

/// Writes the object with its revision to `out`, without parsing it where its form allows that.
pub(crate) fn splice(
    kind: &Kind,
    value: &[u8],
    revision: Revision,
    place: Place,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let place = if kind.custom().is_some() { Place::Alone } else { place };
    if kind.custom().is_some_and(|version| !version.is_settled_at(revision.0)) {
        // What the schema says of it may have changed since it was stored.
        return write_json(out, &decode_at(kind, value, revision)?);
    }
    let head = head(kind);
    let Some(rest) = value.strip_prefix(head.as_bytes()) else {
        return write_json(out, &listed(kind, decode_at(kind, value, revision)?, place));
    };
    let opening = match place {
        Place::Alone => head.as_str(),
        Place::InList => "{\"metadata\":{",
    };
    out.extend_from_slice(opening.as_bytes());
    out.extend_from_slice(format!("\"resourceVersion\":\"{}\"", revision.0).as_bytes());
    if !rest.starts_with(b"}") {
        out.push(b',');
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// `object` as it stands in its place. User-defined kinds say in lists, too, what each object is.
pub(crate) fn listed(kind: &Kind, mut object: Value, place: Place) -> Value {
    if place == Place::InList
        && kind.custom().is_none()
        && let Some(fields) = object.as_object_mut()
    {
        fields.shift_remove("kind");
        fields.shift_remove("apiVersion");
    }
    object
}

pub(crate) fn write_json(out: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), Failure> {
    serde_json::to_writer(out, value)
        .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))
}

fn head(kind: &Kind) -> String {
    format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{{", kind.kind, kind.api_version())
}

#[cfg(test)]
mod tests;
