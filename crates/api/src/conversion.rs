//! Custom resources from one version to another, by the webhook that their definition names.
//!
//! ```text
//!   stored entry ──same version?──► as it is
//!        └── ConversionReview ──► webhook ──► checked ──► an entry in the wanted version
//! ```
//! Everything behind works on entries that are in the wanted version already. What the webhook may change is checked:
//! it is a stranger's program, and an object must stay the object that it is.

use std::sync::Arc;
use std::time::Duration;

use kinds::Kind;
use kinds::custom::Version;
use kinds::status::Failure;
use kit::Chain;
use serde_json::{Value, json};
use store::{Change, Entry};

use crate::feed::Seen;
use crate::record;
use crate::registry::Registry;
use crate::webhook::{Endpoint, Webhooks};

/// How long a webhook may take, as in Kubernetes.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many objects are sent at a time.
const AT_A_TIME: usize = 500;
/// What of an object's metadata a conversion may change.
const MAY_CHANGE: [&str; 2] = ["labels", "annotations"];

/// Whether objects of `kind` in another version have to be converted by a webhook.
pub(crate) fn is_by_webhook(kind: &Kind) -> bool {
    kind.custom().is_some_and(|version| version.conversion()["strategy"] == "Webhook")
}

/// The entries, each in the version that `kind` serves.
pub(crate) async fn served(
    webhooks: &Webhooks,
    kind: &Kind,
    mut entries: Vec<Entry>,
) -> Result<Vec<Entry>, Failure> {
    let Some(version) = kind.custom().filter(|_| is_by_webhook(kind)) else { return Ok(entries) };
    let head = format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", kind.kind, kind.api_version());
    let foreign: Vec<usize> =
        (0..entries.len()).filter(|index| !entries[*index].value.starts_with(head.as_bytes())).collect();
    for indexes in foreign.chunks(AT_A_TIME) {
        let objects: Result<Vec<Value>, Failure> =
            indexes.iter().map(|index| record::parse(kind, &entries[*index].value)).collect();
        let converted = convert(webhooks, version, &kind.api_version(), objects?).await?;
        for (index, object) in indexes.iter().zip(converted) {
            entries[*index].value = record::encode_as(&object)?;
        }
    }
    Ok(entries)
}

/// The changes as watchers of `kind` see them.
pub(crate) async fn changes(
    registry: &Registry,
    kind: &Kind,
    changes: Vec<Arc<Seen>>,
) -> Result<Vec<Arc<Seen>>, Failure> {
    if !is_by_webhook(kind) {
        return Ok(changes);
    }
    let mut served = Vec::with_capacity(changes.len());
    for seen in &changes {
        let change = match Change::clone(seen) {
            Change::Put { entry, previous } => {
                let entries = registry.served(kind, std::iter::once(entry).chain(previous).collect()).await?;
                let mut entries = entries.into_iter();
                let Some(entry) = entries.next() else { continue };
                Change::Put { entry, previous: entries.next() }
            }
            Change::Delete { revision, previous } => {
                let entries = registry.served(kind, vec![previous]).await?;
                let Some(previous) = entries.into_iter().next() else { continue };
                Change::Delete { revision, previous }
            }
        };
        served.push(Arc::new(Seen::new(change)));
    }
    Ok(served)
}

/// An object of `kind` in the version in which it is stored.
pub(crate) async fn stored(
    webhooks: &Webhooks,
    kind: &Kind,
    object: &Value,
) -> Result<Option<Value>, Failure> {
    let Some(version) = kind.custom().filter(|_| is_by_webhook(kind)) else { return Ok(None) };
    if version.storage == kind.version {
        return Ok(None);
    }
    let wanted = format!("{}/{}", kind.group, version.storage);
    let converted = convert(webhooks, version, &wanted, vec![object.clone()]).await?;
    Ok(converted.into_iter().next())
}

/// An object in another version of its kind, as admission shows it to those who know only that one.
pub(crate) async fn between(
    webhooks: &Webhooks,
    from: &Kind,
    to: &Kind,
    mut object: Value,
) -> Result<Value, Failure> {
    match from.custom().filter(|_| is_by_webhook(from)) {
        Some(version) => {
            let converted = convert(webhooks, version, &to.api_version(), vec![object]).await?;
            Ok(converted.into_iter().next().unwrap_or_default())
        }
        None => {
            object["apiVersion"] = to.api_version().into();
            Ok(object)
        }
    }
}

async fn convert(
    webhooks: &Webhooks,
    version: &Version,
    wanted: &str,
    objects: Vec<Value>,
) -> Result<Vec<Value>, Failure> {
    let webhook = &version.conversion()["webhook"];
    let failed = |why: String| Failure::internal(format!("conversion webhook for {wanted} failed: {why}"));
    let endpoint =
        Endpoint::parse(&webhook["clientConfig"]).map_err(|error| failed(Chain(&error).to_string()))?;
    let understood = webhook["conversionReviewVersions"].as_array();
    let review = understood
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find(|name| matches!(*name, "v1" | "v1beta1"));
    let review = review.unwrap_or("v1");
    let uid = crate::context::random_uid();
    let request = json!({"apiVersion": format!("apiextensions.k8s.io/{review}"), "kind": "ConversionReview",
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects}});
    let answer = webhooks.call(&endpoint, &request, PATIENCE).await;
    let answer = answer.map_err(|error| failed(Chain(&error).to_string()))?;
    let response = &answer["response"];
    if response["uid"].as_str() != Some(uid.as_str()) {
        return Err(failed("it answered another request".to_owned()));
    }
    if response["result"]["status"] != "Success" {
        let said = response["result"]["message"].as_str().unwrap_or("it did not say why");
        return Err(failed(said.to_owned()));
    }
    let converted = response["convertedObjects"].as_array().cloned().unwrap_or_default();
    if converted.len() != objects.len() {
        return Err(failed(format!("it answered {} objects for {}", converted.len(), objects.len())));
    }
    objects
        .iter()
        .zip(converted)
        .map(|(before, after)| sound(before, after, wanted).map_err(failed))
        .collect()
}

/// The converted object, if it is still the same one. What of the metadata it may not change is taken from before.
fn sound(before: &Value, mut after: Value, wanted: &str) -> Result<Value, String> {
    if after["apiVersion"] != wanted || after["kind"] != before["kind"] {
        return Err(format!("it answered a {} of {}", after["kind"], after["apiVersion"]));
    }
    for field in ["name", "namespace", "uid"] {
        if after["metadata"][field] != before["metadata"][field] {
            return Err(format!("it changed metadata.{field} of {}", before["metadata"]["name"]));
        }
    }
    must_be_marks(&after["metadata"])?;
    let mut metadata = before["metadata"].clone();
    for field in MAY_CHANGE {
        match after["metadata"].get(field) {
            Some(Value::Null) | None => drop(metadata.as_object_mut().map(|fields| fields.remove(field))),
            Some(value) => metadata[field] = value.clone(),
        }
    }
    after["metadata"] = metadata;
    Ok(after)
}

/// Labels and annotations are maps of texts, whoever wrote them.
fn must_be_marks(metadata: &Value) -> Result<(), String> {
    for field in MAY_CHANGE {
        let is_map = metadata[field].as_object().map(|fields| fields.values().all(Value::is_string));
        if !is_map.unwrap_or(metadata[field].is_null()) {
            return Err(format!("it answered metadata.{field} that is no map of texts"));
        }
    }
    let faults: Vec<String> = kinds::validate::marks(metadata).iter().map(ToString::to_string).collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(format!("it answered metadata that cannot be: {}", faults.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sound;

    #[test]
    fn a_converted_object_stays_the_object_that_it_is() {
        let before = json!({"apiVersion": "e/v1", "kind": "K", "metadata": {"name": "a", "uid": "u", "labels": {"l": "1"},
            "finalizers": ["f"]}, "spec": {"a": 1}});
        let mut after = before.clone();
        after["apiVersion"] = json!("e/v2");
        after["metadata"] = json!({"name": "a", "uid": "u", "labels": {"l": "2"}, "finalizers": []});
        after["spec"] = json!({"b": 1});
        let converted = sound(&before, after.clone(), "e/v2").unwrap();
        assert_eq!(converted["metadata"]["finalizers"], json!(["f"]));
        assert_eq!(converted["metadata"]["labels"], json!({"l": "2"}));
        assert_eq!(converted["spec"], json!({"b": 1}));
        assert!(sound(&before, after.clone(), "e/v3").is_err());
        for (field, wrong) in
            [("labels", json!({"l": 1})), ("labels", json!({"l": "%"})), ("annotations", json!([]))]
        {
            let mut after = after.clone();
            after["metadata"][field] = wrong;
            assert!(sound(&before, after, "e/v2").is_err(), "{field}");
        }
        assert!(sound(&before, json!(5), "e/v2").is_err());
        after["metadata"]["name"] = json!("b");
        assert!(sound(&before, after, "e/v2").is_err());
    }
}
