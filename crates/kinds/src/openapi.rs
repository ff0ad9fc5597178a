//! OpenAPI documents, built when first asked for. Only their bytes are kept.

mod definitions;
mod gnostic;
mod paths;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::discovery::{Document, group_versions};
use crate::schema::source;
use definitions::Dialect;

/// `GET /openapi/v3`: the index of documents with their hashes.
pub fn v3_index() -> &'static Document {
    static INDEX: LazyLock<Document> = LazyLock::new(|| {
        let entry = |(path, document): &(String, Document)| {
            let hash = &document.hash;
            (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}))
        };
        let paths: Map<String, Value> = V3.iter().map(entry).collect();
        Document::of(&json!({"paths": paths}))
    });
    &INDEX
}

/// `GET /openapi/v3/<path>`, where `path` is `api/v1` or `apis/<group>/<version>`.
pub fn v3(path: &str) -> Option<&'static Document> {
    V3.iter().find(|(known, _)| known == path).map(|(_, document)| document)
}

/// `GET /openapi/v2` as JSON.
pub fn v2_json() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document::of(&swagger()));
    &DOCUMENT
}

/// `GET /openapi/v2` as `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`, for kubectl up to 1.27.
pub fn v2_protobuf() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document::of_bytes(gnostic::encode(&swagger())));
    &DOCUMENT
}

/// All together, since the index needs all hashes and the schemas are the costly part.
static V3: LazyLock<Vec<(String, Document)>> = LazyLock::new(|| {
    let all = definitions::published(source::definitions(), Dialect::V3);
    let groups = group_versions().into_iter().map(|(group, version)| v3_document(group, version, &all));
    groups.chain(plain_paths().into_iter().map(plain_document)).collect()
});

/// Paths that are no objects and have a document of their own each.
fn plain_paths() -> Vec<String> {
    let fixed = [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"];
    let mut paths: Vec<String> = fixed.map(str::to_owned).into();
    paths.extend(
        group_versions()
            .into_iter()
            .filter(|(group, _)| !group.is_empty())
            .map(|(group, _)| format!("apis/{group}")),
    );
    paths.sort();
    paths.dedup();
    paths
}

fn plain_document(path: String) -> (String, Document) {
    let answer = json!({"200": {"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}}});
    let item = json!({"get": {"description": format!("get /{path}"), "responses": answer}});
    let paths = Map::from_iter([(format!("/{path}/"), item)]);
    let document = json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": {}}});
    (path, Document::of(&document))
}

fn v3_document(group: &str, version: &str, all: &Map<String, Value>) -> (String, Document) {
    let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
    let kinds: Vec<_> =
        crate::all().iter().filter(|kind| kind.group == group && kind.version == version).collect();
    let mut paths: Map<String, Value> = kinds.iter().flat_map(|kind| paths::of(kind, Dialect::V3)).collect();
    paths.extend([paths::of_resources(&format!("/{path}"), Dialect::V3)]);
    paths.sort_keys();
    let roots = definitions::roots(&kinds);
    let document = json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths,
        "components": {"schemas": definitions::reachable(&roots, all)},
    });
    (path, Document::of(&document))
}

fn swagger() -> Value {
    let all = definitions::published(source::definitions(), Dialect::V2);
    let kinds: Vec<_> = crate::all().iter().collect();
    let paths: Map<String, Value> = kinds.iter().flat_map(|kind| paths::of(kind, Dialect::V2)).collect();
    json!({
        "swagger": "2.0", "info": info(), "paths": paths, "definitions": all,
        // None is shared; clients expect to find them all the same.
        "parameters": {},
        "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header",
            "description": "Bearer Token authentication"}},
        "security": [{"BearerToken": []}],
    })
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": concat!("crest-", env!("CARGO_PKG_VERSION"))})
}

#[cfg(test)]
mod tests;
