//! PUT: an object's next state, whole.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::Kind;
use kinds::status::{Failure, FieldError};
use serde_json::Value;

use crate::admission::Review;
use crate::call::Call;
use crate::query::WriteOptions;
use crate::registry::{Changed, Found, Next, Written};
use crate::strategy::Part;
use crate::{admission, definitions, guard, object, respond, strategy, verbs};

pub(crate) async fn handle(call: Call) -> Result<Response<Body>, Failure> {
    handle_part(call, Part::Main).await
}

/// As [`handle`] for the part of the object that the path is about.
pub(crate) async fn handle_part(mut call: Call, part: Part) -> Result<Response<Body>, Failure> {
    let kind = &call.path.kind.clone();
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let body = call.take_body().await?;
    let decoded = kinds::decode::body(kind, call.media_type(), &body)?;
    let mut new = verbs::checked(&call, decoded, options.field_validation)?;
    must_match_path(&call, &new)?;
    verbs::create::place(&call, &mut new)?;
    let replaced = replace(&call, options, part, |current| {
        must_name_revision(kind, &new)?;
        let mut new = new.clone();
        verbs::complete(&call, Some(current), &mut new);
        Ok(new)
    })
    .await;
    match replaced {
        // Who names a revision means an object that was there.
        Err(failure)
            if failure.code() == 404
                && part == Part::Main
                && kind.is_created_by_update()
                && object::metadata(&new, "resourceVersion").is_empty() =>
        {
            verbs::complete(&call, None, &mut new);
            let created = verbs::create::store(&call, new, options).await?;
            respond::written(StatusCode::CREATED, call.accept, kind, created)
        }
        replaced => respond::written(StatusCode::OK, call.accept, kind, replaced?),
    }
}

/// 422 if the kind's objects may only be replaced by those who know their current state.
fn must_name_revision(kind: &Kind, new: &Value) -> Result<(), Failure> {
    let revision = object::metadata(new, "resourceVersion");
    let may = kind.custom().is_none() && kind.is_replaced_unseen();
    if may || !matches!(revision, "" | "0") {
        return Ok(());
    }
    let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
    Err(Failure::invalid_object(kind.group, kind.plural, object::name(new), &[error]))
}

/// Changes the object to what `next` makes of its current state, by all rules for updates. `next` answers an object
/// that is [complete](verbs::complete).
pub(crate) async fn replace(
    call: &Call,
    options: WriteOptions,
    part: Part,
    mut next: impl FnMut(&Value) -> Result<Value, Failure>,
) -> Result<Written, Failure> {
    let kind = &call.path.kind;
    let mut attempts = call.context.registry.attempts(&call.path, options.dry_run);
    loop {
        let current = match attempts.read().await? {
            Found::Object(current) => current,
            Found::Gone(object) => return Ok(Written::Object(object)),
        };
        let new = next(&current)?;
        // An attempt that came too late drops its review, and what it had claimed is free again.
        let mut review = Review::of_update(call, new, current, options.dry_run);
        admission::mutate(&mut review).await?;
        strategy::prepare_update(kind, &mut review.object, &review.old, part)?;
        let now = object::time(call.context.now());
        strategy::signing_request::date(kind, &mut review.object, &review.old, &now);
        admission::allocate(&mut review).await?;
        let faults = faults(call, part, &review.object, &review.old).await?;
        verbs::must_be_valid(kind, &review.object, faults)?;
        guard::update(call, &review.object, &review.old, part)?;
        admission::validate(&mut review).await?;
        if part == Part::Main {
            review.warnings.extend(kinds::warn::on_write(kind, &review.object, Some(&review.old)));
        }
        // What the server put back leaves no trace, not even in the times of the managers.
        let is_same = kinds::managed::differ_in_times_only(&review.object, &review.old);
        let next = std::mem::take(if is_same { &mut review.old } else { &mut review.object });
        let Some(changed) = attempts.write(Next::Replace(next)).await? else { continue };
        if !options.dry_run
            && let Changed::Stands(written) = &changed
        {
            definitions::written(&call.context, kind, written).await?;
        }
        call.warnings.add(review.keep());
        if let Changed::Gone(object) = &changed
            && !options.dry_run
        {
            admission::deleted(&call.context, kind, object);
        }
        return Ok(changed.into_written());
    }
}

async fn faults(call: &Call, part: Part, new: &Value, current: &Value) -> Result<Vec<FieldError>, Failure> {
    let rules = match part {
        Part::Main | Part::Approval => kinds::validate::update,
        Part::Status => kinds::validate::update_status,
        Part::EphemeralContainers => kinds::validate::ephemeral_containers,
        Part::Resize => kinds::validate::resize,
    };
    verbs::judged(&call.context, &call.path.kind, new, current, rules).await
}

/// 400 if the body names another object than the path.
pub(crate) fn must_match_path(call: &Call, new: &Value) -> Result<(), Failure> {
    let (said, meant) = (object::name(new), call.path.name());
    if said.is_empty() {
        let message = format!(
            "the name of the object ({meant} based on URL) was undeterminable: name must be provided"
        );
        return Err(Failure::bad_request(message));
    }
    if said != meant {
        let message = format!("the name of the object ({said}) does not match the name on the URL ({meant})");
        return Err(Failure::bad_request(message));
    }
    Ok(())
}
