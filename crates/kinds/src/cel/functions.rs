//! Functions of expressions: our own where the crates' would copy or grow without bound, theirs for all others.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::KubeCelExt;
use kube_cel::cel::common::ast::{CallExpr, Expr, IdedExpr};
use kube_cel::cel::objects::{Key, Map, Opaque};
use kube_cel::cel::{Context, Value};
use regex::Regex;

use super::evaluate::key_of;
use super::forms::{WITH_ENTRIES, WITH_ENTRY};
use super::json::text_value;
use super::operators::{optional, unwrapped};
use super::signatures::Signature;
use super::{Authority, Budget, EvaluateError, authorizer, regexes, signatures, size};

type Outcome = Result<Value, EvaluateError>;

/// What a function may use beside its arguments.
pub(super) struct Surroundings<'a> {
    pub(super) patterns: &'a HashMap<String, Regex>,
    pub(super) authority: Option<&'a dyn Authority>,
    pub(super) budget: &'a Budget,
}

pub(super) fn call(name: &str, arguments: Vec<Value>, around: Surroundings<'_>) -> Outcome {
    let Surroundings { patterns, authority, budget } = around;
    let signature = signatures::find(name).ok_or_else(|| EvaluateError::Undeclared(name.to_owned()))?;
    if let Some(answer) = authorizer::call(name, &arguments, authority, budget) {
        return answer;
    }
    let answer = match name {
        "matches" | "find" | "findAll" => regexes::call(name, &arguments, patterns, budget),
        _ => text(name, &arguments, budget).or_else(|| plain(name, &arguments, budget)),
    };
    match answer {
        Some(answer) => answer,
        None => of_library(signature, arguments, budget),
    }
}

/// The name of a type as a value, as in `type(x) == string`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TypeName(&'static str);

impl Opaque for TypeName {
    fn runtime_type_name(&self) -> &'static str {
        "type"
    }
}

const TYPE_NAMES: [&str; 10] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];

pub(super) fn type_name(name: &str) -> Option<Value> {
    let known = TYPE_NAMES.into_iter().find(|known| *known == name)?;
    Some(Value::Opaque(Arc::new(TypeName(known))))
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null_type",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::UInt(_) => "uint",
        Value::Float(_) => "double",
        Value::String(_) => "string",
        Value::Bytes(_) => "bytes",
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Timestamp(_) => "google.protobuf.Timestamp",
        Value::Duration(_) => "google.protobuf.Duration",
        Value::Opaque(opaque) if opaque.downcast_ref::<TypeName>().is_some() => "type",
        Value::Opaque(_) | Value::Function(..) => "opaque",
    }
}

/// Functions of texts alone. Some grow what they are given, and pay for that first.
fn text(name: &str, arguments: &[Value], budget: &Budget) -> Option<Outcome> {
    let paid =
        |bytes: usize, make: &dyn Fn() -> Value| Some(budget.spend(bytes as u64 / 10).map(|()| make()));
    match (name, arguments) {
        ("size", [Value::String(text)]) => {
            let count = || Value::Int(i64::try_from(text.chars().count()).unwrap_or(i64::MAX));
            paid(text.len(), &count)
        }
        ("contains", [Value::String(text), Value::String(part)]) => {
            paid(text.len(), &|| Value::Bool(text.contains(part.as_str())))
        }
        ("startsWith", [Value::String(text), Value::String(start)]) => {
            Some(Ok(Value::Bool(text.starts_with(start.as_str()))))
        }
        ("endsWith", [Value::String(text), Value::String(end)]) => {
            Some(Ok(Value::Bool(text.ends_with(end.as_str()))))
        }
        ("replace", [Value::String(text), Value::String(old), Value::String(new), most @ ..]) => {
            let most = match most {
                [] => usize::MAX,
                [Value::Int(most)] => usize::try_from(*most).unwrap_or(usize::MAX),
                _ => return None,
            };
            let times = text.matches(old.as_str()).take(most).count();
            let bytes = text.len().saturating_add(times.saturating_mul(new.len()));
            paid(bytes, &|| text_value(&text.replacen(old.as_str(), new, most)))
        }
        ("join", [Value::List(items)]) => join(items, "", budget),
        ("join", [Value::List(items), Value::String(between)]) => join(items, between, budget),
        ("format", [Value::String(form), Value::List(items)]) => {
            // At worst every place of the form shows the largest item.
            let places = form.matches('%').count() as u64;
            let largest = items.iter().map(|item| size::of_value(item, u64::MAX)).max().unwrap_or(0);
            budget.spend(places.saturating_mul(largest) / 10).err().map(Err)
        }
        _ => None,
    }
}

fn join(items: &[Value], between: &str, budget: &Budget) -> Option<Outcome> {
    let mut bytes = between.len().saturating_mul(items.len());
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        let Value::String(text) = item else { return None };
        bytes = bytes.saturating_add(text.len());
        texts.push(text.as_str());
    }
    Some(budget.spend(bytes as u64 / 10).map(|()| text_value(&texts.join(between))))
}

/// Functions of whatever.
fn plain(name: &str, arguments: &[Value], budget: &Budget) -> Option<Outcome> {
    let count = |length: usize| Value::Int(i64::try_from(length).unwrap_or(i64::MAX));
    let held = arguments.first().and_then(unwrapped);
    Some(Ok(match (name, arguments) {
        ("size", [Value::List(items)]) => count(items.len()),
        ("size", [Value::Map(map)]) => count(map.map.len()),
        ("size", [Value::Bytes(bytes)]) => count(bytes.len()),
        ("dyn", [value]) => value.clone(),
        ("type", [value]) => Value::Opaque(Arc::new(TypeName(type_of(value)))),
        ("string", [value @ Value::String(_)]) => value.clone(),
        ("string", [Value::Bool(value)]) => text_value(&value.to_string()),
        ("int", [value @ Value::Int(_)]) => value.clone(),
        ("int", [Value::Timestamp(at)]) => Value::Int(at.timestamp()),
        ("bool", [value @ Value::Bool(_)]) => value.clone(),
        ("bool", [Value::String(text)]) => match text.as_str() {
            "true" | "True" | "TRUE" | "t" | "1" => Value::Bool(true),
            "false" | "False" | "FALSE" | "f" | "0" => Value::Bool(false),
            _ => return Some(Err(EvaluateError::Function("that text is no bool".to_owned()))),
        },
        ("timestamp", [value @ Value::Timestamp(_)]) | ("duration", [value @ Value::Duration(_)]) => {
            value.clone()
        }
        ("optional.of", [value]) => optional(Some(value.clone())),
        ("optional.none", []) => optional(None),
        ("hasValue", [_]) => Value::Bool(held?.is_some()),
        ("value", [_]) => match held? {
            Some(value) => value,
            None => return Some(Err(EvaluateError::Function("optional.none() has no value".to_owned()))),
        },
        (WITH_ENTRY, [Value::Map(map), key, value]) => {
            return Some(with_entries(map, [(key_of(key), value.clone())], budget));
        }
        (WITH_ENTRIES, [Value::Map(map), Value::Map(more)]) => {
            let more = more.map.iter().map(|(key, value)| (Ok(key.clone()), value.clone()));
            return Some(with_entries(map, more, budget));
        }
        ("sum", [Value::List(items)]) => return Some(sum(items, budget)),
        ("lists.range", [Value::Int(length)]) => {
            if let Err(error) = budget.spend(u64::try_from(*length).unwrap_or(0)) {
                return Some(Err(error));
            }
            return None;
        }
        _ => return None,
    }))
}

/// A map with more entries, none of which may be there already.
fn with_entries(
    map: &Map,
    entries: impl IntoIterator<Item = (Result<Key, EvaluateError>, Value)>,
    budget: &Budget,
) -> Outcome {
    budget.spend(map.map.len() as u64)?;
    let mut fields = map.map.as_ref().clone();
    for (key, value) in entries {
        budget.spend(1)?;
        if fields.insert(key?, value).is_some() {
            return Err(EvaluateError::Function("a key stands twice in a map".to_owned()));
        }
    }
    Ok(fields.into())
}

fn sum(items: &[Value], budget: &Budget) -> Outcome {
    let zero = match items.first() {
        Some(Value::UInt(_)) => Value::UInt(0),
        Some(Value::Float(_)) => Value::Float(0.0),
        _ => Value::Int(0),
    };
    let plus = |total: Value, item: &Value| {
        budget.spend(1)?;
        super::operators::binary("_+_", &total, item, budget).unwrap_or(Ok(total))
    };
    items.iter().try_fold(zero, plus)
}

thread_local! {
    /// All functions of the crates. They are not for several threads at once.
    static LIBRARY: Context<'static> = Context::default().with_all();
}

/// Calls a function of the crates. They copy what they are given, which is paid for.
fn of_library(signature: &Signature, arguments: Vec<Value>, budget: &Budget) -> Outcome {
    let bytes: u64 = arguments.iter().map(|value| size::of_value(value, u64::MAX)).sum();
    let lengths = arguments.iter().map(|value| match value {
        Value::List(items) => items.len() as u64 + 1,
        _ => 1,
    });
    // What compares each item with each other takes the square.
    let pairs = match signature.name {
        "distinct" => lengths.map(|length| length.saturating_mul(length)).sum(),
        "sets.contains" | "sets.equivalent" | "sets.intersects" => lengths.product(),
        _ => 0_u64,
    };
    budget.spend((bytes / 10).saturating_add(pairs).saturating_add(10))?;
    let value = LIBRARY.with(|library| {
        let mut context = library.new_inner_scope();
        let names = (0..arguments.len()).map(|index| format!("a{index}"));
        let mut parts: Vec<IdedExpr> = names.map(|name| part(Expr::Ident(name))).collect();
        for (index, argument) in arguments.into_iter().enumerate() {
            context.add_variable_from_value(format!("a{index}"), argument);
        }
        let (target, function) = match signature.name.split_once('.') {
            Some((library, function)) => (Some(part(Expr::Ident(library.to_owned()))), function),
            None if signature.is_method && !parts.is_empty() => (Some(parts.remove(0)), signature.name),
            None => (None, signature.name),
        };
        let func_name = function.to_owned();
        let call = CallExpr { func_name, target: target.map(Box::new), args: parts };
        context.resolve(&part(Expr::Call(call)))
    });
    let value = value.map_err(|error| EvaluateError::Function(size::shortened(&error.to_string())))?;
    budget.spend(size::of_value(&value, u64::MAX) / 10)?;
    Ok(value)
}

fn part(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}
