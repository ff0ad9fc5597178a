//! What a quota's status is to say.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use kinds::Kind;
use kinds::quota::{Quota, part};
use serde_json::Value;

/// The kinds that the quota says anything of.
pub(crate) fn counted(quota: &ResourceQuota) -> Vec<&'static Kind> {
    let hard = quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten());
    let names: Vec<&str> = hard.map(|(name, _)| name.as_str()).collect();
    let is_counted =
        |kind: &&Kind| kind.is_namespaced() && kind.is_stored() && names.iter().any(|name| part(kind, name));
    let mut kinds: Vec<&Kind> = Vec::new();
    for kind in kinds::all().iter().filter(is_counted) {
        // The versions of a kind are the same objects.
        if !kinds.iter().any(|known| known.shares_storage_with(kind)) {
            kinds.push(kind);
        }
    }
    kinds
}

/// The resources of users' own kinds of which the quota says how many there may be: plural and group, with the name that
/// says so.
pub(crate) fn counted_elsewhere(quota: &ResourceQuota) -> Vec<(&str, &str, &str)> {
    let hard = quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten());
    let named = hard.filter_map(|(name, _)| {
        let (plural, group) = name.strip_prefix("count/")?.split_once('.')?;
        Some((plural, group, name.as_str()))
    });
    named.filter(|(_, _, name)| !kinds::all().iter().any(|kind| part(kind, name))).collect()
}

/// The status, if it is another than the quota has. `objects` are all of its namespace that [`counted`] names, `counts`
/// how many there are of what [`counted_elsewhere`] names.
pub(crate) fn decide(
    quota: &ResourceQuota,
    objects: &[(&'static Kind, Value)],
    counts: &BTreeMap<String, usize>,
    now: Timestamp,
) -> Option<ResourceQuotaStatus> {
    let value = serde_json::to_value(quota).ok()?;
    let objects = objects.iter().map(|(kind, object)| (*kind, object));
    let mut counted = Quota::new(&value).recount(objects, now);
    for (name, count) in counts {
        counted["used"][name] = count.to_string().into();
    }
    let status: ResourceQuotaStatus = serde_json::from_value(counted).ok()?;
    (quota.status.as_ref() != Some(&status)).then_some(status)
}
