//! What may not change of a Pod.

use serde_json::Value;

use super::{Faults, list, put, put_each, without_nulls};
use crate::status::FieldError;
use crate::validate::{in_range, items, pinning, placement, text};

const STATIC: &str = "kubernetes.io/config.mirror";

pub(super) fn check(new: &Value, old: &Value, faults: &mut Faults) {
    annotations(&new["metadata"]["annotations"], &old["metadata"]["annotations"], faults);
    pinning::check_update(new, old, faults);
    spec(&new["spec"], &old["spec"], faults);
}

/// Marks that say what a Pod is, or what confines it.
fn annotations(new: &Value, old: &Value, faults: &mut Faults) {
    let names = |annotations: &Value| -> Vec<String> {
        annotations.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let mut all = names(new);
    all.extend(names(old).into_iter().filter(|name| new[name].is_null()));
    for name in all.iter().filter(|name| new[*name] != old[*name]) {
        if *name == STATIC || name.starts_with("container.apparmor.security.beta.kubernetes.io/") {
            let message = "may not be added, changed or removed";
            faults.push(FieldError::forbidden(format!("metadata.annotations[{name}]"), message));
        }
    }
}

/// A Pod's containers run: only what takes effect while they do may change.
fn spec(new: &Value, spec: &Value, faults: &mut Faults) {
    let mut wanted = new.clone();
    if !wanted.is_object() {
        // Decoding refuses it; nothing could be compared.
        return;
    }
    for field in ["containers", "initContainers"] {
        if list(&wanted, field).len() != list(spec, field).len() {
            let message = "pod updates may not add or remove containers";
            faults.push(FieldError::forbidden(format!("spec.{field}"), message));
            return;
        }
        images(field, &wanted, faults);
        put_each(wanted.get_mut(field), "image", list(spec, field));
    }
    if !deadline(&wanted, spec, faults) {
        return;
    }
    tolerations(&wanted, spec, faults);
    gates(&wanted, spec, faults);
    if !list(spec, "schedulingGates").is_empty() {
        node_selector(&mut wanted, spec, faults);
        node_affinity(&mut wanted, spec, faults);
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        put(&mut wanted, &[field], &spec[field]);
    }
    if without_nulls(&wanted) != without_nulls(spec) {
        let message = "pod updates may not change fields other than `spec.containers[*].image`,\
                       `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` \
                       (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` \
                       (allow it to be set to 1 if it was previously negative)";
        faults.push(FieldError::forbidden("spec", message));
    }
}

/// An image may change to another, which is told beside what holds of containers anyway.
fn images(field: &str, spec: &Value, faults: &mut Faults) {
    for (path, container) in items("spec", spec, field) {
        let image = text(container, "image");
        if image.is_empty() {
            faults.push(FieldError::required(format!("{path}.image"), ""));
        } else if image.trim() != image {
            let message = "must not have leading or trailing whitespace";
            faults.push(FieldError::invalid(format!("{path}.image"), image, message));
        }
    }
}

/// A deadline may come, and may come nearer. Returns whether to look further.
fn deadline(wanted: &Value, spec: &Value, faults: &mut Faults) -> bool {
    const FIELD: &str = "activeDeadlineSeconds";
    let count = faults.len();
    in_range("spec", wanted, FIELD, 0..=i64::from(i32::MAX), faults);
    if faults.len() > count {
        return false;
    }
    let Some(old) = spec[FIELD].as_i64() else { return true };
    let message = match wanted[FIELD].as_i64() {
        Some(new) if new <= old => return true,
        Some(_) => "must be less than or equal to previous value",
        None => "must not update from a positive integer to nil value",
    };
    faults.push(FieldError::invalid(format!("spec.{FIELD}"), wanted[FIELD].clone(), message));
    wanted[FIELD].is_null()
}

/// Tolerations may come; one that is there may change how long it lasts.
fn tolerations(wanted: &Value, spec: &Value, faults: &mut Faults) {
    let same = |left: &Value, right: &Value| {
        ["key", "operator", "value", "effect"].iter().all(|field| left[*field] == right[*field])
    };
    let kept = list(spec, "tolerations")
        .iter()
        .all(|old| list(wanted, "tolerations").iter().any(|new| same(old, new)));
    if !kept {
        let message = "existing toleration can not be modified except its tolerationSeconds";
        faults.push(FieldError::forbidden("spec.tolerations", message));
        return;
    }
    placement::tolerations("spec", wanted, faults);
}

/// Gates are lifted, never put up.
fn gates(wanted: &Value, spec: &Value, faults: &mut Faults) {
    for (path, gate) in items("spec", wanted, "schedulingGates") {
        if !list(spec, "schedulingGates").contains(gate) {
            let message = format!("only deletion is allowed, but found new scheduling gate {}", gate["name"]);
            faults.push(FieldError::forbidden(format!("{path}.name"), message));
        }
    }
}

/// A Pod that is held back may be narrowed down: nothing was decided on it yet.
fn node_selector(wanted: &mut Value, spec: &Value, faults: &mut Faults) {
    if wanted["nodeSelector"] == spec["nodeSelector"] {
        return;
    }
    let narrowed = spec["nodeSelector"]
        .as_object()
        .is_none_or(|old| old.iter().all(|(key, value)| wanted["nodeSelector"].get(key) == Some(value)));
    if !narrowed {
        let message = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        faults.push(FieldError::invalid("spec.nodeSelector", wanted["nodeSelector"].clone(), message));
    }
    put(wanted, &["nodeSelector"], &spec["nodeSelector"]);
}

/// As [`node_selector`]: terms may ask for more.
fn node_affinity(wanted: &mut Value, spec: &Value, faults: &mut Faults) {
    const PATH: &str =
        "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (new, old) = (&wanted["affinity"]["nodeAffinity"], &spec["affinity"]["nodeAffinity"]);
    if without_nulls(new) == without_nulls(old) {
        return;
    }
    let terms = |affinity: &Value| {
        list(&affinity["requiredDuringSchedulingIgnoredDuringExecution"], "nodeSelectorTerms").to_vec()
    };
    let (terms, before) = (terms(new), terms(old));
    if !before.is_empty() && terms.len() != before.len() {
        let message = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        faults.push(FieldError::invalid(PATH, terms, message));
    } else {
        for (index, (term, before)) in terms.iter().zip(&before).enumerate() {
            if !is_narrower(term, before) {
                let message = "only additions are allowed (no mutations or deletions)";
                faults.push(FieldError::invalid(format!("{PATH}[{index}]"), term.clone(), message));
            }
        }
    }
    let has_others =
        ["podAffinity", "podAntiAffinity"].iter().any(|field| !wanted["affinity"][*field].is_null());
    if old.is_null() && spec["affinity"].is_null() && !has_others {
        put(wanted, &["affinity"], &Value::Null);
    } else {
        put(wanted, &["affinity", "nodeAffinity"], old);
    }
}

/// Whether a term asks for all that it asked for before, in the same order. One without demands selects nothing, and
/// goes on to.
fn is_narrower(term: &Value, before: &Value) -> bool {
    const FIELDS: [&str; 2] = ["matchExpressions", "matchFields"];
    let was_empty = FIELDS.iter().all(|field| list(before, field).is_empty());
    let is_empty = FIELDS.iter().all(|field| list(term, field).is_empty());
    FIELDS.iter().all(|field| list(term, field).starts_with(list(before, field))) && (!was_empty || is_empty)
}
