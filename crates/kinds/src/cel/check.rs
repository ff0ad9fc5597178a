//! What can be told of an expression without running it: names that nobody declared, types that never fit.
//!
//! Where a type is not known it is [`Type::Dyn`], and everything fits it; the rest is told when the expression runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, SelectExpr,
};

use super::signatures::LIBRARIES;
use super::{CompileError, Declarations, functions, signatures};

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Anything.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    List,
    Map,
    Duration,
    Timestamp,
    Type,
    Optional,
    /// A value of a library, by its name.
    Opaque(&'static str),
    /// Something with these fields and no others.
    Fields(Arc<BTreeMap<String, Type>>),
    /// What `Name{...}` constructs.
    Object(String),
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dyn => "dyn",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::List => "list",
            Self::Map => "map",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Type => "type",
            Self::Optional => "optional_type",
            Self::Opaque(name) => name,
            Self::Fields(_) => "object",
            Self::Object(name) => name,
        })
    }
}

impl Type {
    fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Whether a value of this type may turn out to be a `wanted`.
    fn may_be(&self, wanted: &Self) -> bool {
        *self == Self::Dyn || self == wanted
    }
}

/// Parts of JSONPatch objects.
const PATCH_FIELDS: [&str; 4] = ["op", "path", "from", "value"];

/// The type of what `expression` yields.
pub(super) fn check(expression: &IdedExpr, declarations: &Declarations) -> Result<Type, CompileError> {
    Checker { declarations }.infer(expression, &Scope::Outside)
}

enum Scope<'a> {
    Outside,
    Inside { name: &'a str, found: Type, outer: &'a Scope<'a> },
}

impl<'a> Scope<'a> {
    fn find(&self, wanted: &str) -> Option<&Type> {
        match self {
            Self::Outside => None,
            Self::Inside { name, found, .. } if *name == wanted => Some(found),
            Self::Inside { outer, .. } => outer.find(wanted),
        }
    }

    fn with(&'a self, name: &'a str, found: Type) -> Scope<'a> {
        Scope::Inside { name, found, outer: self }
    }
}

struct Checker<'a> {
    declarations: &'a Declarations,
}

type Inferred = Result<Type, CompileError>;

impl Checker<'_> {
    fn infer(&self, expression: &IdedExpr, scope: &Scope<'_>) -> Inferred {
        match &expression.expr {
            Expr::Unspecified => Ok(Type::Dyn),
            Expr::Literal(literal) => Ok(type_of_literal(literal)),
            Expr::Ident(name) => self.variable(name, scope),
            Expr::Select(select) => self.select(select, scope),
            Expr::Call(call) => self.call(call, scope),
            Expr::List(list) => {
                list.elements.iter().try_for_each(|element| self.infer(element, scope).map(drop))?;
                Ok(Type::List)
            }
            Expr::Map(map) => {
                self.entries(&map.entries, scope, &|_| true)?;
                Ok(Type::Map)
            }
            Expr::Struct(object) => {
                let name = object.type_name.as_str();
                let is_patch = name == "JSONPatch";
                let is_known = is_patch || name == "Object" || name.starts_with("Object.");
                if !self.declarations.constructs_objects || !is_known {
                    return Err(CompileError::Undeclared { name: name.to_owned() });
                }
                self.entries(&object.entries, scope, &|field| !is_patch || PATCH_FIELDS.contains(&field))?;
                Ok(Type::Object(name.to_owned()))
            }
            Expr::Comprehension(fold) => self.fold(fold, scope),
        }
    }

    fn variable(&self, name: &str, scope: &Scope<'_>) -> Inferred {
        let declared = scope.find(name).or_else(|| self.declarations.variables.get(name));
        match declared {
            Some(found) => Ok(found.clone()),
            None if functions::type_name(name).is_some() => Ok(Type::Type),
            None => Err(CompileError::Undeclared { name: name.to_owned() }),
        }
    }

    fn select(&self, select: &SelectExpr, scope: &Scope<'_>) -> Inferred {
        let found = match self.infer(&select.operand, scope)? {
            Type::Fields(fields) => {
                let name = || CompileError::NoField { name: select.field.clone() };
                fields.get(&select.field).cloned().ok_or_else(name)?
            }
            Type::Dyn | Type::Map | Type::Object(_) | Type::Opaque(_) => Type::Dyn,
            Type::Optional => Type::Optional,
            other => return Err(no_overload(&format!("_.{}", select.field), &[other])),
        };
        Ok(if select.test { Type::Bool } else { found })
    }

    fn entries(
        &self,
        entries: &[IdedEntryExpr],
        scope: &Scope<'_>,
        is_field: &dyn Fn(&str) -> bool,
    ) -> Result<(), CompileError> {
        for entry in entries {
            match &entry.expr {
                EntryExpr::StructField(entry) if !is_field(&entry.field) => {
                    return Err(CompileError::NoField { name: entry.field.clone() });
                }
                EntryExpr::StructField(entry) => drop(self.infer(&entry.value, scope)?),
                EntryExpr::MapEntry(entry) => {
                    self.infer(&entry.key, scope)?;
                    self.infer(&entry.value, scope)?;
                }
            }
        }
        Ok(())
    }

    fn fold(&self, fold: &ComprehensionExpr, scope: &Scope<'_>) -> Inferred {
        match self.infer(&fold.iter_range, scope)? {
            Type::Dyn | Type::List | Type::Map => {}
            other => return Err(no_overload("a loop", &[other])),
        }
        let total = self.infer(&fold.accu_init, scope)?;
        let outer = scope.with(&fold.accu_var, total);
        let inner = outer.with(&fold.iter_var, Type::Dyn);
        let innermost;
        let inner = match &fold.iter_var2 {
            Some(second) => {
                innermost = inner.with(second, Type::Dyn);
                &innermost
            }
            None => &inner,
        };
        self.infer(&fold.loop_cond, inner)?;
        self.infer(&fold.loop_step, inner)?;
        self.infer(&fold.result, &outer)
    }

    fn call(&self, call: &CallExpr, scope: &Scope<'_>) -> Inferred {
        let mut arguments = Vec::with_capacity(call.args.len() + 1);
        let mut name = call.func_name.clone();
        match call.target.as_deref().map(|target| &target.expr) {
            Some(Expr::Ident(library))
                if LIBRARIES.contains(&library.as_str()) && scope.find(library).is_none() =>
            {
                name = format!("{library}.{name}");
            }
            _ => {
                if let Some(target) = call.target.as_deref() {
                    arguments.push(self.infer(target, scope)?);
                }
            }
        }
        for argument in &call.args {
            arguments.push(self.infer(argument, scope)?);
        }
        if let Some(result) = operator(&name, &arguments) {
            return result.ok_or_else(|| no_overload(&name, &arguments));
        }
        let signature = signatures::find(&name).ok_or(CompileError::Undeclared { name: name.clone() })?;
        if !(signature.least..=signature.most).contains(&arguments.len()) {
            return Err(no_overload(&name, &arguments));
        }
        Ok(signature.result.clone())
    }
}

/// The result of an operator, or `Some(None)` if it does not take such operands; `None` if it is no operator.
fn operator(name: &str, arguments: &[Type]) -> Option<Option<Type>> {
    let is_bool = |operand: &Type| operand.may_be(&Type::Bool);
    Some(match (name, arguments) {
        (op::CONDITIONAL, [condition, yes, no]) => {
            is_bool(condition).then(|| if yes == no { yes.clone() } else { Type::Dyn })
        }
        (op::LOGICAL_AND | op::LOGICAL_OR, [left, right]) => {
            (is_bool(left) && is_bool(right)).then_some(Type::Bool)
        }
        (op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, [operand]) => is_bool(operand).then_some(Type::Bool),
        (op::NEGATE, [operand]) => {
            let fits = matches!(operand, Type::Dyn | Type::Int | Type::Double | Type::Duration);
            fits.then(|| operand.clone())
        }
        (op::EQUALS | op::NOT_EQUALS, [left, right]) => are_comparable(left, right).then_some(Type::Bool),
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [left, right]) => {
            let is_ordered = |operand: &Type| {
                !matches!(operand, Type::List | Type::Map | Type::Null | Type::Fields(_) | Type::Object(_))
            };
            let fits = is_ordered(left) && is_ordered(right) && are_comparable(left, right);
            fits.then_some(Type::Bool)
        }
        (op::IN, [_, container]) => {
            matches!(container, Type::Dyn | Type::List | Type::Map).then_some(Type::Bool)
        }
        (op::INDEX, [container, _]) => {
            matches!(container, Type::Dyn | Type::List | Type::Map | Type::Optional | Type::Object(_))
                .then_some(Type::Dyn)
        }
        (op::OPT_INDEX | op::OPT_SELECT, [_, _]) => Some(Type::Optional),
        (op::ADD, [left, right]) => sum(left, right),
        (op::SUBSTRACT, [left, right]) => difference(left, right),
        (op::MULTIPLY | op::DIVIDE | op::MODULO, [left, right]) => numbers(left, right),
        _ => return None,
    })
}

/// Whether two values of these types can be equal at all, or be the lesser one.
fn are_comparable(left: &Type, right: &Type) -> bool {
    let is_open = |operand: &Type| {
        matches!(
            operand,
            Type::Dyn | Type::Null | Type::Optional | Type::Opaque(_) | Type::Fields(_) | Type::Object(_)
        )
    };
    is_open(left) || is_open(right) || left == right || (left.is_number() && right.is_number())
}

fn numbers(left: &Type, right: &Type) -> Option<Type> {
    match (left, right) {
        (Type::Dyn, other) | (other, Type::Dyn) if other.is_number() || *other == Type::Dyn => {
            Some(other.clone())
        }
        _ => (left == right && left.is_number()).then(|| left.clone()),
    }
}

fn sum(left: &Type, right: &Type) -> Option<Type> {
    match (left, right) {
        (Type::Timestamp, Type::Duration) | (Type::Duration, Type::Timestamp) => Some(Type::Timestamp),
        (Type::Dyn, Type::Duration | Type::Timestamp) | (Type::Duration | Type::Timestamp, Type::Dyn) => {
            Some(Type::Dyn)
        }
        (Type::Dyn, other) | (other, Type::Dyn) if is_joinable(other) => Some(other.clone()),
        _ if left == right && (is_joinable(left) || *left == Type::Duration) => Some(left.clone()),
        _ => numbers(left, right),
    }
}

fn is_joinable(operand: &Type) -> bool {
    matches!(operand, Type::String | Type::Bytes | Type::List)
}

fn difference(left: &Type, right: &Type) -> Option<Type> {
    match (left, right) {
        (Type::Timestamp, Type::Timestamp) | (Type::Duration, Type::Duration) => Some(Type::Duration),
        (Type::Timestamp, Type::Duration) => Some(Type::Timestamp),
        (Type::Dyn, Type::Duration | Type::Timestamp) | (Type::Duration | Type::Timestamp, Type::Dyn) => {
            Some(Type::Dyn)
        }
        _ => numbers(left, right),
    }
}

fn no_overload(function: &str, arguments: &[Type]) -> CompileError {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    CompileError::NoOverload { function: function.to_owned(), arguments: arguments.join(", ") }
}

fn type_of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}
