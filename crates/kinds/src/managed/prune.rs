//! What an applier stated before and no longer states goes, unless somebody else owns it.

use serde_json::Value;

use super::entries::Entries;
use super::field_type::Type;
use super::fields::{stated, with_named};
use super::remove;
use super::set::FieldSet;

/// Who owned what before and after.
pub(crate) struct Owned<'a> {
    /// What the applier owned before this apply.
    pub(crate) last: FieldSet,
    /// What it owns after it.
    pub(crate) stated: &'a FieldSet,
    pub(crate) others: &'a Entries,
}

/// `merged` without what only the applier owned and no longer states.
pub(crate) fn prune(kind: Type<'_>, merged: Value, owned: &Owned<'_>) -> Value {
    if owned.last.is_empty() {
        return merged;
    }
    let last = with_named(kind, &owned.last);
    let pruned = remove::fields(kind, merged.clone(), &last);
    let pruned = keep_owned(kind, &merged, &pruned, owned);
    // What else fell away with an object that the applier owned was not its own: it stays.
    let left = with_named(kind, &stated(kind, &pruned));
    let gone = with_named(kind, &stated(kind, &merged)).difference(&left);
    remove::fields(kind, merged, &gone.intersection(&last))
}

fn keep_owned(kind: Type<'_>, merged: &Value, pruned: &Value, owned: &Owned<'_>) -> Value {
    let mut managed = owned.stated.clone();
    for entry in owned.others.iter() {
        managed.unite(entry.fields.clone());
    }
    let mut kept = with_named(kind, &stated(kind, pruned));
    kept.unite(with_named(kind, &managed));
    let gone = with_named(kind, &stated(kind, merged)).difference(&kept);
    remove::fields(kind, merged.clone(), &gone)
}
