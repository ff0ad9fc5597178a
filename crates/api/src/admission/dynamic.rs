//! Dynamic admission: what the objects of `admissionregistration.k8s.io` make of a request.
//!
//! ```text
//!   lister ──(new or changed)──► compiled once ──► who is about this request? ──► webhook: asked over HTTPS
//!     └── nothing configured: nothing done                                   └──► policy: evaluated, on its own thread
//! ```
//! Everything is read from memory: where nothing is configured a request costs the look at five empty lists.

mod authority;
mod compiled;
mod mutations;
mod parameters;
mod policies;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use kinds::Kind;
use kinds::admission::policy::{Inputs, Policy};
use kinds::admission::{Matcher, Operation, Request};
use kinds::status::Failure;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::Review;
use crate::{conversion, subresources};
use compiled::{Configuration, Configured, Source};

pub(super) use mutations::MutatingPolicies;
pub(super) use policies::ValidatingPolicies;
pub(super) use webhooks::{Mutating, Validating};

/// How long a request waits for all webhooks together, however many there are.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is configured, ready for use.
#[derive(Debug)]
pub(crate) struct Dynamic {
    mutating_webhooks: Source<Configuration>,
    validating_webhooks: Source<Configuration>,
    mutating_policies: Source<Configured<Policy>>,
    mutating_bindings: Source<Configured<compiled::Binding>>,
    validating_policies: Source<Configured<Policy>>,
    validating_bindings: Source<Configured<compiled::Binding>>,
    /// Expressions may be slow. No more of them run at a time than there are processors, the others wait.
    evaluations: Arc<Semaphore>,
}

impl Default for Dynamic {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            mutating_webhooks: Source::new("mutatingwebhookconfigurations"),
            validating_webhooks: Source::new("validatingwebhookconfigurations"),
            mutating_policies: Source::new("mutatingadmissionpolicies"),
            mutating_bindings: Source::new("mutatingadmissionpolicybindings"),
            validating_policies: Source::new("validatingadmissionpolicies"),
            validating_bindings: Source::new("validatingadmissionpolicybindings"),
            evaluations: Arc::new(Semaphore::new(processors)),
        }
    }
}

impl Dynamic {
    /// Runs expressions where they keep nobody waiting.
    pub(crate) async fn evaluate<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = Arc::clone(&self.evaluations).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _until_the_end = turn;
            work()
        });
        done.await.map_err(|_| Failure::internal("an expression made the server panic; this is a bug"))
    }
}

/// What rules are asked about.
fn request<'a>(review: &Review<'a>) -> Request<'a> {
    let namespace = if review.kind.is_namespaced() { review.namespace } else { "" };
    Request {
        kind: review.kind,
        versions: &review.call.versions,
        subresource: review.subresource,
        operation: review.operation,
        namespace,
        name: review.name().to_owned(),
        dry_run: review.dry_run,
        user: review.call.user.to_value(),
        options: review.options.clone(),
    }
}

/// As what the rules of `matcher` want to see the request; `None` if they do not.
async fn wanted_as<'a>(
    review: &Review<'_>,
    matcher: &Matcher,
    request: &Request<'a>,
) -> Result<Option<&'a Kind>, Failure> {
    let Some(seen_as) = matcher.seen_as(request) else { return Ok(None) };
    if !matcher.selects(&review.object, &review.old) {
        return Ok(None);
    }
    if matcher.namespaces().is_empty() {
        return Ok(Some(seen_as));
    }
    let is_selected = match namespace(review).await? {
        Some(namespace) => matcher.namespaces().match_labels(&namespace["metadata"]["labels"]),
        // What is in no namespace is not kept out by one.
        None => true,
    };
    Ok(is_selected.then_some(seen_as))
}

/// The namespace whose labels count: that of the object, or the object itself where it is one that is written.
async fn namespace(review: &Review<'_>) -> Result<Option<Arc<Value>>, Failure> {
    let is_namespace = review.kind.group.is_empty() && review.kind.plural == "namespaces";
    let is_written = matches!(review.operation, Operation::Create | Operation::Update);
    if is_namespace && is_written && review.subresource.is_none() {
        return Ok(Some(Arc::new(review.object.clone())));
    }
    let name = if is_namespace { review.name() } else { review.namespace };
    if name.is_empty() || !(is_namespace || review.kind.is_namespaced()) {
        return Ok(None);
    }
    let Some(namespaces) = review.lister("", "namespaces").await? else { return Ok(None) };
    let found = namespaces.get("", name);
    let kind = kinds::find("", "v1", "namespaces").ok_or_else(Failure::no_such_path)?;
    found.map(Some).ok_or_else(|| Failure::not_found(kind, name))
}

/// Whether a kind serves the objects of another in another form.
fn is_other(kind: &Kind, than: &Kind) -> bool {
    (kind.group, kind.version) != (than.group, than.version)
}

/// An object of the request in the form of `seen_as`, and of the subresource where that has one of its own.
async fn shown(review: &Review<'_>, object: &Value, seen_as: &Kind) -> Result<Value, Failure> {
    if object.is_null() {
        return Ok(Value::Null);
    }
    if review.subresource == Some("scale") {
        // What says no number of replicas has no scale to show.
        return Ok(subresources::scale::scale_of(review.kind, object).unwrap_or_default());
    }
    between(review, object.clone(), (review.kind, seen_as)).await
}

/// The way back of [`shown`], for what was changed in that form.
async fn taken(review: &Review<'_>, changed: Value, seen_as: &Kind) -> Result<Value, Failure> {
    if review.subresource == Some("scale") {
        let mut object = review.object.clone();
        // Zero is left out of a Scale.
        let replicas = changed["spec"]["replicas"].as_i64().unwrap_or(0);
        subresources::scale::ask_for(review.kind, &mut object, replicas);
        return Ok(object);
    }
    between(review, changed, (seen_as, review.kind)).await
}

/// An object of one kind in the form of another that serves the same objects.
async fn between(
    review: &Review<'_>,
    mut object: Value,
    (from, to): (&Kind, &Kind),
) -> Result<Value, Failure> {
    if !is_other(from, to) || review.subresource.is_some_and(|name| name != "status") {
        return Ok(object);
    }
    if from.custom().is_some() {
        return conversion::between(&review.context.webhooks, from, to, object).await;
    }
    kinds::convert::to_storage(from, &mut object);
    kinds::convert::from_storage(to, &mut object);
    object["apiVersion"] = to.api_version().into();
    object["kind"] = to.kind.into();
    Ok(object)
}

/// What expressions see of the request.
async fn inputs(review: &Review<'_>, request: &Request<'_>, seen_as: &Kind) -> Result<Inputs, Failure> {
    let namespace = match namespace(review).await {
        Err(failure) if failure.code() != 404 => return Err(failure),
        namespace => namespace.ok().flatten(),
    };
    let object = shown(review, &review.object, seen_as).await?;
    let old = shown(review, &review.old, seen_as).await?;
    Ok(Inputs::new(&request.to_value(seen_as, ""), &object, &old, namespace.as_deref()))
}
