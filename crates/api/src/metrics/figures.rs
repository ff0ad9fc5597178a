//! The agents' figures, asked for all at once and kept for a moment: many autoscalers cost no more than one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use futures::StreamExt;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use kinds::status::Failure;
use serde_json::Value;

use crate::context::Context;
use crate::object;
use crate::subresources;

/// Agents measure every few seconds, so nothing is lost.
const FRESH: Duration = Duration::from_secs(1);
/// An agent that does not answer has no figures; the others' are not held up for long.
const PATIENCE: Duration = Duration::from_secs(3);
const AT_A_TIME: usize = 64;
/// What an agent with a thousand busy Pods tells is a fraction of this.
const LONGEST: usize = 16 << 20;

/// What one agent said.
#[derive(Debug)]
pub(super) struct Summary {
    /// The Node object.
    pub(super) node: Value,
    /// The agent's `/stats/summary`.
    pub(super) stats: Value,
}

/// What was heard last. Whoever asks while others are being asked waits for the same answer.
#[derive(Debug, Default)]
pub(crate) struct Figures(tokio::sync::Mutex<Option<(Instant, Arc<[Summary]>)>>);

/// An agent did not say what it measures.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("cannot find the agent")]
    Find(#[source] Failure),
    #[error("cannot reach the agent")]
    Reach(#[source] kit::tunnel::ForwardError),
    #[error("the agent answers with {0}")]
    Refused(http::StatusCode),
    #[error("cannot read the agent's answer")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the agent's answer is no JSON")]
    Parse(#[source] serde_json::Error),
}

impl Figures {
    pub(super) async fn of_all(&self, context: &Context) -> Result<Arc<[Summary]>, Failure> {
        let mut last = self.0.lock().await;
        let now = kit::clock::monotonic();
        if let Some((at, summaries)) = &*last
            && now.duration_since(*at) < FRESH
        {
            return Ok(Arc::clone(summaries));
        }
        let nodes = kinds::find("", "v1", "nodes").ok_or_else(Failure::no_such_path)?;
        let nodes = context.registry.all(nodes).await?;
        let asked = nodes.into_iter().map(|node| summary(context, node));
        let found = futures::stream::iter(asked).buffered(AT_A_TIME).filter_map(std::future::ready);
        let summaries: Arc<[Summary]> = found.collect::<Vec<_>>().await.into();
        *last = Some((kit::clock::monotonic(), Arc::clone(&summaries)));
        Ok(summaries)
    }
}

async fn summary(context: &Context, node: Value) -> Option<Summary> {
    let name = object::name(&node).to_owned();
    match tokio::time::timeout(PATIENCE, ask(context, &node)).await {
        Ok(Ok(stats)) => Some(Summary { node, stats }),
        Ok(Err(error)) => {
            tracing::debug!(node = name, error = %kit::Chain(&error), "Node has no figures");
            None
        }
        Err(_) => {
            tracing::debug!(node = name, "Node has no figures: its agent does not answer");
            None
        }
    }
}

async fn ask(context: &Context, node: &Value) -> Result<Value, AskError> {
    let upstream = subresources::agent(context, node).map_err(AskError::Find)?;
    let request = Request::get("/stats/summary").header(header::HOST, upstream.host.as_str());
    let request = request.body(Body::empty()).expect("the parts of the request are constant or an address");
    let response = kit::tunnel::forward(request, &upstream).await.map_err(AskError::Reach)?;
    if !response.status().is_success() {
        return Err(AskError::Refused(response.status()));
    }
    let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(AskError::Read)?;
    serde_json::from_slice(&body.to_bytes()).map_err(AskError::Parse)
}
