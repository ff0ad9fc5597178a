//! Admission: what the cluster's state says about a new object, after it was understood and before it is validated.

pub(crate) mod addresses;
mod namespace;
mod pod;

use kinds::Kind;
use kinds::status::Failure;
use serde_json::Value;

use crate::context::Context;
use crate::object;
use addresses::Claim;

/// Completes `object` from the cluster's state, or refuses it. The claim must be kept once the object is stored.
pub(crate) async fn create(context: &Context, kind: &Kind, object: &mut Value) -> Result<Claim, Failure> {
    if kind.is_namespaced() {
        namespace::must_take_new_objects(context, kind, object).await?;
    }
    match kind.kind {
        "Pod" => pod::complete(context, kind, object).await?,
        "PriorityClass" => must_be_only_default(context, kind, object).await?,
        "Service" => return context.addresses.claim(kind, object),
        _ => {}
    }
    Ok(Claim::default())
}

/// One class at most is that of Pods which name none.
async fn must_be_only_default(context: &Context, kind: &Kind, class: &Value) -> Result<(), Failure> {
    if class["globalDefault"] != true {
        return Ok(());
    }
    let classes = context.registry.all(kind).await?;
    let Some(default) = classes.iter().find(|class| class["globalDefault"] == true) else { return Ok(()) };
    let name = object::name(default);
    if name == object::name(class) {
        return Ok(());
    }
    let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
    Err(Failure::forbidden(kind, object::name(class), &why))
}

/// As [`create`] for an object that changes.
pub(crate) fn update(
    context: &Context,
    kind: &Kind,
    object: &mut Value,
    current: &Value,
) -> Result<Claim, Failure> {
    let is_service = kind.kind == "Service";
    if is_service { context.addresses.claim_next(kind, object, current) } else { Ok(Claim::default()) }
}

/// Takes back what a deleted object held.
pub(crate) fn deleted(context: &Context, kind: &Kind, object: &Value) {
    if kind.kind == "Service" {
        context.addresses.release(object);
    }
}
