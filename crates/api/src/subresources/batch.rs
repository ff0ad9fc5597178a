//! What batches have in common: a list of things to do to Pods, each judged and done for itself beside the others, and an
//! answer that counts them and names those that were refused.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::status::Failure;
use model::binding_batch::Refusal;
use serde_json::{Value, json};

use crate::call::Call;
use crate::query::WriteOptions;
use crate::request::ObjectPath;
use crate::{object, respond};

/// What a batch asks for.
pub(super) struct Batch {
    pub(super) items: Vec<Value>,
    pub(super) dry_run: bool,
}

/// Reads a batch from the body; its items stand in `spec.<field>`, at most `limit` of them.
pub(super) async fn read(call: &mut Call, (field, limit): (&str, usize)) -> Result<Batch, Failure> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let body = call.take_body().await?;
    let items = match kinds::decode::raw(call.media_type(), &body)?["spec"][field].take() {
        Value::Array(items) if items.len() > limit => Err(Failure::unreasonable(format!(
            "spec.{field}: Too many: {}: must have at most {limit} items",
            items.len()
        ))),
        Value::Array(items) => Ok(items),
        _ => Err(Failure::unreasonable(format!(
            "spec.{field}: Required value: a list, of which each item has a Pod's name"
        ))),
    }?;
    Ok(Batch { items, dry_run: options.dry_run })
}

/// Tells what became of each item; those that are well are counted as `counter`, and their warnings passed on.
pub(super) fn answer(
    call: &Call,
    counter: &str,
    outcomes: Vec<Result<Vec<String>, Failure>>,
) -> Result<Response<Body>, Failure> {
    let (mut count, mut refused) = (0_u32, Vec::new());
    for (index, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(warnings) => {
                count += 1;
                call.warnings.add(warnings);
            }
            Err(failure) => refused.push(Refusal {
                index,
                code: failure.code(),
                reason: failure.reason().to_owned(),
                message: failure.message().to_owned(),
            }),
        }
    }
    let mut status = json!({ counter: count });
    if !refused.is_empty() {
        status["refused"] = serde_json::to_value(refused).map_err(Failure::internal)?;
    }
    let batch = json!({"metadata": {"namespace": call.namespace()}, "spec": {}, "status": status});
    let batch = object::typed(batch, &call.path.kind.api_version(), call.path.kind.kind);
    respond::object(StatusCode::CREATED, call.accept, &call.path.kind, batch)
}

/// The path of a Pod of the request's namespace, or of a part of it; without a name, of all.
pub(super) fn path_to(call: &Call, name: Option<&str>, part: Option<&str>) -> Result<ObjectPath, Failure> {
    Ok(ObjectPath {
        kind: kinds::find("", "v1", "pods").ok_or_else(Failure::no_such_path)?.clone(),
        namespace: Some(call.namespace().to_owned()),
        name: name.map(str::to_owned),
        subresource: part.map(str::to_owned),
        legacy_watch: false,
    })
}
