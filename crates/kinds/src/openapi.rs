//! OpenAPI documents, built when first asked for. Only their bytes are kept.

mod custom;
mod definitions;
mod gnostic;
mod paths;

use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::{Map, Value, json};

use crate::Kind;
use crate::discovery::{Document, group_versions};
use crate::schema::source;
use definitions::Dialect;

/// The documents of the table, which never change, and of the kinds that users defined.
#[derive(Debug, Default)]
pub struct OpenApi {
    custom: Vec<Arc<GroupVersion>>,
    index: OnceLock<Arc<Document>>,
    v2_json: OnceLock<Arc<Document>>,
    v2_protobuf: OnceLock<Arc<Document>>,
}

/// User-defined kinds that share a document.
#[derive(Debug)]
struct GroupVersion {
    path: String,
    kinds: Vec<Kind>,
    document: OnceLock<Arc<Document>>,
}

impl OpenApi {
    /// The documents with these user-defined kinds. Those of `before` that say the same are taken over.
    pub fn of(custom: &[Kind], before: &Self) -> Self {
        let mut documents: Vec<Arc<GroupVersion>> = group_versions(custom)
            .into_iter()
            .map(|(group, version)| {
                let of_group = |kind: &&Kind| kind.group == group && kind.version == version;
                let kinds: Vec<Kind> = custom.iter().filter(of_group).cloned().collect();
                let path = path(group, version);
                let known = before.custom.iter().find(|known| known.path == path && known.kinds == kinds);
                known.map_or_else(
                    || GroupVersion { path, kinds, document: OnceLock::new() }.into(),
                    Arc::clone,
                )
            })
            .collect();
        documents.sort_by(|left, right| left.path.cmp(&right.path));
        Self { custom: documents, ..Self::default() }
    }

    /// `GET /openapi/v3`: the index of documents with their hashes.
    pub fn v3_index(&self) -> Arc<Document> {
        let index = self.index.get_or_init(|| {
            let of_table = V3.iter().map(|(path, document)| (path.as_str(), Arc::clone(document)));
            let custom = self.custom.iter().map(|of| (of.path.as_str(), of.document()));
            let entry = |(path, document): (&str, Arc<Document>)| {
                let hash = &document.hash;
                (path.to_owned(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}))
            };
            let paths: Map<String, Value> = custom.chain(of_table).map(entry).collect();
            Document::of(&json!({"paths": paths})).into()
        });
        Arc::clone(index)
    }

    /// `GET /openapi/v3/<path>`, where `path` is `api/v1` or `apis/<group>/<version>`.
    pub fn v3(&self, path: &str) -> Option<Arc<Document>> {
        let of_table = V3.iter().find(|(known, _)| known == path).map(|(_, document)| Arc::clone(document));
        of_table.or_else(|| Some(self.custom.iter().find(|of| of.path == path)?.document()))
    }

    /// `GET /openapi/v2` as JSON.
    pub fn v2_json(&self) -> Arc<Document> {
        Arc::clone(self.v2_json.get_or_init(|| Document::of(&self.swagger()).into()))
    }

    /// `GET /openapi/v2` as `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`, for kubectl up to 1.27.
    pub fn v2_protobuf(&self) -> Arc<Document> {
        let made = || Document::of_bytes(gnostic::encode(&self.swagger())).into();
        Arc::clone(self.v2_protobuf.get_or_init(made))
    }

    fn swagger(&self) -> Value {
        let mut all = definitions::published(source::definitions(), Dialect::V2);
        let custom = || self.custom.iter().flat_map(|of| &of.kinds);
        for kind in custom() {
            all.extend(custom::definitions(kind, Dialect::V2));
        }
        let kinds = crate::all().iter().chain(custom());
        let paths: Map<String, Value> = kinds.flat_map(|kind| paths::of(kind, Dialect::V2)).collect();
        json!({
            "swagger": "2.0", "info": info(), "paths": paths, "definitions": all,
            // None is shared; clients expect to find them all the same.
            "parameters": {},
            "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header",
                "description": "Bearer Token authentication"}},
            "security": [{"BearerToken": []}],
        })
    }
}

impl GroupVersion {
    fn document(&self) -> Arc<Document> {
        let made = || {
            let mut schemas = COMMON.clone();
            for kind in &self.kinds {
                schemas.extend(custom::definitions(kind, Dialect::V3));
            }
            Document::of(&v3_document(&self.path, &self.kinds.iter().collect::<Vec<_>>(), schemas)).into()
        };
        Arc::clone(self.document.get_or_init(made))
    }
}

/// What the documents of user-defined kinds take from those of the table.
static COMMON: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let all = definitions::published(source::definitions(), Dialect::V3);
    definitions::reachable(&definitions::common_roots(), &all)
});

/// All together, since the index needs all hashes and the schemas are the costly part.
static V3: LazyLock<Vec<(String, Arc<Document>)>> = LazyLock::new(|| {
    let all = definitions::published(source::definitions(), Dialect::V3);
    let versions = group_versions(crate::all()).into_iter();
    let groups = versions.map(|(group, version)| {
        let of_group = |kind: &&Kind| kind.group == group && kind.version == version;
        let kinds: Vec<_> = crate::all().iter().filter(of_group).collect();
        let schemas = definitions::reachable(&definitions::roots(&kinds), &all);
        let path = path(group, version);
        let document = Document::of(&v3_document(&path, &kinds, schemas)).into();
        (path, document)
    });
    groups.chain(plain_paths().into_iter().map(plain_document)).collect()
});

fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Paths that are no objects and have a document of their own each.
fn plain_paths() -> Vec<String> {
    let fixed = [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"];
    let mut paths: Vec<String> = fixed.map(str::to_owned).into();
    paths.extend(
        group_versions(crate::all())
            .into_iter()
            .filter(|(group, _)| !group.is_empty())
            .map(|(group, _)| format!("apis/{group}")),
    );
    paths.sort();
    paths.dedup();
    paths
}

fn plain_document(path: String) -> (String, Arc<Document>) {
    let answer = json!({"200": {"description": "OK", "content": {"application/json": {"schema": {"type": "object"}}}}});
    let item = json!({"get": {"description": format!("get /{path}"), "responses": answer}});
    let paths = Map::from_iter([(format!("/{path}/"), item)]);
    let document = json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": {}}});
    (path, Document::of(&document).into())
}

fn v3_document(path: &str, kinds: &[&Kind], schemas: Map<String, Value>) -> Value {
    let mut paths: Map<String, Value> = kinds.iter().flat_map(|kind| paths::of(kind, Dialect::V3)).collect();
    paths.extend([paths::of_resources(&format!("/{path}"), Dialect::V3)]);
    paths.sort_keys();
    json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas}})
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": concat!("crest-", env!("CARGO_PKG_VERSION"))})
}

#[cfg(test)]
mod tests;
