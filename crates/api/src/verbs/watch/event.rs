//! One watch event: whether a watcher sees a change at all, as what, and in which shape.

use kinds::Kind;
use kinds::status::Failure;
use kinds::table::IncludeObject;
use serde_json::{Value, json};
use store::{Entry, Revision};

use crate::accept::{Accept, Encoding, Shape};
use crate::call::Call;
use crate::feed::Seen;
use crate::query::Selection;
use crate::record::{self, Place};
use crate::{respond, yaml};

/// What happened, as a watcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
            Self::Error => "ERROR",
        }
    }

    /// An object that comes into the selection is added, one that leaves it is deleted.
    fn of(was_and_is_selected: (bool, bool)) -> Option<Self> {
        match was_and_is_selected {
            (false, true) => Some(Self::Added),
            (true, true) => Some(Self::Modified),
            (true, false) => Some(Self::Deleted),
            (false, false) => None,
        }
    }
}

/// Writes the events of one watcher.
#[derive(Debug)]
pub(super) struct EventWriter {
    kind: Kind,
    /// Keys outside are not the watcher's business: another namespace.
    prefix: String,
    /// The one key that is watched, if the path names an object.
    only: Option<String>,
    selection: Selection,
    accept: Accept,
    include: IncludeObject,
    /// Whether to say who owns which field.
    owners: bool,
    /// Only the first table says its columns.
    has_sent_columns: bool,
}

impl EventWriter {
    pub(super) fn new(call: &Call, selection: Selection) -> Result<Self, Failure> {
        let include = call.query.get("includeObject").unwrap_or_default();
        let include = IncludeObject::parse(include)
            .ok_or_else(|| Failure::bad_request(format!("unrecognized includeObject value: {include:?}")))?;
        Ok(Self {
            kind: call.path.kind.clone(),
            prefix: call.path.prefix(),
            only: call.path.name.is_some().then(|| call.path.key()),
            selection,
            accept: call.accept,
            include,
            owners: call.hears_of_owners(),
            has_sent_columns: false,
        })
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The kind as it is defined now, which may be another than when the watch began.
    pub(super) fn renew(&mut self, kind: Kind) {
        if kind != self.kind {
            self.kind = kind;
            self.has_sent_columns = false;
        }
    }

    /// An object that was there when the watch began.
    pub(super) fn added(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.is_watched(entry) && record::is_selected(&self.kind, entry, &self.selection)? {
            self.event(EventType::Added, &entry.value, entry.modified, out)?;
        }
        Ok(())
    }

    /// A change, if the watcher sees it.
    pub(super) fn change(&mut self, change: &Seen, out: &mut Vec<u8>) -> Result<(), Failure> {
        let [previous, now] = change.before_and_after();
        let Some(any) = now.or(previous) else { return Ok(()) };
        if !self.is_watched(any) {
            return Ok(());
        }
        let selected = change.selected(&self.kind, &self.selection)?;
        let Some(event_type) = EventType::of(selected) else { return Ok(()) };
        // What leaves the selection is shown as it last stood in it, but at the revision of the change.
        let shown = if event_type == EventType::Deleted { previous } else { now };
        let Some(shown) = shown else { return Ok(()) };
        self.event(event_type, &shown.value, change.revision(), out)
    }

    /// How far the watcher is.
    pub(super) fn bookmark(
        &self,
        revision: Revision,
        annotation: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut metadata = json!({"resourceVersion": revision.0.to_string(), "creationTimestamp": null});
        if let Some(annotation) = annotation {
            metadata["annotations"] = json!({annotation: "true"});
        }
        let (kind, api_version) = match self.accept.shape {
            Shape::Object => (self.kind.kind, self.kind.api_version()),
            Shape::Table => {
                let table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                    "columnDefinitions": [], "rows": []});
                return self.framed(EventType::Bookmark, &table, out);
            }
            Shape::Metadata | Shape::MetadataList => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
        };
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        self.framed(EventType::Bookmark, &object, out)
    }

    /// The end of a watch that cannot go on.
    pub(super) fn error(&self, failure: &Failure, out: &mut Vec<u8>) {
        if self.framed(EventType::Error, &failure.to_value(), out).is_err() {
            tracing::error!(failure = %failure, "Cannot tell a watcher why it ends");
        }
    }

    fn is_watched(&self, entry: &Entry) -> bool {
        match &self.only {
            Some(key) => *entry.key == **key,
            None => entry.key.starts_with(&self.prefix),
        }
    }

    fn event(
        &mut self,
        event_type: EventType,
        value: &[u8],
        revision: Revision,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if self.accept.encoding == Encoding::Json {
            let start = out.len();
            out.extend_from_slice(format!("{{\"type\":\"{}\",\"object\":", event_type.as_str()).as_bytes());
            if self.spliced(value, revision, out)? {
                out.extend_from_slice(b"}\n");
                return Ok(());
            }
            out.truncate(start);
        }
        let shaped = match self.accept.shape {
            Shape::Object => record::decode_at(&self.kind, value, revision)?,
            Shape::Metadata | Shape::MetadataList => {
                kinds::table::partial_metadata(record::head_at(&self.kind, value, revision)?)
            }
            Shape::Table => self.table(&record::decode_at(&self.kind, value, revision)?, revision),
        };
        self.framed(event_type, &shaped, out)
    }

    /// Writes the object without parsing it; whether its shape and form allow that.
    fn spliced(&self, value: &[u8], revision: Revision, out: &mut Vec<u8>) -> Result<bool, Failure> {
        match self.accept.shape {
            Shape::Object if !self.owners && record::splice_unmanaged(&self.kind, value, revision, out) => {
                Ok(true)
            }
            Shape::Object => {
                record::splice(&self.kind, value, revision, Place::Alone, out)?;
                Ok(true)
            }
            Shape::Metadata | Shape::MetadataList => {
                Ok(record::splice_metadata(&self.kind, value, (revision, self.owners), out))
            }
            Shape::Table => Ok(false),
        }
    }

    fn table(&mut self, object: &Value, revision: Revision) -> Value {
        let objects = std::slice::from_ref(object);
        let mut table = kinds::table::render(&self.kind, objects, kit::clock::wall(), self.include);
        table["metadata"] = json!({"resourceVersion": revision.0.to_string()});
        if std::mem::replace(&mut self.has_sent_columns, true) {
            table["columnDefinitions"] = Value::Null;
        }
        table
    }

    fn framed(&self, event_type: EventType, object: &Value, out: &mut Vec<u8>) -> Result<(), Failure> {
        let frame = json!({"type": event_type.as_str(), "object": object});
        match self.accept.encoding {
            Encoding::Protobuf => {
                let frame = kinds::encode::protobuf_event(event_type.as_str(), object);
                out.extend_from_slice(&frame.ok_or_else(respond::no_protobuf)?);
            }
            Encoding::Json => {
                record::write_json(out, &frame)?;
                out.push(b'\n');
            }
            Encoding::Yaml => {
                out.extend_from_slice(b"---\n");
                out.extend_from_slice(yaml::write(&frame).as_bytes());
            }
        }
        Ok(())
    }
}
