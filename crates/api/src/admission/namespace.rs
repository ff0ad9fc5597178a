//! A namespaced object needs a namespace that is there and is going to stay.

use kinds::Kind;
use kinds::status::Failure;
use serde_json::Value;

use crate::context::Context;
use crate::object;

pub(super) async fn must_take_new_objects(
    context: &Context,
    kind: &Kind,
    new: &Value,
) -> Result<(), Failure> {
    let name = object::namespace(new);
    let Some(namespaces) = kinds::find("", "v1", "namespaces") else { return Ok(()) };
    let Some(namespace) = context.registry.find(namespaces, "", name).await? else {
        return Err(Failure::not_found(namespaces, name));
    };
    if !object::is_being_deleted(&namespace) {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {name} because it is being terminated");
    let cause = format!("namespace {name} is being terminated");
    let failure = Failure::forbidden(kind, object::name(new), &why);
    Err(failure.with_cause("NamespaceTerminating", &cause, "metadata.namespace"))
}
