//! Events that people read with `kubectl describe`: told once, counted when they repeat, never in the way of work.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::Patch;
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::act;
use crate::key::ObjectKey;

/// Events that wait to be written. More are dropped: they are for people, and nobody reads that many.
const BACKLOG: usize = 16 * 1024;
/// So many events are written at once, and then only so many per second: when thousands of Pods come or go in a second,
/// the server is left to those who wait for it.
const BURST: u32 = 1000;
const PER_SECOND: u32 = 500;
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
    notes: mpsc::Sender<Noted>,
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
        let (by, about) = (Arc::clone(&self.component), object.object_ref(&()));
        // Full: dropped, see BACKLOG.
        let _dropped = self.notes.try_send(Noted { by, about, note, at: kit::clock::wall() });
    }
}

/// A note, who took it of which object, and when.
#[derive(Debug)]
struct Noted {
    by: Arc<str>,
    about: ObjectReference,
    note: Note,
    at: Timestamp,
}

type Identity = (Option<String>, Note);

async fn write_all(client: Client, mut notes: mpsc::Receiver<Noted>, token: CancellationToken) {
    let mut known: HashMap<Identity, (String, i32)> = HashMap::new();
    let mut pace = Pace(kit::clock::monotonic());
    while let Some(Some(noted)) = token.run_until_cancelled(notes.recv()).await {
        let turn = tokio::time::sleep_until(pace.next(kit::clock::monotonic()).into());
        if token.run_until_cancelled(turn).await.is_none() {
            return;
        }
        let namespace = noted.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let identity = (noted.about.uid.clone(), noted.note.clone());
        if known.len() >= REMEMBERED {
            known.clear();
        }
        if let Some((name, count)) = known.get_mut(&identity) {
            *count += 1;
            let key = ObjectKey { namespace: namespace.clone(), name: name.clone() };
            if count_again(&client, &key, (*count, noted.at)).await.is_ok() {
                continue;
            }
        }
        let event = event(&namespace, noted);
        match create(&client, &namespace, &event).await {
            Ok(()) => {
                known.insert(identity, (event.metadata.name.unwrap_or_default(), 1));
            }
            // A namespace that is going away takes no new events.
            Err(error) => tracing::debug!(error = %kit::Chain(&error), "Event was not recorded"),
        }
    }
}

/// Keeps to [`BURST`] and [`PER_SECOND`]: when the events so far would have been over, had they come one after the other.
struct Pace(Instant);

impl Pace {
    /// When the event that is at hand may be written.
    fn next(&mut self, now: Instant) -> Instant {
        let each = Duration::from_secs(1) / PER_SECOND;
        let over = self.0.max(now) + each;
        self.0 = over;
        over.checked_sub(each * BURST).map_or(now, |turn| turn.max(now))
    }
}

async fn create(client: &Client, namespace: &str, event: &Event) -> kube::Result<()> {
    let key = ObjectKey { namespace: namespace.to_owned(), name: String::new() };
    let body = serde_json::to_vec(event).map_err(kube::Error::SerdeError)?;
    act::send(client, act::requests::<Event>(&key).create(&act::post(), body)).await
}

async fn count_again(client: &Client, key: &ObjectKey, (count, at): (i32, Timestamp)) -> kube::Result<()> {
    let patch = Patch::Merge(serde_json::json!({ "count": count, "lastTimestamp": Time(at) }));
    act::send(client, act::requests::<Event>(key).patch(&key.name, &act::patch(), &patch)).await
}

fn event(namespace: &str, Noted { by, about, note, at }: Noted) -> Event {
    let name = about.name.as_deref().unwrap_or("object");
    let severity = match note.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", at.as_nanosecond())),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: about,
        reason: Some(note.reason.to_owned()),
        message: Some(note.message),
        type_: Some(severity.to_owned()),
        source: Some(EventSource { component: Some(by.to_string()), host: None }),
        reporting_component: Some(by.to_string()),
        count: Some(1),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_events_is_spread() {
        let start = kit::clock::monotonic();
        let mut pace = Pace(start);
        let mut turn = |now: Instant| pace.next(now).duration_since(start).as_millis();
        assert!((0..BURST).all(|_| turn(start) == 0));
        assert_eq!((turn(start), turn(start)), (2, 4));
        let later = start + Duration::from_secs(1);
        // A second's worth, of which two were given out, may come at once again.
        assert!((2..PER_SECOND).all(|_| turn(later) == 1000));
        assert_eq!(turn(later), 1002);
    }
}
