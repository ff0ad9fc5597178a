//! `pods/binding`: a scheduler gives a Pod to a node, once.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::status::Failure;
use serde_json::{Value, json};

use crate::admission::Review;
use crate::call::Call;
use crate::query::WriteOptions;
use crate::registry::Next;
use crate::{admission, object, respond};

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let body = call.take_body().await?;
    let binding = kinds::decode::raw(call.media_type(), &body)?;
    bind(call, binding).await
}

/// The old spelling: a Binding that is created, and names its Pod itself.
pub(crate) async fn handle_unaddressed(mut call: Call) -> Result<Response<Body>, Failure> {
    let body = call.take_body().await?;
    let binding = kinds::decode::raw(call.media_type(), &body)?;
    let name = object::name(&binding).to_owned();
    if name.is_empty() {
        return Err(Failure::bad_request("metadata.name: a binding names its Pod"));
    }
    call.path.kind = kinds::find("", "v1", "pods").cloned().ok_or_else(Failure::no_such_path)?;
    call.path.name = Some(name);
    call.path.subresource = Some("binding".to_owned());
    bind(call, binding).await
}

async fn bind(call: Call, binding: Value) -> Result<Response<Body>, Failure> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    target(&call, &binding)?;
    let binding = object::typed(binding, "v1", "Binding");
    let review = admission::admit(Review::of_create(&call, binding, options.dry_run)).await?;
    let (binding, warnings) = (&review.object, &review.warnings);
    let node = target(&call, binding)?.to_owned();
    let now = object::time(call.context.now());
    let registry = &call.context.registry;
    registry
        .modify(&call.path, options.dry_run, |pod| bound(&call, pod, binding, &node, &now).map(Next::Replace))
        .await?;
    let success =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    let response = respond::encoded(StatusCode::CREATED, call.accept.encoding, &success)?;
    Ok(respond::with_warnings(response, warnings))
}

fn target<'a>(call: &Call, binding: &'a Value) -> Result<&'a str, Failure> {
    let name = object::name(binding);
    if !name.is_empty() && name != call.path.name() {
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
fn bound(call: &Call, pod: &Value, binding: &Value, node: &str, now: &str) -> Result<Value, Failure> {
    let refuse = |why: String| {
        let message =
            format!("Operation cannot be fulfilled on pods/binding \"{}\": {why}", call.path.name());
        Err(Failure::conflict(&call.path.kind, call.path.name(), "")
            .with_message(message)
            .about_resource("pods/binding"))
    };
    let name = object::name(pod);
    let uid = object::metadata(binding, "uid");
    let current = object::metadata(pod, "uid");
    if !uid.is_empty() && uid != current {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {current}");
        return Err(Failure::conflict(&call.path.kind, name, &why));
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
