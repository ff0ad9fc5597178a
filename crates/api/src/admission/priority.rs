//! Pods get the number of their priority class; of the classes, one at most is that of Pods which name none.

use std::sync::Arc;

use async_trait::async_trait;
use kinds::status::Failure;
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::object;

const GROUP: &str = "scheduling.k8s.io";
const PREEMPTS: &str = "PreemptLowerPriority";

pub(super) struct Priority;

#[async_trait]
impl Plugin for Priority {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        match review.operation {
            _ if !review.is_about("", "pods") => Ok(()),
            Operation::Create => complete(review).await,
            Operation::Update => {
                keep(review);
                Ok(())
            }
            Operation::Delete | Operation::Connect => Ok(()),
        }
    }

    async fn validate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let is_written = matches!(review.operation, Operation::Create | Operation::Update);
        if is_written && review.is_about(GROUP, "priorityclasses") && review.object["globalDefault"] == true {
            return must_be_only_default(review).await;
        }
        Ok(())
    }
}

async fn complete(review: &mut Review<'_>) -> Result<(), Failure> {
    let class = class_of(review).await?;
    let class = class.as_deref().unwrap_or(&Value::Null);
    let priority = class["value"].as_i64().unwrap_or(0);
    let policy = class["preemptionPolicy"].as_str().unwrap_or(PREEMPTS);
    let spec = &review.object["spec"];
    if let Some(asked) = spec["priority"].as_i64().filter(|asked| *asked != priority) {
        return Err(review.forbid(&format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        )));
    }
    if let Some(asked) = spec["preemptionPolicy"].as_str().filter(|asked| *asked != policy) {
        return Err(review.forbid(&format!(
            "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority \
             admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    let spec = object::entry_object(&mut review.object, "spec");
    if !object::name(class).is_empty() {
        spec.insert("priorityClassName".into(), object::name(class).into());
    }
    spec.insert("priority".into(), priority.into());
    spec.insert("preemptionPolicy".into(), policy.into());
    Ok(())
}

/// The class that the Pod names, or the default; there may be none.
async fn class_of(review: &Review<'_>) -> Result<Option<Arc<Value>>, Failure> {
    let Some(classes) = review.lister(GROUP, "priorityclasses").await? else { return Ok(None) };
    let wanted = review.object["spec"]["priorityClassName"].as_str().unwrap_or_default();
    if !wanted.is_empty() {
        let found = classes.get("", wanted);
        let missing = || review.forbid(&format!("no PriorityClass with name {wanted} was found"));
        return found.ok_or_else(missing).map(Some);
    }
    let defaults = classes.all().into_iter().filter(|class| class["globalDefault"] == true);
    // Two defaults can come of a race; the lower one does less harm.
    Ok(defaults.min_by_key(|class| class["value"].as_i64()))
}

/// An update that says nothing of the priority does not change it.
fn keep(review: &mut Review<'_>) {
    for field in ["priority", "preemptionPolicy"] {
        if review.object["spec"][field].is_null() && !review.old["spec"][field].is_null() {
            let value = review.old["spec"][field].clone();
            object::entry_object(&mut review.object, "spec").insert(field.into(), value);
        }
    }
}

async fn must_be_only_default(review: &Review<'_>) -> Result<(), Failure> {
    let Some(classes) = review.lister(GROUP, "priorityclasses").await? else { return Ok(()) };
    let others = classes.all().into_iter().filter(|class| object::name(class) != review.name());
    match others.into_iter().find(|class| class["globalDefault"] == true) {
        Some(default) => Err(review.forbid(&format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            object::name(&default)
        ))),
        None => Ok(()),
    }
}
