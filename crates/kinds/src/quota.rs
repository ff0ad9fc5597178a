//! Resource quotas: what an object uses, whether a quota is about it, and whether it still fits. Pure.
//!
//! ```text
//!   object ──usage──► amounts ──charge (before a create)──► status.used, or what is exceeded
//!   all objects of a namespace ──recount (by a controller)──► status
//! ```
//! A quota is only ever charged before a write, never given back when the write fails: the recount does that, because
//! it alone sees what is really there.

mod scope;
mod usage;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::Kind;
use crate::resources::{Amount, Amounts};

pub use usage::{of_object as usage, part};

/// What every container has to say if a quota limits it.
const MUST_SAY: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// One ResourceQuota.
#[derive(Clone, Copy, Debug)]
pub struct Quota<'a> {
    quota: &'a Value,
}

/// The names of what would be exceeded, with what was asked, what is used and what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    pub requested: String,
    pub used: String,
    pub limited: String,
}

impl<'a> Quota<'a> {
    pub fn new(quota: &'a Value) -> Self {
        Self { quota }
    }

    pub fn name(self) -> &'a str {
        self.quota["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// What the controller has taken note of; a quota holds nobody to anything before that.
    fn hard(self) -> Amounts {
        Amount::parse_all(&self.quota["status"]["hard"])
    }

    fn used(self) -> Amounts {
        Amount::parse_all(&self.quota["status"]["used"])
    }

    /// Whether the quota says anything of `object`.
    pub fn is_about(self, kind: &Kind, object: &Value) -> bool {
        self.hard().keys().any(|name| part(kind, name)) && scope::matches(self.quota, kind, object)
    }

    /// Why an object cannot be counted: it does not say what the quota limits.
    pub fn must_say(self, kind: &Kind, object: &Value) -> Result<(), String> {
        if (kind.group, kind.plural) != ("", "pods") {
            return Ok(());
        }
        let hard = self.hard();
        let computed: BTreeSet<&str> =
            hard.keys().map(String::as_str).filter(|name| MUST_SAY.contains(name)).collect();
        let mut missing: Vec<(&str, Vec<&str>)> = Vec::new();
        for list in ["initContainers", "containers"] {
            for container in object["spec"][list].as_array().into_iter().flatten() {
                let said = usage::of_container(container, &object["spec"]["resources"]);
                let absent = computed.iter().filter(|name| !said.contains_key(**name));
                let name = container["name"].as_str().unwrap_or_default();
                for resource in absent {
                    match missing.iter_mut().find(|(known, _)| known == resource) {
                        Some((_, names)) => names.push(name),
                        None => missing.push((resource, vec![name])),
                    }
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let said: Vec<String> =
            missing.iter().map(|(resource, names)| format!("{resource} for: {}", names.join(","))).collect();
        Err(format!("must specify {}", said.join("; ")))
    }

    /// The names that the quota limits but whose use nobody has counted yet.
    pub fn uncounted(self, kind: &Kind) -> Vec<String> {
        let used = self.used();
        self.hard().into_keys().filter(|name| part(kind, name) && !used.contains_key(name)).collect()
    }

    /// `status.used` once `more` is used as well; `None` if nothing of it is limited.
    pub fn charge(self, more: &Amounts) -> Result<Option<Value>, Exceeded> {
        let (hard, mut used) = (self.hard(), self.used());
        let more: Amounts = more
            .iter()
            .filter(|(name, amount)| hard.contains_key(*name) && !amount.is_zero())
            .map(|(name, amount)| (name.clone(), *amount))
            .collect();
        if more.is_empty() {
            return Ok(None);
        }
        let before = used.clone();
        crate::resources::add(&mut used, &more);
        let over: Vec<&String> = more.keys().filter(|name| used[*name] > hard[*name]).collect();
        if over.is_empty() {
            return Ok(Some(written(&used)));
        }
        let list = |amounts: &Amounts| {
            let amount = |name: &String| amounts.get(name).copied().unwrap_or_default();
            over.iter().map(|name| format!("{name}={}", amount(name))).collect::<Vec<_>>().join(",")
        };
        Err(Exceeded { requested: list(&more), used: list(&before), limited: list(&hard) })
    }

    /// The whole status, from all objects of the quota's namespace. A kind whose objects are not given counts as none.
    pub fn recount<'o>(self, objects: impl Iterator<Item = (&'o Kind, &'o Value)>, now: Timestamp) -> Value {
        let spec = &self.quota["spec"]["hard"];
        let hard = Amount::parse_all(spec);
        let mut used: Amounts = hard.keys().map(|name| (name.clone(), Amount::default())).collect();
        for (kind, object) in objects.filter(|(kind, object)| scope::matches(self.quota, kind, object)) {
            let amounts = usage(kind, object, now);
            let limited = amounts.into_iter().filter(|(name, _)| hard.contains_key(name));
            crate::resources::add(&mut used, &limited.collect());
        }
        json!({"hard": spec, "used": written(&used)})
    }
}

/// What `new` uses beyond what `old` used.
pub fn growth(new: &Amounts, old: &Amounts) -> Amounts {
    let before = |name: &String| old.get(name).copied().unwrap_or_default();
    new.iter().map(|(name, amount)| (name.clone(), amount.minus(before(name)))).collect()
}

fn written(amounts: &Amounts) -> Value {
    Value::Object(
        amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests;
