//! What the expressions of a validating policy cannot mean for the kinds that the policy is about: fields that those do
//! not have, types that never fit. The policy works all the same; its author is told in its status.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::policy::{Compiler, items};
use crate::Kind;
use crate::cel::Type;
use crate::schema::{self, Definition, Format, Shape};
use crate::status::FieldError;

/// A policy that is about more kinds is judged by the first of them.
const MOST_KINDS: usize = 10;

/// An expression, by its place in the policy, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub field: String,
    pub message: String,
}

/// What is to be said of the validations of `policy`, in their order.
pub fn warnings(policy: &Json) -> Vec<Warning> {
    let spec = &policy["spec"];
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in kinds(&spec["matchConstraints"]) {
        for fault in faults(kind, spec) {
            let message = format!("{}, Kind={}: {}", kind.api_version(), kind.kind, fault.message);
            told.entry(fault.field).or_default().push(message);
        }
    }
    let expressions = items("spec", spec, "validations")
        .flat_map(|(path, _)| ["expression", "messageExpression"].map(|part| format!("{path}.{part}")));
    expressions
        .filter_map(|field| told.remove(&field).map(|told| Warning { field, message: told.join("\n") }))
        .collect()
}

fn faults(kind: &Kind, spec: &Json) -> Vec<FieldError> {
    let mut compiler = Compiler::for_objects(&object_type(kind), spec["paramKind"].is_object());
    let _variables = compiler.variables(spec);
    // Those of variables have no place in the status.
    compiler.take_faults();
    let _validations = compiler.validations(spec);
    compiler.take_faults()
}

/// The built-in kinds that rules name, where they name them one by one.
fn kinds(constraints: &Json) -> Vec<&'static Kind> {
    let mut named: Vec<&'static Kind> = Vec::new();
    for rule in constraints["resourceRules"].as_array().into_iter().flatten() {
        let words = |field: &str| rule[field].as_array().into_iter().flatten().filter_map(Json::as_str);
        let combined = words("apiGroups").flat_map(|group| {
            words("apiVersions")
                .flat_map(move |version| words("resources").map(move |plural| (group, version, plural)))
        });
        for kind in combined.filter_map(|(group, version, plural)| crate::find(group, version, plural)) {
            if named.len() < MOST_KINDS && !named.contains(&kind) {
                named.push(kind);
            }
        }
    }
    named
}

fn object_type(kind: &Kind) -> Type {
    fields(schema::of(kind), &mut Vec::new())
}

/// `above` are the definitions that this one stands in: of one that holds itself nothing is told further down.
fn fields(definition: &'static Definition, above: &mut Vec<*const Definition>) -> Type {
    if above.contains(&std::ptr::from_ref(definition)) {
        return Type::Dyn;
    }
    above.push(definition);
    let named =
        definition.fields().iter().map(|field| (field.name.to_string(), of_shape(&field.shape, above)));
    let fields = Type::Fields(Arc::new(named.collect()));
    above.pop();
    fields
}

fn of_shape(shape: &Shape, above: &mut Vec<*const Definition>) -> Type {
    match shape {
        Shape::Text(Format::Plain | Format::Quantity) => Type::String,
        Shape::Integer(_) => Type::Int,
        Shape::Number => Type::Double,
        Shape::Boolean => Type::Bool,
        Shape::List(_) => Type::List,
        Shape::Map(_) => Type::Map,
        Shape::Object(_) => shape.definition().map_or(Type::Dyn, |definition| fields(definition, above)),
        // What these are depends on who asks.
        Shape::Any | Shape::Text(Format::Base64 | Format::Time | Format::MicroTime | Format::IntOrString) => {
            Type::Dyn
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Warning, warnings};

    fn check(resources: &[&str], validation: &Value, expected: &[(&str, &[&str])]) {
        let policy = json!({"spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": resources},
            ]},
            "variables": [{"name": "spec", "expression": "object.spec"}],
            "validations": [{"expression": "true"}, validation],
        }});
        let found = warnings(&policy);
        let fields: Vec<&str> = found.iter().map(|warning| warning.field.as_str()).collect();
        let wanted: Vec<&str> = expected.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, wanted, "{found:?}");
        for (Warning { message, .. }, (_, parts)) in found.iter().zip(expected) {
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }

    #[test]
    fn fields_that_are_not_there_and_types_that_do_not_fit_are_told() {
        const EXPRESSION: &str = "spec.validations[1].expression";
        let says = |expression: &str| json!({"expression": expression});
        check(&["deployments"], &says("object.spec.replicas <= 5"), &[]);
        check(
            &["deployments"],
            &says("object.spec.replicsa <= 5"),
            &[(EXPRESSION, &["apps/v1, Kind=Deployment", "replicsa"])],
        );
        check(&["deployments"], &says("object.spec.replicas > '5'"), &[(EXPRESSION, &["Kind=Deployment"])]);
        check(&["deployments"], &says("variables.spec.replicsa > 1"), &[(EXPRESSION, &["replicsa"])]);
        check(
            &["daemonsets", "deployments"],
            &says("object.spec.replicas > 1"),
            &[(EXPRESSION, &["apps/v1, Kind=DaemonSet"])],
        );
        check(
            &["deployments"],
            &json!({"expression": "true", "messageExpression": "object.metadata.nmae"}),
            &[("spec.validations[1].messageExpression", &["nmae"])],
        );
    }

    #[test]
    fn what_is_named_by_a_star_is_not_looked_at() {
        check(&["*"], &json!({"expression": "object.nothing"}), &[]);
        check(&["deployments/status"], &json!({"expression": "object.nothing"}), &[]);
    }
}
