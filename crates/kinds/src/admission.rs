//! Dynamic admission, as far as it is pure: which rules are about a request, what a webhook's answer says, what a
//! policy makes of an object.
//!
//! ```text
//!   configuration ──► Matcher: is it about this request? ──► review: question and answer of a webhook
//!                                                       └──► policy: expressions, decisions, mutations
//!                                                       typing: what a policy will never be able to say
//! ```
//! Who is asked, and when, is the API server's to say.

mod matching;
mod mutation;
pub mod policy;
pub mod review;
pub mod typing;

use serde_json::{Value, json};

use crate::Kind;

pub use matching::Matcher;

/// What a request does, in the words of admission rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What happens when a webhook or a policy cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    Fail,
    Ignore,
}

impl FailurePolicy {
    /// Whoever does not say otherwise wants to be asked.
    pub fn of(value: &Value) -> Self {
        if value["failurePolicy"] == "Ignore" { Self::Ignore } else { Self::Fail }
    }
}

/// What a request is about.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub kind: &'a Kind,
    /// The versions of a kind that a user defined.
    pub versions: &'a [Kind],
    pub subresource: Option<&'a str>,
    pub operation: Operation,
    pub namespace: &'a str,
    /// Empty where the server is yet to choose it.
    pub name: String,
    pub dry_run: bool,
    /// As `AdmissionReview`s tell it.
    pub user: Value,
    /// The options of the request, as the object that clients send or mean.
    pub options: Value,
}

impl Request<'_> {
    /// The `request` of an `AdmissionReview`, and of expressions; without the objects. `seen_as` is the kind in whose
    /// form the objects are shown.
    pub fn to_value(&self, seen_as: &Kind, uid: &str) -> Value {
        let (kind, asked) = (self.type_of(seen_as), self.type_of(self.kind));
        let resource =
            |kind: &Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
        let mut request = json!({
            "uid": uid, "kind": kind, "resource": resource(seen_as),
            "requestKind": asked, "requestResource": resource(self.kind),
            "name": self.name, "namespace": self.namespace, "operation": self.operation.as_str(),
            "userInfo": self.user, "dryRun": self.dry_run, "options": self.options,
        });
        if let Some(subresource) = self.subresource {
            request["subResource"] = subresource.into();
            request["requestSubResource"] = subresource.into();
        }
        for field in ["name", "namespace"] {
            if request[field] == ""
                && let Some(fields) = request.as_object_mut()
            {
                fields.remove(field);
            }
        }
        request
    }

    /// What the body of a request to this kind is: that of the subresource, if there is one.
    fn type_of(&self, kind: &Kind) -> Value {
        match self.subresource.and_then(|name| kind.subresource(name)) {
            Some(part) => json!({"group": part.group, "version": part.version, "kind": part.kind}),
            None => json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
        }
    }
}

#[cfg(test)]
mod tests;
