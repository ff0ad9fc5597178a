//! `AdmissionReview`: the question that a webhook is asked, and what its answer says.
//!
//! The answer is a stranger's: whatever is not as agreed is told apart from what is a refusal.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Request;
use crate::Kind;
use crate::decode;
use crate::patch::{self, PatchType};
use crate::status::Failure;

/// The versions of `AdmissionReview` that are spoken here.
pub const VERSION: &str = "v1";
const API_VERSION: &str = "admission.k8s.io/v1";
/// The most annotations that one answer adds to the audit log, and how long each may be.
const MAX_ANNOTATIONS: usize = 64;
const MAX_ANNOTATION: usize = 10 << 10;
/// More than this a client is not told.
const MAX_WARNINGS: usize = 32;

/// The question.
pub fn question(request: &Request<'_>, seen_as: &Kind, uid: &str, object: &Value, old: &Value) -> Value {
    let mut asked = request.to_value(seen_as, uid);
    asked["object"] = object.clone();
    asked["oldObject"] = old.clone();
    json!({"kind": "AdmissionReview", "apiVersion": API_VERSION, "request": asked})
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {got}")]
    Version { got: String },
    #[error("webhook response was absent")]
    Absent,
    #[error("expected response.uid=\"{asked}\", got \"{got}\"")]
    Uid { asked: String, got: String },
    #[error("validating webhooks may not answer a patch")]
    PatchOfValidating,
    #[error("a patch must come with its patchType")]
    NoPatchType,
    #[error("invalid response.patchType of {got:?}")]
    PatchType { got: String },
    #[error("a patchType must come with a patch")]
    NoPatch,
    #[error("the patch is not encoded as base64")]
    Encoding,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub outcome: Outcome,
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Allowed,
    /// The JSON patch that makes the object what it is to be.
    Patched(Vec<u8>),
    Refused(Failure),
}

/// Reads an answer to the question of `uid`, by the webhook of this name.
pub fn answer(review: &Value, webhook: &str, uid: &str, mutates: bool) -> Result<Answer, AnswerError> {
    if review["apiVersion"] != API_VERSION || review["kind"] != "AdmissionReview" {
        let text = |field: &str| review[field].as_str().unwrap_or_default();
        let got = format!("{}, Kind={}", text("apiVersion"), text("kind"));
        return Err(AnswerError::Version { got: got.chars().take(MAX_ANNOTATION).collect() });
    }
    let response = review["response"].as_object().ok_or(AnswerError::Absent)?;
    let text = |field: &str| response.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("uid") != uid {
        let got = text("uid").chars().take(64).collect();
        return Err(AnswerError::Uid { asked: uid.to_owned(), got });
    }
    let patch = patch(text("patch"), text("patchType"), mutates)?;
    let is_allowed = response.get("allowed").and_then(Value::as_bool).unwrap_or(false);
    let outcome = match patch {
        _ if !is_allowed => Outcome::Refused(refusal(webhook, response.get("status"))),
        Some(patch) => Outcome::Patched(patch),
        None => Outcome::Allowed,
    };
    Ok(Answer { outcome, warnings: warnings(response), annotations: annotations(webhook, response) })
}

fn patch(patch: &str, patch_type: &str, mutates: bool) -> Result<Option<Vec<u8>>, AnswerError> {
    match (patch, patch_type) {
        ("", "") => return Ok(None),
        _ if !mutates => return Err(AnswerError::PatchOfValidating),
        ("", _) => return Err(AnswerError::NoPatch),
        (_, "") => return Err(AnswerError::NoPatchType),
        (_, "JSONPatch") => {}
        (_, other) => return Err(AnswerError::PatchType { got: other.chars().take(64).collect() }),
    }
    STANDARD.decode(patch).map(Some).map_err(|_| AnswerError::Encoding)
}

fn warnings(response: &Map<String, Value>) -> Vec<String> {
    let warnings = response.get("warnings").and_then(Value::as_array).into_iter().flatten();
    let warnings = warnings.filter_map(Value::as_str).take(MAX_WARNINGS);
    warnings.map(|text| text.chars().take(MAX_ANNOTATION).collect()).collect()
}

/// The keys of a webhook stand behind its name, so that none can speak for another.
fn annotations(webhook: &str, response: &Map<String, Value>) -> Vec<(String, String)> {
    let annotations = response.get("auditAnnotations").and_then(Value::as_object).into_iter().flatten();
    let texts = annotations.filter_map(|(key, value)| Some((key, value.as_str()?)));
    let short = texts.filter(|(key, value)| key.len() <= MAX_ANNOTATION && value.len() <= MAX_ANNOTATION);
    short.take(MAX_ANNOTATIONS).map(|(key, value)| (format!("{webhook}/{key}"), value.to_owned())).collect()
}

/// A refusal in the webhook's words, but never one that looks like a success.
fn refusal(webhook: &str, status: Option<&Value>) -> Failure {
    let status = status.unwrap_or(&Value::Null);
    let said = [&status["message"], &status["reason"]];
    let said = said.iter().find_map(|text| text.as_str().filter(|text| !text.is_empty()));
    let refused = format!("admission webhook \"{webhook}\" denied the request");
    let message = match said {
        Some(said) => format!("{refused}: {said}"),
        None => format!("{refused} without explanation"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(400);
    Failure::told(if (400..600).contains(&code) { code } else { 400 }, status, message)
}

/// Why a patch of a webhook gives no object.
#[derive(Debug, thiserror::Error)]
#[error("cannot apply the patch of the webhook")]
pub struct PatchError {
    source: Failure,
}

/// As [`patched`], for an object of a kind that no table describes.
pub fn patched_freely(object: &Value, json_patch: &[u8]) -> Result<Value, PatchError> {
    patch::apply_json(object, json_patch).map_err(|source| PatchError { source })
}

/// `object` with the patch of a webhook: again an object of `kind`, with its defaults.
pub fn patched(kind: &Kind, object: &Value, json_patch: &[u8]) -> Result<Value, PatchError> {
    let patched = patch::apply(kind, PatchType::Json, object, json_patch)
        .and_then(|patched| decode::object(kind, patched))
        .map_err(|source| PatchError { source })?;
    let mut object = patched.object;
    crate::defaults::apply(kind, &mut object);
    Ok(object)
}
