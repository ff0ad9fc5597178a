//! Listens to what services say of their own latency and errors: their Prometheus metrics, once a second.
//!
//! ```text
//!   annotations of a Pod ──► GET http://POD:PORT/metrics ─┬► histogram since the last look ──► share of its objective
//!                                                         └► counters of the last looks ─────► share of its objective
//! ```

mod text;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use http_body_util::{BodyExt, Empty, Limited};
use k8s_openapi::api::core::v1::Pod;
use level0::error_rate::Window;
use level0::latency::{self, Buckets};
use model::latency::Told;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::text::Kept;
use crate::pods::registry::Registry;
use crate::probes::ask;

const PERIOD: Duration = Duration::from_secs(1);
/// A service that suffers answers late, too; one that does not answer says nothing.
const PATIENCE: Duration = Duration::from_millis(800);
const LARGEST_ANSWER: usize = 4 << 20;
/// So many are asked at a time: what they answer is in memory at once.
const ASKED_AT_ONCE: usize = 16;

/// What was heard since it was asked for last: latencies and errors by service, as shares of their objectives.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<BTreeMap<String, f64>>>);

impl Heard {
    /// Nothing where nobody said anything new.
    pub(super) fn take(&self) -> BTreeMap<String, f64> {
        std::mem::take(&mut self.0.lock())
    }

    /// `of` is what the share is of: what a service cannot help in one thing says nothing of another.
    fn hear(&self, service: &Service, of: &str, share: f64) {
        let mut heard = self.0.lock();
        let worst = heard.entry(format!("{} {of}", service.uid)).or_insert(share);
        *worst = worst.max(share);
    }
}

/// Asks all services of the host that say how.
#[derive(Debug)]
pub(super) struct Listener {
    registry: Registry,
    heard: Heard,
    seen: HashMap<String, Seen>,
}

/// What a service told before.
#[derive(Debug, Default)]
struct Seen {
    latency: latency::Window,
    errors: Window,
    /// Said so once; it is not said again every second.
    is_unheard: bool,
}

/// What a service counted, as far as it has objectives.
struct Counted {
    buckets: Option<Buckets>,
    /// Requests that failed, and all of them.
    requests: Option<(f64, f64)>,
}

/// A service that says how it may be asked.
struct Service {
    uid: String,
    pod: Arc<Pod>,
    ip: String,
    told: Told,
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
        // Each owns what it asks: what borrows cannot be sent to another thread.
        let asked = services.into_iter().map(|service| async move {
            let answer = ask(&service).await;
            (service, answer)
        });
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).collect().await;
        for (service, answer) in answers {
            self.hear(&service, answer);
        }
    }

    fn hear(&mut self, service: &Service, answer: Result<Counted, String>) {
        let seen = self.seen.entry(service.uid.clone()).or_default();
        let counted = match answer {
            Ok(counted) => counted,
            Err(error) => {
                if !seen.is_unheard {
                    let name = service.pod.metadata.name.as_deref().unwrap_or_default();
                    tracing::warn!(pod = name, error, "A service does not tell how it fares");
                }
                *seen = Seen { is_unheard: true, ..Seen::default() };
                return;
            }
        };
        seen.is_unheard = false;
        if let (Some(objective), Some(buckets)) = (&service.told.latency, counted.buckets)
            && let Some(seconds) = seen.latency.observe(objective.quantile, buckets)
        {
            self.heard.hear(service, "latency", seconds / objective.limit.as_secs_f64());
        }
        if let (Some(objective), Some((failed, all))) = (&service.told.errors, counted.requests)
            && let Some(share) = seen.errors.observe(failed, all)
        {
            self.heard.hear(service, "errors", share / objective.limit);
        }
    }
}

fn service(pod: Arc<Pod>) -> Option<Service> {
    let annotations = pod.metadata.annotations.as_ref()?;
    // What admission did not refuse is understood; of a Pod from elsewhere, nothing is.
    let told = model::latency::told(|name| annotations.get(name).map(String::as_str)).ok().flatten()?;
    let ip = pod.status.as_ref()?.pod_ip.clone()?;
    let uid = pod.metadata.uid.clone()?;
    Some(Service { uid, ip, told, pod })
}

async fn ask(service: &Service) -> Result<Counted, String> {
    let asked = tokio::time::timeout(PATIENCE, scrape(&service.ip, &service.told));
    let answer = asked.await.map_err(|_elapsed| format!("no answer within {PATIENCE:?}"))??;
    let buckets = service.told.latency.as_ref().map(|objective| {
        let buckets = text::buckets(&answer, &objective.metric)?;
        let (longest, limit) = (buckets.longest().unwrap_or(0.0), objective.limit.as_secs_f64());
        if longest < limit {
            return Err(format!("its buckets end at {longest} s, below its objective of {limit} s"));
        }
        Ok(buckets)
    });
    let requests = service.told.errors.as_ref().map(|objective| {
        let all = text::count(&answer, &objective.all);
        let all = all.ok_or_else(|| format!("it tells no counter `{}`", objective.all))?;
        // A series comes into being with the first failure.
        Ok::<_, String>((text::count(&answer, &objective.failed).unwrap_or(0.0), all))
    });
    Ok(Counted { buckets: buckets.transpose()?, requests: requests.transpose()? })
}

/// What a service answers, as far as it is about its objectives.
async fn scrape(ip: &str, told: &Told) -> Result<String, String> {
    let endpoint = &told.endpoint;
    let mut kept = Kept::new(metrics(told));
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
        let mut body = Limited::new(response.into_body(), LARGEST_ANSWER);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
                kept.take(&data)?;
            }
        }
        kept.end()
    })
    .await
}

/// The names of the metrics that its objectives are about.
fn metrics(told: &Told) -> Vec<&str> {
    let errors = told.errors.iter().flat_map(|errors| [&errors.failed.metric, &errors.all.metric]);
    told.latency.iter().map(|latency| &latency.metric).chain(errors).map(String::as_str).collect()
}
