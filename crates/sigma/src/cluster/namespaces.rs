//! Namespaces: terms may name pods by the labels of theirs.

use crate::label::Labels;

use super::{Cluster, CountId, CountKey};

impl Cluster {
    /// A namespace came or changed: terms may name its pods now, or no longer.
    pub fn set_namespace(&mut self, name: &str, labels: &Labels) {
        if self.namespaces.get(name) != Some(labels) {
            self.namespaces.insert(name.to_owned(), labels.clone());
            self.recount();
        }
    }

    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name).is_some() {
            self.recount();
        }
    }

    fn recount(&mut self) {
        let counts = self.counts.iter().filter(|(key, _)| key.depends_on_namespaces());
        let counts: Vec<(CountKey, CountId)> = counts.map(|(key, id)| (key.clone(), id)).collect();
        for (key, id) in counts {
            self.templates.forget_count(id);
            self.counts.clear(id);
            self.fill_count(&key);
        }
        if !self.interferences.is_empty() {
            self.reclassify();
        }
        if !self.quotas.is_empty() {
            self.quotas.forget();
        }
        self.structure += 1;
    }
}
