//! Hands the scheduler's word on pods to the API server, which knows nothing of placement.

use api::{Explain, ExplainError};
use control::sigma::explainer::{self, Known};
use control::sigma::{Config, LoadPolicy};
use futures::FutureExt;
use futures::future::BoxFuture;
use kube::Client;
use model::names::SIGMA_SCHEDULER;
use serde_json::Value;

/// Asks a scheduler that is run as the one of this server.
#[derive(Debug)]
pub(crate) struct Explainer {
    pub(crate) load: Option<LoadPolicy>,
    /// What controllers of this process have heard of.
    pub(crate) known: Known,
}

impl Explain for Explainer {
    fn explain(
        &self,
        client: Client,
        namespace: String,
        name: String,
    ) -> BoxFuture<'static, Result<Option<Value>, ExplainError>> {
        let config = Config { scheduler_name: SIGMA_SCHEDULER.to_owned(), seed: 1, load: self.load };
        let known = self.known.clone();
        async move {
            let told =
                explainer::explain((&client, &known), config, (namespace, name), kit::clock::wall()).await;
            let told = told.map_err(|error| ExplainError(error.into()))?;
            let told = told.map(serde_json::to_value).transpose();
            told.map_err(|error| ExplainError(error.into()))
        }
        .boxed()
    }
}
