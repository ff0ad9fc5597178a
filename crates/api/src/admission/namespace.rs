//! A namespaced object needs a namespace that is there and is going to stay.

use async_trait::async_trait;
use kinds::status::Failure;

use super::{Operation, Plugin, Review};
use crate::object;

pub(super) struct Lifecycle;

#[async_trait]
impl Plugin for Lifecycle {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let is_new = review.operation == Operation::Create && review.subresource.is_none();
        if !is_new || !review.kind.is_namespaced() {
            return Ok(());
        }
        let Some(kind) = kinds::find("", "v1", "namespaces") else { return Ok(()) };
        let Some(namespaces) = review.lister("", "namespaces").await? else { return Ok(()) };
        let name = review.namespace;
        let Some(namespace) = namespaces.get("", name) else { return Err(Failure::not_found(kind, name)) };
        // Whoever asks whether he might, once the namespace is gone, is told so at the authorizer.
        if !object::is_being_deleted(&namespace) || review.kind.plural == "localsubjectaccessreviews" {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let cause = format!("namespace {name} is being terminated");
        Err(review.forbid(&why).with_cause("NamespaceTerminating", &cause, "metadata.namespace"))
    }
}
