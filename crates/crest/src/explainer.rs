//! Hands the scheduler's word on pods to the API server, which knows nothing of placement.

use api::{Explain, ExplainError};
use control::sigma::{Config, LoadPolicy, explainer};
use futures::FutureExt;
use futures::future::BoxFuture;
use kube::Client;
use model::names::SIGMA_SCHEDULER;
use serde_json::Value;

/// Asks a scheduler that is run as the one of this server.
#[derive(Debug)]
pub(crate) struct Explainer {
    pub(crate) load: Option<LoadPolicy>,
}

impl Explain for Explainer {
    fn explain(
        &self,
        client: Client,
        namespace: String,
        name: String,
    ) -> BoxFuture<'static, Result<Option<Value>, ExplainError>> {
        let config = Config { scheduler_name: SIGMA_SCHEDULER.to_owned(), seed: 1, load: self.load };
        async move {
            let told = explainer::explain(&client, config, (namespace, name), kit::clock::wall()).await;
            let told = told.map_err(|error| ExplainError(error.into()))?;
            let told = told.map(serde_json::to_value).transpose();
            told.map_err(|error| ExplainError(error.into()))
        }
        .boxed()
    }
}
