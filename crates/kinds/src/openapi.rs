//! OpenAPI documents, built when first asked for.

use crate::discovery::Document;

/// `GET /openapi/v3`: the index of documents with their hashes.
pub fn v3_index() -> &'static Document {
    crate::discovery::group_list()
}

/// `GET /openapi/v3/<path>`, where `path` is `api/v1` or `apis/<group>/<version>`.
pub fn v3(path: &str) -> Option<&'static Document> {
    let _used_soon = path;
    None
}

/// `GET /openapi/v2` as JSON.
pub fn v2_json() -> &'static Document {
    crate::discovery::group_list()
}

/// `GET /openapi/v2` as `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`.
pub fn v2_protobuf() -> &'static Document {
    crate::discovery::group_list()
}
