//! What an expression can cost at most, told before it runs: from how large its values can get.
//!
//! ```text
//!   a name, a field                1
//!   a call                         1 and its arguments; of texts, by how long they can be
//!   a loop                         as many rounds as there can be elements
//! ```
//! It reckons as Kubernetes does, so that what is refused there for its cost is refused here. Where it cannot tell how
//! large something gets, it reckons with the least: never is refused here what Kubernetes takes.

use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue};

use super::signatures::LIBRARIES;
use super::{Program, size};

/// What is known of a value before it is there: how large it can get, and what is in it.
pub(crate) trait Extent: Copy {
    /// How many elements, or bytes of text, there can be.
    fn most(self) -> Option<u64>;
    fn field(self, name: &str) -> Option<Self>;
    /// Each element of a list, each value of a map.
    fn element(self) -> Option<Self>;
    fn is_text(self) -> bool;
    fn is_map(self) -> bool;
}

const NEW_LIST: u64 = 10;
const NEW_MAP: u64 = 30;
const NEW_OBJECT: u64 = 40;

/// What one is known to be in here.
#[derive(Clone, Copy)]
enum Size<E> {
    Unknown,
    Of(E),
    /// A text or a list of this size at most.
    Text(u64),
    List(u64),
}

impl<E: Extent> Size<E> {
    fn most(self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::Of(extent) => extent.most(),
            Self::Text(most) | Self::List(most) => Some(most),
        }
    }

    fn text(self) -> Option<u64> {
        match self {
            Self::Text(most) => Some(most),
            Self::Of(extent) if extent.is_text() => extent.most(),
            _ => None,
        }
    }

    fn list(self) -> Option<u64> {
        match self {
            Self::List(most) => Some(most),
            Self::Of(extent) if !extent.is_text() && !extent.is_map() => extent.most(),
            _ => None,
        }
    }

    fn of(extent: Option<E>) -> Self {
        extent.map_or(Self::Unknown, Self::Of)
    }
}

enum Scope<'a, E> {
    Outside,
    Inside { name: &'a str, size: Size<E>, outer: &'a Scope<'a, E> },
}

impl<'a, E: Extent> Scope<'a, E> {
    fn find(&self, wanted: &str) -> Option<Size<E>> {
        match self {
            Self::Outside => None,
            Self::Inside { name, size, .. } if *name == wanted => Some(*size),
            Self::Inside { outer, .. } => outer.find(wanted),
        }
    }

    fn with(&'a self, name: &'a str, size: Size<E>) -> Self {
        Scope::Inside { name, size, outer: self }
    }
}

impl Program {
    /// What a run can cost at most, where all `names` are of this extent.
    pub(crate) fn most_cost<E: Extent>(&self, names: &[&str], extent: E) -> u64 {
        Walk { names, extent }.part(&self.expression, &Scope::Outside).0
    }
}

/// The cost of an expression, and what is known of its value.
type Reckoned<E> = (u64, Size<E>);

struct Walk<'a, E> {
    names: &'a [&'a str],
    extent: E,
}

impl<E: Extent> Walk<'_, E> {
    fn part(&self, expression: &IdedExpr, scope: &Scope<'_, E>) -> Reckoned<E> {
        match &expression.expr {
            Expr::Unspecified => (0, Size::Unknown),
            Expr::Literal(LiteralValue::String(text)) => (0, Size::Text(text.inner().len() as u64)),
            Expr::Literal(_) => (0, Size::Unknown),
            // The names of types cost nothing.
            Expr::Ident(name) => self.named(name, scope).map_or((0, Size::Unknown), |size| (1, size)),
            Expr::Select(select) => {
                let (cost, size) = self.part(&select.operand, scope);
                if select.test {
                    return (cost, Size::Unknown);
                }
                let found = match size {
                    Size::Of(extent) => Size::of(extent.field(&select.field)),
                    _ => Size::Unknown,
                };
                (cost.saturating_add(1), found)
            }
            Expr::Call(call) => self.call(call, scope),
            Expr::List(list) => {
                let cost = self.all(&list.elements, scope).saturating_add(NEW_LIST);
                (cost, Size::List(list.elements.len() as u64))
            }
            parts @ Expr::Map(_) => {
                (self.all(size::parts(parts), scope).saturating_add(NEW_MAP), Size::Unknown)
            }
            parts @ Expr::Struct(_) => {
                (self.all(size::parts(parts), scope).saturating_add(NEW_OBJECT), Size::Unknown)
            }
            Expr::Comprehension(fold) => self.fold(fold, scope),
        }
    }

    fn named(&self, name: &str, scope: &Scope<'_, E>) -> Option<Size<E>> {
        let of_rule = || self.names.contains(&name).then_some(Size::Of(self.extent));
        scope.find(name).or_else(of_rule)
    }

    fn all<'e>(&self, parts: impl IntoIterator<Item = &'e IdedExpr>, scope: &Scope<'_, E>) -> u64 {
        parts.into_iter().map(|part| self.part(part, scope).0).fold(0, u64::saturating_add)
    }

    fn fold(&self, fold: &ComprehensionExpr, scope: &Scope<'_, E>) -> Reckoned<E> {
        let (range_cost, range) = self.part(&fold.iter_range, scope);
        let (init_cost, _) = self.part(&fold.accu_init, scope);
        let rounds = range.most().unwrap_or(0);
        let (first, second) = elements(range, fold.iter_var2.is_some());
        let outer = scope.with(&fold.accu_var, Size::Unknown);
        let inner = outer.with(&fold.iter_var, first);
        let innermost;
        let inner = match &fold.iter_var2 {
            Some(name) => {
                innermost = inner.with(name, second);
                &innermost
            }
            None => &inner,
        };
        let round = self.all([&fold.loop_cond, &fold.loop_step], inner);
        let (result_cost, _) = self.part(&fold.result, &outer);
        let once = range_cost.saturating_add(init_cost).saturating_add(result_cost);
        // What a loop gathers is no longer than what it looked at; what is in it is another matter.
        let gathered = match &fold.accu_init.expr {
            Expr::List(list) if list.elements.is_empty() && fold.iter_var2.is_none() => Size::List(rounds),
            _ => Size::Unknown,
        };
        (once.saturating_add(round.saturating_mul(rounds)), gathered)
    }

    fn call(&self, call: &CallExpr, scope: &Scope<'_, E>) -> Reckoned<E> {
        // The name of a library, which is no part of what it is called with.
        let is_library = |target: &&IdedExpr| matches!(&target.expr, Expr::Ident(name) if LIBRARIES.contains(&name.as_str()) && scope.find(name).is_none());
        let target = call.target.as_deref().filter(|target| !is_library(target));
        let parts = target.into_iter().chain(&call.args);
        let reckoned: Vec<Reckoned<E>> = parts.map(|part| self.part(part, scope)).collect();
        let sum = reckoned.iter().map(|(cost, _)| *cost).fold(0, u64::saturating_add);
        match (call.func_name.as_str(), reckoned.as_slice()) {
            (op::LOGICAL_AND | op::LOGICAL_OR, _) => (sum, Size::Unknown),
            (op::CONDITIONAL, [(condition, _), (yes, _), (no, _)]) => {
                (condition.saturating_add(*yes.max(no)), Size::Unknown)
            }
            (op::INDEX, [(_, container), _]) => {
                let found = match *container {
                    Size::Of(extent) => Size::of(extent.element()),
                    _ => Size::Unknown,
                };
                (sum.saturating_add(1), found)
            }
            (name, [(_, first), (_, second)]) => {
                (sum.saturating_add(of_two(name, *first, *second)), Size::Unknown)
            }
            _ => (sum.saturating_add(1), Size::Unknown),
        }
    }
}

/// What a function of two values costs beyond them.
fn of_two<E: Extent>(name: &str, first: Size<E>, second: Size<E>) -> u64 {
    let texts = first.text().zip(second.text());
    match (name, texts) {
        // A map is not searched through.
        (op::IN, _) => second.list().unwrap_or(0),
        (
            op::EQUALS | op::NOT_EQUALS | op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS,
            Some((first, second)),
        ) => first.min(second).div_ceil(10),
        (
            op::EQUALS | op::NOT_EQUALS | op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS,
            None,
        ) => 0,
        (op::ADD, Some((first, second))) => first.saturating_add(second).div_ceil(10),
        ("contains", Some((text, part))) => text.div_ceil(10).saturating_mul(part.div_ceil(10)),
        ("contains", None) => 0,
        ("startsWith" | "endsWith", _) => second.text().map_or(0, |part| part.div_ceil(10)),
        ("matches", Some((text, pattern))) => {
            text.saturating_add(1).div_ceil(10).saturating_mul(pattern.div_ceil(4))
        }
        ("matches" | "find" | "findAll", _) => 0,
        _ => 1,
    }
}

/// What the variables of a loop stand for: one is an element, or the key of a map; of two the second is the element.
fn elements<E: Extent>(range: Size<E>, has_two: bool) -> (Size<E>, Size<E>) {
    let Size::Of(extent) = range else { return (Size::Unknown, Size::Unknown) };
    let element = Size::of(extent.element());
    match (has_two, extent.is_map()) {
        (true, _) => (Size::Unknown, element),
        (false, true) => (Size::Unknown, Size::Unknown),
        (false, false) => (element, Size::Unknown),
    }
}
