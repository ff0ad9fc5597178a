//! The stored form of an object: its JSON without `resourceVersion`, which is the revision of its entry.
//!
//! `kind`, `apiVersion` and `metadata` always come first, so that the revision can be put into the bytes without
//! parsing them: reads and watches of thousands of objects cost no JSON tree each.
//!
//! ```text
//!   {"kind":..,"apiVersion":..,"metadata":{..},..                                      a kind of the table
//!   {"kind":..,"apiVersion":..,"metadata":{..},..,"crest.dev/schema":"<seal>"}         a custom resource
//! ```
//! A custom resource bears the seal of the schema that it was pruned and filled by. Where that is the schema by which it
//! is read, nothing has to be done again; everything else is parsed, whoever wrote it, and whatever he knew.

mod text;

use bytes::Bytes;
use kinds::Kind;
use kinds::status::Failure;
use serde_json::{Map, Value};
use store::{Entry, Revision};

use crate::object;
use crate::query::Selection;

/// What comes first in the stored form.
const HEAD: [&str; 3] = ["kind", "apiVersion", "metadata"];

/// Whether an object stands alone or in a list, whose items leave out `kind` and `apiVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Alone,
    InList,
}

/// The part of the metadata that says who owns which field.
const MANAGED_FIELDS: &str = "managedFields";

/// Where the seal stands, after everything else.
const SEAL: &str = "crest.dev/schema";

/// The bytes to store for `object`.
pub(crate) fn encode(kind: &Kind, object: &Value) -> Result<Bytes, Failure> {
    if kinds::convert::is_stored_as_served(kind) {
        return encode_as(object);
    }
    let mut stored = object.clone();
    kinds::convert::to_storage(kind, &mut stored);
    let Some(version) = kind.custom() else { return encode_as(&stored) };
    // Nobody else sets it.
    drop_seal(&mut stored);
    if let (Some(seal), Some(fields)) = (version.seal(), stored.as_object_mut()) {
        fields.insert(SEAL.to_owned(), seal.into());
    }
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
    for (field, value) in fields.filter(|(field, _)| !HEAD.contains(&field.as_str()) && *field != SEAL) {
        write_field(&mut out, field, value)?;
    }
    if let Some(seal) = stored.get(SEAL) {
        write_field(&mut out, SEAL, seal)?;
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

/// Whether the object that `entry` holds is selected.
pub(crate) fn is_selected(kind: &Kind, entry: &Entry, selection: &Selection) -> Result<bool, Failure> {
    if selection.is_all() {
        return Ok(true);
    }
    Ok(may_be_selected(kind, entry, selection) && selection.matches(kind, &outline(kind, entry)?))
}

/// Whether the object that `entry` holds may be selected, as far as its text alone tells.
pub(crate) fn may_be_selected(kind: &Kind, entry: &Entry, selection: &Selection) -> bool {
    !kinds::convert::is_stored_as_served(kind) || selection.labels.may_match(&entry.value)
}

/// What selectors see of the object that `entry` holds.
pub(crate) fn outline(kind: &Kind, entry: &Entry) -> Result<Value, Failure> {
    if !kinds::convert::is_stored_as_served(kind) {
        return Ok(kinds::selector::outline(kind, &decode(kind, entry)?));
    }
    kinds::selector::outline_of_text(kind, &entry.value).map_err(|error| no_json(kind, &error))
}

/// Of the object that `entry` holds what stands at `paths`; where that saves nothing, all of it.
pub(crate) fn parts(kind: &Kind, entry: &Entry, paths: &[&str]) -> Result<Value, Failure> {
    if !kinds::convert::is_stored_as_served(kind) {
        return decode(kind, entry);
    }
    kinds::sparse::read(&entry.value, paths).map_err(|error| no_json(kind, &error))
}

/// What is stored, in the version in which it is.
pub(crate) fn parse(kind: &Kind, value: &[u8]) -> Result<Value, Failure> {
    let mut object: Value = serde_json::from_slice(value).map_err(|error| no_json(kind, &error))?;
    if kind.custom().is_some() {
        drop_seal(&mut object);
    }
    Ok(object)
}

/// As [`decode_at`], of which the metadata and the names of its kind are enough.
pub(crate) fn head_at(kind: &Kind, value: &[u8], revision: Revision) -> Result<Value, Failure> {
    if !kinds::convert::is_stored_as_served(kind) {
        return decode_at(kind, value, revision);
    }
    let mut object = kinds::sparse::read(value, &HEAD).map_err(|error| no_json(kind, &error))?;
    object::set_metadata(&mut object, "resourceVersion", revision.0.to_string());
    Ok(object)
}

fn no_json(kind: &Kind, error: &serde_json::Error) -> Failure {
    Failure::internal(format!("a stored {} is no JSON: {error}", kind.kind))
}

fn drop_seal(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(SEAL);
    }
}

/// Whether two stored forms are of the same object, by whichever schema they were made.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one == other || (unsealed(one).is_some() && unsealed(one) == unsealed(other))
}

/// The stored form without its end: its seal, and what closes it.
fn unsealed(value: &[u8]) -> Option<&[u8]> {
    let mark = format!(",\"{SEAL}\":\"");
    let (body, seal) = value.split_at_checked(memchr::memmem::rfind(value, mark.as_bytes())?)?;
    // The whole of the end, and not a field of this name somewhere below.
    let seal = seal.strip_prefix(mark.as_bytes())?.strip_suffix(b"\"}")?;
    (!seal.contains(&b'"')).then_some(body)
}

/// As [`decode`], but saying another revision: how watchers see the last state of a deleted object.
pub(crate) fn decode_at(kind: &Kind, value: &[u8], revision: Revision) -> Result<Value, Failure> {
    let mut object = parse(kind, value)?;
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
    let head = head(kind);
    let Some((rest, end)) = body(kind, value, &head) else {
        return write_json(out, &listed(kind, decode_at(kind, value, revision)?, place));
    };
    let opening = match place {
        Place::InList if kind.custom().is_none() => "{\"metadata\":{",
        Place::Alone | Place::InList => head.as_str(),
    };
    joined(opening, revision, [rest, b"", end], out);
    Ok(())
}

/// As [`splice`], without saying who owns which field. Whether the object's form allows that without parsing it.
pub(crate) fn splice_unmanaged(kind: &Kind, value: &[u8], revision: Revision, out: &mut Vec<u8>) -> bool {
    let head = head(kind);
    let Some((rest, end)) = body(kind, value, &head) else { return false };
    let [before, after] = text::without(rest, MANAGED_FIELDS).unwrap_or([rest, b""]);
    joined(&head, revision, [before, after, end], out);
    true
}

/// Writes the object with its revision, reduced to its metadata, to `out` without parsing it; `managed` is whether to say
/// who owns which field. Whether its form allows that.
pub(crate) fn splice_metadata(
    kind: &Kind,
    value: &[u8],
    (revision, managed): (Revision, bool),
    out: &mut Vec<u8>,
) -> bool {
    const OPENING: &str =
        "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{";
    let Some(fields) = metadata_of(kind, value) else { return false };
    let bare = if managed { None } else { text::without(fields, MANAGED_FIELDS) };
    let [before, after] = bare.unwrap_or([fields, b""]);
    joined(OPENING, revision, [before, after, b"}"], out);
    true
}

/// What is written first, the revision, and the rest of the metadata and of the object.
fn joined(opening: &str, revision: Revision, [before, after, end]: [&[u8]; 3], out: &mut Vec<u8>) {
    out.extend_from_slice(opening.as_bytes());
    out.extend_from_slice(format!("\"resourceVersion\":\"{}\"", revision.0).as_bytes());
    let next = before.first().or(after.first());
    if next.is_some_and(|byte| *byte != b'}') {
        out.push(b',');
    }
    for part in [before, after, end] {
        out.extend_from_slice(part);
    }
}

/// What follows `head` in a stored form that is served as it is, and how it ends.
fn body<'v>(kind: &Kind, value: &'v [u8], head: &str) -> Option<(&'v [u8], &'static [u8])> {
    let (body, end) = open(kind, value)?;
    Some((body.strip_prefix(head.as_bytes())?, end))
}

/// The fields of an object's metadata in its stored form, and the brace that ends them.
fn metadata_of<'v>(kind: &Kind, value: &'v [u8]) -> Option<&'v [u8]> {
    // What stands among the annotations of a DaemonSet may be a field of the object.
    if kind.table_name() == "DaemonSet" || !kinds::convert::is_stored_as_served(kind) {
        return None;
    }
    let rest = value.strip_prefix(head(kind).as_bytes())?;
    rest.get(..=text::end_of_object(rest)?)
}

/// What of a stored form is served as it is, and how it ends then; `None` if what the schema says of it may be something
/// else now than when it was stored.
fn open<'v>(kind: &Kind, value: &'v [u8]) -> Option<(&'v [u8], &'static [u8])> {
    let Some(version) = kind.custom() else { return Some((value, b"")) };
    let seal = format!(",\"{SEAL}\":\"{}\"}}", version.seal()?);
    Some((value.strip_suffix(seal.as_bytes())?, b"}"))
}

/// `object` as it stands in its place. User-defined kinds say in lists, too, what each object is.
pub(crate) fn listed(kind: &Kind, mut object: Value, place: Place) -> Value {
    if place == Place::InList
        && kind.custom().is_none()
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("kind");
        fields.remove("apiVersion");
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
