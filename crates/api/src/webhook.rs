//! Calls to webhooks: JSON in, JSON out, over HTTPS, within a time and a size.
//!
//! ```text
//!   clientConfig ──► Endpoint ──► its pool of connections ──► POST ──► answer
//!                                   │ new one: the host of the url, or a ready endpoint of the Service
//! ```
//! A webhook is a stranger's program: it may hang, answer without end, or send us elsewhere. Whatever it does, a call
//! ends in time, and redirects are not followed, because they would let it choose whom this server calls.

pub(crate) mod connect;
mod endpoint;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Handle;

pub(crate) use endpoint::{Endpoint, EndpointError};

use crate::registry::Registry;
use connect::{Pool, PoolError};
use endpoint::Server;

/// An answer may carry an object as large as a request may, as a patch in base64, and some words around it.
pub(crate) const MAX_ANSWER: usize = 8 << 20;
/// Pools that are kept. More webhooks than this no cluster has at a time; what was configured before must not add up.
const MAX_POOLS: usize = 256;

/// Why a webhook gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("cannot tell where the webhook answers")]
    Endpoint(#[from] EndpointError),
    #[error("cannot set up calls to `{url}`")]
    Pool { url: String, source: PoolError },
    #[error("cannot write the request to `{url}`")]
    Request { url: String, source: http::Error },
    #[error("cannot reach `{url}`")]
    Reach { url: String, source: hyper_util::client::legacy::Error },
    #[error("`{url}` did not answer within {}s", .limit.as_secs())]
    Timeout { url: String, limit: Duration },
    #[error("`{url}` answered {status}")]
    Status { url: String, status: StatusCode },
    #[error("the answer of `{url}` broke off")]
    Broken { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the answer of `{url}` is larger than {most} bytes")]
    TooLarge { url: String, most: usize },
    #[error("the answer of `{url}` is not JSON")]
    NotJson { url: String, source: serde_json::Error },
}

/// All webhooks that were called.
#[derive(Debug)]
pub(crate) struct Webhooks {
    registry: Registry,
    pools: Mutex<HashMap<Server, Arc<Pool>>>,
    /// That of the server: a caller's own may end before its connections are used again.
    runtime: Handle,
}

impl Webhooks {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry, pools: Mutex::default(), runtime: Handle::current() }
    }

    /// Sends `body` and answers what the webhook said, which is any JSON.
    pub(crate) async fn call(
        &self,
        endpoint: &Endpoint,
        body: &Value,
        limit: Duration,
    ) -> Result<Value, CallError> {
        let pool = self.pool(endpoint)?;
        let url = endpoint.url();
        let answer = tokio::time::timeout(limit, exchange(&pool, &url, body, limit)).await;
        answer.unwrap_or_else(|_elapsed| Err(CallError::Timeout { url, limit }))
    }

    fn pool(&self, endpoint: &Endpoint) -> Result<Arc<Pool>, CallError> {
        let mut pools = self.pools.lock();
        if let Some(pool) = pools.get(&endpoint.server) {
            return Ok(Arc::clone(pool));
        }
        if pools.len() >= MAX_POOLS {
            // Calls that are under way hold their own.
            pools.clear();
        }
        let pool = Pool::build(&endpoint.server, self.registry.clone(), &self.runtime)
            .map_err(|source| CallError::Pool { url: endpoint.url(), source })?;
        let pool = Arc::new(pool);
        pools.insert(endpoint.server.clone(), Arc::clone(&pool));
        Ok(pool)
    }
}

async fn exchange(pool: &Pool, url: &str, body: &Value, limit: Duration) -> Result<Value, CallError> {
    let owned = || url.to_owned();
    let bytes = Bytes::from(body.to_string());
    // The webhook may want to know how long it is waited for.
    let mark = if url.contains('?') { '&' } else { '?' };
    let request = Request::post(format!("{url}{mark}timeout={}s", limit.as_secs()))
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(bytes))
        .map_err(|source| CallError::Request { url: owned(), source })?;
    let response = pool.client().request(request).await;
    let response = response.map_err(|source| CallError::Reach { url: owned(), source })?;
    let status = response.status();
    if !status.is_success() {
        return Err(CallError::Status { url: owned(), status });
    }
    let bytes = read(response.into_body(), url).await?;
    serde_json::from_slice(&bytes).map_err(|source| CallError::NotJson { url: owned(), source })
}

async fn read(body: Incoming, url: &str) -> Result<Bytes, CallError> {
    let url = url.to_owned();
    match Limited::new(body, MAX_ANSWER).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(CallError::TooLarge { url, most: MAX_ANSWER }),
        Err(source) => Err(CallError::Broken { url, source }),
    }
}

#[cfg(test)]
mod tests;
