//! Expressions in the Common Expression Language, which strangers write and this server runs.
//!
//! ```text
//!   text ──parse──► tree ──check──► Program ──evaluate(variables, budget)──► Value
//!                              └── unknown names, impossible types
//! ```
//! The parser, the values and the libraries of Kubernetes come from crates. The walk over the tree is our own, because
//! of what the crate's cannot do: each step is paid for from a [`Budget`], values are shared instead of copied, and no
//! expression makes it panic. So the hardest expression costs a bounded time and space; no clock is needed for that.

mod authorizer;
mod check;
pub(crate) mod cost;
mod evaluate;
mod forms;
mod functions;
mod json;
mod operators;
mod regexes;
mod signatures;
mod size;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use kube_cel::cel::parser::{Expression, Parser};
use regex::Regex;

pub use authorizer::{Authority, Query, Verdict};
pub use check::Type;
pub use json::{from_json, to_json};
pub use kube_cel::cel::Value;
pub(crate) use operators::optional;

/// The most text of one expression, in bytes.
pub(crate) const MAX_SOURCE: usize = 32 << 10;
/// How deep an expression may be nested; the walk over it needs stack for each level.
const MAX_DEPTH: usize = 200;
/// How deep expressions may be that use each other.
const MAX_NESTED: usize = 400;
/// What parsing needs for the deepest expression that it reads, which is more than a thread usually has.
const PARSER_STACK: usize = 64 << 20;

/// Why a text is no expression that can be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("the expression is longer than {MAX_SOURCE} bytes")]
    TooLong,
    #[error("the expression is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("compilation failed: {message}")]
    Syntax { message: String },
    #[error("compilation failed: undeclared reference to '{name}'")]
    Undeclared { name: String },
    #[error("compilation failed: undefined field '{name}'")]
    NoField { name: String },
    #[error("compilation failed: found no matching overload for '{function}' applied to '({arguments})'")]
    NoOverload { function: String, arguments: String },
    #[error("compilation failed: `{pattern}` is no regular expression: {message}")]
    Pattern { pattern: String, message: String },
    #[error("must evaluate to {wanted}, but evaluates to {found}")]
    Result { wanted: String, found: String },
}

/// Why an expression gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    #[error("operation cancelled: actual cost limit exceeded")]
    Cost,
    #[error("no such key: {0}")]
    NoSuchKey(String),
    #[error("no such attribute: {0}")]
    Undeclared(String),
    #[error("no such overload: {0}")]
    NoOverload(String),
    #[error("{0}")]
    Function(String),
}

/// What expressions may cost together: about one unit per step, and one per ten bytes that a step reads or makes.
#[derive(Debug)]
pub struct Budget {
    left: Cell<u64>,
    /// How many steps are under way inside each other, for the stack is finite.
    depth: Cell<usize>,
}

impl Budget {
    /// What one expression may cost, as in Kubernetes.
    pub const EXPRESSION: u64 = 1_000_000;
    /// What all expressions of one policy or one object may cost, as in Kubernetes.
    pub const POLICY: u64 = 10_000_000;

    pub fn new(units: u64) -> Self {
        Self { left: Cell::new(units), depth: Cell::new(0) }
    }

    /// Takes `units`, or all that is left and fails.
    fn spend(&self, units: u64) -> Result<(), EvaluateError> {
        let left = self.left.get().checked_sub(units);
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or(EvaluateError::Cost)
    }

    /// Goes one level deeper for as long as `run` takes.
    fn deeper<T>(&self, run: impl FnOnce() -> Result<T, EvaluateError>) -> Result<T, EvaluateError> {
        self.spend(1)?;
        let depth = self.depth.get();
        if depth >= MAX_NESTED {
            return Err(EvaluateError::Cost);
        }
        self.depth.set(depth + 1);
        let result = run();
        self.depth.set(depth);
        result
    }

    /// Runs something that may take [`Budget::EXPRESSION`] at most, and charges what it took.
    fn within<T>(&self, run: impl FnOnce(&Self) -> Result<T, EvaluateError>) -> Result<T, EvaluateError> {
        let most = self.left.get().min(Self::EXPRESSION);
        let share = Self { left: Cell::new(most), depth: self.depth.clone() };
        let result = run(&share);
        self.spend(most - share.left.get())?;
        result
    }
}

/// What an expression may name: the types of its variables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declarations {
    pub variables: BTreeMap<String, Type>,
    /// Whether objects can be written, as in `Object{spec: Object.spec{replicas: 1}}` and `JSONPatch{...}`.
    pub constructs_objects: bool,
}

/// Where the values of variables come from. Asked at each use, so that what is not used costs nothing.
pub trait Variables {
    fn find(&self, name: &str, budget: &Budget) -> Option<Result<Value, EvaluateError>>;

    /// A field of a variable whose value as a whole is never needed.
    fn field(&self, _variable: &str, _name: &str, _budget: &Budget) -> Option<Result<Value, EvaluateError>> {
        None
    }

    /// Who decides for `authorizer`.
    fn authority(&self) -> Option<&dyn Authority> {
        None
    }
}

impl Variables for HashMap<&str, Value> {
    fn find(&self, name: &str, _budget: &Budget) -> Option<Result<Value, EvaluateError>> {
        self.get(name).cloned().map(Ok)
    }
}

/// An expression that can be run.
#[derive(Debug)]
pub struct Program {
    expression: Expression,
    /// The regular expressions that stand in it as they are.
    patterns: HashMap<String, Regex>,
    result: Type,
}

impl Program {
    /// Reads an expression that uses what is declared.
    pub fn compile(source: &str, declarations: &Declarations) -> Result<Self, CompileError> {
        let expression = parse(source)?;
        let result = check::check(&expression, declarations)?;
        let patterns = regexes::literal(&expression)?;
        Ok(Self { expression, patterns, result })
    }

    /// As [`Program::compile`], of an expression that must yield one of `wanted`.
    pub fn compile_to(
        source: &str,
        declarations: &Declarations,
        wanted: &[Type],
    ) -> Result<Self, CompileError> {
        let program = Self::compile(source, declarations)?;
        if program.result == Type::Dyn || wanted.contains(&program.result) {
            return Ok(program);
        }
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        Err(CompileError::Result { wanted: wanted.join(" or "), found: program.result.to_string() })
    }

    /// What it yields, as far as that can be told without running it.
    pub fn result(&self) -> &Type {
        &self.result
    }

    pub fn evaluate(&self, variables: &dyn Variables, budget: &Budget) -> Result<Value, EvaluateError> {
        budget.within(|budget| evaluate::run(self, variables, budget))
    }
}

/// Parses on a thread of its own: how deep the parser goes is up to whoever wrote the text.
fn parse(source: &str) -> Result<Expression, CompileError> {
    if source.len() > MAX_SOURCE {
        return Err(CompileError::TooLong);
    }
    let no_thread = |_| CompileError::Syntax { message: "the parser gave up".to_owned() };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("cel-parser".to_owned()).stack_size(PARSER_STACK);
        let parser = builder.spawn_scoped(scope, || {
            let parser = Parser::default().enable_optional_syntax(true);
            let mut expression = parser.parse(source).map_err(|errors| {
                let message = errors.to_string();
                CompileError::Syntax { message: size::shortened(&message) }
            })?;
            forms::rewrite(&mut expression);
            if size::is_deeper(&expression, MAX_DEPTH) { Err(CompileError::TooDeep) } else { Ok(expression) }
        });
        let parser =
            parser.map_err(|_| CompileError::Syntax { message: "no thread for the parser".to_owned() })?;
        parser.join().map_err(no_thread)?
    })
}

#[cfg(test)]
mod tests;
