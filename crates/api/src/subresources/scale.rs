//! `scale`: the number of replicas of a workload, as an `autoscaling/v1` Scale.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::Kind;
use kinds::patch::PatchType;
use kinds::status::{Failure, FieldError};
use serde_json::{Value, json};

use crate::call::Call;
use crate::query::WriteOptions;
use crate::request::Verb;
use crate::strategy::Part;
use crate::{object, respond, verbs};

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let workload = match call.verb {
        Verb::Get => call.context.registry.get(&call.path).await?,
        Verb::Update => {
            let body = call.take_body().await?;
            let scale = kinds::decode::raw(call.media_type(), &body)?;
            check_kind(&scale)?;
            set(&call, |_| Ok(scale.clone())).await?
        }
        _ => {
            let patch_type = PatchType::from_content_type(&call.content_type).ok_or_else(|| {
                Failure::unsupported_patch_type(&call.path.kind, &["application/merge-patch+json"])
            })?;
            // A Scale has no lists, so that a strategic merge patch is a merge patch.
            let patch_type = if patch_type == PatchType::Json { PatchType::Json } else { PatchType::Merge };
            let patch = call.take_body().await?;
            let kind = &call.path.kind.clone();
            set(&call, |workload| kinds::patch::apply(kind, patch_type, &scale_of(kind, workload)?, &patch))
                .await?
        }
    };
    let scale = scale_of(&call.path.kind, &workload)?;
    respond::object(StatusCode::OK, call.accept, &kinds::kind::SCALE_KIND, scale)
}

/// Changes the workload to what `next` makes of its Scale.
async fn set(call: &Call, mut next: impl FnMut(&Value) -> Result<Value, Failure>) -> Result<Value, Failure> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let written = verbs::update::replace(call, options, Part::Main, |workload| {
        let scale = next(workload)?;
        let replicas = replicas(call, &scale)?;
        let revision = object::metadata(&scale, "resourceVersion");
        let uid = object::metadata(&scale, "uid");
        let mut new = workload.clone();
        // What the Scale assumes of the object is checked as for any update.
        object::set_metadata(&mut new, "resourceVersion", revision);
        object::set_metadata(&mut new, "uid", uid);
        ask_for(&call.path.kind, &mut new, replicas.into());
        kinds::defaults::apply(&call.path.kind, &mut new);
        verbs::owned(call, |writer| kinds::managed::scale(&call.path.kind, writer, workload, &mut new));
        Ok(new)
    })
    .await?;
    written.into_value(&call.path.kind)
}

/// Makes the workload ask for so many replicas.
pub(crate) fn ask_for(kind: &Kind, workload: &mut Value, replicas: i64) {
    match kind.custom().and_then(|version| version.scale.as_ref()) {
        Some(paths) => paths.set(workload, replicas),
        None => drop(object::entry_object(workload, "spec").insert("replicas".into(), replicas.into())),
    }
}

fn replicas(call: &Call, scale: &Value) -> Result<i32, Failure> {
    let value = &scale["spec"]["replicas"];
    let wanted = if value.is_null() { Some(0) } else { value.as_i64() };
    match wanted.map(i32::try_from) {
        Some(Ok(replicas)) if replicas >= 0 => Ok(replicas),
        Some(Ok(replicas)) => {
            let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
            Err(Failure::invalid_object("autoscaling", "Scale", call.path.name(), &[error]))
        }
        Some(Err(_)) | None => {
            Err(Failure::bad_request(format!("spec.replicas: {value} is no 32-bit number")))
        }
    }
}

fn check_kind(scale: &Value) -> Result<(), Failure> {
    match (scale["kind"].as_str().unwrap_or("Scale"), scale["apiVersion"].as_str().unwrap_or_default()) {
        ("Scale", "" | "autoscaling/v1") => Ok(()),
        (kind, version) => Err(Failure::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a Scale: unknown conversion"
        ))),
    }
}

pub(crate) fn scale_of(kind: &Kind, workload: &Value) -> Result<Value, Failure> {
    let (wanted, found, selector) = match kind.custom().and_then(|version| version.scale.as_ref()) {
        Some(paths) => {
            let wanted = paths.wanted(workload).ok_or_else(|| {
                Failure::internal(format!("the {} says no number of replicas in its spec", kind.kind))
            })?;
            (wanted, paths.found(workload), paths.selector(workload).to_owned())
        }
        None => (
            workload["spec"]["replicas"].as_i64().unwrap_or(0),
            workload["status"]["replicas"].as_i64().unwrap_or(0),
            selector_text(&workload["spec"]["selector"]),
        ),
    };
    let metadata = &workload["metadata"];
    let mut scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {},
        "spec": {}, "status": {"replicas": found}});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(field) {
            scale["metadata"][field] = value.clone();
        }
    }
    // Zero is left out, as the Go type of the field does.
    if wanted != 0 {
        scale["spec"]["replicas"] = wanted.into();
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    Ok(scale)
}

/// A selector as text, as clients send it in queries. Old kinds select by plain labels.
fn selector_text(selector: &Value) -> String {
    let is_plain = !selector["matchLabels"].is_object() && !selector["matchExpressions"].is_array();
    let labels = if is_plain { selector } else { &selector["matchLabels"] };
    let labels = labels.as_object().into_iter().flatten();
    let mut parts: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.sort();
    parts.join(",")
}
