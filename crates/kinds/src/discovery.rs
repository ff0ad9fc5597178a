//! Discovery: which groups, versions and resources are served.

use std::sync::Arc;

/// A document that never changes while the server runs: its bytes and a hash of them for `ETag`s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub bytes: Arc<[u8]>,
    /// Upper-case hexadecimal SHA-512 of the bytes, without quotes.
    pub hash: String,
}

/// `GET /api`; `address` is where clients reach this server, `host:port`.
pub fn api_versions(address: &str) -> serde_json::Value {
    serde_json::json!({"kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

/// `GET /apis`.
pub fn group_list() -> &'static Document {
    empty()
}

/// `GET /apis/<group>`.
pub fn group(name: &str) -> Option<&'static Document> {
    let _used_soon = name;
    None
}

/// `GET /api/v1`, `GET /apis/<group>/<version>`.
pub fn resource_list(group: &str, version: &str) -> Option<&'static Document> {
    let _used_soon = (group, version);
    None
}

/// The two forms of aggregated discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregated {
    V2,
    V2Beta1,
}

impl Aggregated {
    /// The version in the media type `application/json;g=apidiscovery.k8s.io;v=..;as=APIGroupDiscoveryList`.
    pub fn version(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }
}

/// `GET /api` of clients that ask for aggregated discovery.
pub fn aggregated_core(form: Aggregated) -> &'static Document {
    let _used_soon = form;
    empty()
}

/// `GET /apis` of clients that ask for aggregated discovery.
pub fn aggregated_groups(form: Aggregated) -> &'static Document {
    let _used_soon = form;
    empty()
}

fn empty() -> &'static Document {
    static EMPTY: std::sync::LazyLock<Document> =
        std::sync::LazyLock::new(|| Document { bytes: Arc::from(&b"{}"[..]), hash: String::new() });
    &EMPTY
}
