//! `pods/eviction`: a delete that asks the Pod's disruption budget first.
//!
//! ```text
//!   eviction ──► does the Pod count? ──► its budget: one less ──► marked as disrupted and deleted
//!                     └── no: deleted        └── none left: 429
//! ```

mod decide;

pub(super) use decide::set_condition;

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::Kind;
use kinds::selector::Labels;
use kinds::status::Failure;
use serde_json::{Value, json};
use store::Range;

use crate::admission::Review;
use crate::call::Call;
use crate::deletion::{self, DeleteOptions};
use crate::query::dry_run;
use crate::registry::Next;
use crate::request::ObjectPath;
use crate::{admission, object, record, respond, verbs};

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let body = call.take_body().await?;
    let eviction = kinds::decode::raw(call.media_type(), &body)?;
    let name = object::name(&eviction);
    if !name.is_empty() && name != call.path.name() {
        return Err(Failure::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = DeleteOptions::parse(&eviction["deleteOptions"])?;
    options.dry_run |= dry_run(call.query.get("dryRun"), "CreateOptions")?;
    let pod = call.context.registry.get(&call.path).await?;
    let eviction = object::typed(eviction, "policy/v1", "Eviction");
    let review = admission::admit(Review::of_create(&call, eviction, options.dry_run)).await?;
    let warnings = review.warnings;
    if decide::counts(&pod) {
        ask_budget(&call, &pod, options.dry_run).await?;
    }
    evict(&call, &options).await?;
    let success =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    let response = respond::encoded(StatusCode::CREATED, call.accept.encoding, &success)?;
    Ok(respond::with_warnings(response, &warnings))
}

/// Takes one disruption from the budget of the Pod, if it has one.
async fn ask_budget(call: &Call, pod: &Value, dry_run: bool) -> Result<(), Failure> {
    let Some(kind) = kinds::find("policy", "v1", "poddisruptionbudgets") else { return Ok(()) };
    let budgets = budgets(call, kind, pod).await?;
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [budget] => budget,
        _ => {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                           does not support.";
            return Err(Failure::unreasonable(message));
        }
    };
    if decide::may_go_unhealthy(pod, budget) {
        return Ok(());
    }
    let path = ObjectPath::of(kind, budget);
    let now = object::time(call.context.now());
    let spend = |budget: &Value| {
        let mut next = decide::spend(kind, budget, object::name(pod), &now)?;
        verbs::by_server(kind, "status", &now, Some(budget), &mut next);
        Ok(Next::Replace(next))
    };
    call.context.registry.modify(&path, dry_run, spend).await?;
    Ok(())
}

/// The budgets of the Pod's namespace that select it.
async fn budgets(call: &Call, kind: &Kind, pod: &Value) -> Result<Vec<Value>, Failure> {
    let prefix = format!("{}{}/", kind.storage_prefix(), call.namespace());
    let page = call.context.registry.range(Range { prefix, ..Range::default() }).await?;
    let mut found = Vec::new();
    for entry in &page.entries {
        let budget = record::decode(kind, entry)?;
        // A budget whose selector cannot be read protects nothing; validation keeps such out.
        let Ok(Some(selector)) = Labels::from_spec(&budget["spec"]["selector"]) else { continue };
        if selector.matches(&call.path.kind, pod) {
            found.push(budget);
        }
    }
    Ok(found)
}

/// Marks the Pod as disrupted and deletes it, as one change.
async fn evict(call: &Call, options: &DeleteOptions) -> Result<(), Failure> {
    let kind = &call.path.kind;
    let now = call.context.now();
    let decide = |current: &Value| {
        let marked = decide::disrupted(current, &object::time(now));
        deletion::decide(kind, &marked, options, now)
    };
    call.context.registry.modify(&call.path, options.dry_run, decide).await?;
    Ok(())
}
