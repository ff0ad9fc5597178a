//! PATCH as a server-side apply: the object is created, or what the applier states is merged into it.
//!
//! Whose field is whose, and who may take it, is for [`kinds::managed`] to decide.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::managed::Applied;
use kinds::status::{Failure, FieldError};
use serde_json::{Map, Value};

use crate::call::Call;
use crate::query::{FieldValidation, WriteOptions};
use crate::registry::Written;
use crate::strategy::Part;
use crate::{object, respond, verbs};

pub(crate) async fn handle(mut call: Call, part: Part) -> Result<Response<Body>, Failure> {
    let kind = &call.path.kind.clone();
    if call.query.get("fieldManager").unwrap_or_default().is_empty() {
        let error = FieldError::required("fieldManager", "is required for apply patch");
        return Err(Failure::invalid_object("meta.k8s.io", "PatchOptions", "", &[error]));
    }
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let body = call.take_body().await?;
    let applied = understood(&call, &body, options)?;
    let merged = verbs::update::replace(&call, options, part, |current| {
        let merged = merge(&call, current, &applied)?;
        verbs::patch::must_stay(kind, &merged, current)?;
        Ok(merged)
    })
    .await;
    match merged {
        Err(failure) if failure.code() == 404 && part == Part::Main => {
            respond::written(StatusCode::CREATED, call.accept, kind, create(&call, &applied, options).await?)
        }
        merged => respond::written(StatusCode::OK, call.accept, kind, merged?),
    }
}

/// The applied configuration; warns of what stands in it twice.
fn understood(call: &Call, body: &[u8], options: WriteOptions) -> Result<Applied, Failure> {
    let refused = |failure: Failure| Failure::bad_request(format!("error decoding YAML: {failure}"));
    let decoded = kinds::decode::untyped("application/yaml", body).map_err(refused)?;
    let object = if decoded.object.is_null() { Value::Object(Map::new()) } else { decoded.object };
    let applied = Applied::check(&call.path.kind, object)?;
    match options.field_validation {
        FieldValidation::Ignore => Ok(applied),
        FieldValidation::Strict if !decoded.problems.is_empty() => {
            let problems = decoded.problems.join(", ");
            Err(Failure::bad_request(format!("error strict decoding YAML: {problems}")))
        }
        FieldValidation::Strict | FieldValidation::Warn => {
            call.warnings.add(decoded.problems);
            Ok(applied)
        }
    }
}

/// What `applied` makes of `current`, complete.
fn merge(call: &Call, current: &Value, applied: &Applied) -> Result<Value, Failure> {
    let kind = &call.path.kind;
    let force = call.query.flag("force");
    let mut merged =
        verbs::owned(call, |writer| kinds::managed::apply(kind, writer, current, applied, force))?;
    kinds::defaults::apply(kind, &mut merged);
    kinds::defaults::fill_zeros(kind, &mut merged);
    Ok(merged)
}

async fn create(call: &Call, applied: &Applied, options: WriteOptions) -> Result<Written, Failure> {
    let mut new = merge(call, &Value::Object(Map::new()), applied)?;
    if object::name(&new).is_empty() {
        object::set_metadata(&mut new, "name", call.path.name());
    }
    verbs::update::must_match_path(call, &new)?;
    verbs::create::place(call, &mut new)?;
    verbs::create::store(call, new, options).await
}
