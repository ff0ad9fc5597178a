//! Tables: the rows and cells that `kubectl get` prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Kind;

/// What a row carries beside its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// By the `includeObject` query parameter.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "None" => Some(Self::None),
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// A `meta.k8s.io/v1` Table of `objects`. The caller fills in the list's metadata.
pub fn render(kind: &Kind, objects: &[Value], now: Timestamp, include: IncludeObject) -> Value {
    let _used_soon = (kind, objects, now, include);
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": [], "rows": []})
}

/// The object reduced to its metadata, as metadata-only clients ask for it.
pub fn partial_metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
