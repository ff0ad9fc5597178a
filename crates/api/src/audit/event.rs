//! One line of the audit log: an `audit.k8s.io/v1` Event, as it is written.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use super::log::Line;
use super::policy::{Level, Stage};
use crate::attributes::Target;
use crate::authentication::User;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) level: Level,
    #[serde(rename = "auditID")]
    pub(super) audit_id: &'a str,
    pub(super) stage: Stage,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_status: Option<&'a ResponseStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_object: Option<Value>,
    pub(super) request_received_timestamp: String,
    pub(super) stage_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<Annotations>,
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
    resource: &'a str,
    api_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subresource: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// `created` is what an object is called that is made by the request.
    pub(super) fn of(target: &'a Target, created: Option<String>) -> Self {
        Self {
            resource: &target.resource,
            api_version: &target.version,
            api_group: &target.group,
            namespace: target.namespace.as_deref(),
            name: target.name.as_deref().map(Cow::Borrowed).or(created.map(Cow::Owned)),
            subresource: target.subresource.as_deref(),
        }
    }
}

/// How a request ended; a refusal says why.
#[derive(Debug, Serialize)]
pub(super) struct ResponseStatus {
    metadata: Nothing,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    pub(super) code: u16,
}

impl ResponseStatus {
    /// `said` is what was answered, of which only a refusal's `Status` tells more.
    pub(super) fn of(code: u16, said: &Value) -> Self {
        let text = |field: &str| {
            let is_refusal = code >= 400 && said["kind"] == "Status";
            said[field].as_str().filter(|_| is_refusal).map(str::to_owned)
        };
        let (status, message, reason) = (text("status"), text("message"), text("reason"));
        Self { metadata: Nothing {}, status, message, reason, code }
    }
}

#[derive(Debug, Serialize)]
struct Nothing {}

/// How it was decided, and what was noted on the way.
pub(super) struct Annotations {
    pub(super) decision: &'static str,
    pub(super) by: &'static str,
    /// There was nobody left to answer.
    pub(super) is_broken_off: bool,
    pub(super) notes: BTreeMap<String, String>,
}

impl Serialize for Annotations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("authorization.k8s.io/decision", self.decision)?;
        map.serialize_entry("authentication.crest.dev/by", self.by)?;
        if self.is_broken_off {
            map.serialize_entry("audit.crest.dev/ended", "before the answer")?;
        }
        for (key, value) in &self.notes {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}
