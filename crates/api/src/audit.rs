//! The audit log: who did what, when, and how it ended, as one line of JSON for each request. Never what was in it.
//!
//! The lines are `audit.k8s.io/v1` Events of the level Metadata. They are written by a task of their own: a request
//! waits for no disk, and when the disk cannot keep up lines are lost, with a warning, rather than requests.

mod event;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::request::Parts;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use kit::tls::PeerIdentity;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::attributes::Attributes;
use crate::authentication::User;
use crate::context::{Context, random_uid};
use event::{Annotations, Event, Nothing, Reference, ResponseStatus, UserInfo};

/// Lines that wait to be written.
const QUEUE: usize = 16_384;
/// Lines are written together, so many at most, and a moment later than they came: each write costs more than its lines.
const LINES_AT_ONCE: usize = 4096;
const PAUSE: Duration = Duration::from_millis(20);
/// A log that has grown to this is put aside, and the one put aside before is deleted.
const MAX_BYTES: u64 = 100 << 20;
/// Long names of clients are cut.
const MAX_AGENT: usize = 256;

/// Why the log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit log `{path}`")]
pub struct AuditError {
    path: PathBuf,
    source: std::io::Error,
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Log {
    lines: mpsc::Sender<Line>,
}

/// One request, as it is written.
type Line = Vec<u8>;

impl Log {
    /// Opens the file, which only its owner can read, and starts the task that writes it.
    pub(crate) fn open(path: &Path) -> Result<Self, AuditError> {
        let mut file = File::open(path).map_err(|source| AuditError { path: path.to_owned(), source })?;
        let (lines, mut queue) = mpsc::channel::<Line>(QUEUE);
        kit::task::spawn("audit log", async move {
            let mut waiting = Vec::new();
            while queue.recv_many(&mut waiting, LINES_AT_ONCE).await > 0 {
                let batch = std::mem::take(&mut waiting);
                let written = tokio::task::spawn_blocking(move || {
                    let outcome = file.write(&batch);
                    (file, outcome)
                });
                let Ok((returned, outcome)) = written.await else { return };
                file = returned;
                if let Err(error) = outcome {
                    tracing::error!(error = %kit::Chain(&error), "Cannot write the audit log");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { lines })
    }

    fn write(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            tracing::warn!("The audit log cannot keep up; a line is lost");
        }
    }
}

struct File {
    path: PathBuf,
    file: std::fs::File,
    length: u64,
}

impl File {
    fn open(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length })
    }

    fn write(&mut self, lines: &[Line]) -> std::io::Result<()> {
        if self.length > MAX_BYTES {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *self = Self::open(&self.path)?;
        }
        let bytes = lines.concat();
        self.length += bytes.len() as u64;
        self.file.write_all(&bytes)
    }
}

/// What is noted about a request while it is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<BTreeMap<String, String>>>);

impl Notes {
    /// The first note of a key stays, as in Kubernetes.
    pub(crate) fn add(&self, key: String, value: String) {
        self.0.lock().entry(key).or_insert(value);
    }
}

/// What is known of a request before it is answered.
#[derive(Debug)]
pub(crate) struct Request {
    notes: Notes,
    uri: String,
    agent: String,
    by_certificate: bool,
    received: Timestamp,
}

impl Request {
    /// `None` where nothing is written down.
    pub(crate) fn begin(context: &Context, parts: &Parts) -> Option<Self> {
        context.audit.as_ref()?;
        let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Some(Self {
            notes: Notes::default(),
            uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            agent: agent.chars().take(MAX_AGENT).collect(),
            by_certificate: parts.extensions.get::<PeerIdentity>().is_some(),
            received: context.now(),
        })
    }

    /// Where notes are left until then.
    pub(crate) fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// Writes the request down with its end. `user` is who sent it, `acted_as` whom it was done as.
    pub(crate) fn end(self, context: &Context, attributes: &Attributes, who: &Who, code: u16) {
        let Some(log) = &context.audit else { return };
        if !is_worth_it(attributes, who) {
            return;
        }
        let outcome = Outcome { code, id: random_uid(), now: context.now() };
        log.write(self.event(attributes, who, &outcome).to_line());
    }

    fn event<'a>(&'a self, attributes: &'a Attributes, who: &'a Who, outcome: &'a Outcome) -> Event<'a> {
        let by = if self.by_certificate { "certificate" } else { "token or none" };
        let decision = if outcome.code == 403 { "forbid" } else { "allow" };
        Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: "Metadata",
            audit_id: &outcome.id,
            stage: "ResponseComplete",
            request_uri: &self.uri,
            verb: &attributes.verb,
            user: who.sender.as_ref().map(UserInfo::of).unwrap_or_default(),
            impersonated_user: who
                .acted_as
                .as_ref()
                .filter(|user| Some(*user) != who.sender.as_ref())
                .map(UserInfo::of),
            user_agent: &self.agent,
            object_ref: attributes.object.as_ref().map(|target| Reference {
                resource: &target.resource,
                api_version: &target.version,
                api_group: &target.group,
                namespace: target.namespace.as_deref(),
                name: target.name.as_deref(),
                subresource: target.subresource.as_deref(),
            }),
            response_status: ResponseStatus { metadata: Nothing {}, code: outcome.code },
            request_received_timestamp: micro(self.received),
            stage_timestamp: micro(outcome.now),
            annotations: Annotations { decision, by, notes: self.notes.0.lock().clone() },
        }
    }
}

/// Who sent a request, and whom it was done as, as far as that became known.
#[derive(Debug, Default)]
pub(crate) struct Who {
    pub(crate) sender: Option<User>,
    pub(crate) acted_as: Option<User>,
}

/// How a request ended.
struct Outcome {
    code: u16,
    id: String,
    now: Timestamp,
}

/// As Kubernetes writes moments that microseconds tell apart.
fn micro(at: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    PRINTER.timestamp_to_string(&at)
}

/// What the cluster's own parts read, and that agents live, would drown everything else.
fn is_worth_it(attributes: &Attributes, who: &Who) -> bool {
    let is_part = who
        .sender
        .as_ref()
        .is_some_and(|user| user.node_name().is_some() || user.name.starts_with("system:crest:"));
    let is_read = matches!(attributes.verb.as_str(), "get" | "list" | "watch");
    let resource = attributes.object.as_ref().map(|target| target.resource.as_str());
    let is_health = matches!(attributes.path.as_str(), "/healthz" | "/livez" | "/readyz" | "/version");
    !(is_health || (is_part && (is_read || matches!(resource, Some("leases" | "events")))))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::{Notes, Outcome, Request, Who, is_worth_it};
    use crate::attributes::Attributes;
    use crate::authentication::User;

    fn attributes(method: &str, uri: &str) -> Attributes {
        let (parts, ()) = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        Attributes::of(&parts)
    }

    #[test]
    fn a_line_says_who_did_what() {
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        let uri = "/api/v1/namespaces/n/secrets/s";
        let request = Request {
            notes: Notes::default(),
            uri: uri.to_owned(),
            agent: "kubectl".to_owned(),
            by_certificate: true,
            received: now,
        };
        let who = Who {
            sender: Some(User::new("admin", ["system:masters"])),
            acted_as: Some(User::new("jane", [])),
        };
        let outcome = Outcome { code: 403, id: "id".to_owned(), now };
        let line = request.event(&attributes("GET", uri), &who, &outcome).to_line();
        let line = String::from_utf8(line).unwrap();
        let line = line.strip_suffix('\n').unwrap();
        expect![[r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"id","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/n/secrets/s","verb":"get","user":{"username":"admin","groups":["system:masters","system:authenticated"]},"impersonatedUser":{"username":"jane","groups":["system:authenticated"]},"userAgent":"kubectl","objectRef":{"resource":"secrets","apiVersion":"v1","namespace":"n","name":"s"},"responseStatus":{"metadata":{},"code":403},"requestReceivedTimestamp":"2030-01-01T00:00:00.000000Z","stageTimestamp":"2030-01-01T00:00:00.000000Z","annotations":{"authorization.k8s.io/decision":"forbid","authentication.crest.dev/by":"certificate"}}"#]].assert_eq(line);
    }

    #[test]
    fn what_parts_of_the_cluster_read_is_left_out() {
        let check = |user: User, method: &str, uri: &str, expected: bool| {
            let who = Who { sender: Some(user), acted_as: None };
            assert_eq!(is_worth_it(&attributes(method, uri), &who), expected, "{method} {uri}");
        };
        check(User::node("one"), "GET", "/api/v1/pods", false);
        check(User::node("one"), "PATCH", "/api/v1/nodes/one/status", true);
        check(User::component("controllers"), "GET", "/api/v1/secrets", false);
        check(User::component("controllers"), "DELETE", "/api/v1/namespaces/n/secrets/s", true);
        check(User::new("jane", []), "GET", "/api/v1/namespaces/n/secrets/s", true);
        check(User::anonymous(), "GET", "/healthz", false);
    }
}
