//! How much there is of something: of a value, in bytes; of an expression, in levels; of a message, for its reader.

use kube_cel::cel::Value;
use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr};
use kube_cel::cel::objects::{Key, OptionalValue};

/// More of what a stranger wrote helps nobody.
const LONGEST_MESSAGE: usize = 1024;

/// About how many bytes a value takes when it is copied; counting stops at `most`.
pub(super) fn of_value(value: &Value, most: u64) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::List(items) => sum(items.iter().map(Some), most),
        Value::Map(map) => {
            let keys: u64 = map.map.keys().map(of_key).sum();
            sum(map.map.values().map(Some), most).saturating_add(keys)
        }
        Value::Opaque(opaque) => match opaque.downcast_ref::<OptionalValue>() {
            Some(optional) => sum(std::iter::once(optional.value()), most),
            None => 64,
        },
        _ => 8,
    }
}

fn sum<'a>(items: impl Iterator<Item = Option<&'a Value>>, most: u64) -> u64 {
    let mut total = 8_u64;
    for item in items {
        total = total.saturating_add(item.map_or(0, |item| of_value(item, most)).saturating_add(8));
        if total >= most {
            break;
        }
    }
    total
}

fn of_key(key: &Key) -> u64 {
    match key {
        Key::String(text) => text.len() as u64,
        Key::Int(_) | Key::Uint(_) | Key::Bool(_) => 8,
    }
}

/// Whether an expression has more than `levels` levels.
pub(super) fn is_deeper(expression: &IdedExpr, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else { return true };
    parts(&expression.expr).into_iter().any(|part| is_deeper(part, left))
}

/// The expressions right below one.
pub(super) fn parts(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(fold) => {
            vec![&fold.iter_range, &fold.accu_init, &fold.loop_cond, &fold.loop_step, &fold.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(entry_parts).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(object) => object.entries.iter().flat_map(entry_parts).collect(),
    }
}

fn entry_parts(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

pub(super) fn shortened(message: &str) -> String {
    let mut end = message.len().min(LONGEST_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}
