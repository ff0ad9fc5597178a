//! Owner references: who controls an object, and which objects a controller takes or lets go.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use sigma::label::{Labels, Operator, Requirement, Selector};

/// The reference to the owner that controls the object.
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|reference| reference.controller == Some(true))
}

/// The uid of the owner that controls the object.
pub fn controller_uid(meta: &ObjectMeta) -> Option<&str> {
    controller(meta).map(|reference| reference.uid.as_str())
}

/// A reference that makes `owner` the controller.
pub fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What a controller does with an object that it may own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the controller's and stays so.
    Keep,
    /// Nobody controls it and the selector matches: it becomes the controller's.
    Adopt,
    /// It is the controller's but the selector matches no more.
    Release,
    /// It is somebody else's, or nobody's business.
    Leave,
}

/// Decides on `object` for the controller `owner`.
pub fn claim(owner: &ObjectMeta, selector: &Selector, object: &ObjectMeta) -> Claim {
    let matches = selector.matches(object.labels.as_ref().unwrap_or(&Labels::new()));
    let is_going = |meta: &ObjectMeta| meta.deletion_timestamp.is_some();
    match controller_uid(object) {
        Some(uid) if owner.uid.as_deref() != Some(uid) => Claim::Leave,
        Some(_) if matches => Claim::Keep,
        Some(_) if is_going(owner) => Claim::Leave,
        Some(_) => Claim::Release,
        None if matches && !is_going(owner) && !is_going(object) => Claim::Adopt,
        None => Claim::Leave,
    }
}

/// A label selector in the form that matches. An unknown operator matches nothing.
pub fn selector(selector: &LabelSelector) -> Selector {
    let exact = selector.match_labels.iter().flatten().map(|(key, value)| Requirement::equals(key, value));
    let expressions = selector.match_expressions.iter().flatten().map(|expression| Requirement {
        key: expression.key.clone(),
        operator: operator(&expression.operator),
        values: expression.values.clone().unwrap_or_default(),
    });
    Selector { requirements: exact.chain(expressions).collect() }
}

pub(crate) fn operator(name: &str) -> Operator {
    match name {
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        _ => Operator::In,
    }
}
