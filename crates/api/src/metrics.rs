//! `metrics.k8s.io`: what nodes and Pods use at present, asked of the nodes' agents. Nothing of it is stored.
//!
//! ```text
//!   get, list ──► figures (a second old at most) ──► all agents at once: GET /stats/summary
//!                    └── shape: NodeMetrics, PodMetrics ──► selected, as a list or a table
//! ```

mod figures;
mod shape;

use axum::body::Body;
use http::Response;
use kinds::status::Failure;
use serde_json::Value;

use crate::call::Call;
use crate::{computed, object};

pub(crate) use figures::Figures;

pub(crate) const GROUP: &str = "metrics.k8s.io";

/// Answers what is asked of the group's kinds, which can only be read.
pub(crate) async fn handle(call: &Call) -> Result<Response<Body>, Failure> {
    computed::answer(call, objects(call).await?)
}

async fn objects(call: &Call) -> Result<Vec<Value>, Failure> {
    let context = &call.context;
    let figures = context.figures.as_ref().ok_or_else(Failure::no_such_path)?;
    let summaries = figures.of_all(context).await?;
    if call.path.kind.plural == "nodes" {
        return Ok(summaries
            .iter()
            .filter_map(|summary| shape::node(&summary.node, &summary.stats))
            .collect());
    }
    let pods = kinds::find("", "v1", "pods").ok_or_else(Failure::no_such_path)?;
    let (namespace, name) = (call.path.namespace.as_deref(), call.path.name.as_deref());
    let mut found = Vec::new();
    for stats in summaries.iter().flat_map(|summary| shape::pods(&summary.stats)) {
        let of = |field: &str| stats["podRef"][field].as_str().unwrap_or_default();
        let is_asked = namespace.is_none_or(|wanted| wanted == of("namespace"))
            && name.is_none_or(|wanted| wanted == of("name"));
        if !is_asked {
            continue;
        }
        // The agent may know a Pod that has just gone, or the one that was there before.
        let pod = context.registry.find(pods, of("namespace"), of("name")).await?;
        let pod = pod.filter(|pod| object::metadata(pod, "uid") == of("uid"));
        found.extend(pod.and_then(|pod| shape::pod(&pod, stats)));
    }
    found.sort_by(|one, other| key(one).cmp(&key(other)));
    Ok(found)
}

fn key(object: &Value) -> (&str, &str) {
    (object::namespace(object), object::name(object))
}
