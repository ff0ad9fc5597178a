//! Refusals: `metav1.Status` objects as Kubernetes clients know them, with the field at fault.

mod field;

use std::fmt;

use serde_json::{Map, Value, json};

use crate::Kind;

pub use field::{FieldError, FieldErrorKind};

/// Why a request was refused, ready to be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    code: u16,
    reason: Box<str>,
    message: String,
    details: Map<String, Value>,
    /// Whether the details are told though there are none, where the code does not decide that.
    is_detailed: Option<bool>,
}

impl Failure {
    /// A refusal without details; the named constructors below are the usual way.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), details: Map::new(), is_detailed: None }
    }

    /// 404: no object of this name.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified_resource());
        Self::new(404, "NotFound", message).about(kind, name)
    }

    /// 404: nothing is served at this path.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// Whether nothing is served at the path of the request.
    pub fn is_no_such_path(&self) -> bool {
        self.code == 404 && self.details.is_empty()
    }

    /// 409: the name is taken.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.qualified_resource());
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    /// 409: the object is not what the request assumed.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let resource = kind.qualified_resource();
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// 409: the object changed since the client read it.
    pub fn stale(kind: &Kind, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// 409: a precondition of the request does not hold.
    pub fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let dot = if kind.group.is_empty() { "" } else { "." };
        let subject = format!("{}{dot}{}", kind.kind, kind.group);
        let message = format!("Operation cannot be fulfilled on {subject} \"{name}\": {why}");
        let mut failure = Self::new(409, "Conflict", message);
        failure.details = details(name, kind.group, kind.kind);
        failure
    }

    /// 422: the object breaks the kind's rules; all faults are told at once.
    pub fn invalid(kind: &Kind, name: &str, errors: Vec<FieldError>) -> Self {
        // Objects that two groups serve are judged as those of the first.
        Self::invalid_object(kind.storage_group(), kind.kind, name, &errors)
    }

    /// 422 for a body whose kind is not in the table (`Scale`, `Binding`, `DeleteOptions`).
    pub fn invalid_object(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let lines: Vec<String> = errors.iter().map(FieldError::to_string).collect();
        let said =
            if let [line] = lines.as_slice() { line.clone() } else { format!("[{}]", lines.join(", ")) };
        let message = format!("{qualified} \"{name}\" is invalid: {said}");
        let mut failure = Self::new(422, "Invalid", message);
        failure.details = details(name, group, kind);
        failure.details.insert("causes".into(), errors.iter().map(FieldError::cause).collect());
        failure
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: `why` follows Kubernetes' own words: `User "x" cannot get resource "pods" in API group "" ...`.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let resource = kind.qualified_resource();
        let subject = if name.is_empty() { resource } else { format!("{resource} \"{name}\"") };
        Self::new(403, "Forbidden", format!("{subject} is forbidden: {why}")).about(kind, name)
    }

    /// 403 for what may not be served at all: `resource` is a plural as the path says it.
    pub fn forbidden_resource(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let subject = if name.is_empty() { qualified } else { format!("{qualified} \"{name}\"") };
        let mut failure = Self::new(403, "Forbidden", format!("{subject} is forbidden: {why}"));
        failure.details = details(name, group, resource);
        failure
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    /// 406: no media type that the client accepts can be produced.
    pub fn not_acceptable(offered: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", offered.join(", "));
        Self::new(406, "NotAcceptable", message)
    }

    /// 410: the revision asked for was compacted away; the client must list again.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 410: the `continue` token is too old to go on with.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Gone", message)
    }

    /// 413: `limit` bytes were accepted at most.
    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("limit is {limit}"))
    }

    /// 415: the body's media type is none of `supported`.
    pub fn unsupported_media_type(supported: &[&str]) -> Self {
        let list = supported.join(", ");
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {list}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 for a patch, which tells of built-in kinds that it has no details.
    pub fn unsupported_patch_type(kind: &Kind, supported: &[&str]) -> Self {
        let failure = Self::unsupported_media_type(supported);
        if kind.is_builtin() { failure.detailed() } else { failure }
    }

    /// 422: a patch that cannot be applied to this object.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// 429: try again in a while.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(429, "TooManyRequests", message).with_retry_after(retry_after_seconds)
    }

    /// 500.
    pub fn internal(message: impl fmt::Display) -> Self {
        let mut failure = Self::new(500, "InternalError", format!("Internal error occurred: {message}"));
        failure.details.insert("causes".into(), json!([{"message": message.to_string()}]));
        failure
    }

    /// 500 without a reason: the request asks for what cannot be, and no client is expected to.
    pub fn unreasonable(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 503: the part that would answer is not there.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 504: the answer did not come in time.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// What another program says of a refusal of its own: its reason and its details, as they are in `status`.
    pub fn told(code: u16, status: &Value, message: impl Into<String>) -> Self {
        let reason = status["reason"].as_str().unwrap_or_default().into();
        let details = status["details"].as_object();
        let is_detailed = Some(details.is_some());
        Self {
            code,
            reason,
            message: message.into(),
            details: details.cloned().unwrap_or_default(),
            is_detailed,
        }
    }

    /// The same refusal for another reason.
    #[must_use]
    pub fn with_reason(mut self, code: u16, reason: &str) -> Self {
        self.code = code;
        self.reason = reason.into();
        self
    }

    /// The same refusal in other words.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The same refusal, which tells that it has no details.
    #[must_use]
    pub fn detailed(mut self) -> Self {
        self.is_detailed = Some(true);
        self
    }

    /// The same refusal, about a part of the resource.
    #[must_use]
    pub fn about_resource(mut self, resource: &str) -> Self {
        self.details.insert("kind".into(), resource.into());
        self
    }

    /// Tells the client when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.details.insert("retryAfterSeconds".into(), seconds.into());
        self
    }

    /// Adds an entry to `details.causes`; an empty `field` is left out.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: &str, field: &str) -> Self {
        let mut cause = json!({"reason": reason, "message": message});
        if !field.is_empty() {
            cause["field"] = field.into();
        }
        match self.details.get_mut("causes").and_then(Value::as_array_mut) {
            Some(causes) => causes.push(cause),
            None => drop(self.details.insert("causes".into(), json!([cause]))),
        }
        self
    }

    /// Adds an entry to `details.causes` that says nothing but this.
    #[must_use]
    pub fn with_said_cause(mut self, message: &str) -> Self {
        let cause = json!({"message": message});
        match self.details.get_mut("causes").and_then(Value::as_array_mut) {
            Some(causes) => causes.push(cause),
            None => drop(self.details.insert("causes".into(), json!([cause]))),
        }
        self
    }

    pub fn code(&self) -> u16 {
        self.code
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status code with the `Status` object.
    pub fn to_response(&self) -> (u16, Value) {
        (self.code, self.to_value())
    }

    /// The `Status` object, as in answers and in watch events of type `ERROR`.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message,
        });
        if !self.reason.is_empty() {
            status["reason"] = (*self.reason).into();
        }
        // Refusals of a request, not of an object, say that they have no details.
        let is_of_request = self.is_detailed.unwrap_or(matches!(self.code, 403 | 404 | 405 | 422));
        if !self.details.is_empty() || is_of_request {
            status["details"] = Value::Object(self.details.clone());
        }
        status["code"] = self.code.into();
        status
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = details(name, kind.group, kind.plural);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What a successful DELETE of an object that is gone at once answers.
pub fn success(kind: &Kind, name: &str, uid: &str) -> Value {
    let mut details = details(name, kind.group, kind.plural);
    if !uid.is_empty() {
        details.insert("uid".into(), uid.into());
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

fn details(name: &str, group: &str, kind: &str) -> Map<String, Value> {
    [("name", name), ("group", group), ("kind", kind)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect()
}

#[cfg(test)]
mod tests;
