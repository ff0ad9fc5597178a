//! One request about objects, understood: who asks for what, and how the answer is to look.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Collected};
use hyper::upgrade::OnUpgrade;
use kinds::Kind;
use kinds::status::Failure;
use parking_lot::Mutex;

use crate::accept::Accept;
use crate::audit::Notes;
use crate::authentication::User;
use crate::catalog::Served;
use crate::client::WithoutOwners;
use crate::context::Context;
use crate::flow::Held;
use crate::query::Query;
use crate::request::{ObjectPath, Verb};

/// Warnings, each told once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    pub(crate) fn add(&self, warnings: impl IntoIterator<Item = String>) {
        let mut told = self.0.lock();
        for warning in warnings {
            if !told.contains(&warning) {
                told.push(warning);
            }
        }
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) context: Arc<Context>,
    pub(crate) user: User,
    pub(crate) path: ObjectPath,
    /// All served versions of the path's kind, if a user defined it.
    pub(crate) versions: Arc<[Kind]>,
    pub(crate) verb: Verb,
    pub(crate) query: Query,
    pub(crate) accept: Accept,
    pub(crate) content_type: String,
    /// What the client is told beside the answer, whatever that is.
    pub(crate) warnings: Warnings,
    parts: Parts,
    /// The request's place in the server; free once the answer is sent, or the request is passed on.
    seat: Held,
    /// Behind a lock only so that calls can be shared between threads, which bodies cannot.
    body: Mutex<Body>,
}

impl Call {
    pub(crate) fn parse(
        context: Arc<Context>,
        served: &Served,
        user: User,
        request: Request<Body>,
    ) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let path = ObjectPath::parse(parts.uri.path(), served)?;
        let versions = served.versions(&path.kind);
        let query = Query::parse(&parts.uri)?;
        let verb = path.verb(&parts.method, query.flag("watch"))?;
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        // What is tunnelled to an agent is in the agent's form, which these headers may name.
        let is_connection =
            matches!(path.subresource.as_deref(), Some("log" | "exec" | "attach" | "portforward" | "proxy"));
        let accept = if is_connection { Accept::default() } else { Accept::parse(header(ACCEPT))? };
        let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let (warnings, seat, body) = (Warnings::default(), Held::new(None), Mutex::new(body));
        Ok(Self {
            context,
            user,
            path,
            versions,
            verb,
            query,
            accept,
            content_type,
            warnings,
            parts,
            seat,
            body,
        })
    }

    /// The call holds `seat` from now on.
    pub(crate) fn with_seat(self, seat: Held) -> Self {
        Self { seat, ..self }
    }

    /// To be called before the request waits for somebody who may have to ask this server first.
    pub(crate) fn leave_seat(&self) {
        self.seat.leave();
    }

    /// The request as it came, to be passed on: whoever answers it now, it is not this server.
    pub(crate) fn into_request(self) -> Request<Body> {
        self.leave_seat();
        Request::from_parts(self.parts, self.body.into_inner())
    }

    /// Leaves a note in the audit log, if there is one.
    pub(crate) fn note(&self, key: String, value: String) {
        if let Some(notes) = self.parts.extensions.get::<Notes>() {
            notes.add(key, value);
        }
    }

    /// Tells the audit log, if there is one, what an object is called that is created.
    pub(crate) fn creates(&self, name: &str) {
        if let Some(notes) = self.parts.extensions.get::<Notes>() {
            notes.is_called(name);
        }
    }

    /// Whether the client wants to hear who owns which field.
    pub(crate) fn hears_of_owners(&self) -> bool {
        self.parts.extensions.get::<WithoutOwners>().is_none()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The connection itself, once it has been switched; `None` if it cannot be.
    pub(crate) fn upgrade(&self) -> Option<OnUpgrade> {
        self.parts.extensions.get().cloned()
    }

    pub(crate) fn uri_path(&self) -> &str {
        self.parts.uri.path()
    }

    pub(crate) fn query_text(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    /// The whole body, which the router has read already. It can be taken once.
    pub(crate) async fn take_body(&mut self) -> Result<Bytes, Failure> {
        let body = std::mem::take(self.body.get_mut());
        let read = body.collect().await;
        read.map(Collected::to_bytes).map_err(|error| Failure::bad_request(error.to_string()))
    }

    /// The media type of the body; JSON when the client says nothing.
    pub(crate) fn media_type(&self) -> &str {
        if self.content_type.is_empty() { "application/json" } else { &self.content_type }
    }

    /// Who owns the fields that this request writes.
    pub(crate) fn manager(&self) -> String {
        let user_agent = self.parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let field_manager = self.query.get("fieldManager").unwrap_or_default();
        kinds::managed::manager_name(field_manager, user_agent.unwrap_or_default())
    }

    pub(crate) fn namespace(&self) -> &str {
        self.path.namespace.as_deref().unwrap_or_default()
    }
}
