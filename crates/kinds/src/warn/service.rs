//! Warnings about Services: fields that their type ignores, addresses that could be written shorter.

use serde_json::Value;

use super::{Path, list};
use crate::validate::address;

pub(super) fn check(object: &Value, warnings: &mut Vec<String>) {
    let spec = &object["spec"];
    if !object["metadata"]["annotations"]["service.kubernetes.io/topology-aware-hints"].is_null() {
        let warning = "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use \
                       service.kubernetes.io/topology-mode instead";
        warnings.push(warning.to_owned());
    }
    let is_set = |field: &str| match &spec[field] {
        Value::String(text) => !text.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        _ => false,
    };
    let is_headless = spec["clusterIP"] == "None";
    let is_name = spec["type"] == "ExternalName";
    let mut warn = |is_so: bool, warning: &str| is_so.then(|| warnings.push(warning.to_owned()));
    warn(
        is_headless && is_set("sessionAffinity") && spec["sessionAffinity"] != "None",
        "spec.SessionAffinity is ignored for headless services",
    );
    warn(is_headless && is_set("loadBalancerIP"), "spec.loadBalancerIP is ignored for headless services");
    warn(is_headless && is_set("externalIPs"), "spec.externalIPs is ignored for headless services");
    warn(
        is_set("externalName") && !is_name,
        "spec.externalName is ignored when spec.type is not \"ExternalName\"",
    );
    warn(is_set("externalIPs") && is_name, "spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    warn(
        is_set("externalIPs") && !is_name && !is_headless,
        "spec.externalIPs is deprecated since v1.36 and will be removed",
    );
    warn(
        spec["trafficDistribution"] == "PreferClose",
        "spec.trafficDistribution: PreferClose is deprecated; PreferSameZone means the same",
    );
    for field in ["clusterIPs", "externalIPs", "loadBalancerSourceRanges"] {
        for (index, written) in list(spec, field) {
            spelling(&format_args!("spec.{field}[{index}]"), written, warnings);
        }
    }
    spelling(&"spec.loadBalancerIP", &spec["loadBalancerIP"], warnings);
}

/// Two spellings of an address look like two addresses.
pub(super) fn spelling(path: Path<'_>, written: &Value, warnings: &mut Vec<String>) {
    let written = written.as_str().unwrap_or_default();
    if !written.is_empty() && written != "None" && !address::is_canonical(written) {
        warnings.push(format!("{path}: \"{written}\" is not how this address is usually written"));
    }
}
