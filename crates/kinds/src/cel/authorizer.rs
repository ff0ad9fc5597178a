//! `authorizer`: expressions that ask whether somebody may do something.

use std::sync::Arc;

use kube_cel::cel::Value;
use kube_cel::cel::objects::Opaque;

use super::json::text_value;
use super::{Budget, EvaluateError};

/// What a question costs, as in Kubernetes: at most two of them in an expression.
const CHECK: u64 = 350_000;

/// A question of an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Namespace and name of the account that is asked about; else it is who made the request.
    pub service_account: Option<(String, String)>,
    /// A path that is no object.
    pub path: Option<String>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub verb: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub is_allowed: bool,
    pub reason: String,
}

/// Who answers.
pub trait Authority {
    fn decide(&self, query: &Query) -> Verdict;

    /// What the request itself is about, but for the verb: `authorizer.requestResource`.
    fn request(&self) -> Query;
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Asker(Query);

impl Opaque for Asker {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.authorization.Authorizer"
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision(Verdict);

impl Opaque for Decision {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.authorization.Decision"
    }
}

/// The variable `authorizer`.
pub(super) fn root() -> Value {
    asker(Query::default())
}

fn asker(query: Query) -> Value {
    Value::Opaque(Arc::new(Asker(query)))
}

/// `authorizer.requestResource`, if `operand` is the authorizer.
pub(super) fn request(operand: &Value, field: &str, authority: Option<&dyn Authority>) -> Option<Value> {
    let Value::Opaque(opaque) = operand else { return None };
    let Asker(asked) = opaque.downcast_ref::<Asker>()?;
    let request = authority.filter(|_| field == "requestResource")?.request();
    Some(asker(Query { service_account: asked.service_account.clone(), ..request }))
}

/// A method of the authorizer or of an answer; `None` if it is of something else.
pub(super) fn call(
    name: &str,
    arguments: &[Value],
    authority: Option<&dyn Authority>,
    budget: &Budget,
) -> Option<Result<Value, EvaluateError>> {
    let (Value::Opaque(opaque), rest) = arguments.split_first()? else { return None };
    if let Some(Decision(verdict)) = opaque.downcast_ref::<Decision>() {
        return Some(Ok(match name {
            "allowed" => Value::Bool(verdict.is_allowed),
            "reason" => text_value(&verdict.reason),
            "errored" => Value::Bool(false),
            "error" => text_value(""),
            _ => return None,
        }));
    }
    let Asker(query) = opaque.downcast_ref::<Asker>()?;
    let texts: Option<Vec<String>> = rest
        .iter()
        .map(|value| match value {
            Value::String(text) => Some(text.as_ref().clone()),
            _ => None,
        })
        .collect();
    let mut query = query.clone();
    match (name, texts?.as_slice()) {
        ("path", [path]) => query.path = Some(path.clone()),
        ("group", [group]) => query.group.clone_from(group),
        ("serviceAccount", [namespace, name]) => {
            query.service_account = Some((namespace.clone(), name.clone()));
        }
        ("resource", [resource]) => query.resource.clone_from(resource),
        ("subresource", [subresource]) => query.subresource.clone_from(subresource),
        ("namespace", [namespace]) => query.namespace.clone_from(namespace),
        ("name", [name]) => query.name.clone_from(name),
        // Nothing here decides by selectors, so that they narrow nothing.
        ("fieldSelector" | "labelSelector", [_]) => {}
        ("check", [verb]) => {
            query.verb.clone_from(verb);
            return Some(decided(&query, authority, budget));
        }
        _ => return None,
    }
    Some(Ok(asker(query)))
}

fn decided(
    query: &Query,
    authority: Option<&dyn Authority>,
    budget: &Budget,
) -> Result<Value, EvaluateError> {
    budget.spend(CHECK)?;
    let verdict = authority.map(|authority| authority.decide(query)).unwrap_or_default();
    Ok(Value::Opaque(Arc::new(Decision(verdict))))
}
