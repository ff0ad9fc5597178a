//! What may not change of a Service: the addresses that it is known by.

use serde_json::Value;

use super::{Faults, list};
use crate::status::FieldError;

const ONCE: &str = "may not change once set";

pub(super) fn check(new: &Value, old: &Value, faults: &mut Faults) {
    let are = |kind: &str| new["type"] == kind && old["type"] == kind;
    if new["type"] != "ExternalName" && old["type"] != "ExternalName" {
        addresses(new, old, faults);
        families(new, old, faults);
    }
    if are("LoadBalancer") && new["loadBalancerClass"] != old["loadBalancerClass"] {
        let class = new["loadBalancerClass"].clone();
        faults.push(FieldError::invalid("spec.loadBalancerClass", class, ONCE));
    }
    let is_checked = |spec: &Value| spec["externalTrafficPolicy"] == "Local";
    let has_port = are("LoadBalancer") && is_checked(new) && is_checked(old);
    if has_port && new["healthCheckNodePort"] != old["healthCheckNodePort"] {
        faults.push(FieldError::forbidden("spec.healthCheckNodePort", "field is immutable"));
    }
}

fn is_headless(spec: &Value) -> bool {
    matches!(list(spec, "clusterIPs"), [only] if only == "None")
}

fn is_single(spec: &Value) -> bool {
    spec["ipFamilyPolicy"] == "SingleStack"
}

fn addresses(new: &Value, old: &Value, faults: &mut Faults) {
    let (addresses, before) = (list(new, "clusterIPs"), list(old, "clusterIPs"));
    if is_headless(new) && is_headless(old) {
        return;
    }
    let mut refused = |index: usize, message: &str| {
        let path = format!("spec.clusterIPs[{index}]");
        faults.push(FieldError::invalid(path, addresses.to_vec(), message));
    };
    if addresses.len() == before.len() {
        let changed = addresses.iter().zip(before).enumerate().filter(|(_, (new, old))| new != old);
        changed.for_each(|(index, _)| refused(index, ONCE));
        return;
    }
    match (addresses.first(), before.first()) {
        (None, Some(_)) => refused(0, "primary clusterIP can not be unset"),
        (Some(new), Some(old)) if new != old => refused(0, ONCE),
        _ => {}
    }
    if addresses.len() == 1 && before.len() > 1 && !is_single(new) {
        let message = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        let policy = new["ipFamilyPolicy"].clone();
        faults.push(FieldError::invalid("spec.ipFamilyPolicy", policy, message));
    }
}

fn families(new: &Value, old: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.ipFamilies[0]";
    let (families, before) = (list(new, "ipFamilies"), list(old, "ipFamilies"));
    if is_headless(new) || is_headless(old) {
        return;
    }
    let value = families.to_vec();
    if families.len() == before.len() {
        for _ in families.iter().zip(before).filter(|(new, old)| new != old) {
            faults.push(FieldError::invalid(PATH, value.clone(), ONCE));
        }
        return;
    }
    if let (Some(new), Some(old)) = (families.first(), before.first())
        && new != old
    {
        faults.push(FieldError::invalid(PATH, value, ONCE));
    }
    if families.len() == 1 && before.len() > 1 && !is_single(new) {
        let message = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        let policy = new["ipFamilyPolicy"].clone();
        faults.push(FieldError::invalid("spec.ipFamilyPolicy", policy, message));
    }
}
