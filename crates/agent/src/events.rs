//! Kubernetes Events about Pods: what happened, once per kind of happening, with a count.
//!
//! Recording never waits: events go through a bounded queue and are dropped when the API cannot keep up.

use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Something to tell.
#[derive(Clone, Debug)]
pub struct Happening {
    about: ObjectReference,
    type_: &'static str,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// Takes events from anywhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Happening>,
}

const QUEUE: usize = 512;
/// Kinds of happenings remembered for their counts.
const REMEMBERED: usize = 1024;

/// A recorder and the task that writes what it takes.
pub fn recorder(client: Client, node: String) -> (Recorder, Writer) {
    let (queue, happenings) = mpsc::channel(QUEUE);
    (Recorder { queue }, Writer { client, node, happenings, known: HashMap::new() })
}

impl Recorder {
    /// Something normal happened to `container` of `pod`.
    pub fn normal(&self, pod: &Pod, container: Option<&str>, reason: &'static str, message: String) {
        self.record(pod, container, "Normal", (reason, message));
    }

    /// Something went wrong with `container` of `pod`.
    pub fn warning(&self, pod: &Pod, container: Option<&str>, reason: &'static str, message: String) {
        self.record(pod, container, "Warning", (reason, message));
    }

    fn record(
        &self,
        pod: &Pod,
        container: Option<&str>,
        type_: &'static str,
        (reason, message): (&'static str, String),
    ) {
        let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let init = inits.into_iter().any(|init| Some(init.name.as_str()) == container);
        let mut ephemeral = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
        let list = match ephemeral.any(|ephemeral| Some(ephemeral.name.as_str()) == container) {
            true => "ephemeralContainers",
            false if init => "initContainers",
            false => "containers",
        };
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path: container.map(|name| format!("spec.{list}{{{name}}}")),
        };
        let happening = Happening { about, type_, reason, message, at: kit::clock::wall() };
        if self.queue.try_send(happening).is_err() {
            tracing::debug!(reason, "Event dropped: the queue is full");
        }
    }
}

/// Writes events to the API.
pub struct Writer {
    client: Client,
    node: String,
    happenings: mpsc::Receiver<Happening>,
    known: HashMap<Kind, Known>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("node", &self.node).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    uid: String,
    field_path: String,
    reason: &'static str,
    message: String,
}

#[derive(Clone, Debug)]
struct Known {
    name: String,
    count: i32,
}

impl Writer {
    /// Writes until the recorders are gone or `token` is cancelled.
    pub async fn run(mut self, token: CancellationToken) {
        while let Some(Some(happening)) = token.run_until_cancelled(self.happenings.recv()).await {
            if let Err(error) = self.write(happening).await {
                tracing::debug!(error = %kit::Chain(&error), "Event not written");
            }
        }
    }

    async fn write(&mut self, happening: Happening) -> Result<(), kube::Error> {
        let kind = Kind {
            uid: happening.about.uid.clone().unwrap_or_default(),
            field_path: happening.about.field_path.clone().unwrap_or_default(),
            reason: happening.reason,
            message: happening.message.clone(),
        };
        let namespace = happening.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Some(known) = self.known.get_mut(&kind) {
            known.count = known.count.saturating_add(1);
            let patch = json!({"count": known.count, "lastTimestamp": Time(happening.at)});
            match events.patch(&known.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => return other.map(drop),
            }
        }
        let event = self.event(&namespace, happening);
        let name = event.metadata.name.clone().unwrap_or_default();
        events.create(&PostParams::default(), &event).await?;
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(kind, Known { name, count: 1 });
        Ok(())
    }

    fn event(&self, namespace: &str, happening: Happening) -> Event {
        let object = happening.about.name.clone().unwrap_or_default();
        // As kubelets name them: the object and a time, unique enough and sortable.
        let name = format!("{object}.{:x}", happening.at.as_nanosecond());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: happening.about,
            reason: Some(happening.reason.to_owned()),
            message: Some(happening.message),
            type_: Some(happening.type_.to_owned()),
            count: Some(1),
            first_timestamp: Some(Time(happening.at)),
            last_timestamp: Some(Time(happening.at)),
            source: Some(EventSource {
                component: Some("crest-agent".to_owned()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some("crest-agent".to_owned()),
            reporting_instance: Some(self.node.clone()),
            ..Event::default()
        }
    }
}
