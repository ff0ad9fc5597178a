//! Classes: templates that are placed alike, and their views, as many as are worth keeping.

use std::collections::{BTreeSet, HashMap};

use crate::cluster::{CountId, CountKey, SortOfVolumes, Template, TemplateId, Wanted};
use crate::interference::Side;
use crate::label::Labels;
use crate::pod::{Namespaces, Pod, PodId};
use crate::volume::Volumes;

use super::View;

/// Rows that all views together may hold: a few hundred bytes each.
const MAX_ROWS: usize = 8_000_000;
const MAX_VIEWS: usize = 512;
const MIN_VIEWS: usize = 8;

/// A class; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClassId(u64);

/// All that placement looks at: a template without the labels that nobody asks about.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClassKey {
    shape: Pod,
    /// Whether the pod is itself among those that it counts, by constraint and term.
    counts_itself: Vec<bool>,
    /// What pods that are there have declared about it.
    heard: Vec<CountId>,
    volumes: SortOfVolumes,
    images: Wanted,
    ties: Ties,
}

/// What ties a class to others that is not written on its pods.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ties {
    /// How the pod stands to the rules that bind it.
    pub(crate) sides: Vec<(String, Side)>,
    /// Reservations whose room it may use.
    pub(crate) owned: Vec<PodId>,
}

impl ClassKey {
    pub(crate) fn of(
        template: &Template,
        namespaces: &Namespaces,
        (volumes, images, ties): (SortOfVolumes, Wanted, Ties),
    ) -> Self {
        let pod = &*template.pod;
        let selects = |selector: &crate::label::Selector| selector.matches(&pod.labels);
        let spread = pod.spread.iter().map(|each| each.selector.as_ref().is_some_and(selects));
        let together = CountKey::Named { terms: pod.required_pods.clone() };
        let counts_itself = spread.chain([together.matches(pod, namespaces)]).collect();
        let mut heard = template.heard.clone();
        heard.sort_unstable();
        let shape = Pod { labels: Labels::new(), priority: 0, images: Vec::new(), ..pod.clone() };
        // Volumes are looked at by what sort they are of; a claim in use is seen before any node is looked at.
        let own = Volumes { attached: BTreeSet::new(), exclusive: BTreeSet::new(), ..shape.volumes };
        Self { shape: Pod { volumes: own, ..shape }, counts_itself, heard, volumes, images, ties }
    }
}

/// The views in use, the longest unused going first when there are too many.
#[derive(Debug, Default)]
pub(crate) struct Views {
    ids: HashMap<ClassKey, ClassId>,
    entries: HashMap<ClassId, Entry>,
    n_made: u64,
    n_uses: u64,
}

#[derive(Debug)]
struct Entry {
    /// Held, so that what the view counts goes on being counted.
    template: TemplateId,
    view: Option<Box<View>>,
    last_use: u64,
}

impl Views {
    pub(crate) fn find(&self, key: &ClassKey) -> Option<ClassId> {
        self.ids.get(key).copied()
    }

    /// Notes a use of the class; false when it is known no more.
    pub(crate) fn touch(&mut self, class: ClassId) -> bool {
        self.n_uses += 1;
        let Some(entry) = self.entries.get_mut(&class) else { return false };
        entry.last_use = self.n_uses;
        true
    }

    /// Adds a class, and takes over a reference to `template`. Returns the references of classes that make room.
    pub(crate) fn insert(
        &mut self,
        key: ClassKey,
        template: TemplateId,
        n_rows: usize,
    ) -> (ClassId, Vec<TemplateId>) {
        let n_kept = MAX_ROWS.checked_div(n_rows).unwrap_or(MAX_VIEWS).clamp(MIN_VIEWS, MAX_VIEWS);
        let mut evicted = Vec::new();
        while self.entries.len() >= n_kept
            && let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.last_use)
        {
            let oldest = *oldest.0;
            evicted.extend(self.remove(oldest));
        }
        self.n_made += 1;
        let class = ClassId(self.n_made);
        self.n_uses += 1;
        self.ids.insert(key, class);
        self.entries.insert(class, Entry { template, view: None, last_use: self.n_uses });
        (class, evicted)
    }

    /// Lends the view of a class, if it was built.
    pub(crate) fn take(&mut self, class: ClassId) -> Option<Box<View>> {
        self.entries.get_mut(&class)?.view.take()
    }

    pub(crate) fn give_back(&mut self, class: ClassId, view: Box<View>) {
        if let Some(entry) = self.entries.get_mut(&class) {
            entry.view = Some(view);
        }
    }

    /// A count is gone: so are the classes that looked at it. Returns the references that they held.
    pub(crate) fn forget_count(&mut self, count: CountId) -> Vec<TemplateId> {
        let hears = |(key, &class): (&ClassKey, &ClassId)| key.heard.contains(&count).then_some(class);
        let gone: Vec<ClassId> = self.ids.iter().filter_map(hears).collect();
        gone.into_iter().filter_map(|class| self.remove(class)).collect()
    }

    /// All classes may be others now. Returns the references that they held.
    pub(crate) fn clear(&mut self) -> Vec<TemplateId> {
        self.ids.clear();
        std::mem::take(&mut self.entries).into_values().map(|entry| entry.template).collect()
    }

    fn remove(&mut self, class: ClassId) -> Option<TemplateId> {
        self.ids.retain(|_, each| *each != class);
        self.entries.remove(&class).map(|entry| entry.template)
    }
}
