//! `pods/binding`: a scheduler gives a Pod to a node, once; and many Pods at a time by a `BindingBatch`.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::status::Failure;
use model::binding_batch::MAX_BINDINGS;
use model::names::{CLASS_LABEL, QOS_LABEL, QUOTA_LABEL};
use serde_json::{Value, json};

use super::batch;
use crate::admission::Review;
use crate::call::Call;
use crate::query::WriteOptions;
use crate::registry::Next;
use crate::request::ObjectPath;
use crate::{access, admission, object, respond};

/// What of a Pod a binding is.
const PART: &str = "binding";

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let body = call.take_body().await?;
    let binding = kinds::decode::raw(call.media_type(), &body)?;
    answer(&call, &call.path, binding).await
}

/// The old spelling: a Binding that is created, and names its Pod itself.
pub(crate) async fn handle_unaddressed(mut call: Call) -> Result<Response<Body>, Failure> {
    let body = call.take_body().await?;
    let binding = kinds::decode::raw(call.media_type(), &body)?;
    let path = path_of(&call, &binding)?;
    answer(&call, &path, binding).await
}

/// Many bindings at once. Each is judged and stored for itself, beside the others.
pub(crate) async fn handle_batch(mut call: Call) -> Result<Response<Body>, Failure> {
    let asked = batch::read(&mut call, ("bindings", MAX_BINDINGS)).await?;
    // The right to send batches gives no right to bind.
    access::may_also(&call, &batch::path_to(&call, None, Some(PART))?, "create")?;
    let each = asked.items.into_iter().map(|binding| async {
        let path = path_of(&call, &binding)?;
        bind(&call, &path, binding, asked.dry_run).await
    });
    let outcomes = futures::future::join_all(each).await;
    batch::answer(&call, "bound", outcomes)
}

/// The path of the Pod that a binding names.
fn path_of(call: &Call, binding: &Value) -> Result<ObjectPath, Failure> {
    let name = object::name(binding);
    if name.is_empty() {
        return Err(Failure::bad_request("metadata.name: a binding names its Pod"));
    }
    batch::path_to(call, Some(name), Some(PART))
}

async fn answer(call: &Call, path: &ObjectPath, binding: Value) -> Result<Response<Body>, Failure> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let warnings = bind(call, path, binding, options.dry_run).await?;
    let success =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    let response = respond::encoded(StatusCode::CREATED, call.accept.encoding, &success)?;
    Ok(respond::with_warnings(response, &warnings))
}

/// Binds one Pod; the result is what the client is warned of.
async fn bind(call: &Call, path: &ObjectPath, binding: Value, dry_run: bool) -> Result<Vec<String>, Failure> {
    target(path, &binding)?;
    let binding = object::typed(binding, "v1", "Binding");
    let review = admission::admit(Review::of_create_at(call, path, binding, dry_run)).await?;
    let binding = &review.object;
    let node = target(path, binding)?;
    let now = object::time(call.context.now());
    let registry = &call.context.registry;
    registry.modify(path, dry_run, |pod| bound(path, pod, binding, node, &now).map(Next::Replace)).await?;
    Ok(review.warnings)
}

fn target<'a>(path: &ObjectPath, binding: &'a Value) -> Result<&'a str, Failure> {
    let name = object::name(binding);
    if !name.is_empty() && name != path.name() {
        return Err(Failure::bad_request("name in URL does not match name in Binding object"));
    }
    let target = &binding["target"];
    match target["kind"].as_str().unwrap_or_default() {
        "" | "Node" => {}
        other => {
            let message = format!(
                "target.kind: Unsupported value: \"{other}\": supported values: \"Node\", \"<empty>\""
            );
            return Err(Failure::unreasonable(message));
        }
    }
    let node = target["name"].as_str().unwrap_or_default();
    if node.is_empty() { Err(Failure::unreasonable("target.name: Required value")) } else { Ok(node) }
}

/// The Pod on its node.
fn bound(path: &ObjectPath, pod: &Value, binding: &Value, node: &str, now: &str) -> Result<Value, Failure> {
    let refuse = |why: String| {
        let message = format!("Operation cannot be fulfilled on pods/binding \"{}\": {why}", path.name());
        Err(Failure::conflict(&path.kind, path.name(), "")
            .with_message(message)
            .about_resource("pods/binding"))
    };
    let name = object::name(pod);
    let uid = object::metadata(binding, "uid");
    let current = object::metadata(pod, "uid");
    if !uid.is_empty() && uid != current {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {current}");
        return Err(Failure::conflict(&path.kind, name, &why));
    }
    if object::is_being_deleted(pod) {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(taken) = pod["spec"]["nodeName"].as_str().filter(|taken| !taken.is_empty()) {
        return refuse(format!("pod {name} is already assigned to node \"{taken}\""));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = pod.clone();
    for name in [CLASS_LABEL, QOS_LABEL, QUOTA_LABEL] {
        let wanted = &binding["metadata"]["labels"][name];
        if !wanted.is_null() && *wanted != pod["metadata"]["labels"][name] {
            return refuse(format!("label {name} of a Pod cannot change"));
        }
    }
    for field in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            object::entry_object(&mut pod["metadata"], field).insert(key.clone(), value.clone());
        }
    }
    object::entry_object(&mut pod, "spec").insert("nodeName".into(), node.into());
    set_scheduled(&mut pod, now);
    Ok(pod)
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let conditions = object::entry_object(pod, "status").entry("conditions").or_insert_with(|| json!([]));
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": now});
    let Some(conditions) = conditions.as_array_mut() else { return };
    match conditions.iter_mut().find(|condition| condition["type"] == "PodScheduled") {
        Some(condition) => *condition = scheduled,
        None => conditions.push(scheduled),
    }
}
