//! Volumes that are promised: whose pod has its node is to have them, though neither they nor the claims say so yet.
//!
//! ```text
//!   needs tell what is free ──► places: without what others are promised ──► placed ──► choose: promised
//!                                    ▲                                                        │
//!                                    └── the claim is bound, its pod gone or not bound after all ──┘
//! ```

use std::collections::{BTreeMap, BTreeSet};

use sigma::PodId;
use sigma::node::Node;
use sigma::volume::Place;

use crate::key::ObjectKey;
use crate::volumes::{Candidate, Choice, Needs};

/// All promises.
#[derive(Debug, Default)]
pub(super) struct Stock {
    /// For which claim each volume is.
    by_volume: BTreeMap<String, ObjectKey>,
    by_claim: BTreeMap<ObjectKey, String>,
    by_pod: BTreeMap<PodId, BTreeSet<ObjectKey>>,
    /// What volumes say themselves: pods that wait are not told anew of what they can have whenever one is taken.
    taken: BTreeMap<String, ObjectKey>,
    /// Counts promises.
    pub(super) version: u64,
}

/// A claim and the volume that it is to have.
pub(crate) type Promised = (ObjectKey, String);

impl Stock {
    /// Where the pod may go for the claims that have no volume.
    pub(super) fn places(&self, needs: &Needs) -> impl Iterator<Item = Place> {
        needs.choices.iter().filter_map(|choice| choice.place(|volume| self.is_left(choice, volume)))
    }

    /// Whether the claim could have the volume: who is promised one has that one.
    fn is_left(&self, choice: &Choice, volume: &Candidate) -> bool {
        if self.taken.get(&volume.name).is_some_and(|claim| *claim != choice.claim) {
            return false;
        }
        match (self.by_claim.get(&choice.claim), self.by_volume.get(&volume.name)) {
            (Some(own), _) => *own == volume.name,
            (None, taken) => taken.is_none(),
        }
    }

    /// Promises the pod's claims a volume each that `node` reaches. `None`, and nothing is promised, where one can have none.
    pub(super) fn choose(&mut self, id: &PodId, needs: &Needs, node: &Node) -> Option<Vec<Promised>> {
        let mut chosen: Vec<Promised> = Vec::new();
        for choice in &needs.choices {
            let is_fine = |volume: &&Candidate| {
                volume.is_within_reach(node)
                    && self.is_left(choice, volume)
                    && !chosen.iter().any(|(_, taken)| *taken == volume.name)
            };
            match choice.volumes.iter().find(is_fine) {
                Some(volume) => chosen.push((choice.claim.clone(), volume.name.clone())),
                None if choice.is_made_on(node) => {}
                None => return None,
            }
        }
        for (claim, volume) in &chosen {
            self.by_claim.insert(claim.clone(), volume.clone());
            self.by_pod.entry(id.clone()).or_default().insert(claim.clone());
            let before = self.by_volume.insert(volume.clone(), claim.clone());
            self.version += u64::from(before.as_ref() != Some(claim));
        }
        Some(chosen)
    }

    /// A volume says for which claim it is, or for none, or is gone.
    /// Whether it was another's, and is free now.
    pub(super) fn set_taken(&mut self, volume: &str, claim: Option<ObjectKey>) -> bool {
        match claim {
            Some(claim) => {
                self.taken.insert(volume.to_owned(), claim);
                false
            }
            None => self.taken.remove(volume).is_some(),
        }
    }

    /// The pod is gone, or was not bound after all.
    pub(super) fn release(&mut self, id: &PodId) {
        self.release_where(id, |_| true);
    }

    /// Of what was promised for the pod, what its claims have by now.
    pub(super) fn settle(&mut self, id: &PodId, needs: Option<&Needs>) {
        let waits = |claim: &ObjectKey| {
            needs.is_some_and(|needs| needs.choices.iter().any(|choice| choice.claim == *claim))
        };
        self.release_where(id, |claim| !waits(claim));
    }

    fn release_where(&mut self, id: &PodId, is_meant: impl Fn(&ObjectKey) -> bool) {
        let Some(mut claims) = self.by_pod.remove(id) else { return };
        claims.retain(|claim| {
            if !is_meant(claim) {
                return true;
            }
            if let Some(volume) = self.by_claim.remove(claim) {
                self.by_volume.remove(&volume);
            }
            false
        });
        if !claims.is_empty() {
            self.by_pod.insert(id.clone(), claims);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::PersistentVolume;
    use serde_json::json;

    use super::*;

    fn node(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            labels: [("host".to_owned(), name.to_owned())].into(),
            ..Node::default()
        }
    }

    /// The claims of a pod, each with the volumes `name@host` that are free for it, the best first.
    fn needs(claims: &[(&str, &[&str])]) -> Needs {
        let volume = |(rank, text): (usize, &&str)| {
            let (name, host) = text.split_once('@').unwrap();
            let here = json!({ "key": "host", "operator": "In", "values": [host] });
            let volume: PersistentVolume = serde_json::from_value(json!({ "metadata": { "name": name }, "spec": {
                "capacity": { "storage": format!("{}Gi", rank + 1) },
                "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [here] }] } } } }))
            .unwrap();
            Arc::new(volume)
        };
        let choice = |(claim, volumes): &(&str, &[&str])| {
            let free: Vec<_> = volumes.iter().enumerate().map(volume).collect();
            Choice::of(ObjectKey::new("n", claim), &free, Some(Vec::new()))
        };
        Needs { choices: claims.iter().map(choice).collect(), ..Needs::default() }
    }

    fn choose(stock: &mut Stock, pod: &str, needs: &Needs, host: &str) -> Option<Vec<String>> {
        let chosen = stock.choose(&PodId::new(pod), needs, &node(host))?;
        Some(chosen.into_iter().map(|(claim, volume)| format!("{}={volume}", claim.name)).collect())
    }

    fn hosts(stock: &Stock, needs: &Needs) -> Vec<String> {
        let terms = stock.places(needs).flat_map(|place| place.terms).flat_map(|term| term.labels);
        terms.flat_map(|label| label.values).collect()
    }

    #[test]
    fn what_is_promised_to_one_is_no_others() {
        let mut stock = Stock::default();
        let (p, q) = (needs(&[("c", &["v@a", "w@b"])]), needs(&[("d", &["v@a", "w@b"])]));
        assert_eq!(choose(&mut stock, "p", &p, "a").unwrap(), ["c=v"]);
        assert_eq!(choose(&mut stock, "p", &p, "a").unwrap(), ["c=v"], "it is its own");
        assert_eq!((hosts(&stock, &p), hosts(&stock, &q)), (vec!["a".to_owned()], vec!["b".to_owned()]));
        assert_eq!(choose(&mut stock, "q", &q, "a"), None);
        stock.release(&PodId::new("p"));
        assert_eq!(choose(&mut stock, "q", &q, "a").unwrap(), ["d=v"]);
        // Its claim has the volume: from now on that says so itself.
        stock.set_taken("v", Some(ObjectKey::new("n", "d")));
        stock.settle(&PodId::new("q"), None);
        assert_eq!(choose(&mut stock, "p", &p, "a"), None);
        stock.set_taken("v", None);
        assert_eq!(choose(&mut stock, "p", &p, "a").unwrap(), ["c=v"]);
    }

    #[test]
    fn claims_of_one_pod_get_a_volume_each_or_none() {
        let mut stock = Stock::default();
        let both = needs(&[("c", &["v@a"]), ("d", &["v@a"])]);
        assert_eq!(choose(&mut stock, "p", &both, "a"), None);
        assert_eq!(stock.version, 0, "nothing is promised");
        let both = needs(&[("c", &["v@a", "w@a"]), ("d", &["v@a", "w@a"])]);
        assert_eq!(choose(&mut stock, "p", &both, "a").unwrap(), ["c=v", "d=w"]);
    }
}
