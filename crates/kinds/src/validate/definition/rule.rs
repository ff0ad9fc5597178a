//! One rule of a schema: an expression that can be understood, and what is said when it does not hold.

use serde_json::Value;

use super::super::{Faults, text};
use crate::cel::{Program, Type};
use crate::custom::rules::cost::{MOST_OF_RULE, Times};
use crate::custom::rules::{REASONS, Rule, is_escaped_name, names_old_self};
use crate::custom::{Path, Schema};
use crate::status::FieldError;

/// The longest message of a rule, in bytes.
const MAX_MESSAGE: usize = 2048;

/// What is known of the values that a rule is about.
pub(super) struct Subject<'a> {
    pub(super) schema: &'a Schema,
    pub(super) kind: &'a Type,
    pub(super) times: Times,
}

/// Checks a rule, and answers what it and its message can cost at most.
pub(super) fn check(path: &str, subject: &Subject<'_>, rule: &Value, faults: &mut Faults) -> u64 {
    let Subject { schema, kind, .. } = *subject;
    let parsed = Rule::parse(rule);
    let source = text(rule, "rule").trim();
    let mut total = 0;
    if source.is_empty() {
        faults.push(FieldError::required(format!("{path}.rule"), "rule is not specified"));
    } else {
        match parsed.compile(kind) {
            Ok(program) => {
                total += cost(&format!("{path}.rule"), "rule", subject, (&program, parsed.names()), faults);
            }
            Err(error) => {
                faults.push(FieldError::invalid(format!("{path}.rule"), source, error.to_string()));
            }
        }
    }
    message(path, rule, faults);
    let said = text(rule, "messageExpression");
    if !said.trim().is_empty() {
        let place = format!("{path}.messageExpression");
        match parsed.compile_message(kind) {
            Ok(program) => {
                total += cost(&place, "messageExpression", subject, (&program, parsed.names()), faults)
            }
            Err(error) => faults.push(FieldError::invalid(place, said, error.to_string())),
        }
    }
    let reason = text(rule, "reason");
    let reasons = REASONS.map(|(name, _)| name);
    if !reason.is_empty() && !reasons.contains(&reason) {
        faults.push(FieldError::not_supported(format!("{path}.reason"), reason, &reasons));
    }
    field_path(path, schema, text(rule, "fieldPath"), faults);
    if !rule["optionalOldSelf"].is_null() && !names_old_self(source) {
        let message = "may not be set if oldSelf is not used in rule";
        let said = rule["optionalOldSelf"].clone();
        faults.push(FieldError::invalid(format!("{path}.optionalOldSelf"), said, message));
    }
    total
}

/// What an expression can cost at most, for all values that it may run for; a fault if that is too much.
fn cost(
    place: &str,
    what: &str,
    subject: &Subject<'_>,
    (program, names): (&Program, &[&str]),
    faults: &mut Faults,
) -> u64 {
    let cost = subject.times.cost(program.most_cost(names, subject.schema), subject.schema);
    if cost > MOST_OF_RULE {
        let message = format!(
            "estimated {what} cost exceeds budget by factor of {} (try simplifying the rule, or adding maxItems, \
             maxProperties, and maxLength where arrays, maps, and strings are declared)",
            excess(cost, MOST_OF_RULE)
        );
        faults.push(FieldError::forbidden(place, message));
    }
    cost
}

/// How many times as much as it may be something is.
pub(super) fn excess(cost: u64, most: u64) -> String {
    let tenths = cost / (most / 10).max(1);
    if tenths > 1_000 { "more than 100x".to_owned() } else { format!("{}.{}x", tenths / 10, tenths % 10) }
}

fn message(path: &str, rule: &Value, faults: &mut Faults) {
    let Some(message) = rule["message"].as_str() else { return };
    let place = format!("{path}.message");
    let trimmed = message.trim();
    if trimmed.is_empty() && !message.is_empty() {
        faults.push(FieldError::invalid(place, message, "message must be non-empty if specified"));
    } else if trimmed.contains('\n') {
        faults.push(FieldError::invalid(place, message, "message must not contain line breaks"));
    } else if trimmed.len() > MAX_MESSAGE {
        faults.push(FieldError::too_long(place, MAX_MESSAGE));
    }
    let source = text(rule, "rule");
    if trimmed.is_empty() && source.trim().contains('\n') && text(rule, "messageExpression").is_empty() {
        let why = "message must be specified if rule contains line breaks";
        faults.push(FieldError::required(format!("{path}.message"), why));
    }
}

/// Where a rule puts the blame must be a field below it that the schema names.
fn field_path(path: &str, schema: &Schema, said: &str, faults: &mut Faults) {
    if said.is_empty() {
        return;
    }
    let parsed = Path::parse(said).filter(|parsed| said.starts_with(['.', '[']) && parsed.is_plain());
    let leads_somewhere = parsed.is_some_and(|parsed| {
        let mut schema = Some(schema);
        parsed.names().all(|name| {
            schema = schema.and_then(|schema| schema.field(name));
            schema.is_some() && is_escaped_name(name)
        })
    });
    if !leads_somewhere {
        let message = "fieldPath must be a valid path to a field that the schema names";
        faults.push(FieldError::invalid(format!("{path}.fieldPath"), said, message));
    }
}
