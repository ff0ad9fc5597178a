//! A place in a store of objects, for inputs and outputs: S3 and what speaks like it, or a folder that stands for one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;

/// Where objects are, and how a worker gets at them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Objects {
    /// `s3://BUCKET/FOLDER/`, or `file:///FOLDER/` on a volume that the task mounts. Of an input also a pattern, such as
    /// `s3://logs/2026-*/*.csv`, as for `files`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// `https://HOST:PORT` of the store. Default: that of AWS for the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Default `us-east-1`, which most other stores than AWS take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket stands in the path of requests, not in the host name. Default: if there is an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Let an endpoint be `http://`: whoever is on the way then reads what is sent.
    #[serde(default, rename = "allowHTTP", skip_serializing_if = "is_default")]
    pub allow_http: bool,
    /// A Secret of the job's namespace with `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and if need be
    /// `AWS_SESSION_TOKEN` and `ca.crt`. Without one, requests are not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

/// What a URL of objects names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    S3 {
        bucket: &'a str,
        key: &'a str,
    },
    /// A folder or pattern, from the root on.
    Folder {
        path: &'a str,
    },
}

impl Objects {
    /// `None` if the URL is of no kind that we know.
    pub fn place(&self) -> Option<Place<'_>> {
        if let Some(rest) = self.url.strip_prefix("s3://") {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            return Some(Place::S3 { bucket, key });
        }
        let path = self.url.strip_prefix("file://").filter(|path| path.starts_with('/'))?;
        Some(Place::Folder { path })
    }

    pub fn has_path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }
}

impl<'a> Place<'a> {
    /// The name or pattern of objects within the store.
    pub fn key(self) -> &'a str {
        match self {
            Self::S3 { key, .. } => key,
            Self::Folder { path } => path.trim_start_matches('/'),
        }
    }
}
