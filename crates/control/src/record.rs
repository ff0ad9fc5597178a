//! Events that people read with `kubectl describe`: told once, counted when they repeat, never in the way of work.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::Patch;
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that wait to be written. More are dropped: they are for people, and nobody reads that many.
const BACKLOG: usize = 1024;
/// How many recent events are remembered for counting.
const REMEMBERED: usize = 4096;

/// Whether an event tells of a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    Normal,
    Warning,
}

/// One thing that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    pub severity: Severity,
    pub reason: &'static str,
    pub message: String,
}

impl Note {
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Normal, reason, message: message.into() }
    }

    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, reason, message: message.into() }
    }
}

/// Takes notes for one component.
#[derive(Clone, Debug)]
pub struct Recorder {
    component: Arc<str>,
    notes: mpsc::Sender<(Arc<str>, ObjectReference, Note)>,
}

impl Recorder {
    /// Notes are written in the background until `token` is cancelled.
    pub fn start(client: Client, component: &str, token: CancellationToken) -> Self {
        let (notes, receiver) = mpsc::channel(BACKLOG);
        kit::task::spawn("events", write_all(client, receiver, token));
        Self { component: component.into(), notes }
    }

    /// The same events under the name of another component.
    pub fn named(&self, component: &str) -> Self {
        Self { component: component.into(), notes: self.notes.clone() }
    }

    /// Who the notes are from.
    pub fn component(&self) -> &str {
        &self.component
    }

    pub fn note<K: Resource<DynamicType = ()>>(&self, object: &K, note: Note) {
        // Full: dropped, see BACKLOG.
        let _dropped = self.notes.try_send((Arc::clone(&self.component), object.object_ref(&()), note));
    }
}

type Identity = (Option<String>, Note);

async fn write_all(
    client: Client,
    mut notes: mpsc::Receiver<(Arc<str>, ObjectReference, Note)>,
    token: CancellationToken,
) {
    let mut known: HashMap<Identity, (String, i32)> = HashMap::new();
    while let Some(Some((component, object, note))) = token.run_until_cancelled(notes.recv()).await {
        let namespace = object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let identity = (object.uid.clone(), note.clone());
        if known.len() >= REMEMBERED {
            known.clear();
        }
        if let Some((name, count)) = known.get_mut(&identity) {
            *count += 1;
            if count_again(&api, name, *count).await.is_ok() {
                continue;
            }
        }
        let event = event(&component, &namespace, object, &note);
        match api.create(&crate::act::post(), &event).await {
            Ok(created) => {
                known.insert(identity, (created.metadata.name.unwrap_or_default(), 1));
            }
            // A namespace that is going away takes no new events.
            Err(error) => tracing::debug!(error = %kit::Chain(&error), "Event was not recorded"),
        }
    }
}

async fn count_again(api: &Api<Event>, name: &str, count: i32) -> kube::Result<Event> {
    let patch = serde_json::json!({ "count": count, "lastTimestamp": Time(kit::clock::wall()) });
    api.patch(name, &crate::act::patch(), &Patch::Merge(patch)).await
}

fn event(component: &str, namespace: &str, object: ObjectReference, note: &Note) -> Event {
    let now = kit::clock::wall();
    let name = object.name.as_deref().unwrap_or("object");
    let severity = match note.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: object,
        reason: Some(note.reason.to_owned()),
        message: Some(note.message.clone()),
        type_: Some(severity.to_owned()),
        source: Some(EventSource { component: Some(component.to_owned()), host: None }),
        reporting_component: Some(component.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    }
}
