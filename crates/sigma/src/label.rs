//! Labels and what selects them: requirements, selectors on pods, terms on nodes.

use std::collections::BTreeMap;

/// Labels of a pod or a node.
pub type Labels = BTreeMap<String, String>;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
}

/// One condition on the value of one label (or of one node field).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

impl Requirement {
    /// `key` is exactly `value`.
    pub fn equals(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), operator: Operator::In, values: vec![value.into()] }
    }

    /// Whether a label with this value (`None`: no such label) fulfils the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        match (self.operator, value) {
            (Operator::In, Some(value)) => self.values.iter().any(|wanted| wanted == value),
            (Operator::NotIn, Some(value)) => self.values.iter().all(|wanted| wanted != value),
            (Operator::NotIn | Operator::DoesNotExist, None) | (Operator::Exists, Some(_)) => true,
            (Operator::Gt, Some(value)) => self.compare(value).is_some_and(|(have, bound)| have > bound),
            (Operator::Lt, Some(value)) => self.compare(value).is_some_and(|(have, bound)| have < bound),
            (Operator::In | Operator::Exists | Operator::Gt | Operator::Lt, None)
            | (Operator::DoesNotExist, Some(_)) => false,
        }
    }

    /// Both sides of `Gt` and `Lt` as integers; anything else never matches.
    fn compare(&self, value: &str) -> Option<(i64, i64)> {
        Some((value.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

/// Selects pods by their labels: all requirements must hold, and none means every pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

impl Selector {
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|each| each.matches(labels.get(&each.key).map(String::as_str)))
    }
}

/// Selects nodes by labels and name. A term without any requirement selects none, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeTerm {
    pub labels: Vec<Requirement>,
    /// Only `metadata.name` exists; a requirement on another field is never met.
    pub fields: Vec<Requirement>,
}

impl NodeTerm {
    pub(crate) fn matches<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let fields = self.fields.iter().all(|each| each.key == "metadata.name" && each.matches(Some(name)));
        let is_empty = self.labels.is_empty() && self.fields.is_empty();
        !is_empty && fields && self.labels.iter().all(|each| each.matches(label(&each.key)))
    }
}

/// A term and what it adds to a node's preference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PreferredTerm {
    pub weight: u32,
    pub term: NodeTerm,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operator: Operator, values: &[&str], value: Option<&str>, expected: bool) {
        let values: Vec<String> = values.iter().map(|&text| text.to_owned()).collect();
        let requirement = Requirement { key: "k".to_owned(), operator, values };
        assert_eq!(requirement.matches(value), expected, "{requirement:?} on {value:?}");
    }

    #[test]
    fn operators_as_documented() {
        check(Operator::In, &["a", "b"], Some("b"), true);
        check(Operator::In, &["a", "b"], Some("c"), false);
        check(Operator::In, &["a"], None, false);
        check(Operator::NotIn, &["a"], Some("a"), false);
        check(Operator::NotIn, &["a"], Some("b"), true);
        check(Operator::NotIn, &["a"], None, true);
        check(Operator::Exists, &[], Some(""), true);
        check(Operator::Exists, &[], None, false);
        check(Operator::DoesNotExist, &[], Some("a"), false);
        check(Operator::DoesNotExist, &[], None, true);
        check(Operator::Gt, &["5"], Some("6"), true);
        check(Operator::Gt, &["5"], Some("5"), false);
        check(Operator::Lt, &["5"], Some("-1"), true);
        check(Operator::Lt, &["5"], Some("five"), false);
        check(Operator::Lt, &["five"], Some("1"), false);
        check(Operator::Gt, &[], Some("1"), false);
    }

    #[test]
    fn an_empty_selector_matches_all_pods_and_an_empty_term_no_node() {
        assert!(Selector::default().matches(&Labels::new()));
        assert!(!NodeTerm::default().matches("n", |_| None));
    }
}
