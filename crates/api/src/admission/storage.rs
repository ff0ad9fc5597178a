//! Volume claims: the default class, the finalizer that keeps a volume while it is used, and who may grow.

use async_trait::async_trait;
use kinds::status::Failure;
use model::Quantity;
use serde_json::{Value, json};

use super::{Operation, Plugin, Review};
use crate::object;

const GROUP: &str = "storage.k8s.io";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const DEFAULT_CLASS_OLD: &str = "storageclass.beta.kubernetes.io/is-default-class";
const CLASS_OLD: &str = "volume.beta.kubernetes.io/storage-class";

/// A claim that names no class gets the default one.
pub(super) struct DefaultClass;

#[async_trait]
impl Plugin for DefaultClass {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let is_new = review.operation == Operation::Create && review.is_about("", "persistentvolumeclaims");
        let says = !review.object["spec"]["storageClassName"].is_null()
            || !review.object["metadata"]["annotations"][CLASS_OLD].is_null();
        if !is_new || says {
            return Ok(());
        }
        let Some(classes) = review.lister(GROUP, "storageclasses").await? else { return Ok(()) };
        let is_default = |class: &&std::sync::Arc<Value>| {
            let annotations = &class["metadata"]["annotations"];
            annotations[DEFAULT_CLASS] == "true" || annotations[DEFAULT_CLASS_OLD] == "true"
        };
        let all = classes.all();
        if let Some(name) = newest(all.iter().filter(is_default).map(|class| &**class)) {
            object::entry_object(&mut review.object, "spec").insert("storageClassName".into(), name.into());
        }
        Ok(())
    }
}

/// Of several defaults, the one made last; of those made in one second, the first by name.
pub(super) fn newest<'a>(classes: impl Iterator<Item = &'a Value>) -> Option<String> {
    let rank = |class: &&Value| {
        let created = object::metadata(class, "creationTimestamp").to_owned();
        (created, std::cmp::Reverse(object::name(class).to_owned()))
    };
    classes.max_by_key(rank).map(|class| object::name(class).to_owned())
}

/// What is used is not deleted under its users.
pub(super) struct InUseProtection;

#[async_trait]
impl Plugin for InUseProtection {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        if review.operation != Operation::Create || review.subresource.is_some() {
            return Ok(());
        }
        let finalizer = match (review.kind.group, review.kind.plural) {
            ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
            ("", "persistentvolumes") => "kubernetes.io/pv-protection",
            (GROUP, "volumeattributesclasses") => "kubernetes.io/vac-protection",
            _ => return Ok(()),
        };
        if object::finalizers(&review.object).all(|had| had != finalizer) {
            let mut finalizers: Vec<Value> =
                object::finalizers(&review.object).map(|name| json!(name)).collect();
            finalizers.push(finalizer.into());
            object::set_metadata(&mut review.object, "finalizers", finalizers);
        }
        Ok(())
    }
}

/// Only where the class allows it can a claim grow.
pub(super) struct ClaimResize;

#[async_trait]
impl Plugin for ClaimResize {
    async fn validate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let is_change =
            review.operation == Operation::Update && review.is_about("", "persistentvolumeclaims");
        let size = |claim: &Value| {
            let text = claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or("0");
            Quantity::parse(text).ok()
        };
        if !is_change || size(&review.object) <= size(&review.old) {
            return Ok(());
        }
        if review.old["status"]["phase"] != "Bound" {
            return Err(review.forbid("Only bound persistent volume claims can be expanded"));
        }
        let class = review.object["spec"]["storageClassName"].as_str().unwrap_or_default();
        let classes = review.lister(GROUP, "storageclasses").await?;
        let class = classes.and_then(|classes| classes.get("", class));
        if class.is_some_and(|class| class["allowVolumeExpansion"] == true) {
            return Ok(());
        }
        Err(review.forbid(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
             support resize",
        ))
    }
}
