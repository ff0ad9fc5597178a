//! Which quotas are in force: as they stand, where they fit together; as they stood when they did, where not.
//!
//! ```text
//!   specs as stored ──► do they fit? ──yes──► in force
//!                        ▲   │ no
//!                        │   ▼
//!                        └── whoever is at fault stands as before, or, where it never fitted, not at all
//! ```
//! So one bad quota holds up nobody but itself, and what it held before stays sure.

use std::collections::{BTreeMap, BTreeSet};

use fuxi::grants::{Quota, QuotaId, QuotaTree, ResourceNames, Resources, TreeFault};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::batch_quota::BatchQuotaSpec;
use model::{Bytes, MilliCpu};

use crate::sigma::amount;

pub(in crate::fuxi) type Specs = BTreeMap<String, BatchQuotaSpec>;

/// The numbers of quotas' names. Numbers are not used again for another name.
#[derive(Debug, Default)]
pub(in crate::fuxi) struct Numbers(BTreeMap<String, QuotaId>);

impl Numbers {
    pub(super) fn known(&self, name: &str) -> Option<QuotaId> {
        self.0.get(name).copied()
    }

    pub(in crate::fuxi) fn id(&mut self, name: &str) -> QuotaId {
        let next = QuotaId(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        *self.0.entry(name.to_owned()).or_insert(next)
    }
}

/// What is in force, and why the rest is not.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) in_force: Specs,
    pub(super) tree: QuotaTree,
    /// What is wrong with whom.
    pub(super) faults: BTreeMap<String, String>,
}

/// Judges all quotas that there are. `before` is what was in force.
pub(super) fn judge(stored: &Specs, before: &Specs, numbers: &mut Numbers) -> Judgement {
    let mut in_force = stored.clone();
    let mut faults: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    loop {
        match QuotaTree::try_new(quotas(&in_force, numbers), &ResourceNames::default(), None) {
            Ok(tree) => {
                let faults = faults.into_iter().map(|(name, texts)| (name, joined(texts))).collect();
                return Judgement { in_force, tree, faults };
            }
            Err(invalid) => {
                let mut at_fault = BTreeSet::new();
                for fault in &invalid.faults {
                    for name in concerned(fault, &in_force) {
                        faults.entry(name.clone()).or_default().insert(fault.to_string());
                        at_fault.insert(name);
                    }
                }
                step_back(&mut in_force, before, &at_fault);
            }
        }
    }
}

fn joined(texts: BTreeSet<String>) -> String {
    texts.into_iter().collect::<Vec<_>>().join("; ")
}

/// Whose fault it may be. Where parts are guaranteed more than their whole, any of them may be the newcomer.
fn concerned(fault: &TreeFault, specs: &Specs) -> Vec<String> {
    let mut names: Vec<String> = fault.names().into_iter().map(str::to_owned).collect();
    if let TreeFault::PartsAboveMin { name, .. } = fault {
        let is_part = |spec: &BatchQuotaSpec| spec.parent.as_ref() == Some(name);
        names.extend(specs.iter().filter(|(_, spec)| is_part(spec)).map(|(part, _)| part.clone()));
    }
    names
}

/// What has changed goes back to what was in force, and what is new goes. Only where nothing is either, all goes.
fn step_back(specs: &mut Specs, before: &Specs, at_fault: &BTreeSet<String>) {
    let changed: Vec<&String> =
        at_fault.iter().filter(|name| before.get(*name) != specs.get(*name)).collect();
    if changed.is_empty() {
        specs.retain(|name, _| !at_fault.contains(name));
    }
    for name in changed {
        match before.get(name) {
            Some(spec) => drop(specs.insert(name.clone(), spec.clone())),
            None => drop(specs.remove(name)),
        }
    }
}

fn quotas(specs: &Specs, numbers: &mut Numbers) -> Vec<Quota> {
    let quota = |(name, spec): (&String, &BatchQuotaSpec)| Quota {
        id: numbers.id(name),
        name: name.clone(),
        parent: spec.parent.clone(),
        min: resources(&spec.min, 0),
        max: resources(&spec.max, u64::MAX),
        weight: spec.weight,
    };
    specs.iter().map(quota).collect()
}

/// What `amounts` say, and `otherwise` of what they do not name.
fn resources(amounts: &BTreeMap<String, Text>, otherwise: u64) -> Resources {
    let of = |name: &str| amounts.get(name).and_then(|text| amount(name, text)).unwrap_or(otherwise);
    Resources {
        cpu: MilliCpu(of("cpu")),
        memory: Bytes(of("memory")),
        workers: of("workers"),
        extended: [otherwise; fuxi::grants::EXTENDED],
    }
}

/// What each quota uses with all its parts, where `of_leaf` knows it of those without parts.
pub(super) fn usage(in_force: &Specs, of_leaf: impl Fn(&str) -> Resources) -> BTreeMap<String, Resources> {
    let mut used: BTreeMap<String, Resources> = BTreeMap::new();
    for name in in_force.keys().filter(|name| !has_parts(in_force, name)) {
        let own = of_leaf(name);
        for group in std::iter::successors(Some(name), |name| in_force.get(*name)?.parent.as_ref()) {
            let sum = used.entry(group.clone()).or_default();
            *sum = sum.plus(own);
        }
    }
    used
}

fn has_parts(specs: &Specs, name: &str) -> bool {
    specs.values().any(|spec| spec.parent.as_deref() == Some(name))
}

/// Which quota keeps one more of `shape` from `quota`: itself, or one that it is a part of. `used` is what each uses.
pub(super) fn spent<'a>(
    in_force: &'a Specs,
    used: &BTreeMap<String, Resources>,
    (quota, shape): (&'a str, Resources),
) -> Option<&'a str> {
    let parent = |name: &&'a str| in_force.get(*name)?.parent.as_deref();
    std::iter::successors(Some(quota), parent).find(|name| {
        let max = in_force.get(*name).map(|spec| resources(&spec.max, u64::MAX));
        let with = used.get(*name).copied().unwrap_or_default().plus(shape);
        max.is_some_and(|max| !with.fits_in(max))
    })
}

/// What all quotas are guaranteed together.
pub(super) fn guaranteed(in_force: &Specs) -> Resources {
    let tops = in_force.values().filter(|spec| spec.parent.is_none());
    tops.fold(Resources::NOTHING, |sum, spec| sum.plus(resources(&spec.min, 0)))
}

/// Why jobs of `namespace` get nothing by this quota; `None` if they may.
pub(super) fn refusal(in_force: &Specs, quota: &str, namespace: &str) -> Option<String> {
    let Some(spec) = in_force.get(quota) else {
        return Some(format!(
            "BatchQuota `{quota}` is not there, or not in force: `kubectl get batchquotas` shows those that are"
        ));
    };
    if has_parts(in_force, quota) {
        let parts = in_force.iter().filter(|(_, spec)| spec.parent.as_deref() == Some(quota));
        let parts: Vec<&str> = parts.map(|(name, _)| name.as_str()).collect();
        return Some(format!("BatchQuota `{quota}` has parts; name one of them: {}", parts.join(", ")));
    }
    let may = spec.namespaces.is_empty() || spec.namespaces.iter().any(|each| each == namespace);
    (!may).then(|| format!("BatchQuota `{quota}` is not for namespace `{namespace}` (its spec.namespaces)"))
}

#[cfg(test)]
mod tests;
