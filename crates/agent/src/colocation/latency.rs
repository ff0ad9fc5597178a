//! Listens to what services say of their own latency: their Prometheus histograms, once a second.
//!
//! ```text
//!   annotations of a Pod ──► GET http://POD:PORT/metrics ──► histogram since the last look ──► share of its objective
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use k8s_openapi::api::core::v1::Pod;
use level0::latency::Buckets;
use model::latency::{Endpoint, Objective};
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::pods::registry::Registry;
use crate::probes::ask;

const PERIOD: Duration = Duration::from_secs(1);
/// A service that suffers answers late, too; one that does not answer says nothing.
const PATIENCE: Duration = Duration::from_millis(800);
const LARGEST_ANSWER: usize = 4 << 20;
/// Of one histogram, in all its series.
const MOST_BUCKETS: usize = 10_000;

/// What was heard since it was asked for last: of the service that is worst off, its latency as a share of its objective.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<Option<f64>>>);

impl Heard {
    /// `None` where nobody said anything new.
    pub(super) fn take(&self) -> Option<f64> {
        self.0.lock().take()
    }

    fn hear(&self, share: f64) {
        let mut worst = self.0.lock();
        *worst = Some(worst.map_or(share, |worst| worst.max(share)));
    }
}

/// Asks all services of the host that say how.
#[derive(Debug)]
pub(super) struct Listener {
    registry: Registry,
    heard: Heard,
    seen: HashMap<String, Seen>,
}

#[derive(Debug)]
enum Seen {
    Counted(Buckets),
    /// Said so once; it is not said again every second.
    Unheard,
}

/// A service that says how it may be asked.
struct Service {
    uid: String,
    pod: Arc<Pod>,
    ip: String,
    objective: Objective,
    endpoint: Endpoint,
}

impl Listener {
    pub(super) fn new(registry: Registry, heard: Heard) -> Self {
        Self { registry, heard, seen: HashMap::new() }
    }

    pub(super) async fn run(mut self, token: CancellationToken) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = ticks.tick() => self.listen().await,
            }
        }
    }

    async fn listen(&mut self) {
        let services: Vec<Service> = self
            .registry
            .entries()
            .iter()
            .filter(|entry| entry.is_alive())
            .filter_map(|entry| service(entry.pod()))
            .collect();
        self.seen.retain(|uid, _| services.iter().any(|service| service.uid == *uid));
        let asked = services.iter().map(async |service| (service, ask(service).await));
        for (service, answer) in join_all(asked).await {
            self.hear(service, answer);
        }
    }

    fn hear(&mut self, service: &Service, answer: Result<Buckets, String>) {
        let buckets = match answer {
            Ok(buckets) => buckets,
            Err(error) => {
                let before = self.seen.insert(service.uid.clone(), Seen::Unheard);
                if !matches!(before, Some(Seen::Unheard)) {
                    let name = service.pod.metadata.name.as_deref().unwrap_or_default();
                    tracing::warn!(pod = name, error, "A service does not tell its latency");
                }
                return;
            }
        };
        if let Some(Seen::Counted(before)) = self.seen.get(&service.uid)
            && let Some(seconds) = buckets.quantile(service.objective.quantile, before)
        {
            self.heard.hear(seconds / service.objective.limit.as_secs_f64());
        }
        self.seen.insert(service.uid.clone(), Seen::Counted(buckets));
    }
}

fn service(pod: Arc<Pod>) -> Option<Service> {
    let annotations = pod.metadata.annotations.as_ref()?;
    // What admission did not refuse is understood; of a Pod from elsewhere, nothing is.
    let (objective, endpoint) =
        model::latency::told(|name| annotations.get(name).map(String::as_str)).ok().flatten()?;
    let ip = pod.status.as_ref()?.pod_ip.clone()?;
    let uid = pod.metadata.uid.clone()?;
    Some(Service { uid, ip, objective, endpoint, pod })
}

async fn ask(service: &Service) -> Result<Buckets, String> {
    let asked = tokio::time::timeout(PATIENCE, scrape(&service.ip, &service.endpoint));
    let text = asked.await.map_err(|_elapsed| format!("no answer within {PATIENCE:?}"))??;
    let buckets = buckets(&text, &service.objective.metric)?;
    let (longest, limit) = (buckets.longest().unwrap_or(0.0), service.objective.limit.as_secs_f64());
    if longest < limit {
        return Err(format!("its buckets end at {longest} s, below its objective of {limit} s"));
    }
    Ok(buckets)
}

async fn scrape(ip: &str, endpoint: &Endpoint) -> Result<String, String> {
    let stream = ask::connect(ip, endpoint.port).await?;
    let request = http::Request::get(&endpoint.path)
        .header("host", format!("{ip}:{}", endpoint.port))
        .header("user-agent", "crest-agent")
        .header("accept", "text/plain")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    ask::exchange(stream, request, async |response| {
        if !response.status().is_success() {
            return Err(format!("it answers {} with {}", endpoint.path, response.status()));
        }
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        String::from_utf8(body.to_vec()).map_err(|_| "its answer is no text".to_owned())
    })
    .await
}

/// Of a whole answer only the lines of one histogram are read, so that a service with thousands of others costs little. The
/// crates that parse all of it do so by expressions that a `}` in a label leads astray.
fn buckets(text: &str, metric: &str) -> Result<Buckets, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix("_bucket{"));
    let entries: Vec<(f64, f64)> = lines.filter_map(bucket).take(MOST_BUCKETS + 1).collect();
    match entries.len() {
        0 => Err(format!("it tells no histogram `{metric}`")),
        1..=MOST_BUCKETS => Ok(Buckets::new(entries)),
        _ => Err(format!("its histogram `{metric}` has more than {MOST_BUCKETS} buckets")),
    }
}

/// Bound and count of a line, without what stands before its labels.
fn bucket(line: &str) -> Option<(f64, f64)> {
    let (labels, value) = line.rsplit_once('}')?;
    let bound = match labels.strip_prefix("le=\"") {
        Some(bound) => bound,
        None => labels.rsplit_once(",le=\"")?.1,
    };
    let bound = bound.split('"').next()?.parse().ok()?;
    Some((bound, value.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "\
# HELP http_request_duration_seconds How long it took.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{handler=\"/a\",le=\"0.01\"} 90
http_request_duration_seconds_bucket{handler=\"/a\",le=\"+Inf\"} 100
http_request_duration_seconds_sum{handler=\"/a\"} 3
http_request_duration_seconds_count{handler=\"/a\"} 100
http_request_duration_seconds_bucket{handler=\"/{b}\",le=\"0.01\"} 10
http_request_duration_seconds_bucket{handler=\"/{b}\",le=\"+Inf\"} 20
# TYPE other counter
other 7
";

    #[test]
    fn histograms_of_all_handlers_are_one() {
        let read = buckets(TOLD, "http_request_duration_seconds").unwrap();
        assert_eq!(read, Buckets::new([(0.01, 100.0), (f64::INFINITY, 120.0)]));
        assert!(buckets(TOLD, "other").unwrap_err().contains("no histogram `other`"));
        assert!(buckets(TOLD, "absent").is_err());
        for garbled in ["{{{{", "\u{0}\u{1}", "x_bucket{le=\"", "# TYPE x histogram\nx_bucket{le=\"a\"} b\n"]
        {
            assert!(buckets(garbled, "x").is_err(), "{garbled:?}");
        }
    }
}
