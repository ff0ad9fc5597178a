//! Strategic merge patches: lists of objects merge by key, and directives say what a plain merge cannot.
//!
//! | directive | in | means |
//! |---|---|---|
//! | `$patch: replace` | object, list | the patch takes the place of what was there |
//! | `$patch: delete` | object, list item | it goes |
//! | `$retainKeys: [..]` | object | all other fields go |
//! | `$setElementOrder/<list>: [..]` | object | the order of the merged list |
//! | `$deleteFromPrimitiveList/<list>: [..]` | object | these values go |

use serde_json::{Map, Value};

use crate::schema::Definition;
use crate::schema::merge::{List, Merge};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_VALUES: &str = "$deleteFromPrimitiveList/";

/// Why a patch makes no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum MergeError {
    #[error("unknown patch type: {0} is neither `replace`, `delete` nor `merge`")]
    UnknownDirective(Value),
    #[error("`{directive}` takes a list")]
    DirectiveWithoutList { directive: String },
    #[error("map: {item} does not contain declared merge key: {key}")]
    NoMergeKey { item: Value, key: &'static str },
    #[error("the list `{field}` takes {expected}")]
    WrongItems { field: String, expected: &'static str },
}

/// `current`, an object of `definition`, with `patch` merged in.
pub(super) fn merge(
    definition: &'static Definition,
    current: &Value,
    patch: Map<String, Value>,
) -> Result<Value, MergeError> {
    let empty = Map::new();
    let current = current.as_object().unwrap_or(&empty);
    object(Some(definition), current, patch).map(Value::Object)
}

fn object(
    definition: Option<&'static Definition>,
    current: &Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<Map<String, Value>, MergeError> {
    match directive(patch.remove(PATCH))? {
        Directive::Replace => return Ok(without_directives(patch)),
        Directive::Delete => return Ok(Map::new()),
        Directive::Merge => {}
    }
    let mut merged = current.clone();
    if let Some(retained) = patch.remove(RETAIN_KEYS) {
        let Value::Array(retained) = retained else {
            return Err(MergeError::DirectiveWithoutList { directive: RETAIN_KEYS.to_owned() });
        };
        merged.retain(|name, _| retained.iter().any(|kept| kept == name));
    }
    let lists = ListDirectives::take(&mut patch)?;
    for (name, deleted) in &lists.deleted {
        if let Some(Value::Array(values)) = merged.get_mut(name) {
            values.retain(|value| !deleted.contains(value));
        }
    }
    for (name, change) in patch {
        let field = definition.and_then(|definition| definition.field(&name));
        let inner = field.and_then(|field| field.shape.definition());
        let rule = field.map_or(Merge::USUAL, |field| field.merge);
        let order = lists.order(&name);
        let value = match (merged.remove_entry(&name), change) {
            (_, Value::Null) => continue,
            (_, Value::Object(change)) if rule.replaces_object => Value::Object(without_directives(change)),
            (Some((_, Value::Object(old))), Value::Object(change)) => {
                Value::Object(object(inner, &old, change)?)
            }
            (_, Value::Object(change)) => Value::Object(object(inner, &Map::new(), change)?),
            (Some((_, Value::Array(old))), Value::Array(change)) => {
                Value::Array(list(&name, (rule, inner), old, change, order)?)
            }
            (_, Value::Array(change)) => Value::Array(list(&name, (rule, inner), Vec::new(), change, order)?),
            (_, scalar) => scalar,
        };
        merged.insert(name, value);
    }
    // An order may come without a change of the list itself.
    for (name, order) in &lists.orders {
        let Some(field) = definition.and_then(|definition| definition.field(name)) else { continue };
        if let Some(Value::Array(items)) = merged.get_mut(name) {
            let same = same_item(field.merge.list);
            let merged = Merged { n_old: items.len(), items: std::mem::take(items) };
            *items = in_order(merged, order, &same);
        }
    }
    Ok(restore_order(current, merged))
}

/// Fields stand where they stood before the patch; new ones follow.
fn restore_order(current: &Map<String, Value>, mut merged: Map<String, Value>) -> Map<String, Value> {
    let mut ordered = Map::with_capacity(merged.len());
    for name in current.keys() {
        if let Some((name, value)) = merged.remove_entry(name) {
            ordered.insert(name, value);
        }
    }
    ordered.append(&mut merged);
    ordered
}

enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(value: Option<Value>) -> Result<Directive, MergeError> {
    let Some(value) = value else { return Ok(Directive::Merge) };
    match value.as_str() {
        Some("replace") => Ok(Directive::Replace),
        Some("delete") => Ok(Directive::Delete),
        Some("merge") => Ok(Directive::Merge),
        _ => Err(MergeError::UnknownDirective(value)),
    }
}

/// The directives of an object about its lists, by the lists' names.
#[derive(Default)]
struct ListDirectives {
    orders: Vec<(String, Vec<Value>)>,
    deleted: Vec<(String, Vec<Value>)>,
}

impl ListDirectives {
    fn take(patch: &mut Map<String, Value>) -> Result<Self, MergeError> {
        let mut directives = Self::default();
        let names: Vec<String> = patch.keys().filter(|name| name.starts_with('$')).cloned().collect();
        for name in names {
            let Some(value) = patch.remove(&name) else { continue };
            let (lists, list) = if let Some(list) = name.strip_prefix(ORDER) {
                (&mut directives.orders, list)
            } else if let Some(list) = name.strip_prefix(DELETE_VALUES) {
                (&mut directives.deleted, list)
            } else {
                // A field of this name: decoding will call it unknown.
                patch.insert(name, value);
                continue;
            };
            let Value::Array(items) = value else {
                return Err(MergeError::DirectiveWithoutList { directive: name });
            };
            lists.push((list.to_owned(), items));
        }
        Ok(directives)
    }

    fn order(&self, list: &str) -> Option<&[Value]> {
        self.orders.iter().find(|(name, _)| name == list).map(|(_, order)| order.as_slice())
    }
}

fn list(
    field: &str,
    (rule, definition): (Merge, Option<&'static Definition>),
    current: Vec<Value>,
    patch: Vec<Value>,
    order: Option<&[Value]>,
) -> Result<Vec<Value>, MergeError> {
    let replaces = patch.iter().any(|item| item.get(PATCH).is_some_and(|patch| patch == "replace"));
    let has_object = patch.iter().any(|item| item.is_object() || item.is_array());
    if rule.list == List::Set && has_object {
        return Err(MergeError::WrongItems { field: field.to_owned(), expected: "plain values" });
    }
    if rule.list == List::Replaced || replaces {
        let kept = patch.into_iter().filter(|item| !is_bare_replace(item));
        return Ok(kept.map(plain_item).collect());
    }
    let same = same_item(rule.list);
    let merged = match rule.list {
        List::ByKey(key) => by_key(key, definition, current, patch.clone())?,
        List::Set | List::Replaced => {
            let added: Vec<Value> = patch.iter().filter(|item| !current.contains(item)).cloned().collect();
            Merged { n_old: current.len(), items: current.into_iter().chain(added).collect() }
        }
    };
    Ok(in_order(merged, order.unwrap_or(&patch), &same))
}

/// A merged list: first what was there, then what the patch adds.
struct Merged {
    items: Vec<Value>,
    n_old: usize,
}

/// `{"$patch": "replace"}` alone asks to replace the list; it is no item.
fn is_bare_replace(item: &Value) -> bool {
    item.as_object()
        .is_some_and(|item| item.len() == 1 && item.get(PATCH).is_some_and(|patch| patch == "replace"))
}

fn by_key(
    key: &'static str,
    definition: Option<&'static Definition>,
    mut current: Vec<Value>,
    patch: Vec<Value>,
) -> Result<Merged, MergeError> {
    let mut n_old = current.len();
    for item in patch {
        let Value::Object(mut change) = item else {
            return Err(MergeError::NoMergeKey { item, key });
        };
        let Some(value) = change.get(key).cloned() else {
            return Err(MergeError::NoMergeKey { item: Value::Object(change), key });
        };
        let position = current.iter().position(|old| old.get(key) == Some(&value));
        match directive(change.get(PATCH).cloned())? {
            Directive::Delete => {
                if let Some(index) = position {
                    current.remove(index);
                    n_old -= usize::from(index < n_old);
                }
                continue;
            }
            Directive::Replace => {}
            Directive::Merge => {
                change.remove(PATCH);
            }
        }
        match position.and_then(|index| current.get_mut(index)) {
            Some(old) => {
                let empty = Map::new();
                *old = Value::Object(object(definition, old.as_object().unwrap_or(&empty), change)?);
            }
            None => current.push(Value::Object(object(definition, &Map::new(), change)?)),
        }
    }
    Ok(Merged { items: current, n_old })
}

/// Whether an item and an entry of an order (or of a patch) are the same item of the list.
fn same_item(list: List) -> impl Fn(&Value, &Value) -> bool {
    move |item, entry| match list {
        List::ByKey(key) => item.get(key).is_some() && item.get(key) == entry.get(key),
        List::Set | List::Replaced => item == entry,
    }
}

/// The items named by `order` in that order. The others keep their order among themselves, and stand before the
/// first named item that they preceded; an item that is new precedes them all.
fn in_order(merged: Merged, order: &[Value], same: &impl Fn(&Value, &Value) -> bool) -> Vec<Value> {
    let rank = |item: &Value| order.iter().position(|entry| same(item, entry));
    let n_old = merged.n_old;
    let (mut named, others): (Vec<_>, Vec<_>) =
        merged.items.into_iter().enumerate().partition(|(_, item)| rank(item).is_some());
    named.sort_by_key(|(_, item)| rank(item));
    let mut result = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (position, item) in named {
        let is_old = position < n_old;
        while let Some((_, other)) = others.next_if(|(other, _)| is_old && *other < position) {
            result.push(other);
        }
        result.push(item);
    }
    result.extend(others.map(|(_, item)| item));
    result
}

fn without_directives(fields: Map<String, Value>) -> Map<String, Value> {
    let kept = fields.into_iter().filter(|(name, value)| !name.starts_with('$') && !value.is_null());
    kept.map(|(name, value)| (name, plain_item(value))).collect()
}

/// What a patch adds may carry directives as well; they are not part of the object.
fn plain_item(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(without_directives(fields)),
        Value::Array(items) => items.into_iter().map(plain_item).collect(),
        other => other,
    }
}
