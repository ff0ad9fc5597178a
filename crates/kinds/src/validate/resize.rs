//! The resize of a running Pod: another share of processor and memory, the same promise.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Faults, items, list, pinning, text};
use crate::defaults;
use crate::status::FieldError;

/// What a node can change while a container runs.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
/// Who runs a Pod without the server's word: it would not hear of the resize.
const STATIC: &str = "kubernetes.io/config.mirror";

/// A node's own Pod is on that node.
pub(super) fn check_static(pod: &Value, faults: &mut Faults) {
    let mark = &pod["metadata"]["annotations"][STATIC];
    if !mark.is_null() && pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        let message = "must set spec.nodeName if mirror pod annotation is set";
        faults.push(FieldError::invalid(format!("metadata.annotations[{STATIC}]"), mark.clone(), message));
    }
}

pub(super) fn check_update(new: &Value, old: &Value, faults: &mut Faults) {
    if !old["metadata"]["annotations"][STATIC].is_null() {
        faults.push(FieldError::forbidden("spec", "static pods cannot be resized"));
        return;
    }
    let (class, before) = (defaults::quality_of_service(&new["spec"]), text(&old["status"], "qosClass"));
    if !before.is_empty() && class != before {
        let message = "Pod QOS Class may not change as a result of resizing";
        faults.push(FieldError::invalid("spec", class, message));
    }
    pinning::check_resize(new, old, faults);
    for field in ["containers", "initContainers"] {
        for (path, container) in items("spec", &new["spec"], field) {
            let name = text(container, "name");
            let had = list(&old["spec"], field).iter().find(|had| text(had, "name") == name);
            if let Some(had) = had {
                let path = format!("{path}.resources");
                resources(&path, &container["resources"], &had["resources"], faults);
            }
        }
    }
}

fn resources(path: &str, new: &Value, old: &Value, faults: &mut Faults) {
    for field in ["requests", "limits"] {
        let names = |resources: &Value| -> BTreeSet<String> {
            resources[field].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
        };
        let (now, before) = (names(new), names(old));
        let path = format!("{path}.{field}");
        for name in now.union(&before).filter(|name| !RESIZABLE.contains(&name.as_str())) {
            if new[field][name] != old[field][name] {
                let message = "only cpu and memory resources are mutable";
                faults.push(FieldError::forbidden(path.clone(), message));
            }
        }
        if before.difference(&now).any(|name| RESIZABLE.contains(&name.as_str())) {
            let message = format!("resource {field} cannot be removed");
            faults.push(FieldError::forbidden(path, message));
        }
    }
}
