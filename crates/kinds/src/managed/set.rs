//! Sets of fields: trees of path elements, as `fieldsV1` writes them.
//!
//! ```text
//!   f:spec ─► f:containers ─► k:{"name":"web"} ─► .  f:image        an element of the set is a path whose end is owned
//! ```
//! Path elements stay in their written form, so that a set is read and written without conversion:
//! `f:<name>` a field, `k:{..}` the item of a list with these keys, `v:<value>` a value of a set, `i:<index>` an item.

use std::collections::{BTreeMap, btree_map};

use serde_json::{Map, Value};

/// One step of a path, in its written form.
pub(crate) type Element = Box<str>;

/// A set of fields below one place, and whether the place itself belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    is_member: bool,
    /// Without empty sets.
    children: BTreeMap<Element, FieldSet>,
}

/// The place itself, where it has fields below it that belong to the set as well.
const ITSELF: &str = ".";

impl FieldSet {
    /// The place alone.
    pub(crate) fn leaf() -> Self {
        Self { is_member: true, children: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.is_member && self.children.is_empty()
    }

    pub(crate) fn is_member(&self) -> bool {
        self.is_member
    }

    pub(crate) fn add_itself(&mut self) {
        self.is_member = true;
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = (&Element, &Self)> {
        self.children.iter()
    }

    pub(crate) fn child(&self, element: &str) -> Option<&Self> {
        self.children.get(element)
    }

    /// Adds what is below `element`.
    pub(crate) fn insert(&mut self, element: Element, below: Self) {
        if below.is_empty() {
            return;
        }
        match self.children.entry(element) {
            btree_map::Entry::Occupied(child) => child.into_mut().unite(below),
            btree_map::Entry::Vacant(place) => drop(place.insert(below)),
        }
    }

    /// Takes away a place with all below it.
    pub(crate) fn take(&mut self, path: &[&str]) -> Option<Self> {
        let (first, rest) = path.split_first()?;
        if rest.is_empty() {
            return self.children.remove(*first);
        }
        let child = self.children.get_mut(*first)?;
        let taken = child.take(rest);
        if child.is_empty() {
            self.children.remove(*first);
        }
        taken
    }

    /// Takes away one place, not what is below it.
    pub(crate) fn take_member(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            self.is_member = false;
            return;
        };
        if let Some(child) = self.children.get_mut(*first) {
            child.take_member(rest);
            if child.is_empty() {
                self.children.remove(*first);
            }
        }
    }

    /// Keeps only what is below these elements.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.children.retain(|element, _| keep(element));
    }

    pub(crate) fn unite(&mut self, other: Self) {
        self.is_member |= other.is_member;
        if self.children.is_empty() {
            self.children = other.children;
            return;
        }
        for (element, below) in other.children {
            self.insert(element, below);
        }
    }

    /// The paths of `self` that are not in `other`.
    #[must_use]
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let mut left = Self { is_member: self.is_member && !other.is_member, children: BTreeMap::new() };
        for (element, child) in &self.children {
            let below = match other.children.get(element) {
                Some(other) => child.difference(other),
                None => child.clone(),
            };
            left.insert(element.clone(), below);
        }
        left
    }

    /// The paths of `self` that are in `other` as well.
    #[must_use]
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self { is_member: self.is_member && other.is_member, children: BTreeMap::new() };
        for (element, child) in &self.children {
            if let Some(other) = other.children.get(element) {
                both.insert(element.clone(), child.intersection(other));
            }
        }
        both
    }

    /// Every path as messages name it: `.spec.containers[name="web"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths(&mut String::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut String, paths: &mut Vec<String>) {
        if self.is_member {
            paths.push(prefix.clone());
        }
        for (element, child) in &self.children {
            let length = prefix.len();
            prefix.push_str(&shown(element));
            child.collect_paths(prefix, paths);
            prefix.truncate(length);
        }
    }

    /// Reads `fieldsV1`; `None` if it is none.
    pub(crate) fn parse(value: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (element, below) in value.as_object()? {
            if element == ITSELF {
                set.is_member = true;
                continue;
            }
            let below_fields = below.as_object()?;
            let below = if below_fields.is_empty() { Self::leaf() } else { Self::parse(below)? };
            set.insert(canonical(element)?, below);
        }
        Some(set)
    }

    /// As `fieldsV1`.
    pub(crate) fn into_value(self) -> Value {
        let mut fields = Map::with_capacity(self.children.len() + usize::from(self.is_member));
        if self.is_member && !self.children.is_empty() {
            fields.insert(ITSELF.to_owned(), Value::Object(Map::new()));
        }
        for (element, below) in self.children {
            fields.insert(element.into(), below.into_value());
        }
        Value::Object(fields)
    }
}

/// The element of a field.
pub(crate) fn field(name: &str) -> Element {
    let mut element = String::with_capacity(name.len() + 2);
    element.push_str("f:");
    element.push_str(name);
    element.into()
}

/// The element of a value of a set.
pub(crate) fn value(value: &Value) -> Element {
    format!("v:{value}").into()
}

/// The element of a list's item by its keys, which may come in any order.
pub(crate) fn keyed<'a>(keys: impl Iterator<Item = (&'a str, &'a Value)>) -> Element {
    let sorted: BTreeMap<&str, &Value> = keys.collect();
    let mut element = Vec::from(b"k:");
    serde_json::to_writer(&mut element, &sorted).expect("memory takes what is written to it");
    String::from_utf8(element).expect("JSON is text").into()
}

/// An element as clients may write it, in the one form that is compared.
fn canonical(element: &str) -> Option<Element> {
    let (kind, rest) = element.split_at_checked(2)?;
    match kind {
        "f:" | "i:" => Some(element.into()),
        "v:" => Some(value(&serde_json::from_str(rest).ok()?)),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
            Some(keyed(keys.iter().map(|(name, value)| (name.as_str(), value))))
        }
        _ => None,
    }
}

/// An element in messages.
pub(crate) fn shown(element: &str) -> String {
    match element.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", value)) => format!("[={value}]"),
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[{}]", element.trim_start_matches("i:")),
    }
}

#[cfg(test)]
mod tests;
