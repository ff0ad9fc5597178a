//! The server that the API server asks for logs, commands and streams; the paths are the kubelet's.
//!
//! All but `/healthz` is for the API server alone, which has judged its callers already: a client certificate of the
//! cluster's authority that names the group of its masters.

mod logs;
mod metrics;
pub(crate) mod signals;
mod stats;
mod stream;
mod workers;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::StatusCode;
use kit::tls::PeerIdentity;
use tokio::sync::watch;

use crate::colocation::Report;
use crate::hands::InForce;
use crate::pods::Shared;
use crate::signals::Sampler;
use crate::usage::Snapshot;
pub use workers::Workers;

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Server {
    pub context: Shared,
    pub reports: watch::Receiver<Report>,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub sampler: Arc<Sampler>,
    pub in_force: watch::Receiver<InForce>,
    /// `None` where no batch workers run, or their master is on this host.
    pub workers: Option<Arc<Workers>>,
}

/// A refusal, as plain text with a status: the API server passes it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: StatusCode,
    pub message: String,
}

impl Refusal {
    fn bad_request(message: impl Into<String>) -> Self {
        Self { code: StatusCode::BAD_REQUEST, message: message.into() }
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self { code: StatusCode::NOT_FOUND, message: message.into() }
    }

    fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        Self { code: StatusCode::INTERNAL_SERVER_ERROR, message: kit::Chain(error).to_string() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.code, self.message).into_response()
    }
}

/// The routes of the server.
pub fn router(server: Server) -> Router {
    let guarded = Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::logs))
        .route("/exec/{namespace}/{pod}/{container}", any(stream::exec))
        .route("/attach/{namespace}/{pod}/{container}", any(stream::attach))
        .route("/portForward/{namespace}/{pod}", any(stream::port_forward))
        .route("/stats/summary", get(stats::summary))
        .route("/metrics", get(signals::arbiter))
        .route("/metrics/cadvisor", get(signals::cadvisor))
        .route("/metrics/resource", get(metrics::resource))
        .route(fuxi::protocol::remote::PATH, post(workers::workers))
        .route("/pods", get(pods))
        .route("/arbiter", get(arbiter))
        .layer(from_fn(masters_only));
    Router::new().merge(guarded).route("/healthz", get(|| async { "ok" })).with_state(Arc::new(server))
}

/// The group that the API server's certificate for this server names.
const MASTERS: &str = "system:masters";

/// Lets in the API server. Nodes and components have certificates of the same authority, and could otherwise run
/// commands in Pods that the API server would not let them see.
async fn masters_only(request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<PeerIdentity>() else {
        let message = "Unauthorized: present a client certificate of the cluster\n".to_owned();
        return Refusal { code: StatusCode::UNAUTHORIZED, message }.into_response();
    };
    if !peer.organizations.iter().any(|group| group == MASTERS) {
        let message = format!("Forbidden: user \"{}\" is not in group \"{MASTERS}\"\n", peer.common_name);
        return Refusal { code: StatusCode::FORBIDDEN, message }.into_response();
    }
    next.run(request).await
}

async fn pods(State(server): State<Arc<Server>>) -> Response {
    let items: Vec<_> = server.context.registry.entries().iter().map(|entry| entry.pod()).collect();
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items });
    axum::Json(list).into_response()
}

/// What the arbiter sees and does.
async fn arbiter(State(server): State<Arc<Server>>) -> Response {
    let report = server.reports.borrow().clone();
    axum::Json(report).into_response()
}

#[cfg(test)]
mod tests;
