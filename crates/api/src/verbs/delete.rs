//! DELETE: of one object, or of all that are selected.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::Kind;
use kinds::status::Failure;
use serde_json::{Value, json};

use crate::admission::Review;
use crate::call::Call;
use crate::deletion::{self, DeleteOptions};
use crate::query::Selection;
use crate::record::{self, Place};
use crate::registry::{Changed, Found, Written};
use crate::request::ObjectPath;
use crate::{admission, guard, object, respond, verbs};

/// Told to those who delete a Job without saying what becomes of its Pods.
const ORPHAN_WARNING: &str = "child pods are preserved by default when jobs are deleted; set \
     propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

pub(crate) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let kind = &call.path.kind.clone();
    let options = options(&mut call).await?;
    let changed = delete(&call, &call.path, &options).await?;
    let written = match changed {
        Changed::Gone(object) if !is_answered_whole(kind) => {
            let (name, uid) = (object::name(&object), object::metadata(&object, "uid"));
            Written::Object(kinds::status::success(kind, name, uid))
        }
        changed => changed.into_written(),
    };
    call.warnings.add(deletion::warns_of_orphans(kind, &options).then(|| ORPHAN_WARNING.to_owned()));
    respond::written(StatusCode::OK, call.accept, kind, written)
}

/// Deletes the object at `path`, or marks it for deletion.
pub(crate) async fn delete(
    call: &Call,
    path: &ObjectPath,
    options: &DeleteOptions,
) -> Result<Changed, Failure> {
    delete_marked(call, path, options, Value::clone).await
}

/// The same of an object that `mark` has changed before, in the same step.
pub(crate) async fn delete_marked(
    call: &Call,
    path: &ObjectPath,
    options: &DeleteOptions,
    mark: impl Fn(&Value) -> Value,
) -> Result<Changed, Failure> {
    let context = &call.context;
    let mut attempts = context.registry.attempts(path, options.dry_run);
    loop {
        let current = match attempts.read().await? {
            Found::Object(current) => current,
            Found::Gone(object) => return Ok(Changed::Gone(object)),
        };
        let review = admission::admit(Review::of_delete(call, path, current, options)).await?;
        guard::delete(call, &review.old)?;
        let next = deletion::decide(&path.kind, &mark(&review.old), options, context.now())?;
        let Some(changed) = attempts.write(next).await? else { continue };
        call.warnings.add(review.keep());
        if let Changed::Gone(object) = &changed
            && !options.dry_run
        {
            admission::deleted(context, &path.kind, object);
        }
        return Ok(changed);
    }
}

/// Deletes each selected object; answers those objects as they were found.
pub(crate) async fn handle_collection(mut call: Call) -> Result<Response<Body>, Failure> {
    let kind = &call.path.kind.clone();
    let options = options(&mut call).await?;
    let selection = Selection::parse(kind, &call.query)?;
    let selected = verbs::list::select(&call, &selection).await?;
    let mut items = Vec::with_capacity(selected.entries.len());
    for entry in &selected.entries {
        let object = record::decode(kind, entry)?;
        let namespace = Some(object::namespace(&object).to_owned()).filter(|name| !name.is_empty());
        let name = Some(object::name(&object).to_owned());
        let path = ObjectPath { namespace, name, ..call.path.clone() };
        match delete(&call, &path, &options).await {
            // Somebody else deleted it first: it is gone, as was asked.
            Err(failure) if failure.code() != 404 => return Err(failure),
            _ => items.push(record::listed(kind, object, Place::InList)),
        }
    }
    let list = json!({"kind": kind.list_kind(), "apiVersion": kind.api_version(),
        "metadata": {"resourceVersion": selected.revision.0.to_string()}, "items": items});
    respond::encoded(StatusCode::OK, call.accept.encoding, &list)
}

async fn options(call: &mut Call) -> Result<DeleteOptions, Failure> {
    let body = call.take_body().await?;
    if body.is_empty() {
        return DeleteOptions::from_query(&call.query);
    }
    DeleteOptions::parse(&kinds::decode::raw(call.media_type(), &body)?)
}

/// Kinds whose deleted objects are answered as they last stood; the others answer a `Status`.
fn is_answered_whole(kind: &Kind) -> bool {
    match kind.group {
        "" => matches!(
            kind.table_name(),
            "Namespace"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
                | "Pod"
                | "PodTemplate"
                | "ResourceQuota"
                | "Service"
                | "ServiceAccount"
        ),
        _ if kind.custom().is_some() => false,
        "apiextensions.k8s.io" | "resource.k8s.io" => true,
        "storage.k8s.io" => kind.table_name() != "CSIStorageCapacity",
        _ => false,
    }
}
