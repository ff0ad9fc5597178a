//! Of which class a Pod is: what its namespace's profiles give it, what it says itself, and whether that can be.
//!
//! ```text
//!   ColocationProfiles by name ──► labels, annotations, class, priority class, quota: only what is not there yet
//!   all signs of a class       ──► agree: the label crest.dev/class says which, and batch gets its priority class
//!                              └─► contradict each other: refused
//! ```
//! From then on the class stays what it is.

use async_trait::async_trait;
use kinds::selector::Labels;
use kinds::status::Failure;
use model::class::{Class, Contradiction, Lent, MID_PRIORITY, Signs, class_of};
use model::names::{
    CLASS_LABEL, CPU_POLICY, FUXI_SCHEDULER, GROUP, MID_CPU, MID_MEMORY, QOS_LABEL, QUOTA_LABEL,
};
use serde_json::{Map, Value};

use super::batch::asks_for;
use super::{Operation, Plugin, Review};
use crate::object;

/// What is given only to a Pod that says nothing of its class.
const SIGNS: [&str; 3] = [CLASS_LABEL, QOS_LABEL, CPU_POLICY];

pub(super) struct Classes;

#[async_trait]
impl Plugin for Classes {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        if !review.is_about("", "pods") {
            return Ok(());
        }
        match review.operation {
            Operation::Create => {
                apply_profiles(review).await?;
                let class = class(&review.object).map_err(|error| review.forbid(&error.to_string()))?;
                settle(&mut review.object, class);
            }
            // Who replaces a Pod by its own manifest does not know of the label.
            Operation::Update => {
                let class = &review.old["metadata"]["labels"][CLASS_LABEL];
                if class.is_string() {
                    set(&mut review.object, "labels", CLASS_LABEL, class);
                }
            }
            Operation::Delete | Operation::Connect => {}
        }
        Ok(())
    }

    async fn validate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        if !(review.kind.group.is_empty() && review.kind.plural == "pods") {
            return Ok(());
        }
        match review.operation {
            // Once more, as others may have changed the Pod since.
            Operation::Create if review.subresource.is_none() => {
                class(&review.object).map_err(|error| review.forbid(&error.to_string()))?;
                tells_latency(review)
            }
            Operation::Update => stays(review).and_then(|()| tells_latency(review)),
            Operation::Create | Operation::Delete | Operation::Connect => Ok(()),
        }
    }
}

/// A latency that nobody can read would be one that nobody keeps. What was stored before stays as it is.
fn tells_latency(review: &Review<'_>) -> Result<(), Failure> {
    let told = |pod: &Value| {
        model::latency::told(|name| pod["metadata"]["annotations"][name].as_str())
            .map_err(|error| error.to_string())
    };
    let told_before = told(&review.old);
    match told(&review.object) {
        Err(error) if review.operation == Operation::Create || told_before.as_ref() != Err(&error) => {
            Err(review.forbid(&error))
        }
        _ => Ok(()),
    }
}

/// Whatever writes it, a Pod stays of the class, and batch of the quota, that it was made for.
fn stays(review: &Review<'_>) -> Result<(), Failure> {
    let [new, old] = [&review.object, &review.old].map(|pod| &pod["metadata"]["labels"]);
    let is_batch = review.old["spec"]["schedulerName"] == FUXI_SCHEDULER;
    let fixed = [CLASS_LABEL, QOS_LABEL].into_iter().chain(is_batch.then_some(QUOTA_LABEL));
    let changed = fixed.into_iter().find(|name| new[name] != old[name]);
    changed.map_or(Ok(()), |name| {
        Err(review.forbid(&format!("label {name} cannot change while the Pod is there; make another Pod")))
    })
}

async fn apply_profiles(review: &mut Review<'_>) -> Result<(), Failure> {
    let Some(kind) = kinds::find(GROUP, "v1alpha1", "colocationprofiles") else { return Ok(()) };
    let profiles = review.context.registry.lister_of(kind).await?;
    if profiles.is_empty() {
        return Ok(());
    }
    let namespace = review.own_namespace().await?;
    let labels = namespace.as_deref().map_or(&Value::Null, |namespace| &namespace["metadata"]["labels"]);
    for profile in profiles.all() {
        if is_for(&profile["spec"], labels, &review.object) {
            apply(&profile["spec"], &mut review.object);
        }
    }
    Ok(())
}

fn is_for(profile: &Value, namespace_labels: &Value, pod: &Value) -> bool {
    let admits = |selector: &Value, labels: &Value| {
        // A selector that cannot be read was stored unchecked: it selects nothing.
        let read = Labels::from_spec(selector);
        read.is_ok_and(|selector| selector.is_none_or(|selector| selector.match_labels(labels)))
    };
    admits(&profile["namespaceSelector"], namespace_labels)
        && admits(&profile["selector"], &pod["metadata"]["labels"])
}

/// Gives a Pod what it does not say itself.
fn apply(profile: &Value, pod: &mut Value) {
    // What contradicts itself is refused later, whatever a profile adds.
    let says_nothing = class(pod) == Ok(None);
    for field in ["labels", "annotations"] {
        let entries = profile[field].as_object().into_iter().flatten();
        for (name, value) in entries.filter(|(name, _)| says_nothing || !SIGNS.contains(&name.as_str())) {
            set(pod, field, name, value);
        }
    }
    if let (true, Value::String(_)) = (says_nothing, &profile["class"]) {
        set(pod, "labels", CLASS_LABEL, &profile["class"]);
    }
    if says_nothing && let Some(name) = profile["priorityClassName"].as_str() {
        name_priority(pod, name);
    }
    let is_batch = class(pod).is_ok_and(|class| class.is_some_and(Class::is_batch));
    if is_batch && profile["quota"].is_string() {
        set(pod, "labels", QUOTA_LABEL, &profile["quota"]);
    }
}

/// Gives a Pod a label or an annotation, unless it has one of this name.
pub(super) fn set(pod: &mut Value, field: &str, name: &str, value: &Value) {
    let metadata = object::entry_object(pod, "metadata");
    let entries = metadata.entry(field).or_insert_with(|| Map::new().into());
    if let Some(entries) = entries.as_object_mut() {
        entries.entry(name).or_insert_with(|| value.clone());
    }
}

/// What all that a Pod says makes of it.
fn class(pod: &Value) -> Result<Option<Class>, Contradiction> {
    let label = |name: &str| pod["metadata"]["labels"][name].as_str();
    class_of(&Signs {
        label: label(CLASS_LABEL),
        koordinator: label(QOS_LABEL),
        priority_class: pod["spec"]["priorityClassName"].as_str(),
        asks_for: Lent::of(|names| asks_for(&pod["spec"], names)),
        scheduler: pod["spec"]["schedulerName"].as_str(),
        has_cpu_policy: !pod["metadata"]["annotations"][CPU_POLICY].is_null(),
    })
}

/// Says the class where everybody looks for it, and what follows from it.
fn settle(pod: &mut Value, class: Option<Class>) {
    let Some(class) = class else { return };
    set(pod, "labels", CLASS_LABEL, &class.as_str().into());
    if class == Class::Pinned {
        set(pod, "annotations", CPU_POLICY, &"pinned".into());
    }
    let of_mid = asks_for_mid(&pod["spec"]).then_some(MID_PRIORITY);
    if let Some(name) = class.priority_class().or(of_mid) {
        name_priority(pod, name);
    }
}

fn asks_for_mid(spec: &Value) -> bool {
    asks_for(spec, [MID_CPU, MID_MEMORY])
}

/// Unless it names one itself. What was reckoned for none, before a webhook made it batch, is reckoned anew.
fn name_priority(pod: &mut Value, name: &str) {
    let spec = object::entry_object(pod, "spec");
    if spec.get("priorityClassName").and_then(Value::as_str).is_none_or(str::is_empty) {
        spec.insert("priorityClassName".into(), name.into());
        spec.remove("priority");
        spec.remove("preemptionPolicy");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settled(mut pod: Value, profiles: &[Value]) -> Value {
        profiles.iter().for_each(|profile| apply(profile, &mut pod));
        let class = class(&pod).unwrap();
        settle(&mut pod, class);
        pod
    }

    #[test]
    fn a_profile_adds_what_is_not_there() {
        let check = |pod: Value, profiles: &[Value], expected: Value| {
            assert_eq!(settled(pod, profiles), expected);
        };
        let batch = json!({"class": "batch", "quota": "q", "labels": {"team": "data"}});
        check(
            json!({"metadata": {}, "spec": {}}),
            std::slice::from_ref(&batch),
            json!({"metadata": {"labels": {"crest.dev/class": "batch", "crest.dev/quota": "q", "team": "data"}},
                "spec": {"priorityClassName": "crest-batch"}}),
        );
        check(
            json!({"metadata": {"labels": {"koordinator.sh/qosClass": "LS", "team": "web"}}, "spec": {}}),
            std::slice::from_ref(&batch),
            json!({"metadata": {"labels": {"crest.dev/class": "shared", "koordinator.sh/qosClass": "LS", "team": "web"}},
                "spec": {}}),
        );
        check(
            json!({"metadata": {}, "spec": {}}),
            &[json!({"class": "free", "priorityClassName": "crest-free"}), batch],
            json!({"metadata": {"labels": {"crest.dev/class": "free", "crest.dev/quota": "q", "team": "data"}},
                "spec": {"priorityClassName": "crest-free"}}),
        );
        let mid = json!([{"resources": {"requests": {"kubernetes.io/mid-cpu": "500"}}}]);
        check(
            json!({"metadata": {}, "spec": {"containers": mid}}),
            &[],
            json!({"metadata": {"labels": {"crest.dev/class": "shared"}},
                "spec": {"containers": mid, "priorityClassName": "crest-mid"}}),
        );
        check(
            json!({"metadata": {"labels": {"koordinator.sh/qosClass": "LSR"}}, "spec": {}}),
            &[],
            json!({"metadata": {"labels": {"crest.dev/class": "pinned", "koordinator.sh/qosClass": "LSR"},
                "annotations": {"crest.dev/cpu-policy": "pinned"}}, "spec": {}}),
        );
    }

    #[test]
    fn a_profile_is_for_whom_it_selects() {
        let check = |profile: Value, expected: bool| {
            let pod = json!({"metadata": {"labels": {"app": "etl"}}});
            assert_eq!(is_for(&profile, &json!({"team": "data"}), &pod), expected, "{profile}");
        };
        let by = |name: &str, value: &str| json!({"matchLabels": {name: value}});
        check(json!({}), true);
        check(json!({"namespaceSelector": by("team", "data"), "selector": by("app", "etl")}), true);
        check(json!({"namespaceSelector": by("team", "web"), "selector": by("app", "etl")}), false);
        check(json!({"selector": by("app", "web")}), false);
        check(json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Odd"}]}}), false);
    }
}
