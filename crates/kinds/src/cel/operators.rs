//! What `+`, `<`, `in`, `[]` and their kin do to values.

use std::cmp::Ordering;
use std::sync::Arc;

use kube_cel::cel::Value;
use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::objects::{KeyRef, OptionalValue};

use super::json::text_value;
use super::{Budget, EvaluateError, size};

type Outcome = Result<Value, EvaluateError>;

fn none_for(operator: &str, left: &Value, right: &Value) -> EvaluateError {
    EvaluateError::NoOverload(format!("{} {operator} {}", left.type_of(), right.type_of()))
}

fn overflow() -> EvaluateError {
    EvaluateError::Function("integer overflow".to_owned())
}

/// A binary operator of which both sides are always evaluated; `None` if it is another function.
pub(super) fn binary(name: &str, left: &Value, right: &Value, budget: &Budget) -> Option<Outcome> {
    Some(match name {
        op::EQUALS => equal(left, right, budget).map(Value::Bool),
        op::NOT_EQUALS => equal(left, right, budget).map(|same| Value::Bool(!same)),
        op::LESS => ordered(name, left, right, Ordering::is_lt),
        op::LESS_EQUALS => ordered(name, left, right, Ordering::is_le),
        op::GREATER => ordered(name, left, right, Ordering::is_gt),
        op::GREATER_EQUALS => ordered(name, left, right, Ordering::is_ge),
        op::IN => contains(right, left, budget).map(Value::Bool),
        op::ADD => add(left, right, budget),
        op::SUBSTRACT => subtract(left, right),
        op::MULTIPLY => arithmetic(name, left, right, (i64::checked_mul, u64::checked_mul), |a, b| a * b),
        op::DIVIDE => divide(left, right),
        op::MODULO => modulo(left, right),
        op::INDEX => index(left, right),
        _ => return None,
    })
}

fn equal(left: &Value, right: &Value, budget: &Budget) -> Result<bool, EvaluateError> {
    budget.spend(size::of_value(left, u64::MAX).min(size::of_value(right, u64::MAX)) / 10)?;
    Ok(left == right)
}

fn ordered(name: &str, left: &Value, right: &Value, is: fn(Ordering) -> bool) -> Outcome {
    let order = match (left, right) {
        (Value::Bytes(left), Value::Bytes(right)) => Some(left.cmp(right)),
        // What is no number is in no order with anything.
        (Value::Float(number), _) | (_, Value::Float(number)) if number.is_nan() => {
            return Ok(Value::Bool(false));
        }
        (left, right) => left.partial_cmp(right),
    };
    order.map(|order| Value::Bool(is(order))).ok_or_else(|| none_for(name, left, right))
}

fn contains(container: &Value, item: &Value, budget: &Budget) -> Result<bool, EvaluateError> {
    match container {
        Value::List(items) => {
            for other in items.iter() {
                if equal(item, other, budget)? {
                    return Ok(true);
                }
                budget.spend(1)?;
            }
            Ok(false)
        }
        Value::Map(map) => Ok(KeyRef::try_from(item).is_ok_and(|key| map.get(&key).is_some())),
        container => Err(none_for("in", item, container)),
    }
}

fn add(left: &Value, right: &Value, budget: &Budget) -> Outcome {
    match (left, right) {
        (Value::String(left), Value::String(right)) => {
            budget.spend((left.len() + right.len()) as u64 / 10)?;
            Ok(text_value(&format!("{left}{right}")))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.spend((left.len() + right.len()) as u64 / 10)?;
            Ok(Value::Bytes(Arc::new([left.as_slice(), right.as_slice()].concat())))
        }
        (Value::List(left), Value::List(right)) => {
            budget.spend((left.len() + right.len()) as u64)?;
            Ok(Value::List(Arc::new(left.iter().chain(right.iter()).cloned().collect())))
        }
        (Value::Duration(left), Value::Duration(right)) => {
            left.checked_add(right).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Timestamp(at), Value::Duration(span)) | (Value::Duration(span), Value::Timestamp(at)) => {
            at.checked_add_signed(*span).map(Value::Timestamp).ok_or_else(overflow)
        }
        _ => arithmetic(op::ADD, left, right, (i64::checked_add, u64::checked_add), |a, b| a + b),
    }
}

fn subtract(left: &Value, right: &Value) -> Outcome {
    match (left, right) {
        (Value::Duration(left), Value::Duration(right)) => {
            left.checked_sub(right).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => {
            Ok(Value::Duration(left.signed_duration_since(right)))
        }
        (Value::Timestamp(at), Value::Duration(span)) => {
            at.checked_sub_signed(*span).map(Value::Timestamp).ok_or_else(overflow)
        }
        _ => arithmetic(op::SUBSTRACT, left, right, (i64::checked_sub, u64::checked_sub), |a, b| a - b),
    }
}

fn divide(left: &Value, right: &Value) -> Outcome {
    must_not_be_zero(right)?;
    arithmetic(op::DIVIDE, left, right, (i64::checked_div, u64::checked_div), |a, b| a / b)
}

fn modulo(left: &Value, right: &Value) -> Outcome {
    must_not_be_zero(right)?;
    match (left, right) {
        (Value::Float(_), _) | (_, Value::Float(_)) => Err(none_for(op::MODULO, left, right)),
        _ => arithmetic(op::MODULO, left, right, (i64::checked_rem, u64::checked_rem), |a, _| a),
    }
}

fn must_not_be_zero(divisor: &Value) -> Result<(), EvaluateError> {
    match divisor {
        Value::Int(0) | Value::UInt(0) => Err(EvaluateError::Function("division by zero".to_owned())),
        _ => Ok(()),
    }
}

type Whole = (fn(i64, i64) -> Option<i64>, fn(u64, u64) -> Option<u64>);

fn arithmetic(name: &str, left: &Value, right: &Value, whole: Whole, real: fn(f64, f64) -> f64) -> Outcome {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => whole.0(*left, *right).map(Value::Int).ok_or_else(overflow),
        (Value::UInt(left), Value::UInt(right)) => {
            whole.1(*left, *right).map(Value::UInt).ok_or_else(overflow)
        }
        (Value::Float(left), Value::Float(right)) => Ok(Value::Float(real(*left, *right))),
        _ => Err(none_for(name, left, right)),
    }
}

pub(super) fn index(container: &Value, at: &Value) -> Outcome {
    let missing = || EvaluateError::NoSuchKey(described(at));
    match (container, at) {
        (Value::List(items), Value::Int(at)) => {
            usize::try_from(*at).ok().and_then(|at| items.get(at)).cloned().ok_or_else(missing)
        }
        (Value::List(items), Value::UInt(at)) => {
            usize::try_from(*at).ok().and_then(|at| items.get(at)).cloned().ok_or_else(missing)
        }
        (Value::Map(map), at) => {
            let key = KeyRef::try_from(at).map_err(|_| none_for(op::INDEX, container, at))?;
            map.get(&key).cloned().ok_or_else(missing)
        }
        _ => Err(none_for(op::INDEX, container, at)),
    }
}

fn described(key: &Value) -> String {
    match key {
        Value::String(text) => size::shortened(text),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        other => other.type_of().to_string(),
    }
}

pub(super) fn not(value: &Value) -> Outcome {
    match value {
        Value::Bool(value) => Ok(Value::Bool(!value)),
        other => Err(EvaluateError::NoOverload(format!("!{}", other.type_of()))),
    }
}

pub(super) fn negate(value: &Value) -> Outcome {
    match value {
        Value::Int(number) => number.checked_neg().map(Value::Int).ok_or_else(overflow),
        Value::Float(number) => Ok(Value::Float(-number)),
        Value::Duration(span) => Ok(Value::Duration(-*span)),
        other => Err(EvaluateError::NoOverload(format!("-{}", other.type_of()))),
    }
}

/// The value in an optional, if `value` is one.
pub(super) fn unwrapped(value: &Value) -> Option<Option<Value>> {
    let Value::Opaque(opaque) = value else { return None };
    opaque.downcast_ref::<OptionalValue>().map(|optional| optional.value().cloned())
}

pub(crate) fn optional(value: Option<Value>) -> Value {
    Value::Opaque(Arc::new(value.map_or_else(OptionalValue::none, OptionalValue::of)))
}
