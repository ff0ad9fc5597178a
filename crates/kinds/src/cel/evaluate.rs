//! The walk over an expression's tree.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::Value;
use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, LiteralValue, SelectExpr,
};
use kube_cel::cel::objects::Key;

use super::json::{key, text_value};
use super::operators::{binary, index, negate, not, optional, unwrapped};
use super::signatures::LIBRARIES;
use super::{Budget, EvaluateError, Program, Variables, authorizer, functions};

type Outcome = Result<Value, EvaluateError>;

pub(super) fn run(program: &Program, variables: &dyn Variables, budget: &Budget) -> Outcome {
    Walk { program, variables, budget }.value(&program.expression, &Scope::Outside)
}

/// The variables that an expression itself introduces, the innermost first.
enum Scope<'a> {
    Outside,
    Inside { name: &'a str, value: Value, outer: &'a Scope<'a> },
}

impl<'a> Scope<'a> {
    fn find(&self, wanted: &str) -> Option<&Value> {
        match self {
            Self::Outside => None,
            Self::Inside { name, value, .. } if *name == wanted => Some(value),
            Self::Inside { outer, .. } => outer.find(wanted),
        }
    }

    fn with(&'a self, name: &'a str, value: Value) -> Scope<'a> {
        Scope::Inside { name, value, outer: self }
    }
}

struct Walk<'a> {
    program: &'a Program,
    variables: &'a dyn Variables,
    budget: &'a Budget,
}

impl Walk<'_> {
    fn value(&self, expression: &IdedExpr, scope: &Scope<'_>) -> Outcome {
        self.budget.deeper(|| self.part(&expression.expr, scope))
    }

    fn part(&self, expression: &Expr, scope: &Scope<'_>) -> Outcome {
        match expression {
            Expr::Literal(literal) => Ok(literal_value(literal)),
            Expr::Ident(name) => self.variable(name, scope),
            Expr::Select(select) => self.select(select, scope),
            Expr::Call(call) => self.call(call, scope),
            Expr::List(list) => self.list(list, scope),
            Expr::Map(map) => self.entries(&map.entries, scope),
            // What is constructed is a map like any other object; its types were checked before.
            Expr::Struct(object) => self.entries(&object.entries, scope),
            Expr::Comprehension(fold) => self.fold(fold, scope),
            Expr::Unspecified => Err(EvaluateError::NoOverload("nothing".to_owned())),
        }
    }

    fn variable(&self, name: &str, scope: &Scope<'_>) -> Outcome {
        if let Some(value) = scope.find(name) {
            return Ok(value.clone());
        }
        match self.variables.find(name, self.budget) {
            Some(found) => found,
            None if name == "authorizer" && self.variables.authority().is_some() => Ok(authorizer::root()),
            None => functions::type_name(name).ok_or_else(|| EvaluateError::Undeclared(name.to_owned())),
        }
    }

    fn select(&self, select: &SelectExpr, scope: &Scope<'_>) -> Outcome {
        if let Expr::Ident(variable) = &select.operand.expr
            && scope.find(variable).is_none()
            && let Some(found) = self.variables.field(variable, &select.field, self.budget)
        {
            return found;
        }
        let operand = self.value(&select.operand, scope)?;
        if select.test {
            return has(&operand, &select.field).map(Value::Bool);
        }
        if let Some(request) = authorizer::request(&operand, &select.field, self.variables.authority()) {
            return Ok(request);
        }
        field(&operand, &select.field)
    }

    fn call(&self, call: &CallExpr, scope: &Scope<'_>) -> Outcome {
        let arguments = call.args.as_slice();
        match (call.func_name.as_str(), arguments) {
            (op::CONDITIONAL, [condition, yes, no]) => match self.value(condition, scope)? {
                Value::Bool(true) => self.value(yes, scope),
                Value::Bool(false) => self.value(no, scope),
                other => Err(EvaluateError::NoOverload(format!("{} ? :", other.type_of()))),
            },
            (op::LOGICAL_AND, [left, right]) => self.logical(false, left, right, scope),
            (op::LOGICAL_OR, [left, right]) => self.logical(true, left, right, scope),
            (op::NOT_STRICTLY_FALSE, [condition]) => match self.value(condition, scope) {
                Err(EvaluateError::Cost) => Err(EvaluateError::Cost),
                value => Ok(Value::Bool(!matches!(value, Ok(Value::Bool(false))))),
            },
            (op::LOGICAL_NOT, [operand]) => not(&self.value(operand, scope)?),
            (op::NEGATE, [operand]) => negate(&self.value(operand, scope)?),
            (op::OPT_SELECT, [operand, name]) => {
                let (operand, name) = (self.value(operand, scope)?, self.value(name, scope)?);
                optionally(&operand, &name)
            }
            (op::OPT_INDEX, [operand, at]) => {
                let (operand, at) = (self.value(operand, scope)?, self.value(at, scope)?);
                optionally(&operand, &at)
            }
            (op::INDEX, [operand, at]) => {
                let (operand, at) = (self.value(operand, scope)?, self.value(at, scope)?);
                match unwrapped(&operand) {
                    Some(_) => optionally(&operand, &at),
                    None => index(&operand, &at),
                }
            }
            (name, [left, right]) if call.target.is_none() => {
                let (left, right) = (self.value(left, scope)?, self.value(right, scope)?);
                match binary(name, &left, &right, self.budget) {
                    Some(outcome) => outcome,
                    None => self.function(name, vec![left, right]),
                }
            }
            (name, _) => self.named(name, call, scope),
        }
    }

    /// A function, or a method of what stands before it, or a function of a library (`math.abs`).
    fn named(&self, name: &str, call: &CallExpr, scope: &Scope<'_>) -> Outcome {
        let mut values = Vec::with_capacity(call.args.len() + 1);
        let library = call.target.as_deref().and_then(|target| library_of(target, name, scope));
        if let (Some(target), None) = (call.target.as_deref(), &library) {
            values.push(self.value(target, scope)?);
        }
        if let Some(answer) = self.lazily(name, &values, call, scope) {
            return answer;
        }
        for argument in &call.args {
            values.push(self.value(argument, scope)?);
        }
        self.function(library.as_deref().unwrap_or(name), values)
    }

    /// Optionals do not evaluate their alternative where it is not needed.
    fn lazily(&self, name: &str, target: &[Value], call: &CallExpr, scope: &Scope<'_>) -> Option<Outcome> {
        let ([optional], [alternative]) = (target, call.args.as_slice()) else { return None };
        let held = unwrapped(optional)?;
        match (name, held) {
            ("or", Some(_)) => Some(Ok(optional.clone())),
            ("orValue", Some(value)) => Some(Ok(value)),
            ("or" | "orValue", None) => Some(self.value(alternative, scope)),
            _ => None,
        }
    }

    fn function(&self, name: &str, arguments: Vec<Value>) -> Outcome {
        functions::call(
            name,
            arguments,
            functions::Surroundings {
                patterns: &self.program.patterns,
                authority: self.variables.authority(),
                budget: self.budget,
            },
        )
    }

    /// `&&` and `||`: the side that decides does so, even if the other fails.
    fn logical(&self, decisive: bool, left: &IdedExpr, right: &IdedExpr, scope: &Scope<'_>) -> Outcome {
        let left = self.value(left, scope);
        match &left {
            Ok(Value::Bool(value)) if *value == decisive => return left,
            Err(EvaluateError::Cost) => return left,
            _ => {}
        }
        match (left, self.value(right, scope)) {
            (_, Ok(Value::Bool(value))) if value == decisive => Ok(Value::Bool(value)),
            (_, Err(EvaluateError::Cost)) => Err(EvaluateError::Cost),
            (Ok(Value::Bool(_)), right) => match right? {
                value @ Value::Bool(_) => Ok(value),
                other => Err(EvaluateError::NoOverload(format!("bool with {}", other.type_of()))),
            },
            (Err(error), _) => Err(error),
            (Ok(other), _) => Err(EvaluateError::NoOverload(format!("{} with bool", other.type_of()))),
        }
    }

    fn list(&self, list: &ListExpr, scope: &Scope<'_>) -> Outcome {
        let mut items = Vec::with_capacity(list.elements.len());
        for (place, element) in list.elements.iter().enumerate() {
            let value = self.value(element, scope)?;
            if list.optional_indices.contains(&place) {
                items.extend(unwrapped(&value).unwrap_or(Some(value)));
            } else {
                items.push(value);
            }
        }
        Ok(Value::List(Arc::new(items)))
    }

    fn entries(&self, entries: &[IdedEntryExpr], scope: &Scope<'_>) -> Outcome {
        let mut fields: HashMap<Key, Value> = HashMap::with_capacity(entries.len());
        for entry in entries {
            let (name, value, is_optional) = match &entry.expr {
                EntryExpr::StructField(entry) => (key(&entry.field), &entry.value, entry.optional),
                EntryExpr::MapEntry(entry) => {
                    let name = self.value(&entry.key, scope)?;
                    (key_of(&name)?, &entry.value, entry.optional)
                }
            };
            let value = self.value(value, scope)?;
            let value = if is_optional { unwrapped(&value).unwrap_or(Some(value)) } else { Some(value) };
            if let Some(value) = value
                && fields.insert(name, value).is_some()
            {
                return Err(EvaluateError::Function("a key stands twice in a map".to_owned()));
            }
        }
        Ok(fields.into())
    }

    fn fold(&self, fold: &ComprehensionExpr, scope: &Scope<'_>) -> Outcome {
        let mut total = self.value(&fold.accu_init, scope)?;
        let range = self.value(&fold.iter_range, scope)?;
        let items: Arc<Vec<Value>> = match &range {
            Value::List(items) => Arc::clone(items),
            Value::Map(map) => Arc::new(map.map.keys().map(Value::from).collect()),
            other => return Err(EvaluateError::NoOverload(format!("a loop over {}", other.type_of()))),
        };
        for (place, item) in items.iter().enumerate() {
            self.budget.spend(1)?;
            let inner = scope.with(&fold.accu_var, total.clone());
            if !matches!(self.value(&fold.loop_cond, &inner)?, Value::Bool(true)) {
                break;
            }
            drop(inner);
            total = match &fold.iter_var2 {
                None => self.step(fold, total, &scope.with(&fold.iter_var, item.clone()))?,
                Some(second) => {
                    let (first, value) = pair(&range, place, item);
                    let outer = scope.with(&fold.iter_var, first);
                    self.step(fold, total, &outer.with(second, value))?
                }
            };
        }
        self.value(&fold.result, &scope.with(&fold.accu_var, total))
    }

    /// One round. What a macro appends to its list is pushed onto it, so that a loop takes as long as its list is.
    fn step(&self, fold: &ComprehensionExpr, total: Value, scope: &Scope<'_>) -> Outcome {
        let mut step = &fold.loop_step;
        let is_total = |part: &IdedExpr| matches!(&part.expr, Expr::Ident(name) if *name == fold.accu_var);
        loop {
            match &step.expr {
                Expr::Call(call) if call.func_name == op::CONDITIONAL && call.args.len() == 3 => {
                    if !is_total(&call.args[1]) && !is_total(&call.args[2]) {
                        break;
                    }
                    match self.value(&call.args[0], scope)? {
                        Value::Bool(holds) => step = &call.args[if holds { 1 } else { 2 }],
                        other => return Err(EvaluateError::NoOverload(format!("{} ? :", other.type_of()))),
                    }
                }
                Expr::Call(call)
                    if call.func_name == op::ADD && call.args.len() == 2 && is_total(&call.args[0]) =>
                {
                    let Expr::List(list) = &call.args[1].expr else { break };
                    let Value::List(mut items) = total else { break };
                    if let Value::List(more) = self.list(list, scope)? {
                        Arc::make_mut(&mut items).extend(more.iter().cloned());
                    }
                    return Ok(Value::List(items));
                }
                Expr::Ident(_) if is_total(step) => return Ok(total),
                _ => break,
            }
        }
        self.value(step, &scope.with(&fold.accu_var, total))
    }
}

/// What a loop with two variables sees: place and item of a list, key and value of a map.
fn pair(range: &Value, place: usize, item: &Value) -> (Value, Value) {
    match range {
        Value::Map(_) => (item.clone(), index(range, item).unwrap_or(Value::Null)),
        _ => (Value::Int(i64::try_from(place).unwrap_or(i64::MAX)), item.clone()),
    }
}

/// `math.abs`, where `math` is a library and no variable.
fn library_of(target: &IdedExpr, name: &str, scope: &Scope<'_>) -> Option<String> {
    let Expr::Ident(library) = &target.expr else { return None };
    (LIBRARIES.contains(&library.as_str()) && scope.find(library).is_none())
        .then(|| format!("{library}.{name}"))
}

fn has(operand: &Value, name: &str) -> Result<bool, EvaluateError> {
    match (operand, unwrapped(operand)) {
        (_, Some(None)) => Ok(false),
        (_, Some(Some(held))) => has(&held, name),
        (Value::Map(map), None) => Ok(map.get(&key(name)).is_some()),
        (other, None) => Err(EvaluateError::NoOverload(format!("has({}.{name})", other.type_of()))),
    }
}

fn field(operand: &Value, name: &str) -> Outcome {
    if unwrapped(operand).is_some() {
        return optionally(operand, &text_value(name));
    }
    match operand {
        Value::Map(map) => {
            map.get(&key(name)).cloned().ok_or_else(|| EvaluateError::NoSuchKey(name.to_owned()))
        }
        other => Err(EvaluateError::NoOverload(format!("{}.{name}", other.type_of()))),
    }
}

/// What is there, or nothing.
fn optionally(operand: &Value, at: &Value) -> Outcome {
    let inner = match unwrapped(operand) {
        Some(None) => return Ok(optional(None)),
        Some(Some(held)) => held,
        None => operand.clone(),
    };
    match index(&inner, at) {
        Ok(value) => Ok(optional(Some(value))),
        Err(EvaluateError::NoSuchKey(_)) => Ok(optional(None)),
        Err(error) => Err(error),
    }
}

pub(super) fn key_of(value: &Value) -> Result<Key, EvaluateError> {
    match value {
        Value::String(text) => Ok(Key::String(Arc::clone(text))),
        Value::Int(number) => Ok(Key::Int(*number)),
        Value::UInt(number) => Ok(Key::Uint(*number)),
        Value::Bool(value) => Ok(Key::Bool(*value)),
        other => Err(EvaluateError::NoOverload(format!("a map by {}", other.type_of()))),
    }
}

fn literal_value(literal: &LiteralValue) -> Value {
    match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Bytes(bytes) => Value::Bytes(Arc::new(bytes.inner().to_vec())),
        LiteralValue::Double(number) => Value::Float(*number.inner()),
        LiteralValue::Int(number) => Value::Int(*number.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(text) => text_value(text.inner()),
        LiteralValue::UInt(number) => Value::UInt(*number.inner()),
    }
}
