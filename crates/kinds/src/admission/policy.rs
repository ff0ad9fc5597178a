//! Admission policies: expressions that allow, refuse or change what is requested.
//!
//! ```text
//!   conditions ──all hold──► validations ──false──► denied, in the words of messageExpression, of message, or its own
//!       └── one does not: nothing           └── fails: as failurePolicy says
//!                            mutations ──► object, changed by one after the other
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value as Json;

use super::{FailurePolicy, Matcher, mutation};
use crate::Kind;
use crate::cel::{
    Authority, Budget, CompileError, Declarations, EvaluateError, Program, Type, Value, Variables, from_json,
};
use crate::status::{Failure, FieldError};

pub use mutation::MutateError;

/// Longer messages of expressions are not shown.
const LONGEST_MESSAGE: usize = 5 << 10;
/// An annotation of the audit log.
const LONGEST_ANNOTATION: usize = 10 << 10;

/// What expressions see of a request.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub object: Value,
    pub old: Value,
    pub request: Value,
    /// The namespace of the object, null where it has none.
    pub namespace: Value,
}

impl Inputs {
    pub fn new(request: &Json, object: &Json, old: &Json, namespace: Option<&Json>) -> Self {
        let namespace = namespace.map_or(Value::Null, |namespace| {
            let mut namespace = namespace.clone();
            if let Some(metadata) = namespace["metadata"].as_object_mut() {
                metadata.remove("managedFields");
            }
            from_json(&namespace)
        });
        Self { object: from_json(object), old: from_json(old), request: from_json(request), namespace }
    }
}

/// Expressions that must all hold for a webhook or a policy to be asked.
#[derive(Debug, Default)]
pub struct Conditions(Vec<Program>);

impl Conditions {
    /// Those of a webhook, which has neither parameters nor variables.
    pub fn of_webhook(webhook: &Json, path: &str) -> Result<Self, Vec<FieldError>> {
        let mut compiler = Compiler::new(false);
        let conditions = compiler.conditions(path, webhook);
        compiler.finish(conditions)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a webhook is to be asked.
    pub fn hold_for(&self, inputs: &Inputs, authority: &dyn Authority) -> Result<bool, EvaluateError> {
        let surroundings = Surroundings::new(inputs, &Value::Null, authority, &[]);
        self.hold(&surroundings, &Budget::new(Budget::POLICY))
    }

    /// One that is false decides, even if another fails.
    fn hold(&self, surroundings: &Surroundings<'_>, budget: &Budget) -> Result<bool, EvaluateError> {
        let mut first_failure = None;
        for condition in &self.0 {
            match condition.evaluate(surroundings, budget) {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => return Ok(false),
                Ok(other) => {
                    let error = EvaluateError::NoOverload(format!("a condition of {}", other.type_of()));
                    first_failure.get_or_insert(error);
                }
                Err(error) => drop(first_failure.get_or_insert(error)),
            }
        }
        first_failure.map_or(Ok(true), Err)
    }
}

#[derive(Debug)]
pub(super) struct Validation {
    expression: String,
    program: Program,
    message: String,
    message_program: Option<Program>,
    reason: String,
}

/// A policy of either kind, ready to be asked.
#[derive(Debug)]
pub struct Policy {
    pub name: String,
    pub failure: FailurePolicy,
    pub matcher: Matcher,
    /// `apiVersion` and `kind` of its parameters.
    pub parameters: Option<(String, String)>,
    pub reinvoked: bool,
    conditions: Conditions,
    variables: Vec<(String, Program)>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Program)>,
    mutations: Vec<mutation::Mutation>,
}

/// Why an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub message: String,
    /// As the policy says it; empty for that of all policies.
    pub reason: String,
}

/// What a policy says of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub denials: Vec<Denial>,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
}

impl Policy {
    /// Compiles a policy; all that is wrong with its expressions is told at once.
    pub fn compile(object: &Json) -> Result<Self, Vec<FieldError>> {
        let spec = &object["spec"];
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let parameters = spec["paramKind"]
            .as_object()
            .map(|_| (text(&spec["paramKind"]["apiVersion"]), text(&spec["paramKind"]["kind"])));
        let matcher = Matcher::of_resources(&spec["matchConstraints"]);
        let matcher = matcher.map_err(|failure| vec![bad_selector("spec.matchConstraints", &failure)])?;
        let mut compiler = Compiler::new(parameters.is_some());
        let conditions = compiler.conditions("spec", spec);
        let variables = compiler.variables(spec);
        let validations = compiler.validations(spec);
        let annotations = compiler.annotations(spec);
        let mutations = mutation::compile(&mut compiler, spec);
        compiler.finish(Self {
            name: text(&object["metadata"]["name"]),
            failure: FailurePolicy::of(spec),
            matcher,
            parameters,
            reinvoked: spec["reinvocationPolicy"] == "IfNeeded",
            conditions,
            variables,
            validations,
            annotations,
            mutations,
        })
    }

    /// What the policy says with these parameters.
    pub fn decide(&self, inputs: &Inputs, parameters: &Value, authority: &dyn Authority) -> Verdict {
        let budget = Budget::new(Budget::POLICY);
        let surroundings = Surroundings::new(inputs, parameters, authority, &self.variables);
        match self.conditions.hold(&surroundings, &budget) {
            Ok(true) => {}
            Ok(false) => return Verdict::default(),
            Err(error) => return Verdict { denials: self.failed(&error), annotations: Vec::new() },
        }
        let mut verdict = Verdict::default();
        for validation in &self.validations {
            match validation.program.evaluate(&surroundings, &budget) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => verdict.denials.push(validation.denial(&surroundings, &budget)),
                Err(error) => verdict.denials.extend(self.failed(&error)),
            }
        }
        for (key, program) in &self.annotations {
            match program.evaluate(&surroundings, &budget) {
                Ok(Value::String(text)) if !text.trim().is_empty() => {
                    let text = text.chars().take(LONGEST_ANNOTATION).collect();
                    verdict.annotations.push((format!("{}/{key}", self.name), text));
                }
                Ok(_) => {}
                Err(error) => verdict.denials.extend(self.failed(&error)),
            }
        }
        verdict
    }

    /// What the policy makes of the object of `inputs`, which is of `kind`; `None` if it leaves it alone.
    pub fn mutate(
        &self,
        kind: &Kind,
        (object, inputs): (&Json, &Inputs),
        parameters: &Value,
        authority: &dyn Authority,
    ) -> Result<Option<Json>, MutateError> {
        let budget = Budget::new(Budget::POLICY);
        let surroundings = Surroundings::new(inputs, parameters, authority, &self.variables);
        if !self.conditions.hold(&surroundings, &budget)? {
            return Ok(None);
        }
        let mut object = object.clone();
        let mut inputs = inputs.clone();
        for mutation in &self.mutations {
            let surroundings = Surroundings::new(&inputs, parameters, authority, &self.variables);
            object = mutation.apply(kind, &object, &surroundings, &budget)?;
            inputs.object = from_json(&object);
        }
        Ok(Some(object))
    }

    fn failed(&self, error: &EvaluateError) -> Vec<Denial> {
        match self.failure {
            FailurePolicy::Fail => vec![Denial { message: error.to_string(), reason: String::new() }],
            FailurePolicy::Ignore => Vec::new(),
        }
    }
}

impl Validation {
    fn denial(&self, surroundings: &Surroundings<'_>, budget: &Budget) -> Denial {
        let said =
            self.message_program.as_ref().and_then(|program| match program.evaluate(surroundings, budget) {
                Ok(Value::String(text)) => Some(text.trim().to_owned()),
                _ => None,
            });
        let said = said
            .filter(|text| !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains(['\n', '\r']));
        let message = match (said, self.message.trim()) {
            (Some(said), _) => said,
            (None, "") => format!("failed expression: {}", self.expression.trim()),
            (None, message) => message.to_owned(),
        };
        Denial { message, reason: self.reason.clone() }
    }
}

/// A selector that cannot be read, where validation let it pass.
pub(crate) fn bad_selector(path: &str, failure: &Failure) -> FieldError {
    FieldError::invalid(path, Json::Null, failure.message())
}

/// The variables of one evaluation. Those of the policy are evaluated when they are first used, and once.
pub(super) struct Surroundings<'a> {
    inputs: &'a Inputs,
    parameters: &'a Value,
    authority: &'a dyn Authority,
    variables: &'a [(String, Program)],
    known: RefCell<HashMap<&'a str, Result<Value, EvaluateError>>>,
}

impl<'a> Surroundings<'a> {
    fn new(
        inputs: &'a Inputs,
        parameters: &'a Value,
        authority: &'a dyn Authority,
        variables: &'a [(String, Program)],
    ) -> Self {
        Self { inputs, parameters, authority, variables, known: RefCell::default() }
    }
}

impl Variables for Surroundings<'_> {
    fn find(&self, name: &str, _budget: &Budget) -> Option<Result<Value, EvaluateError>> {
        let value = match name {
            "object" => &self.inputs.object,
            "oldObject" => &self.inputs.old,
            "request" => &self.inputs.request,
            "namespaceObject" => &self.inputs.namespace,
            "params" => self.parameters,
            _ => return None,
        };
        Some(Ok(value.clone()))
    }

    fn field(&self, variable: &str, name: &str, budget: &Budget) -> Option<Result<Value, EvaluateError>> {
        if variable != "variables" {
            return None;
        }
        if let Some(known) = self.known.borrow().get(name) {
            return Some(known.clone());
        }
        let (name, program) = self.variables.iter().find(|(known, _)| known == name)?;
        let value = program.evaluate(self, budget);
        self.known.borrow_mut().insert(name, value.clone());
        Some(value)
    }

    fn authority(&self) -> Option<&dyn Authority> {
        Some(self.authority)
    }
}

/// Compiles expressions and gathers what is wrong with them.
pub(super) struct Compiler {
    /// What conditions and variables may name.
    base: Declarations,
    /// The variables that were declared so far.
    variables: BTreeMap<String, Type>,
    faults: Vec<FieldError>,
}

impl Compiler {
    fn new(has_parameters: bool) -> Self {
        Self::for_objects(&Type::Dyn, has_parameters)
    }

    /// For requests about objects of one type.
    pub(super) fn for_objects(object: &Type, has_parameters: bool) -> Self {
        let mut variables =
            BTreeMap::from(["object", "oldObject"].map(|name| (name.to_owned(), object.clone())));
        variables.insert("namespaceObject".to_owned(), Type::Dyn);
        variables.insert("request".to_owned(), request_type());
        variables.insert("authorizer".to_owned(), Type::Opaque("kubernetes.authorization.Authorizer"));
        if has_parameters {
            variables.insert("params".to_owned(), Type::Dyn);
        }
        let base = Declarations { variables, constructs_objects: false };
        Self { base, variables: BTreeMap::new(), faults: Vec::new() }
    }

    /// What was wrong so far, which is forgotten.
    pub(super) fn take_faults(&mut self) -> Vec<FieldError> {
        std::mem::take(&mut self.faults)
    }

    fn finish<T>(self, made: T) -> Result<T, Vec<FieldError>> {
        if self.faults.is_empty() { Ok(made) } else { Err(self.faults) }
    }

    /// What expressions may name that come after the variables.
    pub(super) fn declarations(&self, constructs_objects: bool) -> Declarations {
        let mut declarations = Declarations { constructs_objects, ..self.base.clone() };
        declarations.variables.insert("variables".to_owned(), Type::Fields(Arc::new(self.variables.clone())));
        declarations
    }

    /// Compiles one expression. An empty one is a fault of its own, told elsewhere.
    pub(super) fn expression(
        &mut self,
        path: &str,
        source: &str,
        (declarations, wanted): (&Declarations, &[Type]),
    ) -> Option<Program> {
        if source.trim().is_empty() {
            return None;
        }
        let compiled = match wanted {
            [] => Program::compile(source, declarations),
            wanted => Program::compile_to(source, declarations, wanted),
        };
        match compiled {
            Ok(program) => Some(program),
            Err(CompileError::TooLong) => {
                self.faults.push(FieldError::too_long(path, crate::cel::MAX_SOURCE));
                None
            }
            Err(error) => {
                self.faults.push(FieldError::invalid(path, source, error.to_string()));
                None
            }
        }
    }

    fn conditions(&mut self, path: &str, object: &Json) -> Conditions {
        let base = self.base.clone();
        let mut conditions = Vec::new();
        for (path, condition) in items(path, object, "matchConditions") {
            let source = text(condition, "expression");
            let program = self.expression(&format!("{path}.expression"), source, (&base, &[Type::Bool]));
            conditions.extend(program);
        }
        Conditions(conditions)
    }

    pub(super) fn variables(&mut self, spec: &Json) -> Vec<(String, Program)> {
        let mut variables = Vec::new();
        for (path, variable) in items("spec", spec, "variables") {
            let (name, source) = (text(variable, "name"), text(variable, "expression"));
            let declarations = self.declarations(false);
            let program = self.expression(&format!("{path}.expression"), source, (&declarations, &[]));
            // One that cannot be compiled is told once, not wherever it is used.
            let found = program.as_ref().map_or(Type::Dyn, |program| program.result().clone());
            self.variables.insert(name.to_owned(), found);
            variables.extend(program.map(|program| (name.to_owned(), program)));
        }
        variables
    }

    pub(super) fn validations(&mut self, spec: &Json) -> Vec<Validation> {
        let declarations = self.declarations(false);
        let mut validations = Vec::new();
        for (path, validation) in items("spec", spec, "validations") {
            let expression = text(validation, "expression");
            let wanted = (&declarations, &[Type::Bool][..]);
            let program = self.expression(&format!("{path}.expression"), expression, wanted);
            let wanted = (&declarations, &[Type::String][..]);
            let source = text(validation, "messageExpression");
            let message_program = self.expression(&format!("{path}.messageExpression"), source, wanted);
            validations.extend(program.map(|program| Validation {
                expression: expression.to_owned(),
                program,
                message: text(validation, "message").to_owned(),
                message_program,
                reason: text(validation, "reason").to_owned(),
            }));
        }
        validations
    }

    fn annotations(&mut self, spec: &Json) -> Vec<(String, Program)> {
        let declarations = self.declarations(false);
        let mut annotations = Vec::new();
        for (path, annotation) in items("spec", spec, "auditAnnotations") {
            let wanted = (&declarations, &[Type::String, Type::Null][..]);
            let source = text(annotation, "valueExpression");
            let program = self.expression(&format!("{path}.valueExpression"), source, wanted);
            annotations.extend(program.map(|program| (text(annotation, "key").to_owned(), program)));
        }
        annotations
    }
}

pub(super) fn items<'a>(
    path: &str,
    object: &'a Json,
    field: &str,
) -> impl Iterator<Item = (String, &'a Json)> {
    let path = format!("{path}.{field}");
    let items = object[field].as_array().into_iter().flatten().enumerate();
    items.map(move |(index, item)| (format!("{path}[{index}]"), item))
}

pub(super) fn text<'a>(object: &'a Json, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// The fields of `request`.
fn request_type() -> Type {
    let fields = |fields: &[(&str, Type)]| {
        let named = fields.iter().map(|(name, found)| ((*name).to_owned(), found.clone()));
        Type::Fields(Arc::new(named.collect()))
    };
    let kind = fields(&[("group", Type::String), ("version", Type::String), ("kind", Type::String)]);
    let resource = fields(&[("group", Type::String), ("version", Type::String), ("resource", Type::String)]);
    let user = fields(&[
        ("username", Type::String),
        ("uid", Type::String),
        ("groups", Type::List),
        ("extra", Type::Map),
    ]);
    fields(&[
        ("kind", kind.clone()),
        ("resource", resource.clone()),
        ("subResource", Type::String),
        ("requestKind", kind),
        ("requestResource", resource),
        ("requestSubResource", Type::String),
        ("name", Type::String),
        ("namespace", Type::String),
        ("operation", Type::String),
        ("userInfo", user),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ])
}
