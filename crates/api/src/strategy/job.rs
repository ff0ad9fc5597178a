//! Jobs: a selector of their own, so that each counts its own Pods only.

use serde_json::{Value, json};

use crate::object;

/// Gives a new Job the selector and its Pods the labels, unless the user says that the selector is theirs.
pub(super) fn prepare_create(job: &mut Value) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let (name, uid) = (object::name(job).to_owned(), object::metadata(job, "uid").to_owned());
    let had_labels = job["metadata"]["labels"].as_object().is_some_and(|labels| !labels.is_empty());
    let spec = object::entry_object(job, "spec");
    spec.insert("selector".into(), json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
    let template = spec.entry("template").or_insert_with(|| json!({}));
    object::metadata_mut(template);
    let labels = object::entry_object(&mut template["metadata"], "labels");
    labels.insert("batch.kubernetes.io/controller-uid".into(), uid.clone().into());
    labels.insert("batch.kubernetes.io/job-name".into(), name.clone().into());
    labels.insert("controller-uid".into(), uid.into());
    labels.insert("job-name".into(), name.into());
    if !had_labels {
        // As Kubernetes defaults it: a Job without labels takes those of its template.
        let labels = Value::Object(labels.clone());
        object::set_metadata(job, "labels", labels);
    }
}
