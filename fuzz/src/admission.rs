//! What strangers say to admission: the answers of webhooks, and expressions in policies.

use kinds::admission::policy::{Inputs, Policy};
use kinds::admission::review::{self, Outcome};
use kinds::cel::{Authority, Budget, Declarations, Program, Query, Type, Value, Verdict, from_json, to_json};
use serde_json::json;

/// What an expression may cost here: enough to get deep, little enough to try many.
const COST: u64 = 50_000;

/// The input as the answer of a webhook, of either kind.
pub(crate) fn reviews(input: &[u8]) {
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(input) else { return };
    let wrapped =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": document});
    let kind = kinds::find("", "v1", "pods").expect("pods are served");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c"}]}});
    for answer in [&document, &wrapped] {
        for mutates in [true, false] {
            let read = review::answer(answer, "hook.example.com", "u", mutates);
            let Ok(answer) = read else { continue };
            match answer.outcome {
                Outcome::Refused(failure) => assert!(failure.code() >= 400, "a refusal is no success"),
                Outcome::Patched(patch) => drop(review::patched(kind, &pod, &patch)),
                Outcome::Allowed => {}
            }
        }
    }
    // Whatever it is, it may be a patch as well.
    drop(review::patched(kind, &pod, input));
}

struct Anybody;

impl Authority for Anybody {
    fn decide(&self, query: &Query) -> Verdict {
        Verdict { is_allowed: query.verb == "get", reason: String::new() }
    }

    fn request(&self) -> Query {
        Query::default()
    }
}

/// The input as an expression.
pub(crate) fn expressions(input: &[u8]) {
    let source = String::from_utf8_lossy(input);
    let object = json!({"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"replicas": 3,
        "items": [1, 2, 3], "names": ["x", "y"], "nothing": null}});
    let variables = ["object", "oldObject"].map(|name| (name.to_owned(), Type::Dyn));
    let declarations = Declarations { variables: variables.into(), constructs_objects: true };
    let Ok(program) = Program::compile(&source, &declarations) else { return };
    let values = [("object", from_json(&object)), ("oldObject", Value::Null)];
    let outcome = program.evaluate(&std::collections::HashMap::from(values), &Budget::new(COST));
    let _json = outcome.map(|value| to_json(&value));
}

/// The input as a policy, asked about an object.
pub(crate) fn policies(input: &[u8]) {
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(input) else { return };
    let Ok(policy) = Policy::compile(&document) else { return };
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let inputs = Inputs::new(&json!({"operation": "CREATE", "name": "a"}), &object, &json!(null), None);
    let kind = kinds::find("", "v1", "configmaps").expect("config maps are served");
    drop(policy.decide(&inputs, &Value::Null, &Anybody));
    drop(policy.mutate(kind, (&object, &inputs), &Value::Null, &Anybody));
}
