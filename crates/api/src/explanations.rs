//! `podexplanations`: why a Pod is where it is, or why it waits. Nothing of it is stored, and nothing of it is known here:
//! whoever knows placement is handed in by the binary.
//!
//! A kind of its own and no subresource of Pods: clients read and print it as any object, and a role may grant it without
//! granting anything of Pods. It tells of nodes, and of Pods of other namespaces that would have to go.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use futures::future::BoxFuture;
use http::Response;
use kinds::status::Failure;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::authentication::User;
use crate::call::Call;
use crate::request::Verb;
use crate::{client, computed, object, router};

/// It costs a look at the whole cluster: so many are worked out at a time.
const AT_ONCE: usize = 1;
const RETRY_AFTER_SECONDS: u32 = 1;

/// Who knows why Pods are where they are.
pub trait Explain: Debug + Send + Sync {
    /// What is to be said of a Pod, in the form of `PodExplanationStatus`; `None` when there is no such Pod. `client` may
    /// list all of the cluster.
    fn explain(
        &self,
        client: Client,
        namespace: String,
        name: String,
    ) -> BoxFuture<'static, Result<Option<Value>, ExplainError>>;
}

/// Why a Pod could not be explained.
#[derive(Debug, thiserror::Error)]
#[error("cannot explain the pod")]
pub struct ExplainError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Who was handed in, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Explanations {
    explainer: OnceLock<Arc<dyn Explain>>,
    turns: Semaphore,
}

impl Default for Explanations {
    fn default() -> Self {
        Self { explainer: OnceLock::new(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Explanations {
    /// The first one counts.
    pub(crate) fn hand_in(&self, explainer: Arc<dyn Explain>) {
        self.explainer.get_or_init(|| explainer);
    }
}

pub(crate) fn is_explanation(group: &str, plural: &str) -> bool {
    group == model::names::GROUP && plural == "podexplanations"
}

pub(crate) async fn handle(call: &Call) -> Result<Response<Body>, Failure> {
    if call.verb != Verb::Get {
        return Err(Failure::method_not_allowed());
    }
    let explanations = &call.context.explanations;
    let unknown = || Failure::unavailable("this server has nobody to ask why pods are where they are");
    let explainer = explanations.explainer.get().ok_or_else(unknown)?;
    let busy =
        || Failure::too_many_requests("another pod is being explained; try again", RETRY_AFTER_SECONDS);
    let _turn = explanations.turns.try_acquire().map_err(|_busy| busy())?;
    // What is listed on its behalf needs seats of its own.
    call.leave_seat();
    let user = User::component("controllers");
    let client = client::in_process(router::build(&call.context), &user, Arc::new(()));
    let (namespace, name) = (call.namespace().to_owned(), call.path.name().to_owned());
    let told = explainer.explain(client, namespace, name).await;
    let told = told.map_err(|error| Failure::internal(kit::Chain(&error)))?;
    let objects = told.map(|status| explanation(call, &status)).into_iter().collect();
    computed::answer(call, objects)
}

fn explanation(call: &Call, status: &Value) -> Value {
    let kind = &call.path.kind;
    json!({ "kind": kind.kind, "apiVersion": kind.api_version(), "status": status,
        "metadata": { "name": call.path.name(), "namespace": call.namespace(),
            "creationTimestamp": object::time(call.context.now()) } })
}
