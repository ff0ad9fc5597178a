//! Rules against interference between apps: at most so many pods of one kind beside each pod of another.
//!
//! Where pods are of both kinds, none is beside itself: "at most 1 of x beside x" lets two of them meet.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::cluster::{Cluster, CountKey};
use crate::pod::{Namespaces, Pod, PodTerm};

/// At most `at_most` pods of `pods` in the domain of each pod of `beside`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interference {
    pub pods: PodTerm,
    /// Of the same topology key as `pods`.
    pub beside: PodTerm,
    pub at_most: u32,
}

/// How a pod stands to a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Side {
    /// It is one of those that are limited.
    pub(crate) is_limited: bool,
    /// It is one of those beside which they are.
    pub(crate) is_guarded: bool,
}

/// All rules, by name.
#[derive(Debug, Default)]
pub(crate) struct Interferences {
    by_name: BTreeMap<String, Interference>,
}

impl Interferences {
    pub(crate) fn get(&self, name: &str) -> Option<&Interference> {
        self.by_name.get(name)
    }

    /// What stood there before.
    pub(crate) fn set(&mut self, name: &str, rule: Option<Interference>) -> Option<Interference> {
        match rule {
            Some(rule) => self.by_name.insert(name.to_owned(), rule),
            None => self.by_name.remove(name),
        }
    }

    /// The rules that say something about `pod`.
    pub(crate) fn binding(&self, pod: &Pod, namespaces: &Namespaces) -> Vec<(String, Side)> {
        let side = |rule: &Interference| Side {
            is_limited: rule.pods.matches(pod, namespaces),
            is_guarded: rule.beside.matches(pod, namespaces),
        };
        let sides = self.by_name.iter().map(|(name, rule)| (name, side(rule)));
        let binding = sides.filter(|(_, side)| side.is_limited || side.is_guarded);
        binding.map(|(name, side)| (name.clone(), side)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

/// How many pods of each side are near.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Near {
    pub(crate) limited: u64,
    pub(crate) guarded: u64,
    /// Those that are both.
    pub(crate) both: u64,
}

impl Near {
    /// Whether a pod more of this side would be too much.
    pub(crate) fn is_full(self, side: Side, at_most: u32) -> bool {
        let at_most = u64::from(at_most);
        let others_are_guarded = self.guarded > self.both;
        side.is_guarded && self.limited > at_most
            || side.is_limited && others_are_guarded && self.limited + 1 > at_most
            || side.is_limited && self.both > 0 && self.limited > at_most
    }
}

impl Cluster {
    /// A rule against interference came or changed.
    pub fn set_interference(&mut self, name: &str, rule: Interference) {
        if self.interferences.get(name) == Some(&rule) {
            return;
        }
        for key in CountKey::of_interference(&rule) {
            if self.counts.acquire(&key) {
                self.fill_count(&key);
            }
        }
        self.change_interference(name, Some(rule));
    }

    pub fn remove_interference(&mut self, name: &str) {
        if self.interferences.get(name).is_some() {
            self.change_interference(name, None);
        }
    }

    fn change_interference(&mut self, name: &str, rule: Option<Interference>) {
        let before = self.interferences.set(name, rule);
        self.reclassify();
        let keys = before.iter().flat_map(CountKey::of_interference);
        keys.for_each(|key| self.drop_count(&key));
        self.structure += 1;
    }
}
