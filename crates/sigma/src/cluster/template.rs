//! Templates: what pods have in common, kept once for all pods that share it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::pod::{Namespaces, Pod};
use crate::view::ClassId;

use super::Cluster;
use super::columns::Demand;
use super::count::{CountId, CountKey};

/// A template, while some pod refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TemplateId(pub(super) usize);

/// A pod without its id, and what follows from it.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) pod: Arc<Pod>,
    pub(crate) demand: Demand,
    /// The counts that a pod of the template is in.
    pub(crate) counted_by: Vec<CountId>,
    /// The counts of pods that have declared something about pods like this one.
    pub(crate) heard: Vec<CountId>,
    /// How it is placed, where that was found out already.
    /// At which version of the images that was.
    pub(crate) class: Option<(ClassId, u64)>,
    n_users: usize,
}

/// All templates in use.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    ids: HashMap<Arc<Pod>, TemplateId>,
    slots: Vec<Option<Template>>,
    free: Vec<TemplateId>,
}

impl Templates {
    /// The template equal to `pod`, with one more reference.
    pub(crate) fn find(&mut self, pod: &Pod) -> Option<TemplateId> {
        let id = *self.ids.get(pod)?;
        self.get_mut(id).n_users += 1;
        Some(id)
    }

    pub(crate) fn insert(&mut self, pod: Arc<Pod>, demand: Demand, counts: [Vec<CountId>; 2]) -> TemplateId {
        let [counted_by, heard] = counts;
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            TemplateId(self.slots.len() - 1)
        });
        self.slots[id.0] =
            Some(Template { pod: Arc::clone(&pod), demand, counted_by, heard, class: None, n_users: 1 });
        self.ids.insert(pod, id);
        id
    }

    pub(crate) fn get(&self, id: TemplateId) -> &Template {
        self.slots[id.0].as_ref().expect("a template lives while its id is held")
    }

    /// One reference more to a template that is held already.
    pub(crate) fn hold(&mut self, id: TemplateId) {
        self.get_mut(id).n_users += 1;
    }

    pub(crate) fn set_class(&mut self, id: TemplateId, class: (ClassId, u64)) {
        self.get_mut(id).class = Some(class);
    }

    /// How templates are placed is not known any more.
    pub(crate) fn forget_classes(&mut self) {
        self.slots.iter_mut().flatten().for_each(|template| template.class = None);
    }

    /// Gives back one reference; the template when that was the last.
    pub(crate) fn release(&mut self, id: TemplateId) -> Option<Template> {
        let template = self.get_mut(id);
        template.n_users -= 1;
        if template.n_users > 0 {
            return None;
        }
        let gone = self.slots[id.0].take()?;
        self.ids.remove(&gone.pod);
        self.free.push(id);
        Some(gone)
    }

    /// A new count: every template whose pods it counts, or of whose pods it speaks, remembers it.
    pub(crate) fn note_count(&mut self, count: CountId, key: &CountKey, namespaces: &Namespaces) {
        for template in self.slots.iter_mut().flatten() {
            if key.matches(&template.pod, namespaces) {
                template.counted_by.push(count);
            }
            if key.speaks_of(&template.pod, namespaces) {
                template.heard.push(count);
                template.class = None;
            }
        }
    }

    pub(crate) fn forget_count(&mut self, count: CountId) {
        for template in self.slots.iter_mut().flatten() {
            template.counted_by.retain(|&each| each != count);
            if template.heard.contains(&count) {
                template.heard.retain(|&each| each != count);
                template.class = None;
            }
        }
    }

    /// Whether the pods of each template are counted by `key`, by the template's id.
    pub(crate) fn counted(&self, key: &CountKey, namespaces: &Namespaces) -> Vec<bool> {
        let is_counted = |slot: &Option<Template>| {
            slot.as_ref().is_some_and(|template| key.matches(&template.pod, namespaces))
        };
        self.slots.iter().map(is_counted).collect()
    }

    fn get_mut(&mut self, id: TemplateId) -> &mut Template {
        self.slots[id.0].as_mut().expect("a template lives while its id is held")
    }
}

impl Cluster {
    /// Which pods are placed alike is found out anew.
    pub(crate) fn reclassify(&mut self) {
        self.templates.forget_classes();
        let held = self.views.clear();
        held.into_iter().for_each(|template| self.drop_template(template));
    }
}
