//! Regular expressions: linear in time by their engine, bounded in size here, compiled once where they stand as text.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::Value;
use kube_cel::cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use regex::{Regex, RegexBuilder};

use super::{Budget, CompileError, EvaluateError, size};

/// A compiled pattern may not take more bytes than this.
const MAX_COMPILED: usize = 1 << 20;
/// What compiling a pattern costs that is only known when the expression runs.
const COMPILE: u64 = 5_000;

fn takes_pattern(call: &CallExpr) -> bool {
    matches!(call.func_name.as_str(), "matches" | "find" | "findAll")
}

/// The patterns that stand in an expression as they are.
pub(super) fn literal(expression: &IdedExpr) -> Result<HashMap<String, Regex>, CompileError> {
    let mut found = HashMap::new();
    collect(expression, &mut found)?;
    Ok(found)
}

fn collect(expression: &IdedExpr, found: &mut HashMap<String, Regex>) -> Result<(), CompileError> {
    if let Expr::Call(call) = &expression.expr
        && takes_pattern(call)
        && let Some(pattern) = pattern(call)
        && !found.contains_key(pattern)
    {
        let compiled = compile(pattern).map_err(|error| CompileError::Pattern {
            pattern: size::shortened(pattern),
            message: size::shortened(&error.to_string()),
        })?;
        found.insert(pattern.to_owned(), compiled);
    }
    size::parts(&expression.expr).into_iter().try_for_each(|part| collect(part, found))
}

/// The pattern of a call: the first argument of a method, the second of a function.
fn pattern(call: &CallExpr) -> Option<&str> {
    let index = usize::from(call.target.is_none());
    match &call.args.get(index)?.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build()
}

/// `matches`, `find` and `findAll`; `None` if the arguments are not theirs.
pub(super) fn call(
    name: &str,
    arguments: &[Value],
    known: &HashMap<String, Regex>,
    budget: &Budget,
) -> Option<Result<Value, EvaluateError>> {
    let (text, pattern, most) = match arguments {
        [Value::String(text), Value::String(pattern)] => (text, pattern, None),
        [Value::String(text), Value::String(pattern), Value::Int(most)] if name == "findAll" => {
            (text, pattern, usize::try_from(*most).ok())
        }
        _ => return None,
    };
    Some(apply(name, text, pattern, (known, budget)).map(|found| match (found, most) {
        (Value::List(items), Some(most)) => Value::List(Arc::new(items.iter().take(most).cloned().collect())),
        (found, _) => found,
    }))
}

fn apply(
    name: &str,
    text: &str,
    pattern: &str,
    (known, budget): (&HashMap<String, Regex>, &Budget),
) -> Result<Value, EvaluateError> {
    // As Kubernetes reckons it: the product of both lengths, each weighed.
    let units = (text.len() as u64 / 10 + 1).saturating_mul(pattern.len() as u64 / 4 + 1);
    budget.spend(units)?;
    let compiled;
    let regex = match known.get(pattern) {
        Some(regex) => regex,
        None => {
            budget.spend(COMPILE)?;
            compiled = compile(pattern).map_err(|error| {
                EvaluateError::Function(format!("{name}: {}", size::shortened(&error.to_string())))
            })?;
            &compiled
        }
    };
    Ok(match name {
        "matches" => Value::Bool(regex.is_match(text)),
        "find" => super::json::text_value(regex.find(text).map_or("", |found| found.as_str())),
        _ => {
            let all = regex.find_iter(text).map(|found| super::json::text_value(found.as_str()));
            Value::List(Arc::new(all.collect()))
        }
    })
}
