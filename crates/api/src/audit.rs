//! The audit log: who did what, when, and how it ended, as lines of JSON (`audit.k8s.io/v1` Events). How much of which
//! requests is a matter of a policy; without one, never what was in them.
//!
//! ```text
//!   begin ─► sent_by ─► acts_as ─► end ─► ResponseComplete
//!               │                   └──► ResponseStarted ─► (the stream or connection is over) ResponseComplete
//!               └─► RequestReceived
//!   dropped before its end: the client went away, or the server panicked
//! ```

mod body;
mod ending;
mod event;
mod log;
mod policy;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use kinds::status::Failure;
use kit::tls::PeerIdentity;
use kit::tunnel::Over;
use parking_lot::Mutex;
use serde_json::Value;

use crate::attributes::Attributes;
use crate::authentication::User;
use crate::context::{Context, random_uid};
use ending::Ending;
use event::{Annotations, Event, Reference, ResponseStatus, UserInfo};
use log::Log;
pub use log::LogError;
pub use policy::PolicyError;
use policy::{Judgement, Level, Policy, Stage};

/// Long names of clients are cut.
const MAX_AGENT: usize = 256;
/// By this a client finds its request in the log, and may name it.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Longer names of requests are not taken over.
const MAX_ID: usize = 64;

/// What is written down, and where.
#[derive(Clone, Debug, Default)]
pub struct AuditConfig {
    /// The file; without one, nothing is written down.
    pub log: Option<PathBuf>,
    /// The rules, an `audit.k8s.io/v1` Policy in YAML; without them, who did what, and never what was in it.
    pub policy: Option<PathBuf>,
}

/// Why nothing can be written down.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Log(LogError),
    #[error(transparent)]
    Policy(PolicyError),
}

/// Writes down who does what.
#[derive(Debug)]
pub(crate) struct Audit {
    policy: Policy,
    log: Log,
}

impl Audit {
    /// `None` where nothing is to be written.
    pub(crate) fn open(config: &AuditConfig) -> Result<Option<Self>, AuditError> {
        let policy = config.policy.as_deref().map(Policy::load).transpose().map_err(AuditError::Policy)?;
        let log = config.log.as_deref().map(Log::open).transpose().map_err(AuditError::Log)?;
        Ok(log.map(|log| Self { policy: policy.unwrap_or_default(), log }))
    }
}

/// What is noted about a request while it is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    annotations: BTreeMap<String, String>,
    /// What an object is called that is created: the path does not say it.
    name: Option<String>,
}

impl Notes {
    /// The first note of a key stays, as in Kubernetes.
    pub(crate) fn add(&self, key: String, value: String) {
        self.0.lock().annotations.entry(key).or_insert(value);
    }

    pub(crate) fn is_called(&self, name: &str) {
        self.0.lock().name = Some(name.to_owned());
    }
}

/// A request on its way to the log.
#[derive(Debug)]
pub(crate) struct Request {
    context: Arc<Context>,
    attributes: Arc<Attributes>,
    sent: Sent,
    sender: Option<User>,
    acted_as: Option<User>,
    judgement: Option<Judgement>,
    /// What was answered, where that is wanted.
    answer: Option<Value>,
    status: Option<ResponseStatus>,
    is_over: bool,
}

/// What came with the request.
#[derive(Debug)]
struct Sent {
    notes: Notes,
    id: String,
    uri: String,
    agent: String,
    by_certificate: bool,
    received: Timestamp,
    content_type: String,
    body: Bytes,
}

impl Sent {
    fn of(parts: &Parts, body: &Bytes, received: Timestamp) -> Self {
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let named = header(AUDIT_ID);
        let is_name = !named.is_empty() && named.len() <= MAX_ID;
        Self {
            notes: Notes::default(),
            id: if is_name { named.to_owned() } else { random_uid() },
            uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            agent: header(USER_AGENT).chars().take(MAX_AGENT).collect(),
            by_certificate: parts.extensions.get::<PeerIdentity>().is_some(),
            received,
            content_type: header(CONTENT_TYPE).to_owned(),
            body: body.clone(),
        }
    }
}

impl Request {
    /// `None` where nothing is written down.
    pub(crate) fn begin(
        context: &Arc<Context>,
        parts: &Parts,
        body: &Bytes,
        attributes: &Arc<Attributes>,
    ) -> Option<Self> {
        context.audit.as_ref()?;
        Some(Self {
            context: Arc::clone(context),
            attributes: Arc::clone(attributes),
            sent: Sent::of(parts, body, context.now()),
            sender: None,
            acted_as: None,
            judgement: None,
            answer: None,
            status: None,
            is_over: false,
        })
    }

    /// Where notes are left until the end.
    pub(crate) fn notes(&self) -> Notes {
        self.sent.notes.clone()
    }

    /// It became known who sent the request.
    pub(crate) fn sent_by(&mut self, user: &User) {
        self.sender = Some(user.clone());
        self.write(Stage::RequestReceived);
    }

    /// It became known as whom it is to be done.
    pub(crate) fn acts_as(&mut self, user: &User) {
        self.acted_as = Some(user.clone()).filter(|user| Some(user) != self.sender.as_ref());
    }

    /// Writes the request down with its end, which for a stream is still to come.
    pub(crate) async fn end(
        mut self,
        outcome: Result<Response<Body>, Failure>,
    ) -> Result<Response<Body>, Failure> {
        let response = match outcome {
            Ok(response) => response,
            Err(failure) => {
                let (code, said) = failure.to_response();
                self.answered(code, said);
                return Err(failure);
            }
        };
        let code = response.status().as_u16();
        self.status = Some(ResponseStatus::of(code, &Value::Null));
        let (mut parts, body) = response.into_parts();
        if let Ok(id) = HeaderValue::from_str(&self.sent.id) {
            parts.headers.insert(AUDIT_ID, id);
        }
        if let Some(Over(over)) = parts.extensions.remove() {
            self.write(Stage::ResponseStarted);
            kit::task::spawn("audit of a connection", async move {
                over.cancelled().await;
                self.complete();
            });
            return Ok(Response::from_parts(parts, body));
        }
        if body.size_hint().exact().is_none() {
            self.write(Stage::ResponseStarted);
            return Ok(Response::from_parts(parts, Body::new(Ending::new(body, self))));
        }
        // A refusal says in its body why.
        if code < 400 && self.judged().level < Level::RequestResponse {
            self.complete();
            return Ok(Response::from_parts(parts, body));
        }
        let whole = body.collect().await.map_err(Failure::internal)?.to_bytes();
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        self.answered(code, body::read(content_type.unwrap_or_default(), &whole));
        Ok(Response::from_parts(parts, Body::from(whole)))
    }

    fn answered(&mut self, code: u16, said: Value) {
        self.status = Some(ResponseStatus::of(code, &said));
        if self.judged().level == Level::RequestResponse {
            self.answer = Some(said).filter(|said| !said.is_null());
        }
        self.complete();
    }

    fn complete(&mut self) {
        self.is_over = true;
        self.write(Stage::ResponseComplete);
    }

    /// What the policy says, asked once: as soon as it is known who asks.
    fn judged(&mut self) -> &Judgement {
        let (audit, sender, attributes) = (&self.context.audit, &self.sender, &self.attributes);
        self.judgement.get_or_insert_with(|| match audit {
            Some(audit) => audit.policy.judge(sender.as_ref(), attributes),
            None => Judgement::nothing(),
        })
    }

    fn write(&mut self, stage: Stage) {
        if !self.judged().wants(stage) {
            return;
        }
        let Some(audit) = &self.context.audit else { return };
        audit.log.write(self.event(stage, self.context.now()).to_line());
    }

    fn event(&self, stage: Stage, now: Timestamp) -> Event<'_> {
        let (sent, attributes) = (&self.sent, &self.attributes);
        let judgement = self.judgement.as_ref();
        let level = judgement.map_or(Level::None, |judgement| judgement.level);
        let is_bare = judgement.is_some_and(|judgement| judgement.omits_managed_fields);
        let shown = |value: Value| if is_bare { body::without_managed_fields(value) } else { value };
        Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level,
            audit_id: &sent.id,
            stage,
            request_uri: &sent.uri,
            verb: &attributes.verb,
            user: self.sender.as_ref().map(UserInfo::of).unwrap_or_default(),
            impersonated_user: self.acted_as.as_ref().map(UserInfo::of),
            user_agent: &sent.agent,
            object_ref: attributes.object.as_ref().map(|target| {
                let created = self.sent.notes.0.lock().name.clone();
                Reference::of(target, created)
            }),
            response_status: self.status.as_ref(),
            request_object: (level >= Level::Request && !sent.body.is_empty())
                .then(|| shown(body::read(&sent.content_type, &sent.body)))
                .filter(|value| !value.is_null()),
            response_object: self.answer.clone().map(shown),
            request_received_timestamp: micro(sent.received),
            stage_timestamp: micro(now),
            annotations: self.annotations(stage),
        }
    }

    fn annotations(&self, stage: Stage) -> Option<Annotations> {
        (stage != Stage::RequestReceived).then(|| Annotations {
            decision: if self.status.as_ref().is_some_and(|status| status.code == 403) {
                "forbid"
            } else {
                "allow"
            },
            by: if self.sent.by_certificate { "certificate" } else { "token or none" },
            is_broken_off: self.status.is_none(),
            notes: self.sent.notes.0.lock().annotations.clone(),
        })
    }
}

/// What was begun is written down, whatever becomes of it.
impl Drop for Request {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let stage = if std::thread::panicking() { Stage::Panic } else { Stage::ResponseComplete };
        self.write(stage);
    }
}

/// As Kubernetes writes moments that microseconds tell apart.
fn micro(at: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    PRINTER.timestamp_to_string(&at)
}
