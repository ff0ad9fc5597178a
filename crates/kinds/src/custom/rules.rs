//! The rules of a schema that are expressions: `x-kubernetes-validations`.
//!
//! ```text
//!   self ──► rule ──► true
//!     │        └────► false: a fault, in the rule's own words if it has some
//!     └ oldSelf: what it was, where that can be told
//! ```
//! All rules of an object share one budget, so that the hardest rules cost a bounded time ([`crate::cel`]).

pub(crate) mod cost;
mod declare;
mod values;

use std::cell::LazyCell;
use std::ops::Deref;
use std::sync::OnceLock;

use serde_json::{Map, Value as Json};

use super::check::NOWHERE;
use super::joined;
use super::lists::Older;
use super::schema::{Additional, Schema};
use crate::cel::{Budget, CompileError, Declarations, EvaluateError, Program, Type, Value, Variables};
use crate::status::{FieldError, FieldErrorKind};

pub(crate) use declare::{is_escaped_name, type_of};

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    source: String,
    message: String,
    message_source: String,
    kind: FieldErrorKind,
    /// `.a.b`: where below its value the rule puts the blame.
    field_path: String,
    pub(crate) is_transition: bool,
    is_old_optional: bool,
    program: OnceLock<Result<Program, CompileError>>,
    message_program: OnceLock<Option<Program>>,
}

/// The reasons that a rule may give, with the kind of fault.
pub(crate) const REASONS: [(&str, FieldErrorKind); 4] = [
    ("FieldValueInvalid", FieldErrorKind::Invalid),
    ("FieldValueForbidden", FieldErrorKind::Forbidden),
    ("FieldValueRequired", FieldErrorKind::Required),
    ("FieldValueDuplicate", FieldErrorKind::Duplicate),
];

impl Rule {
    pub(crate) fn of(fields: &Map<String, Json>) -> Vec<Self> {
        let rules = fields.get("x-kubernetes-validations").and_then(Json::as_array);
        rules.into_iter().flatten().map(Self::parse).collect()
    }

    pub(crate) fn parse(rule: &Json) -> Self {
        let text = |field: &str| rule[field].as_str().unwrap_or_default().trim().to_owned();
        let reason = text("reason");
        let kind = REASONS.iter().find(|(name, _)| *name == reason).map(|(_, kind)| *kind);
        let source = text("rule");
        Self {
            is_transition: names_old_self(&source),
            message: text("message"),
            message_source: text("messageExpression"),
            kind: kind.unwrap_or(FieldErrorKind::Invalid),
            field_path: text("fieldPath"),
            is_old_optional: rule["optionalOldSelf"] == true,
            program: OnceLock::new(),
            message_program: OnceLock::new(),
            source,
        }
    }

    /// What expressions of this rule may name, where `self` is of this type.
    fn declarations(&self, kind: &Type) -> Declarations {
        let old = if self.is_old_optional { Type::Optional } else { kind.clone() };
        let variables = [("self".to_owned(), kind.clone()), ("oldSelf".to_owned(), old)].into();
        Declarations { variables, ..Declarations::default() }
    }

    pub(crate) fn compile(&self, kind: &Type) -> Result<Program, CompileError> {
        Program::compile_to(&self.source, &self.declarations(kind), &[Type::Bool])
    }

    pub(crate) fn compile_message(&self, kind: &Type) -> Result<Program, CompileError> {
        Program::compile_to(&self.message_source, &self.declarations(kind), &[Type::String])
    }

    /// The names that stand for values of the rule's schema.
    pub(crate) fn names(&self) -> &'static [&'static str] {
        if self.is_old_optional { &["self"] } else { &["self", "oldSelf"] }
    }

    fn fault(&self, path: &str, value: &Json, message: String) -> FieldError {
        // Objects and lists are not repeated to their writer.
        let shown = if value.is_object() || value.is_array() { Json::Null } else { value.clone() };
        let place = format!("{path}{}", self.field_path);
        let place = place.trim_start_matches('.');
        FieldError {
            kind: self.kind,
            field: if place.is_empty() { NOWHERE.to_owned() } else { place.to_owned() },
            value: shown,
            message,
        }
    }
}

/// Whether an expression looks at what was before: the name stands in it, and not in a quoted text alone.
pub(crate) fn names_old_self(source: &str) -> bool {
    const NAME: &str = "oldSelf";
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    source.match_indices(NAME).any(|(index, _)| {
        let before = source[..index].chars().next_back();
        let after = source[index + NAME.len()..].chars().next();
        !before.is_some_and(|before| is_part(before) || before == '.') && !after.is_some_and(is_part)
    })
}

/// The faults that the rules of a schema find in an object, the next state of `old`.
pub(super) fn check(schema: &Schema, object: &Json, old: Option<&Json>, faults: &mut Vec<FieldError>) {
    let value = values::of(schema, object, true);
    let old_value = old.map(|old| values::of(schema, old, true));
    let mut walk = Walk { budget: Budget::new(Budget::POLICY), faults, is_spent: false };
    let node = Node { json: object, value: Some(&value), old: old.zip(old_value.as_ref()) };
    walk.node(schema, node, String::new(), true);
}

/// A value in both its forms, with what it was.
#[derive(Clone, Copy)]
struct Node<'v> {
    json: &'v Json,
    value: Option<&'v Value>,
    old: Option<(&'v Json, &'v Value)>,
}

struct Walk<'a> {
    budget: Budget,
    faults: &'a mut Vec<FieldError>,
    is_spent: bool,
}

/// What a rule looks at.
struct Bound<'v> {
    this: &'v Value,
    old: Option<&'v Value>,
    is_old_optional: bool,
}

impl Variables for Bound<'_> {
    fn find(&self, name: &str, _budget: &Budget) -> Option<Result<Value, EvaluateError>> {
        match name {
            "self" => Some(Ok(self.this.clone())),
            "oldSelf" if self.is_old_optional => Some(Ok(crate::cel::optional(self.old.cloned()))),
            "oldSelf" => self.old.cloned().map(Ok),
            _ => None,
        }
    }
}

impl Walk<'_> {
    fn node(&mut self, schema: &Schema, node: Node<'_>, path: String, is_resource: bool) {
        if !schema.has_rules() || node.json.is_null() {
            return;
        }
        // Made for the first rule that needs it, and once for all of them.
        let kind = LazyCell::new(|| type_of(schema, is_resource));
        for rule in &schema.rules {
            self.rule(rule, &kind, node, &path);
        }
        match node.json {
            Json::Object(fields) => {
                for (name, json) in fields {
                    let (inner, path) = match (schema.property(name), &schema.additional) {
                        (Some(property), _) => (property, joined(&path, name)),
                        (None, Some(Additional::Of(inner))) => (&**inner, format!("{path}[{name}]")),
                        (None, _) => continue,
                    };
                    let key = values::key_of(schema, name);
                    let value = node.value.and_then(|value| values::field(value, &key));
                    let old = node
                        .old
                        .and_then(|(json, value)| Some((json.get(name)?, values::field(value, &key)?)));
                    self.node(inner, Node { json, value, old }, path, false);
                }
            }
            Json::Array(items) => self.items(schema, items, node, &path),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }

    fn items(&mut self, schema: &Schema, items: &[Json], node: Node<'_>, path: &str) {
        let Some(inner) = schema.items.as_deref().filter(|inner| inner.has_rules()) else { return };
        let older = Older::of(schema, node.old.map(|(json, _)| json));
        for (index, json) in items.iter().enumerate() {
            let value = node.value.and_then(|value| values::item(value, index));
            let before = older.counterpart(schema, json).map(|json| (json, values::of(inner, json, false)));
            let old = before.as_ref().map(|(json, value)| (*json, value));
            self.node(inner, Node { json, value, old }, format!("{path}[{index}]"), false);
        }
    }

    fn rule(&mut self, rule: &Rule, kind: &impl Deref<Target = Type>, node: Node<'_>, path: &str) {
        let is_unchanged = node.old.is_some_and(|(old, _)| old == node.json);
        let has_nothing_to_compare = rule.is_transition && node.old.is_none() && !rule.is_old_optional;
        if self.is_spent || has_nothing_to_compare || (is_unchanged && !rule.is_transition) {
            return;
        }
        let Some(this) = node.value else { return };
        let old = node.old.map(|(_, value)| value);
        let bound = Bound { this, old, is_old_optional: rule.is_old_optional };
        let program = rule.program.get_or_init(|| rule.compile(kind));
        let program = match program {
            Ok(program) => program,
            Err(error) => return self.faults.push(rule.fault(path, node.json, error.to_string())),
        };
        match program.evaluate(&bound, &self.budget) {
            Ok(Value::Bool(true)) => {}
            Ok(_) => {
                let message = self.message(rule, kind, &bound);
                self.faults.push(rule.fault(path, node.json, message));
            }
            Err(EvaluateError::Cost) => {
                self.is_spent = true;
                let message = "validation failed due to running out of cost budget, no further validation rules will be run";
                self.faults.push(invalid(rule.fault(path, node.json, message.to_owned())));
            }
            Err(error) => {
                let message = format!("{error} evaluating rule: {}", rule.source);
                self.faults.push(invalid(rule.fault(path, node.json, message)));
            }
        }
    }

    fn message(&self, rule: &Rule, kind: &impl Deref<Target = Type>, bound: &Bound<'_>) -> String {
        const MAX_MESSAGE: usize = 5 << 10;
        let fixed = || match rule.message.as_str() {
            "" => format!("failed rule: {}", rule.source),
            message => message.to_owned(),
        };
        if rule.message_source.is_empty() {
            return fixed();
        }
        let compiled = || rule.compile_message(kind).ok();
        let program = rule.message_program.get_or_init(compiled).as_ref();
        match program.map(|program| program.evaluate(bound, &self.budget)) {
            Some(Ok(Value::String(text))) => {
                let said = text.trim();
                let is_sound = !said.is_empty() && !said.contains('\n') && said.len() <= MAX_MESSAGE;
                if is_sound { said.to_owned() } else { fixed() }
            }
            _ => fixed(),
        }
    }
}

/// A rule that could not be judged is not what its reason says.
fn invalid(fault: FieldError) -> FieldError {
    FieldError { kind: FieldErrorKind::Invalid, ..fault }
}
