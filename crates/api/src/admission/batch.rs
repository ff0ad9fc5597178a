//! Pods for Fuxi: what asks for batch's resources is placed by it, and what is placed by it asks for batch's resources.
//!
//! ```text
//!   is of class batch or free, and names no scheduler ──► schedulerName: fuxi
//!   schedulerName: fuxi, asks for cpu ──────────────► asks for kubernetes.io/batch-cpu instead
//!   asks for kubernetes.io/mid-cpu ─────────────────► not for cpu as well
//!   names no quota ──► that of its namespace, which stands in a label there
//! ```
//! So a Job of somebody who never heard of batch's resources, such as Spark's executors, only names the scheduler, or its
//! class.

use async_trait::async_trait;
use kinds::status::Failure;
use model::class::Class;
use model::names::{
    BATCH_CPU, BATCH_MEMORY, CLASS_LABEL, FUXI_SCHEDULER, GROUP, JOB_LABEL, MID_CPU, MID_MEMORY, QUOTA_LABEL,
    SIGMA_SCHEDULER,
};
use model::quantity::Quantity;
use serde_json::{Map, Value};

use super::colocation::set;
use super::{Operation, Plugin, Review};

pub(super) struct BatchPods;

#[async_trait]
impl Plugin for BatchPods {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let is_written = matches!(review.operation, Operation::Create | Operation::Update);
        if is_written && review.is_about("", "pods") {
            turn(&mut review.object);
        }
        // Later a Pod keeps what it was made with.
        if review.operation == Operation::Create
            && review.is_about("", "pods")
            && let Some(spec) = review.object.get_mut("spec")
        {
            drop_promised_beside_mid(spec);
        }
        if review.operation == Operation::Create && wants_quota(review) {
            count_for_namespace(review).await?;
        }
        Ok(())
    }
}

/// Whether it is batch that says nothing of a quota. Workers count for that of their job.
fn wants_quota(review: &Review<'_>) -> bool {
    let object = &review.object;
    if review.is_about(GROUP, "dagjobs") {
        return object["spec"].is_object() && object["spec"]["quota"].is_null();
    }
    let labels = &object["metadata"]["labels"];
    review.is_about("", "pods")
        && object["spec"]["schedulerName"] == FUXI_SCHEDULER
        && labels[QUOTA_LABEL].is_null()
        && labels[JOB_LABEL].is_null()
}

/// Batch counts for the quota that its namespace names.
async fn count_for_namespace(review: &mut Review<'_>) -> Result<(), Failure> {
    let Some(namespace) = review.own_namespace().await? else { return Ok(()) };
    let quota = &namespace["metadata"]["labels"][QUOTA_LABEL];
    if !quota.is_string() {
        return Ok(());
    }
    if review.is_about("", "pods") {
        set(&mut review.object, "labels", QUOTA_LABEL, quota);
    } else {
        review.object["spec"]["quota"] = quota.clone();
    }
    Ok(())
}

fn turn(pod: &mut Value) {
    // Of whatever there is a sign, admission has said the class here before.
    let label = pod["metadata"]["labels"][CLASS_LABEL].as_str();
    let is_batch = label.and_then(Class::parse).is_some_and(Class::is_batch) || asks_for_batch(&pod["spec"]);
    let spec = &mut pod["spec"];
    if spec["schedulerName"] == SIGMA_SCHEDULER && spec["nodeName"].is_null() && is_batch {
        spec["schedulerName"] = FUXI_SCHEDULER.into();
    }
    if spec["schedulerName"] != FUXI_SCHEDULER {
        return;
    }
    for container in containers(spec) {
        for amounts in ["requests", "limits"] {
            rename(container.pointer_mut(&format!("/resources/{amounts}")));
        }
    }
}

fn containers(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    let lists = spec.as_object_mut().into_iter().flatten();
    let lists = lists.filter(|(name, _)| matches!(name.as_str(), "initContainers" | "containers"));
    lists.filter_map(|(_, list)| list.as_array_mut()).flatten()
}

/// Who lives on what services leave is promised none of it, be it that the defaults of its namespace say so.
fn drop_promised_beside_mid(spec: &mut Value) {
    for container in containers(spec) {
        let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { continue };
        for (lent, promised) in [(MID_CPU, "cpu"), (MID_MEMORY, "memory")] {
            if resources.values().any(|amounts| !amounts[lent].is_null()) {
                let amounts = resources.values_mut().filter_map(Value::as_object_mut);
                amounts.for_each(|amounts| _ = amounts.remove(promised));
            }
        }
    }
}

/// Whether a container asks for batch's own resources.
pub(super) fn asks_for_batch(spec: &Value) -> bool {
    asks_for(spec, [BATCH_CPU, BATCH_MEMORY])
}

/// Whether a container asks for one of the `names`.
pub(super) fn asks_for(spec: &Value, names: [&str; 2]) -> bool {
    let lists = ["initContainers", "containers"].into_iter().filter_map(|list| spec[list].as_array());
    let asks = |amounts: &Value| names.iter().any(|name| !amounts[*name].is_null());
    lists.flatten().any(|container| {
        let resources = &container["resources"];
        asks(&resources["requests"]) || asks(&resources["limits"])
    })
}

/// Whole milli-cores and bytes, as the Node publishes them.
fn rename(amounts: Option<&mut Value>) {
    let Some(amounts) = amounts.and_then(Value::as_object_mut) else { return };
    let milli = |quantity: Quantity| quantity.to_milli();
    let units = |quantity: Quantity| quantity.to_units();
    replace(amounts, ("cpu", BATCH_CPU), milli);
    replace(amounts, ("memory", BATCH_MEMORY), units);
}

/// What is asked for under the name of batch already stands.
fn replace(amounts: &mut Map<String, Value>, (old, new): (&str, &str), of: impl Fn(Quantity) -> i128) {
    let Some(text) = amounts.get(old).and_then(Value::as_str) else { return };
    // What cannot be read, validation will name.
    let Ok(quantity) = Quantity::parse(text) else { return };
    amounts.remove(old);
    amounts.entry(new).or_insert_with(|| of(quantity).to_string().into());
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(scheduler: &str, resources: &Value, expect: Expect) {
        let mut pod = json!({"spec": {"schedulerName": scheduler,
            "containers": [{"name": "c", "resources": resources}]}});
        turn(&mut pod);
        let spec = &pod["spec"];
        let told = format!("{} {}", spec["schedulerName"], spec["containers"][0]["resources"]);
        expect.assert_eq(&told);
        let before = pod.clone();
        turn(&mut pod);
        assert_eq!(pod, before, "a second round changes nothing");
    }

    #[test]
    fn who_asks_for_batch_is_placed_by_fuxi_and_the_other_way_round() {
        let plain = json!({"requests": {"cpu": "1500m", "memory": "1Gi", "example.com/gpu": "1"}, "limits": {"memory": "2Gi"}});
        check(
            "default-scheduler",
            &plain,
            expect![[
                r#""default-scheduler" {"limits":{"memory":"2Gi"},"requests":{"cpu":"1500m","example.com/gpu":"1","memory":"1Gi"}}"#
            ]],
        );
        check(
            "fuxi",
            &plain,
            expect![[
                r#""fuxi" {"limits":{"kubernetes.io/batch-memory":"2147483648"},"requests":{"example.com/gpu":"1","kubernetes.io/batch-cpu":"1500","kubernetes.io/batch-memory":"1073741824"}}"#
            ]],
        );
        let batch = json!({"requests": {"kubernetes.io/batch-cpu": "500", "cpu": "1"}});
        check(
            "default-scheduler",
            &batch,
            expect![[r#""fuxi" {"requests":{"kubernetes.io/batch-cpu":"500"}}"#]],
        );
        check(
            "other",
            &batch,
            expect![[r#""other" {"requests":{"cpu":"1","kubernetes.io/batch-cpu":"500"}}"#]],
        );
        check(
            "fuxi",
            &json!({"requests": {"cpu": "much"}}),
            expect![[r#""fuxi" {"requests":{"cpu":"much"}}"#]],
        );
        check("fuxi", &json!({}), expect![[r#""fuxi" {}"#]]);
    }

    #[test]
    fn the_class_of_a_pod_says_whose_it_is() {
        let check = |class: &str, spec: Value, scheduler: &str| {
            let mut pod = json!({"metadata": {"labels": {"crest.dev/class": class}}, "spec": spec});
            turn(&mut pod);
            assert_eq!(pod["spec"]["schedulerName"], scheduler);
        };
        check("free", json!({"schedulerName": "default-scheduler"}), "fuxi");
        check("batch", json!({"schedulerName": "default-scheduler"}), "fuxi");
        check("shared", json!({"schedulerName": "default-scheduler"}), "default-scheduler");
        check("batch", json!({"schedulerName": "other"}), "other");
        check("batch", json!({"schedulerName": "default-scheduler", "nodeName": "n"}), "default-scheduler");
    }

    #[test]
    fn who_is_lent_is_promised_nothing_beside() {
        let check = |resources: Value, expected: Value| {
            let mut spec = json!({"containers": [{"name": "c", "resources": resources}, {"name": "plain"}]});
            drop_promised_beside_mid(&mut spec);
            assert_eq!(spec["containers"][0]["resources"], expected);
            assert_eq!(spec["containers"][1], json!({"name": "plain"}));
        };
        check(
            json!({"requests": {"kubernetes.io/mid-cpu": "4000", "cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "1Gi"}}),
            json!({"requests": {"kubernetes.io/mid-cpu": "4000", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}),
        );
        check(
            json!({"limits": {"kubernetes.io/mid-memory": "1Gi", "memory": "1Gi"}}),
            json!({"limits": {"kubernetes.io/mid-memory": "1Gi"}}),
        );
        check(
            json!({"requests": {"cpu": "1"}, "claims": [{"name": "x"}]}),
            json!({"requests": {"cpu": "1"}, "claims": [{"name": "x"}]}),
        );
    }
}
