//! What Prometheus may ask an agent beside a kubelet: the metrics of the full agent, over TLS, for those whom the API server
//! lets read them.
//!
//! ```text
//!   GET /metrics with a token ──► TokenReview: who? ──► SubjectAccessReview: may that one `get` the path? ──► kept a minute
//! ```

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::AUTHORIZATION;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kit::tls::PairPaths;
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::colocation::Report;
use crate::hands::InForce;
use crate::kubelet::{Refusal, signals};
use crate::signals::Sampler;

/// For so long what the API server said of a token holds.
const KEPT: Duration = Duration::from_secs(60);
/// So many answers are kept at most: who invents tokens does not fill the memory.
const MOST_KEPT: usize = 256;
/// So many questions are with the API server at a time, whoever comes.
const QUESTIONS: usize = 4;
/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where metrics are told.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub listen: SocketAddr,
    /// `None` is a certificate that vouches for itself.
    pub pair: Option<PairPaths>,
}

/// What is told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) reports: watch::Receiver<Report>,
    pub(super) in_force: watch::Receiver<InForce>,
    pub(super) sampler: Sampler,
}

/// Who may come in.
#[derive(Debug)]
struct Door {
    client: KeptClient,
    /// By token and path.
    known: Mutex<HashMap<(String, String), Known>>,
    /// Places for questions to the API server.
    questions: Semaphore,
}

/// A client that has a name in logs.
#[derive(Clone)]
struct KeptClient(Client);

impl std::fmt::Debug for KeptClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

#[derive(Clone, Debug)]
struct Known {
    until: Instant,
    answer: Result<(), Refusal>,
}

/// The paths; all but `/healthz` is for those who may.
pub(super) fn router(client: Client, told: Told) -> Router {
    let door = Arc::new(Door {
        client: KeptClient(client),
        known: Mutex::default(),
        questions: Semaphore::new(QUESTIONS),
    });
    let guarded = Router::new()
        .route("/metrics", get(arbiter))
        .route("/metrics/cadvisor", get(cadvisor))
        .route("/arbiter", get(report))
        .layer(from_fn_with_state(door, admitted_only));
    Router::new().merge(guarded).route("/healthz", get(|| async { "ok" })).with_state(Arc::new(told))
}

async fn arbiter(State(told): State<Arc<Told>>) -> Response {
    signals::of_arbiter(&told.reports, &told.in_force)
}

async fn cadvisor(State(told): State<Arc<Told>>) -> Response {
    signals::of_containers(&told.sampler).await
}

async fn report(State(told): State<Arc<Told>>) -> Response {
    let report = told.reports.borrow().clone();
    axum::Json(report).into_response()
}

async fn admitted_only(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let token = request.headers().get(AUTHORIZATION).and_then(|value| bearer(value.to_str().ok()?));
    let Some(token) = token else {
        let message = "Unauthorized: present a token of the cluster, as `Authorization: Bearer TOKEN`\n";
        return refusal(StatusCode::UNAUTHORIZED, message).into_response();
    };
    match door.admits(token.to_owned(), request.uri().path().to_owned()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// The token in the value of the header.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn refusal(code: StatusCode, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

impl Door {
    async fn admits(&self, token: String, path: String) -> Result<(), Refusal> {
        let key = (token, path);
        let now = kit::clock::monotonic();
        if let Some(known) = self.known.lock().get(&key).filter(|known| known.until > now) {
            return known.answer.clone();
        }
        let question = async {
            // It is never closed.
            let _place = self.questions.acquire().await;
            self.ask(&key.0, &key.1).await
        };
        let asked = tokio::time::timeout(PATIENCE, question).await;
        let nobody = |why: String| {
            refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("cannot ask the API server who may read this: {why}\n"),
            )
        };
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            // It may be back in a moment.
            Ok(Err(error)) => return Err(nobody(kit::Chain(&error).to_string())),
            Err(_elapsed) => return Err(nobody(format!("no answer within {PATIENCE:?}"))),
        };
        keep(&mut self.known.lock(), key, Known { until: now + KEPT, answer: answer.clone() }, now);
        answer
    }

    async fn ask(&self, token: &str, path: &str) -> kube::Result<Result<(), Refusal>> {
        let Some(user) = self.user(token).await? else {
            return Ok(Err(refusal(StatusCode::UNAUTHORIZED, "Unauthorized: nobody has this token\n")));
        };
        let name = user.username.clone().unwrap_or_default();
        if self.may_get(user, path).await? {
            return Ok(Ok(()));
        }
        let message = format!("Forbidden: user \"{name}\" may not get path \"{path}\"\n");
        Ok(Err(refusal(StatusCode::FORBIDDEN, message)))
    }

    /// Whose token it is.
    async fn user(&self, token: &str) -> kube::Result<Option<UserInfo>> {
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.client.0.clone());
        let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    async fn may_get(&self, user: UserInfo, path: &str) -> kube::Result<bool> {
        let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some("get".to_owned()) };
        let extra: Option<BTreeMap<String, Vec<String>>> = user.extra;
        let spec = SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra,
            non_resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.0.clone());
        let status = reviews.create(&PostParams::default(), &review).await?.status;
        Ok(status.is_some_and(|status| status.allowed && status.denied != Some(true)))
    }
}

/// Keeps an answer, if there is room: one that lets somebody in takes the place of one that does not.
fn keep(known: &mut HashMap<(String, String), Known>, key: (String, String), answer: Known, now: Instant) {
    if known.len() >= MOST_KEPT {
        known.retain(|_, known| known.until > now);
    }
    if known.len() >= MOST_KEPT && answer.answer.is_ok() {
        known.retain(|_, known| known.answer.is_ok());
    }
    if known.len() < MOST_KEPT {
        known.insert(key, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_tokens_keep_no_real_one_out() {
        let now = kit::clock::monotonic();
        let mut known = HashMap::new();
        let key = |name: &str| (name.to_owned(), "/metrics".to_owned());
        let answer = |answer| Known { until: now + KEPT, answer };
        let nobody = || Err(refusal(StatusCode::UNAUTHORIZED, "nobody"));
        for number in 0..2 * MOST_KEPT {
            keep(&mut known, key(&number.to_string()), answer(nobody()), now);
        }
        assert_eq!(known.len(), MOST_KEPT);
        keep(&mut known, key("real"), answer(Ok(())), now);
        for number in 0..2 * MOST_KEPT {
            keep(&mut known, key(&number.to_string()), answer(nobody()), now);
        }
        assert!(known[&key("real")].answer.is_ok() && known.len() == MOST_KEPT);
    }

    #[test]
    fn a_token_comes_in_its_header() {
        let check = |value: &str, expected: Option<&str>| assert_eq!(bearer(value), expected, "{value:?}");
        check("Bearer abc", Some("abc"));
        check("bearer  abc ", Some("abc"));
        check("Basic abc", None);
        check("Bearer", None);
        check("Bearer ", None);
        check("", None);
    }
}
