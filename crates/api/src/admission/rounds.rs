//! Who is asked a second time: mutating plugins whose work others have changed since.
//!
//! ```text
//!   round 0: all, in turn ──anything changed by one of them?──► round 1: those who want it and came before a change
//! ```

use std::collections::BTreeSet;

use serde_json::Value;

/// The rounds of one family of mutating plugins, for one request.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    is_second: bool,
    /// Those who want to be asked again if the object changes after them.
    waiting: BTreeSet<String>,
    /// Those after whom it changed.
    due: BTreeSet<String>,
    /// What the object was when this family was done with it.
    left: Option<Value>,
    changed: bool,
}

impl Rounds {
    /// Whether this family changed anything, so that everybody may look again.
    pub(crate) fn wants_another(&self) -> bool {
        self.changed && !self.is_second
    }

    pub(crate) fn next_round(&mut self) {
        self.is_second = true;
    }

    pub(crate) fn number(&self) -> usize {
        usize::from(self.is_second)
    }

    /// The family's turn begins.
    pub(crate) fn begin(&mut self, object: &Value) {
        if self.is_second && self.left.as_ref() != Some(object) {
            self.due.append(&mut self.waiting);
        }
    }

    /// Whether a member has its turn in this round.
    pub(crate) fn is_due(&self, id: &str) -> bool {
        !self.is_second || self.due.contains(id)
    }

    /// A member changed the object: those who were asked before may want to see it again.
    pub(crate) fn changed(&mut self) {
        self.changed = true;
        self.due.append(&mut self.waiting);
    }

    /// A member that was asked wants to be asked again if the object changes.
    pub(crate) fn remember(&mut self, id: String) {
        self.waiting.insert(id);
    }

    /// The family's turn ends. The object is remembered only for those who may be asked again.
    pub(crate) fn end(&mut self, object: &Value) {
        self.left = (!self.waiting.is_empty() || !self.due.is_empty()).then(|| object.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Rounds;

    #[test]
    fn only_those_before_a_change_are_asked_again() {
        let mut rounds = Rounds::default();
        rounds.begin(&json!(0));
        rounds.remember("first".into());
        rounds.changed();
        rounds.remember("changed it".into());
        rounds.remember("last".into());
        rounds.end(&json!(1));
        assert!(rounds.wants_another());
        rounds.next_round();
        rounds.begin(&json!(1));
        assert!(rounds.is_due("first"));
        assert!(!rounds.is_due("never") && !rounds.is_due("changed it") && !rounds.is_due("last"));
        assert!(!rounds.wants_another());
    }

    #[test]
    fn what_others_changed_counts_as_well() {
        let mut rounds = Rounds::default();
        rounds.begin(&json!(0));
        rounds.remember("only".into());
        rounds.end(&json!(0));
        rounds.next_round();
        rounds.begin(&json!("changed by another plugin"));
        assert!(rounds.is_due("only"));
    }
}
