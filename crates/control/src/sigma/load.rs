//! What nodes use, asked of `metrics.k8s.io` again and again: there is nothing to watch.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use sigma::Usage;
use sigma::resources::{CPU, MEMORY};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{News, convert};
use crate::metrics::{self, Amounts};

/// As `kubectl` names it.
pub(super) const WHAT: &str = "nodes.metrics.k8s.io";
const PERIOD: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
struct NodeMetrics {
    metadata: ObjectMeta,
    timestamp: Timestamp,
    usage: Amounts,
}

/// Sends what nodes use until `token` is cancelled. Who does not answer leaves the figures to grow old.
pub(super) async fn follow(client: Client, news: mpsc::UnboundedSender<News>, token: CancellationToken) {
    let mut turns = tokio::time::interval(PERIOD);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while token.run_until_cancelled(turns.tick()).await.is_some() {
        match figures(&client, kit::clock::wall()).await {
            Ok(figures) => {
                // Nobody listens any more: the process is going down.
                let _stopped = news.send(News::Usage(figures));
            }
            Err(error) => tracing::debug!(error = %kit::Chain(&error), "What nodes use is not known"),
        }
    }
}

/// What nodes use, and how long ago that was.
pub(super) async fn figures(client: &Client, now: Timestamp) -> kube::Result<Vec<(String, Usage, Duration)>> {
    let nodes: Vec<NodeMetrics> = metrics::list(client, "nodes", &ListParams::default()).await?;
    Ok(nodes.iter().filter_map(|each| figure(each, now)).collect())
}

/// The use of a node, and how long ago it was measured: never in the future, whatever its clock says.
fn figure(metrics: &NodeMetrics, now: Timestamp) -> Option<(String, Usage, Duration)> {
    let amount = |name: &str| convert::amount(name, metrics.usage.get(name)?);
    let usage = Usage { cpu: amount(CPU)?, memory: amount(MEMORY)? };
    let age = Duration::try_from(now.duration_since(metrics.timestamp)).unwrap_or_default();
    Some((metrics.metadata.name.clone()?, usage, age))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(timestamp: &str, usage: &serde_json::Value, expected: Option<(u64, u64, u64)>) {
        let metrics =
            json!({ "metadata": { "name": "n" }, "timestamp": timestamp, "window": "10s", "usage": usage });
        let now = "2030-01-01T00:01:00Z".parse().unwrap();
        let found = figure(&serde_json::from_value(metrics).unwrap(), now);
        let found = found.map(|(name, usage, age)| {
            assert_eq!(name, "n");
            (usage.cpu, usage.memory, age.as_secs())
        });
        assert_eq!(found, expected, "{timestamp} {usage}");
    }

    #[test]
    fn figures_are_read_with_their_age() {
        let usage = json!({ "cpu": "1500000000n", "memory": "1024Ki" });
        check("2030-01-01T00:00:18Z", &usage, Some((1500, 1 << 20, 42)));
        check("2030-01-01T09:00:00Z", &usage, Some((1500, 1 << 20, 0)));
        check("2030-01-01T00:00:18Z", &json!({ "cpu": "1" }), None);
    }
}
