//! Forms that the parser does not know: loops over two variables, and what is done with an optional value.
//!
//! They are rewritten into loops, as macros are, so that the walk and the checks know nothing of them.

use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr,
};

/// What a loop has gathered so far. No name that can be written looks like this.
const TOTAL: &str = "@result";
const HELD: &str = "@held";
/// The map of the first argument with the entry or the entries of the others.
pub(super) const WITH_ENTRY: &str = "@withEntry";
pub(super) const WITH_ENTRIES: &str = "@withEntries";

/// Rewrites all such forms in an expression, the innermost first.
pub(super) fn rewrite(expression: &mut IdedExpr) {
    parts(&mut expression.expr).into_iter().for_each(rewrite);
    if let Expr::Call(call) = &mut expression.expr
        && let Some(rewritten) = form(call)
    {
        expression.expr = rewritten;
    }
}

fn parts(expression: &mut Expr) -> Vec<&mut IdedExpr> {
    match expression {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).collect(),
        Expr::Comprehension(fold) => vec![
            &mut fold.iter_range,
            &mut fold.accu_init,
            &mut fold.loop_cond,
            &mut fold.loop_step,
            &mut fold.result,
        ],
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::Map(MapExpr { entries }) => {
            entries.iter_mut().flat_map(|entry| entry_parts(&mut entry.expr)).collect()
        }
        Expr::Struct(object) => {
            object.entries.iter_mut().flat_map(|entry| entry_parts(&mut entry.expr)).collect()
        }
    }
}

fn entry_parts(entry: &mut EntryExpr) -> Vec<&mut IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&mut field.value],
        EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
    }
}

fn form(call: &mut CallExpr) -> Option<Expr> {
    let names: Vec<String> = call.args.iter().map_while(name).take(2).collect();
    match (call.func_name.as_str(), names.as_slice(), call.args.len()) {
        ("optMap" | "optFlatMap", [_, ..], 2) => {
            let is_flat = call.func_name == "optFlatMap";
            let result = call.args.pop()?;
            let target = *call.target.take()?;
            Some(mapped(target, call.args.pop()?, result, is_flat))
        }
        (function, [first, second], 3 | 4) => {
            let (condition, result) = match call.args.as_slice() {
                [_, _, result] => (None, result.clone()),
                [_, _, condition, result] => (Some(condition.clone()), result.clone()),
                _ => return None,
            };
            let round = round(function, first, condition, result)?;
            let target = *call.target.take()?;
            Some(fold(target, (first.clone(), Some(second.clone())), round))
        }
        _ => None,
    }
}

fn name(argument: &IdedExpr) -> Option<String> {
    match &argument.expr {
        Expr::Ident(name) => Some(name.clone()),
        _ => None,
    }
}

/// What a loop begins with, how long it goes on, what each round does, and what comes out.
struct Round {
    init: IdedExpr,
    goes_on: IdedExpr,
    step: IdedExpr,
    result: IdedExpr,
}

fn round(function: &str, key: &str, condition: Option<IdedExpr>, result: IdedExpr) -> Option<Round> {
    let total = || ident(TOTAL);
    let is_conditional = condition.is_some();
    let gathers = |init: IdedExpr, added: IdedExpr| {
        let step = match condition {
            Some(condition) => call(op::CONDITIONAL, vec![condition, added, total()]),
            None => added,
        };
        Round { init, goes_on: boolean(true), step, result: total() }
    };
    Some(match function {
        "all" if !is_conditional => Round {
            init: boolean(true),
            goes_on: call(op::NOT_STRICTLY_FALSE, vec![total()]),
            step: call(op::LOGICAL_AND, vec![total(), result]),
            result: total(),
        },
        "exists" if !is_conditional => Round {
            init: boolean(false),
            goes_on: call(op::NOT_STRICTLY_FALSE, vec![call(op::LOGICAL_NOT, vec![total()])]),
            step: call(op::LOGICAL_OR, vec![total(), result]),
            result: total(),
        },
        "existsOne" | "exists_one" if !is_conditional => Round {
            init: number(0),
            goes_on: boolean(true),
            step: call(op::CONDITIONAL, vec![result, call(op::ADD, vec![total(), number(1)]), total()]),
            result: call(op::EQUALS, vec![total(), number(1)]),
        },
        "transformList" => gathers(list(Vec::new()), call(op::ADD, vec![total(), list(vec![result])])),
        "transformMap" => gathers(map(), call(WITH_ENTRY, vec![total(), ident(key), result])),
        "transformMapEntry" => gathers(map(), call(WITH_ENTRIES, vec![total(), result])),
        _ => return None,
    })
}

/// `target` is evaluated once and held; what is in it, if anything, is what `name` means in `result`.
fn mapped(target: IdedExpr, name: IdedExpr, result: IdedExpr, is_flat: bool) -> Expr {
    let variable = match name.expr {
        Expr::Ident(name) => name,
        _ => String::new(),
    };
    let value = part(bound(&variable, method("value", ident(HELD)), result));
    let value = if is_flat { value } else { part(library("of", vec![value])) };
    let nothing = part(library("none", Vec::new()));
    let chosen = call(op::CONDITIONAL, vec![method("hasValue", ident(HELD)), value, nothing]);
    bound(HELD, target, chosen)
}

/// `result`, in which `name` means `value`: a loop without rounds.
fn bound(name: &str, value: IdedExpr, result: IdedExpr) -> Expr {
    let fold = ComprehensionExpr {
        iter_range: list(Vec::new()),
        iter_var: "@unused".to_owned(),
        iter_var2: None,
        accu_var: name.to_owned(),
        accu_init: value,
        loop_cond: boolean(false),
        loop_step: ident(name),
        result,
    };
    Expr::Comprehension(Box::new(fold))
}

fn fold(iter_range: IdedExpr, (iter_var, iter_var2): (String, Option<String>), round: Round) -> Expr {
    let Round { init, goes_on, step, result } = round;
    Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range,
        iter_var,
        iter_var2,
        accu_var: TOTAL.to_owned(),
        accu_init: init,
        loop_cond: goes_on,
        loop_step: step,
        result,
    }))
}

fn part(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

fn ident(name: &str) -> IdedExpr {
    part(Expr::Ident(name.to_owned()))
}

fn boolean(value: bool) -> IdedExpr {
    part(Expr::Literal(LiteralValue::Boolean(value.into())))
}

fn number(value: i64) -> IdedExpr {
    part(Expr::Literal(LiteralValue::Int(value.into())))
}

fn list(elements: Vec<IdedExpr>) -> IdedExpr {
    part(Expr::List(ListExpr { elements, optional_indices: Vec::new() }))
}

fn map() -> IdedExpr {
    part(Expr::Map(MapExpr::default()))
}

fn call(function: &str, args: Vec<IdedExpr>) -> IdedExpr {
    part(Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }))
}

fn method(function: &str, target: IdedExpr) -> IdedExpr {
    let target = Some(Box::new(target));
    part(Expr::Call(CallExpr { func_name: function.to_owned(), target, args: Vec::new() }))
}

fn library(function: &str, args: Vec<IdedExpr>) -> Expr {
    let target = Some(Box::new(ident("optional")));
    Expr::Call(CallExpr { func_name: function.to_owned(), target, args })
}
