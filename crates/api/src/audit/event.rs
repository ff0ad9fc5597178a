//! One line of the audit log: an `audit.k8s.io/v1` Event, as it is written.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Line;
use crate::authentication::User;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) level: &'static str,
    #[serde(rename = "auditID")]
    pub(super) audit_id: &'a str,
    pub(super) stage: &'static str,
    #[serde(rename = "requestURI")]
    pub(super) request_uri: &'a str,
    pub(super) verb: &'a str,
    pub(super) user: UserInfo<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) impersonated_user: Option<UserInfo<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object_ref: Option<Reference<'a>>,
    pub(super) response_status: ResponseStatus,
    pub(super) request_received_timestamp: String,
    pub(super) stage_timestamp: String,
    pub(super) annotations: Annotations,
}

impl Event<'_> {
    pub(super) fn to_line(&self) -> Line {
        let mut line = Vec::with_capacity(1024);
        serde_json::to_writer(&mut line, self).expect("memory takes what is written to it");
        line.push(b'\n');
        line
    }
}

/// Who sent a request, or whom it was done as; what is not known is left out.
#[derive(Default, Serialize)]
pub(super) struct UserInfo<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<&'a BTreeMap<String, Vec<String>>>,
}

impl<'a> UserInfo<'a> {
    pub(super) fn of(user: &'a User) -> Self {
        let User { name, uid, groups, extra } = user;
        Self { username: name, uid, groups, extra: Some(extra).filter(|extra| !extra.is_empty()) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reference<'a> {
    pub(super) resource: &'a str,
    pub(super) api_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) api_group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subresource: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct ResponseStatus {
    pub(super) metadata: Nothing,
    pub(super) code: u16,
}

#[derive(Serialize)]
pub(super) struct Nothing {}

/// How it was decided, and what was noted on the way.
pub(super) struct Annotations {
    pub(super) decision: &'static str,
    pub(super) by: &'static str,
    pub(super) notes: BTreeMap<String, String>,
}

impl Serialize for Annotations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2 + self.notes.len()))?;
        map.serialize_entry("authorization.k8s.io/decision", self.decision)?;
        map.serialize_entry("authentication.crest.dev/by", self.by)?;
        for (key, value) in &self.notes {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}
